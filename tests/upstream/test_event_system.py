"""Upstream's document on its event system: what it shows of events works here."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from aiohttp import web

from praxis_fast import verify_webhook
from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import AgentConfig
from tests.events.receivers import SECRET, eventually, web_server
from tests.programs import ALONE, PATIENCE, programs

HERE = Path(__file__).parent
STRUCTURES = [
    json.loads(text)
    for text in (HERE / "event_structures.txt").read_text().split("\n\n")
]

COMMAND = f"{shlex.quote(sys.executable)} -m praxis_fast"
STREAM = """\
curl -X GET "http://localhost:8001/events/stream" \\
  -H "Authorization: Bearer your-token"
"""
METRICS = """\
curl -X GET "http://localhost:8000/metrics/events" \\
  -H "Authorization: Bearer your-token"
"""
FILTERING = """\
export A2A_EVENT_FILTER_LEVEL="normal"  # low, normal, high, critical
export A2A_ENABLE_AUDIT_EVENTS=true
export A2A_ENABLE_PERFORMANCE_EVENTS=true
"""
DEBUGGING = ("export A2A_DEBUG_EVENTS=true", "export LOG_LEVEL=DEBUG")
LOOKING = (
    'grep -E "(EVENT|event)" logs/a2a_acp.log',
    'grep "EVENT_EMITTED" logs/a2a_acp.log',
)

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")


class Receiver:
    """Checks what upstream's header lines say, and what our own function does."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        told = request.headers["X-A2A-Timestamp"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", told)
        signed = hmac.new(SECRET.encode(), told.encode() + b"." + body, hashlib.sha256)
        assert request.headers["X-A2A-Signature"] == f"sha256={signed.hexdigest()}"
        assert request.headers["Content-Type"] == "application/json"
        verify_webhook(request.headers, body, SECRET)
        self.got.append(json.loads(body))
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with web_server(made.handle) as url:
        made.url = f"{url}/webhooks/a2a"
        yield made


def agent(folder: Path, **http: Any) -> Agent:
    values = {
        "agent": {"name": "events"},
        "p2p": {"enabled": False},
        "http": {"enabled": True, "port": 0, **http},
        "webhooks": {"enabled": True, "allow_loopback": True},
        "data_dir": str(folder / "data"),
    }
    return Agent(AgentConfig.from_mapping(values))


async def shell(
    text: str, running: Agent, folder: Path | None = None
) -> asyncio.subprocess.Process:
    """Run the lines with our port in place of theirs."""
    assert running.http is not None
    text = re.sub(r"localhost:800\d", f"127.0.0.1:{running.http.port}", text)
    return await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", text),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=os.environ | {"NO_PROXY": "*"},
    )


def publish(running: Agent, shown: dict[str, Any]) -> None:
    """As an application would that has this task, tool or login."""
    running.bus.publish(shown["event"], shown["data"], task_id=shown.get("task_id"))


def is_like(told: dict[str, Any], shown: dict[str, Any]) -> bool:
    """Whether everything that is shown is there; times are of their own."""
    told_at = str(told["timestamp"])
    return {key: value for key, value in told.items() if key in shown} == shown | {
        "timestamp": told_at
    } and told_at.endswith("Z")


async def test_every_event_structure_is_streamed_and_sent_as_shown(
    tmp_path: Path, receiver: Receiver
) -> None:
    assert len(STRUCTURES) == 9
    async with agent(tmp_path) as running:
        assert running.http is not None
        url = running.http.url.replace("http", "ws") + "/events"
        hook = {"url": receiver.url, "secret": SECRET}
        async with (
            httpx.AsyncClient(base_url=running.http.url, trust_env=False) as client,
            websockets.connect(url, proxy=None) as socket,
        ):
            assert (await client.post("/webhooks", json=hook)).status_code == 201
            for shown in STRUCTURES:
                publish(running, shown)
            streamed: list[dict[str, Any]] = []
            async with asyncio.timeout(PATIENCE):
                while len(streamed) < len(STRUCTURES):
                    message = json.loads(await socket.recv())
                    if message["event"] in {shown["event"] for shown in STRUCTURES}:
                        streamed.append(message)
            names = {shown["event"] for shown in STRUCTURES}
            await eventually(lambda: len(told_of(receiver, names)) >= len(STRUCTURES))
    for shown, message in zip(STRUCTURES, streamed, strict=True):
        assert is_like(message, shown), message
        # Enrichment, as upstream's second step adds it.
        assert message["component"]
        assert message["version"]
    # Messages of different tasks may overtake each other on their way.
    sent = told_of(receiver, names)
    assert all(any(is_like(told, shown) for told in sent) for shown in STRUCTURES)


