from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from praxis_fast import verify_webhook
from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import (
    AgentConfig,
    AuditConfig,
    EventsConfig,
    HTTPConfig,
    P2PConfig,
    WebhooksConfig,
)
from praxis_fast.errors import ConfigError
from praxis_fast.limits import Limits, StoreLimits
from tests.api.test_metrics import values
from tests.events.receivers import SECRET, eventually, web_server

OFF = P2PConfig(enabled=False)


def config(folder: Path | None, **more: Any) -> AgentConfig:
    more.setdefault("webhooks", WebhooksConfig(enabled=True, allow_loopback=True))
    more.setdefault("audit", AuditConfig(enabled=True, types=("my.*", "security_*")))
    return AgentConfig(
        p2p=OFF,
        http=HTTPConfig(enabled=True, port=0, token=more.pop("token", None)),
        data_dir=None if folder is None else str(folder / "data"),
        limits=Limits(store=StoreLimits(commit_interval=0.0001)),
        **more,
    )


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with Agent(config(tmp_path)) as running:
        yield running


@pytest.fixture
async def http(agent: Agent) -> AsyncIterator[httpx.AsyncClient]:
    assert agent.http is not None
    async with httpx.AsyncClient(base_url=agent.http.url, trust_env=False) as client:
        yield client


