"""Node's WebSocket and EventSource, which are those of browsers, at our streams."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from praxis_fast.api.event_server import EventServer
from praxis_fast.events.bus import EventBus
from tests.interop.install import command_of, is_installed

pytestmark = pytest.mark.interop

# Upstream's example, word for word.
WEBSOCKET = (Path(__file__).parents[1] / "upstream" / "websocket.js").read_text()

# A page that wants task events.
EVENT_SOURCE = """
const source = new EventSource('http://localhost:8001/events/stream?types=task.*');
source.onmessage = (event) => {
  const told = JSON.parse(event.data);
  console.log(event.lastEventId, told.type, JSON.stringify(told.payload));
};
// A page stays open while its stream is away; Node would end here.
setInterval(() => {}, 1000);
"""

PATIENCE = 60.0


class Page:
    """A program in Node's process; what it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def open(cls, code: str, port: int) -> Page:
        node = command_of("js")[0]
        return cls(
            await asyncio.create_subprocess_exec(
                *(node, "--experimental-eventsource", "--no-warnings", "-e"),
                re.sub(r"localhost:\d+", f"127.0.0.1:{port}", code),
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self._process.stdout.readline()).decode().rstrip()

    async def close(self) -> None:
        self._process.kill()
        await self._process.communicate()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[EventServer]:
    assert is_installed("js"), "make interop installs it"
    bus = EventBus(source="page", epoch="e1")
    async with EventServer(bus, port=0) as running:
        yield running
    await bus.close()


async def clients(server: EventServer, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while server.gateway.clients != count:
            await asyncio.sleep(0.01)


async def test_upstream_s_websocket_example_prints_events(server: EventServer) -> None:
    page = await Page.open(WEBSOCKET, server.port)
    await clients(server, 1)
    server.gateway.bus.publish(
        "status_change",
        {"old_state": "working", "new_state": "completed"},
        task_id="task_123",
    )
    shown = "Received event: status_change { old_state: 'working', new_state: "
    assert await page.line() == f"{shown}'completed' }}"
    await page.close()


async def test_ws_9_an_event_source_comes_back_to_where_it_was(
    server: EventServer,
) -> None:
    page = await Page.open(EVENT_SOURCE, server.port)
    await clients(server, 1)
    publish = server.gateway.bus.publish
    publish("task.started", {"text": "one\nline\u2028"})
    publish("log.entry")
    assert await page.line() == 'e1-1 task.started {"text":"one\\nline\u2028"}'
    # The stream ends; what is published until the page is back is not lost.
    await server.gateway.streams.close()
    assert (await page.line()).startswith("e1-1 closing ")
    await clients(server, 0)
    publish("task.completed", {"n": 3})
    assert await page.line() == 'e1-3 task.completed {"n":3}'
    await page.close()
