"""Our WebSocket classes with an echo in place of the conversation about events.

    python -m tests.conformance.echo_server

Event streams answer little of what a client says, and a conformance suite needs every
message back. Handshake, frames, compression and closing are those of the gateway; a
client that agreed to compression gets its text back compressed, as it would an event.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from praxis_fast.api.access.access import Access
from praxis_fast.api.conversation import Conversation
from praxis_fast.api.event_socket import EventSocket
from praxis_fast.api.frames import text_frame
from praxis_fast.api.gateway import EventGateway
from praxis_fast.api.server import QuietServer
from praxis_fast.api.ws import Protocol
from praxis_fast.events.bus import EventBus
from praxis_fast.limits import Limits, WebSocketLimits

# The suite sends messages of up to 16 MiB, in fragments of 64 bytes, and ping by ping.
BIG = 16 * 1024 * 1024
LIMITS = Limits(
    websocket=WebSocketLimits(
        compression=True,
        max_message=BIG,
        max_fragments=BIG // 64,
        control_rate=1000.0,
    )
)


class EchoConversation(Conversation):
    """Says what it is told."""

    def __init__(self) -> None:
        """It has neither conditions nor commands."""

    def receive_message(self, message: str | bytes) -> list[Any]:
        return [message]


class EchoSocket(EventSocket):
    """Sends what the conversation says as it is, framed as an event would be."""

    __slots__ = ()

    def _perform(self, action: Any) -> None:
        if isinstance(action, str):
            self.send(self.channel.pack(action.encode(), 0))
        else:
            # Events are text: their frame, with the opcode of binary data.
            self.send(b"\x82" + text_frame(action)[1:])


class EchoGateway(EventGateway):
    """Its clients get themselves instead of events, of which there are none."""

    def enter(self, *arguments: Any, **options: Any) -> EventSocket:
        client = super().enter(*arguments, **options)
        client.__class__ = EchoSocket
        client._conversation = EchoConversation()
        return client


@asynccontextmanager
async def echo_server(limits: Limits = LIMITS) -> AsyncIterator[str]:
    """The WebSocket URL, good until the end of the context."""
    bus = EventBus()
    gateway = EchoGateway(bus, Access(), limits=limits)
    protocol: Any = functools.partial(Protocol, gateway=gateway)
    config = uvicorn.Config(
        absent, ws=protocol, lifespan="off", log_config=None, access_log=False
    )
    server = QuietServer(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.up
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/events"
        finally:
            await gateway.close()
            server.should_exit = True
            await serving
            await bus.close()


async def absent(scope: Any, receive: Any, send: Any) -> None:
    """There is nothing here but the echo."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def main() -> None:
    async with echo_server() as url:
        print(url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
