"""WebSocket servers that give every client every event, one kind per process.

    python -m praxis_fast.benchmarks.socket_server praxis-fast | websockets | ...

`praxis-fast` is the real gateway of a real agent, with its token, filters, sequence and
limits. The others only frame and send: the least a server of that library must do.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from praxis_fast.benchmarks import program

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["KINDS"]

TYPE: Final = "task.progress"
# Together with what the gateway adds, 355 bytes in a message.
TEXT: Final = "Forecast ready for the region around the harbour and north. " * 2

# The gateway serves this many sockets in one turn of its loop.
SLICE: Final = 512


class Server(Protocol):
    """What a kind of server has to do."""

    async def start(self, stack: AsyncExitStack) -> dict[str, Any]:
        """Listen; says port, path, and how many messages a new client gets."""

    def publish(self, number: int, data: dict[str, Any]) -> None:
        """Send an event to every client."""


def event_data(number: int) -> dict[str, Any]:
    """What an event says; `sent` lets the client tell how old it is."""
    return {"sent": time.monotonic_ns(), "step": number, "message": TEXT}


def encode(number: int, data: dict[str, Any]) -> bytes:
    """The message of servers that have no event of their own, as large as ours."""
    message = {
        "type": TYPE,
        "payload": data,
        "id": "0b8f8f0e-0b3c-4c3e-9c4e-2f5f6f7a8b9c",
        "epoch": "5f3a9c2d1e0f4b6a",
        "seq": number,
        "timestamp": "2026-11-21T12:00:00.000Z",
        "correlation_id": None,
    }
    return orjson.dumps(message)


class PraxisFast:
    """The gateway of an agent."""

    async def start(self, stack: AsyncExitStack) -> dict[str, Any]:
        """An agent that finds nobody and serves HTTP."""
        from praxis_fast.agent.agent import Agent
        from praxis_fast.agent.config import AgentConfig

        token = secrets.token_hex()
        config = AgentConfig.from_mapping(
            {
                "agent": {"name": "bench"},
                "p2p": {"host": "127.0.0.1", "port": 0, "enable_mdns": False},
                "http": {"enabled": True, "port": 0, "token": token},
                # As sockets.RAISED says.
                "limits": {"websocket": {"ping_interval": 3600.0}},
            }
        )
        agent = await stack.enter_async_context(Agent(config))
        self._bus = agent.bus
        assert agent.http is not None
        subscription = {"type": "SUBSCRIBE_EVENTS", "payload": {"event_types": [TYPE]}}
        return {
            "port": agent.http.port,
            "path": f"/ws?token={token}",
            "first": orjson.dumps(subscription).decode(),
            "greetings": 2,
        }

    def publish(self, number: int, data: dict[str, Any]) -> None:
        """One event on the bus."""
        self._bus.publish(TYPE, data)


class Websockets:
    """`websockets.broadcast` of the websockets library."""

    async def start(self, stack: AsyncExitStack) -> dict[str, Any]:
        """Compression off, as it is for ours."""
        from websockets.asyncio.server import broadcast, serve

        server = await stack.enter_async_context(
            serve(
                _hold,
                "127.0.0.1",
                0,
                compression=None,
                ping_interval=None,
                backlog=4096,
            )
        )
        self._server, self._broadcast = server, broadcast
        return _plain(server.sockets[0].getsockname()[1])

    def publish(self, number: int, data: dict[str, Any]) -> None:
        """Encoded once, framed for each client."""
        text = encode(number, data).decode()
        self._broadcast(self._server.connections, text)


async def _hold(connection: Any) -> None:
    """Nothing is said to a client but events."""
    await connection.wait_closed()


class Aiohttp:
    """A loop over aiohttp's WebSocket responses, without waiting for one."""

    async def start(self, stack: AsyncExitStack) -> dict[str, Any]:
        """One route."""
        from aiohttp import web

        self._writers: list[Any] = []
        application = web.Application()
        application.router.add_get("/ws", self._on_client)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        return _plain(runner.addresses[0][1])

    async def _on_client(self, request: Any) -> Any:
        from aiohttp import web

        response = web.WebSocketResponse(compress=False)
        await response.prepare(request)
        self._writers.append(response)
        async for _ in response:
            pass
        return response

    def publish(self, number: int, data: dict[str, Any]) -> None:
        """`send_str` does not wait as long as the kernel takes everything."""
        text = encode(number, data).decode()
        for response in self._writers:
            finish(response.send_str(text))


class Picows:
    """A loop over picows transports."""

    async def start(self, stack: AsyncExitStack) -> dict[str, Any]:
        """One listener per client."""
        import picows

        transports: set[Any] = set()

        class Listener(picows.WSListener):
            def on_ws_connected(self, transport: Any) -> None:
                transports.add(transport)

            def on_ws_disconnected(self, transport: Any) -> None:
                transports.discard(transport)

        server = await picows.ws_create_server(
            lambda _: Listener(), "127.0.0.1", 0, backlog=4096
        )
        stack.callback(server.close)
        self._transports, self._kind = transports, picows.WSMsgType.TEXT
        return _plain(server.sockets[0].getsockname()[1])

    def publish(self, number: int, data: dict[str, Any]) -> None:
        """Encoded once, framed for each client."""
        text, kind = encode(number, data), self._kind
        for transport in self._transports:
            transport.send(kind, text)


