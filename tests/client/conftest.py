"""An agent whose server goes away and comes back on the same port."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from praxis_fast.api.server import HTTPServer
from praxis_fast.client import Backoff
from praxis_fast.events.bus import EventBus
from tests.api.conftest import FakeAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

T = TypeVar("T")

# Far more than anything here takes; only a hung test waits as long.
PATIENCE = 30.0


class Place:
    """Serves an agent at one URL, again and again."""

    def __init__(self) -> None:
        self.agent = FakeAgent()
        self.server: HTTPServer | None = None
        self.port = 0
        self.options: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bus(self) -> EventBus:
        return self.agent.bus

    async def start(self, **options: Any) -> None:
        self.options = options
        self.server = HTTPServer(self.agent, "127.0.0.1", self.port, **options)
        await self.server.start()
        self.port = self.server.port

    async def stop(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            await server.close()

    async def restart(self, epoch: str | None = None) -> None:
        """As a new process would, when `epoch` is given."""
        await self.stop()
        if epoch is not None:
            self.agent.bus = EventBus(source="agent.fake", epoch=epoch)
        await self.start(**self.options)

    def cut(self) -> None:
        """Break every connection without a goodbye."""
        assert self.server is not None
        assert self.server._server is not None
        for socket in list(self.server.gateway._sockets):
            socket.abort()
        for request in list(self.server._server.server_state.connections):
            transport = getattr(request, "transport", None)
            if transport is not None:
                transport.abort()

    async def clients(self, number: int) -> None:
        """Wait until so many clients get events."""
        assert self.server is not None
        async with asyncio.timeout(PATIENCE):
            while self.server.gateway.clients != number:
                await asyncio.sleep(0.005)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    served = Place()
    await served.start()
    yield served
    await served.stop()
    await served.bus.close()


def quick() -> Backoff:
    return Backoff(0.005, 0.05)


async def soon(waited: Awaitable[T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await waited
