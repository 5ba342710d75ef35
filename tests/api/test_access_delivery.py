"""Webhooks and the audit log show what their owner or reader may see now (BUS-1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from praxis_fast.agent.access import AccessConfig
from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import (
    AgentConfig,
    AuditConfig,
    HTTPConfig,
    P2PConfig,
    WebhooksConfig,
)
from tests.api.test_credentials import entry, write
from tests.api.test_delivery import Receiver, receiver
from tests.api.tokens import bearer
from tests.events.receivers import SECRET, eventually

__all__ = ["receiver"]

RIGHTS = "rights: {user: [events, webhooks, audit]}\n"


def listed(**roles: str) -> str:
    entries = "".join(entry(name, role) for name, role in roles.items())
    return f"{RIGHTS}credentials:\n{entries}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "access.yaml"
    write(found, listed(ann="admin", bob="user", cy="user"))
    return found


def configured(path: Path, *, has_http: bool = True) -> AgentConfig:
    return AgentConfig(
        p2p=P2PConfig(enabled=False),
        http=HTTPConfig(enabled=has_http, port=0),
        webhooks=WebhooksConfig(enabled=True, allow_loopback=True),
        audit=AuditConfig(enabled=True, types=("my.*",)),
        access=AccessConfig(file=str(path)),
        data_dir=str(path.parent / "data"),
    )


@pytest.fixture
async def agent(path: Path) -> AsyncIterator[Agent]:
    async with Agent(configured(path)) as running:
        yield running


@pytest.fixture
async def http(agent: Agent) -> AsyncIterator[httpx.AsyncClient]:
    assert agent.http is not None
    async with httpx.AsyncClient(base_url=agent.http.url, trust_env=False) as client:
        yield client


async def register(
    http: httpx.AsyncClient, receiver: Receiver, name: str, hook: str
) -> int:
    asked = {"id": hook, "url": receiver.url, "secret": SECRET, "types": ["my.*"]}
    answer = await http.post("/webhooks", json=asked, headers=bearer(name))
    return answer.status_code


def got(receiver: Receiver) -> list[str]:
    return [message["event"] for message in receiver.got]


async def test_bus_1_webhook_shows_what_its_owner_may_see(
    agent: Agent, http: httpx.AsyncClient, receiver: Receiver, path: Path
) -> None:
    assert await register(http, receiver, "bob", "hook") == 201
    agent.bus.publish("my.hidden", required_role="admin")
    agent.bus.publish("my.first", required_role="user")
    await eventually(lambda: got(receiver) == ["my.first"])
    write(path, listed(ann="admin", bob="admin"))
    await agent.reload_access()
    agent.bus.publish("my.second", required_role="admin")
    await eventually(lambda: got(receiver) == ["my.first", "my.second"])
    write(path, listed(ann="admin"))
    await agent.reload_access()
    agent.bus.publish("my.third")
    write(path, listed(ann="admin", bob="user"))
    await agent.reload_access()
    agent.bus.publish("my.fourth")
    await eventually(lambda: got(receiver)[2:] == ["my.fourth"])


async def test_bus_1_owners_are_judged_where_nothing_is_served(
    receiver: Receiver, path: Path
) -> None:
    async with Agent(configured(path)) as first:
        assert first.http is not None
        url = first.http.url
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            for name in ("bob", "cy"):
                assert await register(client, receiver, name, name) == 201
    write(path, listed(ann="admin", cy="user"))
    async with Agent(configured(path, has_http=False)) as second:
        assert second.http is None
        second.bus.publish("my.secret", tags={"sensitivity": "secret"})
        second.bus.publish("my.open")
        await eventually(lambda: got(receiver) == ["my.open"])


async def test_bus_1_message_that_waits_is_withheld_from_a_demoted_owner(
    agent: Agent, http: httpx.AsyncClient, receiver: Receiver, path: Path
) -> None:
    write(path, listed(ann="admin", bob="admin"))
    await agent.reload_access()
    assert await register(http, receiver, "bob", "hook") == 201
    receiver.status = 503
    agent.bus.publish("my.hidden", {"text": "\ud800"}, required_role="admin")
    await eventually(lambda: receiver.got)
    write(path, listed(ann="admin", bob="user"))
    await agent.reload_access()
    receiver.status = 200
    seen = len(receiver.got)
    agent.bus.publish("my.open")
    await eventually(lambda: got(receiver)[-1] == "my.open")
    dead: list[Any] = []
    url, headers = "/webhooks/hook/deliveries?state=dead", bearer("bob")
    async with asyncio.timeout(20):
        while not dead:
            dead = (await http.get(url, headers=headers)).json()["deliveries"]
    assert dead[0]["event_type"] == "my.hidden"
    assert dead[0]["error"] == "its owner may not see it any more"
    assert got(receiver)[seen:] == ["my.open"]


async def test_bus_1_webhooks_of_others_are_not_there(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    assert await register(http, receiver, "bob", "hook") == 201
    assert await register(http, receiver, "cy", "hook") == 403
    for who, count, status in (("ann", 1, 200), ("bob", 1, 200), ("cy", 0, 404)):
        headers = bearer(who)
        told = (await http.get("/webhooks", headers=headers)).json()
        assert told["count"] == count
        for path in ("/webhooks/hook", "/webhooks/hook/deliveries"):
            assert (await http.get(path, headers=headers)).status_code == status
    assert (
        await http.delete("/webhooks/hook", headers=bearer("cy"))
    ).status_code == 404
    # An admin who changes it does not become its owner.
    assert await register(http, receiver, "ann", "hook") == 200
    (told,) = (await http.get("/webhooks", headers=bearer("ann"))).json()["webhooks"]
    assert told["owner"] == "bob"
    assert "bob-token" not in str(told)


async def test_bus_1_audit_log_shows_each_reader_its_part(
    agent: Agent, http: httpx.AsyncClient, path: Path
) -> None:
    rules = "rules: [{effect: deny, names: [bob], tags: [x]}]"
    write(path, listed(ann="admin", bob="user") + rules)
    await agent.reload_access()
    agent.bus.publish("my.admin", required_role="admin")
    agent.bus.publish("my.ruled", tags={"x": ""})
    agent.bus.publish("my.secret", tags={"sensitivity": "secret"})
    agent.bus.publish("my.open")
    assert agent.delivery.audit is not None
    await agent.delivery.audit._db.write(lambda db: None)
    for who, seen in (
        ("ann", ["my.admin", "my.ruled", "my.secret", "my.open"]),
        ("bob", ["my.open"]),
    ):
        told = (await http.get("/audit", headers=bearer(who))).json()
        assert [e["event_type"] for e in told["entries"]] == seen
        lines = (await http.get("/audit/export", headers=bearer(who))).text
        assert lines.count("\n") == len(seen)
