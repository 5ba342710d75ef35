"""The ASGI application: routes, errors as JSON, and the door in front of everything."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from praxis_fast.api.access.access import Access, Refusal, Visit
from praxis_fast.api.access.cross_origin import (
    is_preflight,
    preflight_answer,
    readable,
)
from praxis_fast.api.access.principals import PRINCIPAL, told_principal
from praxis_fast.api.access.rights import EVENTS
from praxis_fast.api.access.routes import access_routes
from praxis_fast.api.delivery import delivery_routes
from praxis_fast.api.http import AgentRoutes
from praxis_fast.api.metrics import MetricsRoutes
from praxis_fast.api.responses import (
    HTTPError,
    error_response,
    praxis_error_response,
)
from praxis_fast.api.sse import PATHS
from praxis_fast.errors import PraxisError
from praxis_fast.limits import Limits

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from praxis_fast.api.gateway import EventGateway
    from praxis_fast.api.served import ServedAgent

logger = logging.getLogger(__name__)

# Answered to plain GET requests there; the streams themselves never reach the routes.
STREAM_PATHS = ("/ws", "/ws/events", "/ws/workflow", "/events", "/streaming/websocket")


class Door:
    """Lets in whom the access allows, on every route, and says who it is."""

    def __init__(self, app: ASGIApp, access: Access, right: str | None = None) -> None:
        self._app = app
        self._access = access
        self._right = right

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        visit = visit_of(scope, self._right)
        hide_token(scope)
        origin = self._access.friend(visit) if scope["type"] == "http" else None
        if origin is not None:
            send = readable(send, origin)
            if is_preflight(scope):
                await preflight_answer(scope)(scope, receive, send)
                return
        verdict = await self._access.admit(visit, known=told_principal(scope))
        if not isinstance(verdict, Refusal):
            scope[PRINCIPAL] = verdict
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            # Answered with 403 by every server; not all can send a response of ours.
            await send({"type": "websocket.close"})
            return
        answer = error_response(
            verdict.status, verdict.title, verdict.message, verdict.headers
        )
        await answer(scope, receive, send)


def visit_of(scope: Scope, right: str | None = None) -> Visit:
    """What the access looks at; without a right the path says which is needed."""
    server, client = scope.get("server"), scope.get("client")
    path = route_path(scope)
    # In an address a credential is written down by every proxy on the way.
    is_stream = scope["type"] == "websocket" or path in PATHS or right == EVENTS
    return Visit(
        headers=scope["headers"],
        path=path,
        method=scope.get("method", "GET"),
        query=scope.get("query_string", b"") if is_stream else b"",
        local=server[0] if server else None,
        client=client[0] if client else None,
        right=right,
    )


def hide_token(scope: Scope) -> None:
    """Take the token out of the query: servers log it when they answer (KEY-2)."""
    query: bytes = scope.get("query_string", b"")
    if b"token=" in query:
        parts = query.split(b"&")
        kept = [
            part for part in parts if "token" not in parse_qs(part.decode("latin-1"))
        ]
        scope["query_string"] = b"&".join(kept)


def route_path(scope: Scope) -> str:
    """The path as the routes see it, without where the application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(f"{root}/"):
        return path[len(root) :]
    return path


def make_app(
    agent: ServedAgent,
    *,
    limits: Limits | None = None,
    access: Access | None = None,
    gateway: EventGateway | None = None,
) -> ASGIApp:
    """The HTTP surface of an agent; its event streams are those of the gateway."""
    access = access or Access()
    routes = AgentRoutes(agent, limits or Limits(), access).routes()
    routes += delivery_routes(agent, limits or Limits(), access)
    routes += access_routes(access)
    routes += [Route(path, upgrade_required, methods=["GET"]) for path in STREAM_PATHS]
    if gateway is not None:
        routes += [Route(path, gateway.streams, methods=["GET"]) for path in PATHS]
        routes += MetricsRoutes(agent, gateway).routes()
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: on_http_exception,
            HTTPError: on_http_error,
            PraxisError: on_praxis_error,
            Exception: on_fault,
        },
    )
    return Door(app, access)


async def upgrade_required(request: Request) -> Response:
    """These paths speak WebSocket only."""
    hide_token(request.scope)
    return error_response(
        426,
        "upgrade required",
        f"{request.url.path} is a websocket",
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    )


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: 404, 405."""
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}"
    title = str(error.detail).lower()
    return error_response(error.status_code, title, detail, error.headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    """What our routes refuse."""
    assert isinstance(error, HTTPError)
    return error_response(error.status, error.title, str(error))


async def on_praxis_error(request: Request, error: Exception) -> Response:
    """What the agent could not do."""
    assert isinstance(error, PraxisError)
    return praxis_error_response(error)


async def on_fault(request: Request, error: Exception) -> Response:
    """A defect of ours; the log has it, the client learns nothing of the inside."""
    logger.error("request %s failed", request.url.path, exc_info=error)
    return error_response(500, "internal error", "see the agent's log")
