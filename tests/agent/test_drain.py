"""PRC-1: an agent that is stopped under load loses nothing it has taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from aiohttp import web

from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import (
    AgentConfig,
    AuditConfig,
    HTTPConfig,
    P2PConfig,
    WebhooksConfig,
)
from tests.events.receivers import SECRET, eventually, web_server

EVENTS = 300


def config(folder: Path) -> AgentConfig:
    return AgentConfig(
        p2p=P2PConfig(enabled=False),
        http=HTTPConfig(enabled=True, port=0),
        data_dir=str(folder / "data"),
        webhooks=WebhooksConfig(enabled=True, allow_loopback=True),
        audit=AuditConfig(enabled=True, types=("my.*", "agent.*")),
    )


class Receiver:
    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.hold = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = json.loads(await request.read())
        await self.hold.wait()
        self.bodies.append(body)
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with web_server(made.handle) as url:
        made.url = f"{url}/hook"
        yield made


async def over_websocket(url: str) -> list[dict[str, Any]]:
    """Everything a client gets until the end."""
    messages: list[dict[str, Any]] = []
    async with websockets.connect(url + "/events?types=my.*", proxy=None) as socket:
        with suppress(websockets.ConnectionClosed):
            async for message in socket:
                messages.append(json.loads(message))  # noqa: PERF401
        assert socket.close_code == 1001
    return messages


async def over_sse(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    path = "/events/stream?types=my.*"
    async with http.stream("GET", path) as response:
        return [
            json.loads(line.removeprefix("data: "))
            async for line in response.aiter_lines()
            if line.startswith("data: ")
        ]


async def test_prc_1_stop_under_load_tells_clients_and_keeps_the_rest(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with Agent(config(tmp_path)) as agent:
        assert agent.http is not None
        assert agent.delivery.outbox is not None
        url, gateway = agent.http.url, agent.http.gateway
        asked = {"url": receiver.url, "secret": SECRET, "types": ["my.*"]}
        await agent.delivery.outbox.register(asked)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            streams = [
                asyncio.create_task(over_websocket(url.replace("http", "ws"))),
                asyncio.create_task(over_sse(http)),
            ]
            await eventually(lambda: gateway.clients == 2)
            for number in range(EVENTS):
                agent.bus.publish("my.type", {"n": number}, task_id=f"t{number % 7}")
            last = f"{agent.bus.epoch}-{agent.bus.seq}"
            # Not one loop turn later: nothing of it has been written anywhere.
            closing = asyncio.create_task(agent.close())
            got = await asyncio.gather(*streams)
            receiver.hold.set()
            await closing
    for messages in got:
        *events, end = messages
        assert [message["data"]["n"] for message in events] == list(range(EVENTS))
        assert end["type"] == "closing"
        told, number = end["payload"]["since"].rsplit("-", 1)
        assert told == last.rsplit("-", 1)[0]
        # Only what the agent says of its own end may have come in between.
        assert int(number) >= int(last.rsplit("-", 1)[1])

    async with Agent(config(tmp_path)) as agent:
        await eventually(lambda: len({b["id"] for b in receiver.bodies}) == EVENTS)
        for task in range(7):
            seqs = [
                body["delivery"]["seq"]
                for body in receiver.bodies
                if body["task_id"] == f"t{task}"
            ]
            assert sorted(set(seqs)) == list(dict.fromkeys(seqs))
        assert agent.delivery.audit is not None
        report = await agent.delivery.audit.verify()
        assert report.is_intact
        written = await agent.delivery.audit.query(types=["my.*"], limit=1000)
        assert len(written) == EVENTS
        assert len(await agent.delivery.audit.query(types=["agent.stopping"])) == 1
