from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from praxis_fast.events.bus import EventBus
from praxis_fast.events.tally import MAX_TYPES, OTHER, Tally
from tests.events.receivers import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import FakeAgent


@pytest.fixture
async def http(server: HTTPServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


def values(text: str) -> dict[str, float]:
    """Every sample; labels after the name."""
    return {
        "|".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_are_prometheus_text(
    agent: FakeAgent, http: httpx.AsyncClient, connect: Callable[..., Any]
) -> None:
    client = await connect("/events")
    for _ in range(3):
        agent.bus.publish("task.started")
    await client.receive_many(3)
    await client.ask("RESUME", {"since": "e9-1"})
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    told = values(answer.text)
    assert told["praxis_agent_info|fake|12D3KooWSelf|1.2.3"] == 1
    assert told["praxis_events_total|task.started"] == 3
    for kind, count in (("websocket", 3), ("sse", 0), ("in_process", 0)):
        assert told[f"praxis_event_enqueued_total|{kind}"] == count
        assert told[f"praxis_event_dropped_total|{kind}"] == 0
        assert told[f"praxis_event_gaps_total|{kind}"] == 0
    for kind in ("websocket", "sse"):
        assert told[f"praxis_event_queue_bytes|{kind}"] == 0
        assert told[f"praxis_event_lag_seconds|{kind}"] == 0
    for stage in ("match", "enqueue", "written"):
        # The first event is timed, and one more if a second has begun meanwhile.
        name = f"praxis_event_stage_seconds_count|{stage}|websocket"
        assert told[name] in (1, 2)
    assert told["praxis_event_resets_total"] == 1
    assert told["praxis_websocket_connections"] == 1
    assert told["praxis_p2p_connected_peers"] == 1
    assert told["praxis_journal_events"] == 3
    name = "praxis_event_processing_duration_seconds"
    assert told[f"{name}_count"] == told[f"{name}_bucket|+Inf"] == 1


async def test_event_metrics_have_the_seeds_keys(
    agent: FakeAgent, http: httpx.AsyncClient, connect: Callable[..., Any]
) -> None:
    clients = [await connect("/events") for _ in range(2)]
    agent.bus.publish("my.type")
    await asyncio.gather(*(client.receive() for client in clients))
    told = (await http.get("/metrics/events")).json()
    assert told.pop("average_delivery_time") > 0
    assert told == {
        "events_generated": 1,
        "events_delivered": 2,
        "events_failed": 0,
        "delivery_success_rate": 100.0,
    }


async def test_stats_tell_the_details(
    agent: FakeAgent, http: httpx.AsyncClient
) -> None:
    agent.bus.publish("my.type")
    told = (await http.get("/stats")).json()
    assert told["event_bus"]["by_type"] == {"my.type": 1}
    assert told["websocket_manager"]["active_connections"] == 0
    assert told["journal"]["last"] == 1
    assert told["delivery"]["events_delivered"] == 0


def test_tally_stays_bounded_when_users_make_up_types() -> None:
    bus = EventBus()
    tally = Tally(bus)
    for n in range(MAX_TYPES + 5):
        bus.publish(f"my.{n}")
    bus.publish("my.0")
    assert len(tally.counts) == MAX_TYPES + 1
    assert (tally.counts[OTHER], tally.counts["my.0"]) == (5, 2)
    tally.close()
    bus.publish("my.0")
    assert tally.counts["my.0"] == 2


async def test_limits_that_were_hit_are_counted(
    http: httpx.AsyncClient, connect: Callable[..., Any]
) -> None:
    client = await connect("/events")
    await client.socket.send("x" * 70_000)
    assert (await client.close_code())[0] == 1009
    headers = {"Content-Type": "application/json"}
    body = b" " * (1024 * 1024 + 1)
    answer = await http.post("/p2p/tool", content=body, headers=headers)
    assert answer.status_code == 413
    assert (await http.get("/health", headers={"a": "b" * 17_000})).status_code == 431
    told = values((await http.get("/metrics")).text)
    assert told["praxis_websocket_closes_total|1009"] == 1
    assert told["praxis_limit_hits_total|http.max_body"] == 1
    assert told["praxis_limit_hits_total|http.max_header_bytes"] == 1
    stats = (await http.get("/stats")).json()
    assert stats["limit_hits"]["http.max_body"] == 1
    assert stats["websocket_manager"]["closed"] == {"1009": 1}


async def test_stats_have_upstream_s_keys(
    agent: FakeAgent, http: httpx.AsyncClient
) -> None:
    def fail(event: object) -> None:
        raise ValueError("no")

    with agent.bus.subscribe(handler=fail):
        agent.bus.publish("my.type")
        await eventually(lambda: agent.bus.handler_errors == 2)
        bus = (await http.get("/stats")).json()["event_bus"]
    assert (bus["running"], bus["active_handlers"]) == (True, 0)
    # It fails on what was published, and on the error that tells of that.
    assert (bus["events_published"], bus["events_processed"]) == (2, 2)
    assert (bus["handler_errors"], bus["websocket_connections"]) == (2, 0)
