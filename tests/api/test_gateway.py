"""Event streams over real sockets on loopback, with the `websockets` client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import websockets

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import FakeAgent


async def test_welcome_is_the_reference_s_when_connecting(server: HTTPServer) -> None:
    url = server.url.replace("http", "ws") + "/ws"
    async with websockets.connect(url, proxy=None) as socket:
        assert await socket.recv() == (
            '{"type":"chatMessage","payload":{"content":"Connected to Praxis Agent",'
            '"sender":"system","type":"system"}}'
        )


async def test_message_has_the_contract_s_keys_when_subscribed(
    agent: FakeAgent, connect: Callable[..., Any]
) -> None:
    client = await connect("/ws")
    await client.subscribe("p2p.peer_discovered")
    event = agent.bus.publish("p2p.peer_discovered", {"id": "x"}, correlation_id="c")
    assert await client.receive() == {
        "type": "p2p.peer_discovered",
        "payload": {"id": "x"},
        "id": event.id,
        "epoch": "e1",
        "seq": event.seq,
        "timestamp": event.time,
        "correlation_id": "c",
    }
