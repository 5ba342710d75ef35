"""Event streams in an application of somebody else's.

    app = Starlette(routes=their_routes + event_routes(), lifespan=event_lifespan(bus))

    uvicorn theirapp:app --ws praxis_fast.api.ws:Protocol

The gateway needs the running loop, so the lifespan makes it; the WebSocket class and
the routes find it in the state that the lifespan gave. WebSocket paths that are not
ours stay theirs.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from praxis_fast.api.access import Access
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


@asynccontextmanager
async def event_gateway(
    bus: EventBus, *, access: Access | None = None, **options: Any
) -> AsyncIterator[EventGateway]:
    """A gateway as long as the context; its clients are told goodbye at the end.

    Without an `access` only programs of this machine are served. Options are those of
    EventGateway.
    """
    gateway = EventGateway(bus, access or Access(), **options)
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
        await Door(gateway.streams, gateway.access)(scope, receive, send)
