"""Lets pages of other origins that may come in read the answers (the CORS protocol).

Without it a browser keeps the answer from them; only WebSockets need none. Cookies are
not meant: `Access-Control-Allow-Credentials` is never said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from praxis_fast.api.access.hosts import header_values

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

# Seconds a browser need not ask again; the request itself is looked at each time.
MAX_AGE = 600


def is_preflight(scope: Scope) -> bool:
    """Whether the browser asks if it may; it shows no credential then."""
    asked = header_values(scope["headers"], b"access-control-request-method")
    return scope["method"] == "OPTIONS" and len(asked) == 1


def preflight_answer(scope: Scope) -> Response:
    """Yes: of an origin that is let in everything is, as from our own."""
    headers = scope["headers"]
    wanted = header_values(headers, b"access-control-request-headers")
    told = {
        "Access-Control-Allow-Methods": "GET, POST, DELETE",
        "Access-Control-Allow-Headers": ", ".join(wanted),
        "Access-Control-Max-Age": str(MAX_AGE),
    }
    return Response(status_code=204, headers=told)


def readable(send: Send, origin: str) -> Send:
    """The same, and the browser shows the answer to pages of the origin."""
    told = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"vary", b"Origin"),
    ]

    async def send_readable(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *told]}
        await send(message)

    return send_readable