class Receiver:
    def __init__(self) -> None:
        self.status = 200
        self.got: list[dict[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        verify_webhook(request.headers, body, SECRET)
        self.got.append(json.loads(body))
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with web_server(made.handle) as url:
        made.url = f"{url}/hook"
        yield made


async def test_webhook_from_registration_to_redrive(
    agent: Agent, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    asked = {"id": "mine", "url": receiver.url, "secret": SECRET, "types": ["my.*"]}
    answer = await http.post("/webhooks", json=asked)
    assert (answer.status_code, answer.json()["status"]) == (201, "active")
    assert SECRET not in answer.text
    assert (await http.post("/webhooks", json=asked)).status_code == 200
    agent.bus.publish("my.type", {"password": "canary", "a": 1}, task_id="t")
    agent.bus.publish("other.type")
    await eventually(lambda: receiver.got)
    assert receiver.got[0]["data"] == {"password": "***", "a": 1}

    receiver.status = 400
    agent.bus.publish("my.type", task_id="t")
    await eventually(lambda: len(receiver.got) == 2)
    dead: list[Any] = []
    async with asyncio.timeout(20):
        while not dead:
            found = await http.get("/webhooks/mine/deliveries?state=dead&limit=5")
            dead = found.json()["deliveries"]
    assert (dead[0]["response_code"], dead[0]["seq"]) == (400, 2)
    receiver.status = 200
    redriven = await http.post("/webhooks/mine/redrive")
    assert redriven.json() == {"redriven": 1}
    await eventually(lambda: len(receiver.got) == 3)
    again = await http.post("/webhooks/mine/redrive", json={"ids": ["none"]})
    assert again.json() == {"redriven": 0}

    delivered = 0
    while delivered != 2:
        (listed,) = (await http.get("/webhooks")).json()["webhooks"]
        delivered = listed["delivered"]
    assert (listed["id"], listed["dead"]) == ("mine", 0)
    assert (await http.get("/webhooks/mine")).json()["url"] == receiver.url
    purged = await http.delete("/webhooks/mine/deliveries")
    assert purged.json() == {"purged": 2}
    assert (await http.delete("/webhooks/mine")).json()["status"] == "deleted"
    assert (await http.get("/webhooks")).json() == {"webhooks": [], "count": 0}


async def test_metrics_and_stats_tell_of_webhooks_and_audit(
    agent: Agent, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    asked = {"id": "mine", "url": receiver.url, "secret": SECRET, "types": ["my.*"]}
    await http.post("/webhooks", json=asked)
    agent.bus.publish("my.type")
    await eventually(lambda: receiver.got)
    receiver.status = 404
    agent.bus.publish("my.type")
    outbox, audit = agent.delivery.outbox, agent.delivery.audit
    assert outbox is not None
    assert audit is not None
    await eventually(lambda: outbox.counters.attempts == 2)
    # What became of the second is on disk a moment after it is counted.
    async with asyncio.timeout(20):
        while (await outbox.figures()).oldest:
            pass
    await http.get("/audit/verify")
    told = values((await http.get("/metrics")).text)
    for name, value in {
        "praxis_webhook_attempts_total": 2,
        "praxis_webhook_successes_total": 1,
        "praxis_webhook_failures_total|status_404": 1,
        "praxis_webhook_dead_letters_total": 1,
        "praxis_webhook_waiting": 0,
        "praxis_webhook_retrying": 0,
        "praxis_webhook_oldest_seconds": 0,
        "praxis_webhook_state|mine|failing": 1,
        "praxis_event_stage_seconds_count|written|webhook": 1,
        "praxis_event_subscribers|webhook": 1,
        "praxis_audit_written_total": 2,
        "praxis_audit_entries": 2,
        "praxis_audit_intact": 1,
        "praxis_audit_faults_total": 0,
        "praxis_p2p_connections": 0,
    }.items():
        assert told[name] == value, name
    stats = (await http.get("/stats")).json()
    assert stats["webhooks"]["failures"] == {"status_404": 1}
    assert stats["webhooks"]["endpoints"] == {"mine": "failing"}
    assert (stats["audit"]["entries"], stats["audit"]["intact"]) == (2, True)
    events = (await http.get("/metrics/events")).json()
    assert (events["events_delivered"], events["events_failed"]) == (1, 1)
    assert events["delivery_success_rate"] == 50.0


async def test_webhooks_carry_nothing_below_the_filter_level(
    tmp_path: Path, receiver: Receiver
) -> None:
    level = EventsConfig(filter_level="high")
    async with Agent(config(tmp_path, events=level)) as agent:
        assert agent.delivery.outbox is not None
        asked = {"url": receiver.url, "secret": SECRET}
        await agent.delivery.outbox.register(asked)
        agent.bus.publish("task.started")
        agent.bus.publish("task.failed")
        await eventually(lambda: receiver.got)
    assert [message["event"] for message in receiver.got] == ["task.failed"]


async def test_secret_that_was_made_here_is_told_once(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    told = (await http.post("/webhooks", json={"url": receiver.url})).json()
    assert told["secret"].startswith("whsec_")
    assert told["secret"] not in (await http.get("/webhooks")).text
    assert (await http.delete("/webhooks", params={"id": told["id"]})).is_success


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "detail"),
    [
        ("POST", "/webhooks", {"url": "https://10.0.0.1/"}, 400, "is not public"),
        ("POST", "/webhooks", {"url": "http://a.example/"}, 400, "http, not https"),
        ("POST", "/webhooks", {}, 400, "url is not a text"),
        ("DELETE", "/webhooks", None, 400, "id is missing"),
        ("DELETE", "/webhooks/none", None, 404, "no webhook 'none'"),
        ("GET", "/webhooks/none", None, 404, "no webhook 'none'"),
        ("GET", "/webhooks/none/deliveries", None, 404, "no webhook"),
        ("POST", "/webhooks/none/redrive", None, 404, "no webhook"),
        ("GET", "/audit?limit=0", None, 400, "limit of 0, 1 to 1000"),
        ("GET", "/audit?limit=x", None, 400, "limit is not a number"),
        ("GET", "/audit?since=soon", None, 400, "since is neither"),
    ],
)
async def test_wrong_requests_are_refused_in_words(
    http: httpx.AsyncClient,
    method: str,
    path: str,
    body: Any,
    status: int,
    detail: str,
) -> None:
    answer = await http.request(method, path, json=body)
    assert answer.status_code == status
    assert detail in answer.json()["detail"]


async def test_wrong_purge_and_redrive_are_refused(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    await http.post("/webhooks", json={"id": "mine", "url": receiver.url})
    answer = await http.delete("/webhooks/mine/deliveries?state=waiting")
    assert answer.status_code == 400
    answer = await http.post("/webhooks/mine/redrive", json={"ids": "x"})
    assert answer.json()["detail"] == "ids is not a list"


async def test_audit_is_queried_verified_and_exported(
    agent: Agent, http: httpx.AsyncClient
) -> None:
    for number in range(3):
        agent.bus.publish("my.type", {"token": "canary", "n": number}, task_id="t")
    agent.bus.publish("my.hidden", {"n": 9}, required_role="admin")
    assert agent.delivery.audit is not None
    await agent.delivery.audit._db.write(lambda db: None)
    found = (await http.get("/audit")).json()
    assert [entry["event"]["data"]["n"] for entry in found["entries"]] == [0, 1, 2]
    assert (found["count"], found["next"]) == (3, None)
    page = (await http.get("/audit?limit=2&type=my.*&since=1h&task_id=t")).json()
    assert (page["count"], page["next"]) == (2, 2)
    page = (await http.get("/audit?after=2&until=2999-01-01T00:00:00+01:00")).json()
    assert page["entries"][0]["number"] == 3
    assert (await http.get("/audit?since=2999-01-01")).json()["entries"] == []
    report = (await http.get("/audit/verify")).json()
    assert (report["intact"], report["entries"]) == (True, 4)
    lines = (await http.get("/audit/export?types=my.type,x")).text.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3]
    assert "canary" not in str(lines)


async def test_parts_that_are_off_say_how_to_turn_them_on(tmp_path: Path) -> None:
    off = config(None, webhooks=WebhooksConfig(), audit=AuditConfig())
    async with Agent(off) as agent:
        assert agent.http is not None
        url = agent.http.url
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            for path, key in (("/webhooks", "webhooks"), ("/audit", "audit")):
                answer = await http.get(path)
                assert answer.status_code == 404
                assert answer.json()["detail"].endswith(f"set {key}.enabled")


async def test_admin_sees_every_entry_and_routes_ask_for_the_token(
    tmp_path: Path,
) -> None:
    async with Agent(config(tmp_path, token="token of the admin")) as agent:
        assert agent.http is not None
        agent.bus.publish("my.hidden", required_role="admin")
        assert agent.delivery.audit is not None
        await agent.delivery.audit._db.write(lambda db: None)
        url = agent.http.url
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            for path in ("/audit", "/webhooks", "/audit/verify"):
                assert (await http.get(path)).status_code == 401
            headers = {"Authorization": "Bearer token of the admin"}
            found = (await http.get("/audit", headers=headers)).json()
    assert [entry["event_type"] for entry in found["entries"]] == ["my.hidden"]


@pytest.mark.parametrize("part", ["webhooks", "audit"])
async def test_data_directory_is_needed(part: str) -> None:
    sections = {"webhooks": WebhooksConfig(), "audit": AuditConfig()}
    sections[part] = type(sections[part])(enabled=True)
    with pytest.raises(ConfigError, match="kept in the data directory"):
        await Agent(config(None, **sections)).start()
