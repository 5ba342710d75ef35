"""Our WebSocket class inside somebody else's application."""

from __future__ import annotations

import asyncio
import functools
import socket
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from praxis_fast.api.access.access import Access
from praxis_fast.api.gateway import EventGateway
from praxis_fast.api.server import QuietServer
from praxis_fast.api.ws import Protocol
from praxis_fast.events.bus import EventBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.websockets import WebSocket


async def echo(client: WebSocket) -> None:
    """Their own route."""
    await client.accept()
    async for text in client.iter_text():
        await client.send_text(f"theirs: {text}")


@pytest.fixture
async def gateway() -> AsyncIterator[EventGateway]:
    gateway = EventGateway(EventBus(), Access())
    yield gateway
    await gateway.close()


async def serve(protocol: Any) -> tuple[QuietServer, asyncio.Task[None], str]:
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[WebSocketRoute("/theirs", echo)])
    config = uvicorn.Config(app, ws=protocol, lifespan="off", log_config=None)
    server = QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.up
    return server, task, f"ws://127.0.0.1:{listener.getsockname()[1]}"


async def test_their_routes_work_beside_ours(gateway: EventGateway) -> None:
    protocol = functools.partial(Protocol, gateway=gateway)
    server, task, url = await serve(protocol)
    async with (
        websockets.connect(f"{url}/theirs", proxy=None, max_size=None) as theirs,
        websockets.connect(f"{url}/ws", proxy=None) as ours,
    ):
        for number in range(3):
            await theirs.send(f"{number}")
            assert await theirs.recv() == f"theirs: {number}"
        # Many bytes in both directions: flow control reaches their connection too.
        await theirs.send("x" * 3_000_000)
        assert len(await theirs.recv()) == 3_000_008
        assert "Connected" in str(await ours.recv())
    server.should_exit = True
    await task


async def test_every_path_is_theirs_when_there_is_no_gateway() -> None:
    server, task, url = await serve(Protocol)
    async with websockets.connect(f"{url}/theirs", proxy=None) as theirs:
        await theirs.send("a")
        assert await theirs.recv() == "theirs: a"
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"{url}/ws", proxy=None)
    server.should_exit = True
    await task


async def test_server_that_ends_by_itself_closes_our_clients_too(
    gateway: EventGateway,
) -> None:
    protocol = functools.partial(Protocol, gateway=gateway)
    server, task, url = await serve(protocol)
    async with websockets.connect(f"{url}/events", proxy=None) as ours:
        server.should_exit = True
        assert '"type":"closing"' in str(await ours.recv())
        with pytest.raises(websockets.ConnectionClosedOK) as closed:
            await ours.recv()
    await task
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
