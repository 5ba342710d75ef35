"""The switches of an operator: filter level, performance events, debug lines."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import websockets

from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import AgentConfig, EventsConfig, HTTPConfig, P2PConfig
from praxis_fast.agent.watch import tell_performance
from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import EventFilter


def lonely(**events: Any) -> AgentConfig:
    """An agent without a network, with HTTP."""
    return AgentConfig(
        name="lonely",
        p2p=P2PConfig(enabled=False),
        http=HTTPConfig(enabled=True, port=0),
        events=EventsConfig(**events),
    )


SWITCHES = {
    "A2A_EVENT_FILTER_LEVEL": "high",
    "A2A_ENABLE_AUDIT_EVENTS": "true",
    "A2A_ENABLE_PERFORMANCE_EVENTS": "1",
    "A2A_DEBUG_EVENTS": "true",
}


def test_upstream_switches_are_settings() -> None:
    config = AgentConfig.load(environ={**SWITCHES, "A2A_AUTH_TOKEN": "no setting"})
    expected = EventsConfig(filter_level="high", performance=True, debug=True)
    assert config.events == expected
    assert config.audit.enabled


def test_our_own_variable_wins_over_upstream_s() -> None:
    environ = {**SWITCHES, "PRAXIS_EVENTS__FILTER_LEVEL": "normal"}
    assert AgentConfig.load(environ=environ).events.filter_level == "normal"


def test_everybody_s_variable_is_taken_where_it_means_the_same() -> None:
    assert AgentConfig.load(environ={"LOG_LEVEL": "DEBUG"}).logging.level == "debug"
    assert AgentConfig.load(environ={"LOG_LEVEL": "trace"}).logging.level == "info"


async def test_streams_carry_nothing_below_the_filter_level() -> None:
    async with Agent(lonely(filter_level="high")) as agent:
        assert agent.http is not None
        url = agent.http.url.replace("http", "ws") + "/events?priority=low"
        async with websockets.connect(url, proxy=None) as socket:
            agent.bus.publish("task.started")
            agent.bus.publish("task.failed")
            message = json.loads(await socket.recv())
    assert message["type"] == "task.failed"


async def test_debug_logs_each_event_without_its_data(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "praxis_fast.agent.watch"):
        async with Agent(lonely(debug=True)) as agent:
            agent.bus.publish("task.failed", {"text": "canary"}, task_id="t1")
    lines = [record.getMessage() for record in caplog.records]
    emitted = [line for line in lines if line.startswith("EVENT_EMITTED")]
    assert emitted[0].startswith("EVENT_EMITTED agent.starting ")
    assert any("task.failed" in line and "task_id=t1" in line for line in emitted)
    assert "canary" not in caplog.text


async def test_performance_events_tell_numbers() -> None:
    bus = EventBus()
    peers: Any = SimpleNamespace(snapshot=lambda: [{"is_connected": True}])
    wanted = bus.subscribe(EventFilter(event_types="service.status"))
    clock = iter([0.0, 2.0, 2.0]).__next__
    task = asyncio.create_task(tell_performance("a", bus, peers, 0.001, clock))
    async with asyncio.timeout(10):
        event = await anext(wanted)
    task.cancel()
    assert event.data["service_name"] == "a"
    assert event.data["metrics"] == {
        "events_published": 0,
        "events_per_second": 0.0,
        "loop_lag": 1.999,
        "known_peers": 1,
        "connected_peers": 1,
    }
    await bus.close()


async def test_performance_events_end_with_the_agent() -> None:
    async with Agent(lonely(performance=True)) as agent:
        assert len(agent._tasks) == 1
    assert len(agent._tasks) == 0
