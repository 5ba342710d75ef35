"""A small agent without a network, its HTTP server, and WebSocket clients for it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
import websockets

from praxis_fast.api.server import HTTPServer
from praxis_fast.errors import DialError, ToolNotFoundError
from praxis_fast.events.bus import EventBus
from praxis_fast.events.payloads import peer_payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Any]:
    """asyncio everywhere, uvloop too where sockets are written to directly."""
    if item.path.name in {"test_gateway.py", "test_direct.py"}:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


PEER = "12D3KooWPeerOne"
CARD = {
    "name": "calc",
    "version": "1.0.0",
    "peerId": PEER,
    "capabilities": ["tools"],
    "tools": [{"name": "add", "description": "", "parameters": []}],
    "timestamp": 1_760_000_000,
}


class FakeCard:
    name = "fake"
    version = "1.2.3"

    def to_message(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.version, "tools": []}


class FakeAgent:
    """What the routes need of an agent."""

    def __init__(self) -> None:
        self.bus = EventBus(source="agent.fake", epoch="e1")
        self.card = FakeCard()
        self.host = SimpleNamespace(
            peer_id="12D3KooWSelf", addrs=["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWSelf"]
        )
        self.peers = [
            peer_payload(
                PEER,
                ["/ip4/10.0.0.5/tcp/4001"],
                found_at=1_760_000_000.125,
                connected_at=1_760_000_001.0,
                is_connected=True,
                card=CARD,
            )
        ]
        self.expects_peers = True
        self.calls: list[tuple[str, Any, Any, float]] = []

    def local_tools(self) -> list[dict[str, Any]]:
        return [{"name": "own", "remote": False}]

    def peer_snapshot(self) -> list[dict[str, Any]]:
        return self.peers

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        peer: str | None = None,
        timeout: float = 30.0,
    ) -> Any:
        self.calls.append((name, arguments, peer, timeout))
        if name != "add":
            raise ToolNotFoundError(f"tool {name!r} is unknown")
        return {"content": [{"type": "text", "text": "3"}]}

    async def connect(self, addr: str) -> str:
        if not addr.endswith(PEER):
            raise DialError(f"nobody answers at {addr}")
        return PEER


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
async def serve(agent: FakeAgent) -> AsyncIterator[Callable[..., Any]]:
    """Starts servers for the agent; all of them are closed at the end."""
    servers: list[HTTPServer] = []

    async def start(*, port: int = 0, **options: Any) -> HTTPServer:
        server = HTTPServer(agent, "127.0.0.1", port, **options)
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def server(serve: Callable[..., Any]) -> HTTPServer:
    started: HTTPServer = await serve()
    return started


class Client:
    """A `websockets` client that speaks JSON."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def send(self, kind: str, payload: Any = None, **more: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, "payload": payload, **more}))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            message: dict[str, Any] = json.loads(await self.socket.recv())
        return message

    async def receive_many(self, count: int) -> list[dict[str, Any]]:
        return [await self.receive() for _ in range(count)]

    async def ask(self, kind: str, payload: Any = None, **more: Any) -> dict[str, Any]:
        await self.send(kind, payload, **more)
        return await self.receive()

    async def subscribe(self, *names: str, **more: Any) -> dict[str, Any]:
        return await self.ask("SUBSCRIBE_EVENTS", {"event_types": list(names), **more})

    async def close_code(self) -> tuple[int, str]:
        """Read to the end; the code and reason the server closed with."""
        with suppress(websockets.ConnectionClosed):
            async with asyncio.timeout(10):
                async for _ in self.socket:
                    pass
        frame = self.socket.protocol.close_rcvd
        return (1006, "") if frame is None else (frame.code, frame.reason)


@pytest.fixture
async def connect(server: HTTPServer) -> AsyncIterator[Callable[..., Any]]:
    """Connects clients; the welcome of `/ws*` is taken off."""
    sockets: list[websockets.ClientConnection] = []

    async def open_client(
        path: str = "/ws", *, to: HTTPServer = server, **options: Any
    ) -> Client:
        url = to.url.replace("http", "ws") + path
        socket = await websockets.connect(url, proxy=None, **options)
        sockets.append(socket)
        client = Client(socket)
        if path.startswith("/ws"):
            assert (await client.receive())["payload"]["sender"] == "system"
        return client

    yield open_client
    for socket in sockets:
        await socket.close()
