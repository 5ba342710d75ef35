"""A program's own events over HTTP, without an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from praxis_fast.api.event_server import EventServer
from praxis_fast.client import AgentRegistry, EventStream, StreamedEvent
from praxis_fast.errors import AccessDeniedError, ConfigError
from praxis_fast.events.bus import EventBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def bus() -> AsyncIterator[EventBus]:
    bus = EventBus(source="program")
    yield bus
    await bus.close()


async def test_a_bus_is_all_it_takes(bus: EventBus) -> None:
    async with (
        EventServer(bus, port=0) as server,
        EventStream(server.url, types=["mine.*"]) as events,
    ):
        bus.publish("mine.done", {"n": 1})
        event = await anext(events)
    assert isinstance(event, StreamedEvent)
    assert (event.type, event.payload) == ("mine.done", {"n": 1})


async def test_the_routes_answer_as_those_of_an_agent_alone(bus: EventBus) -> None:
    async with (
        EventServer(bus, port=0, name="shop", version="2") as server,
        AgentRegistry(server.url) as agents,
        httpx.AsyncClient(trust_env=False, base_url=server.url) as client,
    ):
        assert not agents
        health = (await client.get("/health")).json()
        ready = await client.get("/ready")
        tools = (await client.get("/p2p/tools")).json()
        info = (await client.get("/p2p/info")).json()
        call = await client.post("/p2p/tool", json={"tool": "x"})
        dial = await client.post("/p2p/connect", json={"multiaddr": "x"})
    assert (health["agent"], health["version"]) == ("shop", "2")
    assert ready.status_code == 200
    assert tools["local"] == []
    assert info["peer_id"] is None
    assert call.status_code == 404
    assert dial.status_code == 502


async def test_options_are_those_of_the_http_server(bus: EventBus) -> None:
    async with EventServer(bus, port=0, token="t") as server:
        with pytest.raises(AccessDeniedError):
            await EventStream(server.url).connect()
    with pytest.raises(ConfigError, match="can be reached by other machines"):
        EventServer(bus, "0.0.0.0")
