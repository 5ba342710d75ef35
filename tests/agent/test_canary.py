"""KEY-2: nothing sensitive comes out, whichever way it went in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from aiohttp import web

from praxis_fast import tool
from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import (
    AgentConfig,
    AuditConfig,
    EventsConfig,
    HTTPConfig,
    LoggingConfig,
    MaskingConfig,
    P2PConfig,
    WebhooksConfig,
)
from praxis_fast.agent.logs import set_up_logs
from praxis_fast.errors import ToolError
from praxis_fast.events.patterns import DEFAULT_PATTERNS
from praxis_fast.events.redact import DEFAULT_NAMES, Redactor
from praxis_fast.limits import Limits, StoreLimits
from tests.events.receivers import SECRET, eventually, web_server

CANARY = "goldfinch"
NAMES = (*DEFAULT_NAMES, "pin", "x-*")
PATTERNS = (*DEFAULT_PATTERNS, r"sk-[a-z0-9]+")

# Texts as they come; `%s` is what nobody may see.
TEXTS = (
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.%s",
    "sent with eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.%s again",
    "Authorization: Basic %s",
    "GET / HTTP/1.1\r\nauthorization: bearer %s\r\n\r\n",
    "Proxy-Authorization: Digest %s",
    "curl -H 'Authorization: Token %s' https://a.example/",
    "Bearer 0123456789abcdef%s",
    "https://user:%s@a.example/b",
    "postgres://%s@a.example:5432/b",
    "https://a.example/b?a=1&api_key=%s&c=2",
    "wss://a.example/events?token=%s",
    "cannot log in with password=%s",
    'body was {"user": "u", "password": "%s"}',
    "arguments: {'client_secret': '%s'}",
    "openai key sk-%s",
)

_numbers = count()


def canary() -> str:
    """One of its own each time: a failure tells which one got out."""
    return f"{CANARY}{next(_numbers)}"


def planted() -> list[dict[str, Any]]:
    """Every name and text, at the top, in lists and in mappings."""
    found: list[dict[str, Any]] = []
    for name in NAMES:
        for key in (name, name.upper(), f"my_{name}".replace("my_x", "x")):
            key = key.replace("*", "trace")
            found.append({key: canary(), "a": 1})
            found.append({"rows": [{"deep": {key: canary()}}], "note": "n"})
            found.append({key: {"inner": [canary()]}})
    for text in TEXTS:
        found.append({"note": text % canary(), "a": 1})
        found.append({"rows": [1, text % canary(), {"note": text % canary()}]})
    return found


@tool(remote=True)
def echo_back(note: str, password: str = "") -> dict[str, Any]:
    """Give it back; this is what its caller asked for."""
    return {"note": note, "session_token": password}


@tool(remote=True)
def break_down(note: str) -> None:
    """Fail with what was said."""
    raise RuntimeError(f"no luck: {note}")


class Receiver:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.bodies.append(await request.read())
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with web_server(made.handle, access_log=None) as url:
        made.url = f"{url}/hook"
        yield made


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The log as `praxis-fast run` writes it, everything from debug on."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    path = tmp_path / "agent.log"
    mask = Redactor(NAMES, PATTERNS).mask_text
    set_up_logs(LoggingConfig(level="debug", file=str(path)), mask)
    yield path
    for handler in root.handlers:
        handler.close()
    root.handlers[:], level = before
    root.setLevel(level)


def config(folder: Path) -> AgentConfig:
    return AgentConfig(
        p2p=P2PConfig(enabled=False),
        http=HTTPConfig(enabled=True, port=0),
        data_dir=str(folder / "data"),
        masking=MaskingConfig(names=NAMES, patterns=PATTERNS),
        events=EventsConfig(debug=True),
        webhooks=WebhooksConfig(enabled=True, allow_loopback=True),
        audit=AuditConfig(enabled=True, types=("*",)),
        limits=Limits(store=StoreLimits(commit_interval=0.0001)),
    )


async def call_tools(agent: Agent) -> list[str]:
    """Tools that take, give and raise; what their errors say."""
    errors = []
    for text in TEXTS:
        secret = text % canary()
        told = await agent.call_tool("echo_back", {"note": secret, "password": secret})
        assert told == {"note": secret, "session_token": secret}
        for name, arguments in (
            ("break_down", {"note": secret}),
            ("echo_back", {"note": 1, "password": secret}),
            ("nothing", {"token": secret}),
        ):
            with pytest.raises(ToolError) as raised:
                await agent.call_tool(name, arguments)
            errors.append(str(raised.value))
    return errors


async def ask(http: httpx.AsyncClient, url: str) -> list[str]:
    """Requests with secrets in them, good and bad; what is answered."""
    bad: tuple[dict[str, Any], ...] = (
        {
            "url": f"{url}?key={canary()}",
            "secrets": [f"{canary()} {SECRET}", f"{canary()} {SECRET}"],
            "headers": {"Authorization": f"Bearer {canary()}"},
        },
        {"url": f"https://user:{canary()}@a.example/"},
        {"url": "https://a.example/", "secret": canary()},
        {"url": "https://a.example/", "headers": {"x-a": f"\n{canary()}"}},
        {"url": "https://a.example/", "secrets": [canary()] * 3},
    )
    answers = [(await http.post("/webhooks", json=body)).text for body in bad]
    headers = {"Authorization": f"Bearer {canary()}", "X-API-Key": canary()}
    answers.append((await http.get("/peers", headers=headers)).text)
    answers.append((await http.get(f"/p2p/peers?token={canary()}")).text)
    answers.append((await http.get(f"/nothing?token={canary()}")).text)
    junk = {"Content-Type": "application/json", "Cookie": canary()}
    call = await http.post(
        "/p2p/tool", content=f'{{"token": "{canary()}"', headers=junk
    )
    answers.append(call.text)
    return answers


async def test_key_2_canary_is_seen_nowhere(
    tmp_path: Path, receiver: Receiver, log: Path
) -> None:
    seen: dict[str, Any] = {}
    async with Agent(config(tmp_path), tools=[echo_back, break_down]) as agent:
        assert agent.http is not None
        assert agent.delivery.outbox is not None
        url = agent.http.url
        await agent.delivery.outbox.register({"url": receiver.url, "secret": SECRET})
        registered = agent.bus.seq
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
            websockets.connect(
                url.replace("http", "ws") + "/events", proxy=None
            ) as socket,
            http.stream("GET", "/events/stream") as stream,
        ):
            lines = stream.aiter_lines()
            await anext(lines)
            for number, data in enumerate(planted()):
                tags = {"api_key": canary(), "a": "b"}
                agent.bus.publish("my.type", data, tags=tags, task_id=f"t{number % 9}")
            seen["tool errors"] = await call_tools(agent)
            seen["answers"] = await ask(http, receiver.url)
            agent.bus.publish("last.one")
            seen["websocket"] = await until_last(socket)
            seen["sse"] = [line async for line in take_until_last(lines)]
            told = [json.loads(message) for message in seen["websocket"]]
            assert {"my.type", "tool.failed", "tool.executed"} <= {
                message["type"] for message in told
            }
            count = agent.bus.seq - registered
            await eventually(lambda: len(receiver.bodies) >= count)
            since = f"?since={agent.bus.epoch}-{registered}"
            async with websockets.connect(
                url.replace("http", "ws") + "/events" + since, proxy=None
            ) as again:
                seen["journal"] = await until_last(again)
            for path in ("/metrics", "/stats", "/webhooks", "/audit?limit=1000"):
                seen[path] = (await http.get(path)).text
            seen["/audit/export"] = (await http.get("/audit/export")).text
        seen["webhooks"] = receiver.bodies
        data_path = agent.config.data_path
    seen |= contents(log, *data_path.glob("audit.db*"))
    assert b"EVENT_EMITTED my.type" in seen[log.name]
    assert len(seen["websocket"]) > len(planted())
    for where, found in seen.items():
        text = found.decode("latin-1") if isinstance(found, bytes) else str(found)
        at = text.find(CANARY)
        assert at < 0, f"{where}: {text[max(0, at - 100) : at + 40]}"


def contents(*paths: Path) -> dict[str, bytes]:
    """The files as they are on the disk."""
    return {path.name: path.read_bytes() for path in paths}


async def until_last(socket: websockets.ClientConnection) -> list[str]:
    messages: list[str] = []
    async with asyncio.timeout(30):
        while not messages or '"last.one"' not in messages[-1]:
            messages.append(str(await socket.recv()))
    return messages


async def take_until_last(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async with asyncio.timeout(30):
        async for line in lines:
            yield line
            if '"last.one"' in line:
                return
