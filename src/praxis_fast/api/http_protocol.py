"""uvicorn's httptools protocol with bounds on all before the body (HTTP-2, HTTP-3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from praxis_fast.api.encode import encode
from praxis_fast.api.sse import EXTENSION

if TYPE_CHECKING:
    import asyncio

    from praxis_fast.limits import HTTPLimits


class TooMuchError(Exception):
    """Stops the parser; the answer is ready in `refusal`."""


class BoundedHTTPProtocol(HttpToolsProtocol):
    """Refuses long lines and headers and cuts slow ones, before anything is routed."""

    limits: HTTPLimits
    max_connections: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: tuple[int, str, str] | None = None
        self._header_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client must say what it wants in time, and there may be too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            count = f"{self.max_connections} connections are open"
            self._answer(503, "service unavailable", count)
        else:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._disarm()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """The connection belongs to a WebSocket object from now on."""
        self._disarm()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """A request begins, perhaps not the first."""
        super().on_message_begin()
        # Event streams look at how much of theirs has left.
        self.scope["extensions"] = {EXTENSION: {"transport": self.transport}}
        self._header_bytes = 0
        if self._deadline is None:
            self._arm()

    def on_url(self, url: bytes) -> None:
        """Part of the request line."""
        super().on_url(url)
        if len(self.url) > self.limits.max_line:
            self._refuse(414, "uri too long", len(self.url), self.limits.max_line)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value) + 4
        title = "request header fields too large"
        if self._header_bytes > self.limits.max_header_bytes:
            self._refuse(431, title, self._header_bytes, self.limits.max_header_bytes)
        if len(self.headers) > self.limits.max_headers:
            self._refuse(431, title, len(self.headers), self.limits.max_headers)

    def on_headers_complete(self) -> None:
        """From here on the body's own limits hold."""
        self._disarm()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused, and close."""
        refusal = self._refusal or (400, "bad request", msg.lower())
        self._answer(*refusal)

    def _refuse(self, status: int, title: str, size: int, limit: int) -> None:
        self._refusal = (status, title, f"{size}, limit {limit}")
        raise TooMuchError(title)

    def _answer(self, status: int, title: str, detail: str) -> None:
        self._disarm()
        body = encode({"error": title, "detail": detail})
        self.transport.write(
            f"HTTP/1.1 {status} {title.title()}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()

    def _arm(self) -> None:
        timeout = self.limits.header_timeout
        self._deadline = self.loop.call_later(timeout, self._on_deadline)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            seconds = f"{self.limits.header_timeout:g} s"
            self._answer(408, "request timeout", f"headers not complete in {seconds}")


def make_http_protocol(
    limits: HTTPLimits, max_connections: int
) -> type[BoundedHTTPProtocol]:
    """The class for one server; WebSockets count as connections too."""
    members = {"limits": limits, "max_connections": max_connections}
    return type("HTTPProtocol", (BoundedHTTPProtocol,), members)
