"""The sample client of upstream's document on agent events, word for word."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from praxis_fast.events.event import Event
from praxis_fast.events.payloads import peer_payload

if TYPE_CHECKING:
    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import FakeAgent

SAMPLE = Path(__file__).parents[1] / "upstream" / "monitor_agents.txt"


async def test_upstream_client_prints_the_life_of_a_peer(
    agent: FakeAgent, server: HTTPServer
) -> None:
    # Only the port differs: 9000 may be in use where the tests run.
    code = SAMPLE.read_text().replace(
        "ws://localhost:9000", f"ws://127.0.0.1:{server.port}"
    )
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", code), stdout=asyncio.subprocess.PIPE
    )
    assert client.stdout is not None
    async with asyncio.timeout(30):
        while not server.gateway.clients:
            await asyncio.sleep(0.01)
        # Its subscription replaces the default types: then `log.entry` finds nobody.
        matcher = server.gateway._plain.matcher
        while matcher.match(Event("log.entry")):
            await asyncio.sleep(0.01)
        life = {
            "discovered": peer_payload("P1", ["/ip4/10.0.0.5/tcp/1"], found_at=1.0),
            "connected": peer_payload("P1", found_at=1.0, connected_at=2.0),
            "disconnected": peer_payload("P1", found_at=1.0, disconnected_at=3.0),
        }
        for name, payload in life.items():
            agent.bus.publish(f"p2p.peer_{name}", payload)
        lines = [(await client.stdout.readline()).decode().strip() for _ in life]
        await server.close()
        rest = (await client.stdout.read()).decode().strip()
        await client.wait()
    assert lines == [
        "Discovered agent: P1",
        "Connected to agent: P1",
        "Disconnected from agent: P1",
    ]
    assert rest == ""