def told_of(receiver: Receiver, names: set[str]) -> list[dict[str, Any]]:
    return [told for told in receiver.got if told["event"] in names]


@needs_curl
async def test_the_curl_line_reads_the_stream_until_the_agent_goes(
    tmp_path: Path,
) -> None:
    async with agent(tmp_path, token="your-token") as running:
        assert running.http is not None
        curl = await shell(STREAM, running)
        await eventually(lambda: running.http and running.http.gateway.clients)
        for shown in STRUCTURES:
            publish(running, shown)
    async with asyncio.timeout(PATIENCE):
        out, _ = await curl.communicate()
    assert curl.returncode == 0
    told = [
        json.loads(line.removeprefix("data: "))
        for line in out.decode().splitlines()
        if line.startswith("data: ")
    ]
    seen = [message for message in told if message.get("task_id") == "task_123"]
    assert len(seen) == 7
    assert all(map(is_like, seen, STRUCTURES))


@needs_curl
async def test_the_curl_line_without_the_token_gets_nothing(tmp_path: Path) -> None:
    async with agent(tmp_path, token="another") as running:
        curl = await shell(STREAM, running)
        out, _ = await curl.communicate()
    assert json.loads(out)["error"] == "unauthorized"


@needs_curl
async def test_the_curl_line_gets_the_metrics_in_the_shape_shown(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with agent(tmp_path, token="your-token") as running:
        assert running.http is not None
        head = {"Authorization": "Bearer your-token"}
        async with httpx.AsyncClient(headers=head, trust_env=False) as client:
            hook = {"url": receiver.url, "secret": SECRET, "event_types": ["message"]}
            await client.post(f"{running.http.url}/webhooks", json=hook)
        publish(running, STRUCTURES[1])
        await eventually(lambda: receiver.got)
        curl = await shell(METRICS, running)
        out, _ = await curl.communicate()
    told = json.loads(out)
    assert list(told) == [
        "events_generated",
        "events_delivered",
        "events_failed",
        "delivery_success_rate",
        "average_delivery_time",
    ]
    assert told["events_generated"] >= 1
    assert told["events_failed"] == 0
    assert told["delivery_success_rate"] == 100.0


async def test_the_exports_filter_for_all(tmp_path: Path) -> None:
    async with programs(tmp_path) as started:
        # `config check` says each setting and where it comes from.
        command = f"{FILTERING}\nexec {COMMAND} config check"
        program = await started.start("-c", command, command=("/bin/sh",))
        code, out, err = await program.end()
    assert (code, err) == (0, "")
    assert re.search(r"filter_level.*normal.*A2A_EVENT_FILTER_LEVEL", out)
    assert re.search(r"audit\.enabled.*true.*A2A_ENABLE_AUDIT_EVENTS", out)
    assert re.search(r"performance.*true.*A2A_ENABLE_PERFORMANCE_EVENTS", out)


@pytest.mark.parametrize("switch", DEBUGGING)
async def test_the_exports_for_debugging_leave_lines_to_look_for(
    tmp_path: Path, switch: str
) -> None:
    (tmp_path / "logs").mkdir()
    async with programs(tmp_path) as started:
        run = f"exec {COMMAND} run --ready-json {' '.join(ALONE)}"
        lines = f"{switch}\n{run} 2> logs/a2a_acp.log"
        program = await started.start("-c", lines, command=("/bin/sh",))
        assert await program.line()
        program.process.terminate()
        assert (await program.end())[0] == 0
        for look in LOOKING:
            found = await started.start("-c", look, command=("/bin/sh",))
            code, out, _ = await found.end()
            assert code == 0
            assert "EVENT_EMITTED agent.started" in out