class Starlette:
    """A loop over Starlette's WebSockets, on uvicorn."""

    async def start(self, stack: AsyncExitStack) -> dict[str, Any]:
        """One route."""
        import uvicorn
        from starlette.applications import Starlette as Application
        from starlette.routing import WebSocketRoute

        self._clients: set[Any] = set()
        listening = asyncio.Event()

        class Server(uvicorn.Server):
            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets)
                listening.set()

        server = Server(
            uvicorn.Config(
                Application(routes=[WebSocketRoute("/ws", self._on_client)]),
                port=0,
                log_config=None,
                ws_ping_interval=None,
                ws_per_message_deflate=False,
                backlog=4096,
            )
        )
        serving = asyncio.create_task(server.serve())
        await listening.wait()

        async def stop() -> None:
            server.force_exit = server.should_exit = True
            await serving

        stack.push_async_callback(stop)
        return _plain(server.servers[0].sockets[0].getsockname()[1])

    async def _on_client(self, client: Any) -> None:
        await client.accept()
        self._clients.add(client)
        async for _ in client.iter_text():
            pass
        self._clients.discard(client)

    def publish(self, number: int, data: dict[str, Any]) -> None:
        """`send_text` does not wait as long as the kernel takes everything."""
        text = encode(number, data).decode()
        for client in self._clients:
            finish(client.send_text(text))


class Socketify:
    """uWebSockets from Python: `publish` to a topic.

    Its own loop asks for work again and again; here it is run when there is some:
    every millisecond until the first event, since clients come before that, then for
    what a turn has published.
    """

    async def start(self, stack: AsyncExitStack) -> dict[str, Any]:
        """One route; every client is in the topic."""
        import socketify

        application = socketify.App(lifespan=False)
        # Silent clients are hung up on after two minutes otherwise.
        options = {"open": lambda client: client.subscribe(TYPE), "idle_timeout": 0}
        application.ws("/ws", options)
        ports: list[int] = []
        place = socketify.AppListenOptions(port=0, host="127.0.0.1")
        application.listen(place, lambda listening: ports.append(listening.port))
        self._application, self._kind = application, socketify.OpCode.TEXT
        self._run = application.loop.uv_loop.run_nowait
        self._is_due = False
        self._accepting = asyncio.create_task(self._accept())
        stack.callback(self._accepting.cancel)
        return _plain(ports[0])

    async def _accept(self) -> None:
        while True:
            self._run()
            await asyncio.sleep(0.001)

    def publish(self, number: int, data: dict[str, Any]) -> None:
        """Framed once; what a turn publishes is sent together when its loop runs."""
        self._accepting.cancel()
        self._application.publish(TYPE, encode(number, data), self._kind)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._is_due = False
        self._run()


def finish(sending: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that does not have to wait."""
    try:
        sending.send(None)
    except StopIteration:
        return
    raise RuntimeError("had to wait for a client")


def _plain(port: int) -> dict[str, Any]:
    return {"port": port, "path": "/ws", "first": "", "greetings": 0}


# What to import for a kind, and how to make one.
KINDS: Final[dict[str, Callable[[], Server]]] = {
    "praxis-fast": PraxisFast,
    "websockets": Websockets,
    "aiohttp": Aiohttp,
    "picows": Picows,
    "socketify": Socketify,
    "starlette": Starlette,
}


class Publisher:
    """Publishes as the bench says."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._number = 1_000_000  # so that sequence numbers have one width

    async def burst(self, turns: int, per_turn: int, clients: int) -> dict[str, Any]:
        """So many events in each of so many turns; a turn ends when all are served."""
        for _ in range(turns):
            for _ in range(per_turn):
                self._publish()
            for _ in range(clients // SLICE + 2):
                await asyncio.sleep(0)
        return {}

    async def pace(self, events: int, interval: float) -> dict[str, Any]:
        """One event each interval."""
        due = time.monotonic()
        for _ in range(events):
            self._publish()
            due += interval
            await asyncio.sleep(due - time.monotonic())
        return {}

    def _publish(self) -> None:
        self._number += 1
        self._server.publish(self._number, event_data(self._number))


async def main() -> None:
    """Serve one kind and do as we are told."""
    server = KINDS[sys.argv[1]]()
    async with AsyncExitStack() as stack:
        hello = await server.start(stack)
        publisher = Publisher(server)
        await program.serve(hello, {"burst": publisher.burst, "pace": publisher.pace})


if __name__ == "__main__":
    program.run(main)
