"""Event streams in an application of somebody else's.

    app = Starlette(routes=…, lifespan=…)      # or FastAPI
    mount_events(app, bus)

    uvicorn theirapp:app --ws praxis_fast.api.ws:Protocol

The gateway needs the running loop, so the lifespan makes it; the WebSocket class and
the routes find it in the state that the lifespan gave. WebSocket paths that are not
ours stay theirs.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.routing import Route

from praxis_fast.api.access.access import Access
from praxis_fast.api.access.proxies import Proxies
from praxis_fast.api.access.rights import EVENTS
from praxis_fast.api.app import STREAM_PATHS, Door, upgrade_required
from praxis_fast.api.gateway import EventGateway
from praxis_fast.api.sse import PATHS
from praxis_fast.api.ws import STATE_KEY
from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from starlette.types import Receive, Scope, Send

    from praxis_fast.events.bus import EventBus

    Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]


def mount_events(app: Any, bus: EventBus, **options: Any) -> None:
    """Add the streams to a Starlette or FastAPI application that is there already.

    Its own lifespan stays and runs inside ours, so that it may publish at its end. Our
    routes come first, lest one of its own that takes every path hide them. Options are
    those of `event_gateway`.
    """
    ours, theirs = event_lifespan(bus, **options), app.router.lifespan_context

    @asynccontextmanager
    async def both(app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with ours(app) as state, theirs(app) as their_state:
            yield {**(their_state or {}), **state}

    app.router.lifespan_context = both
    app.router.routes[:0] = event_routes()


@asynccontextmanager
async def event_gateway(
    bus: EventBus, *, access: Access | None = None, **options: Any
) -> AsyncIterator[EventGateway]:
    """A gateway as long as the context; its clients are told goodbye at the end.

    Without an `access` only programs of this machine are served. Options are those of
    EventGateway.
    """
    gateway = EventGateway(bus, access or Access(is_local=True), **options)
    try:
        yield gateway
    finally:
        await gateway.close()


def event_lifespan(bus: EventBus, **options: Any) -> Lifespan:
    """A lifespan for Starlette or FastAPI; options are those of `event_gateway`.

    An application with a lifespan of its own enters this one there and yields its state
    together with theirs.
    """

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with event_gateway(bus, **options) as gateway:
            server = _server_around()
            if server is not None and server.config.proxy_headers:
                trusted = server.config.forwarded_allow_ips
                gateway.access.proxies = Proxies(trusted)
            with _Departure(gateway, server):
                yield {STATE_KEY: gateway}

    return lifespan


def event_routes() -> list[Route]:
    """The Server-Sent Events, and what the WebSocket paths say to plain requests."""
    routes = [Route(path, _EventStreams(), methods=["GET"]) for path in PATHS]
    routes += [Route(path, upgrade_required, methods=["GET"]) for path in STREAM_PATHS]
    return routes


class _EventStreams:
    """Hands a request to the gateway in its state, if its client may come in."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = scope.get("state", {}).get(STATE_KEY)
        if gateway is None:
            raise UsageError("the application's lifespan is not event_lifespan")
        await Door(gateway.streams, gateway.access, EVENTS)(scope, receive, send)


def _server_around() -> uvicorn.Server | None:
    """The uvicorn that runs the lifespan, if it is one."""
    # It handles signals by a method of its server, before the lifespan begins.
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


class _Departure:
    """Stands among uvicorn's connections to hear when the server begins to leave.

    It waits for all its responses before it ends the lifespan, and streams end with the
    lifespan: each would wait for the other for ever. Other servers are left alone.
    """

    def __init__(self, gateway: EventGateway, server: uvicorn.Server | None) -> None:
        self._gateway = gateway
        self._ending: asyncio.Task[None] | None = None
        self._connections: set[Any] = set()
        if server is not None:
            self._connections = server.server_state.connections

    def __enter__(self) -> None:
        self._connections.add(self)

    def __exit__(self, *_error: object) -> None:
        self._connections.discard(self)

    def shutdown(self) -> None:
        """Called by uvicorn as for a connection; it waits until none is left."""
        self._connections.discard(self)
        self._ending = asyncio.create_task(self._gateway.streams.close())
