"""An outbox with a receiver made of Python, and a clock that stands still."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from praxis_fast.errors import WebhookRefusedError
from praxis_fast.events.event import Event
from praxis_fast.events.webhooks.outbox import Outbox
from praxis_fast.events.webhooks.sender import Answer
from praxis_fast.events.webhooks.signing import verify_webhook
from praxis_fast.limits import Limits, StoreLimits

SECRET = "a secret between the two of us"
URL = "https://receiver.example/hook"
START = 1_760_000_000.0


class Clock:
    now = 100.0
    jump = 0.0
    """How far somebody has set the wall clock."""

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return START + self.now - 100.0 + self.jump


class Receiver:
    """Answers every request as `answers` says, 200 otherwise; keeps what came."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answers: list[Answer] = []
        self.judge: Callable[[dict[str, Any]], Answer] | None = None
        self.hold: asyncio.Event | None = None
        self.running = 0
        self.most_running = 0
        self.is_open = False

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def check(self, url: str) -> None:
        if "bad" in url:
            raise WebhookRefusedError("webhook url is bad")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        assert self.is_open
        verify_webhook(headers, body, SECRET, now=self.clock.wall())
        message = json.loads(body)
        self.requests.append((url, dict(headers), message))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.running -= 1
        if self.judge is not None:
            return self.judge(message)
        return self.answers.pop(0) if self.answers else Answer(200)

    @property
    def got(self) -> list[tuple[str, int]]:
        """Task and number of every request so far."""
        return [(m["task_id"] or "", m["delivery"]["seq"]) for _, _, m in self.requests]


class Rig:
    """Makes outboxes over one file, one clock and one receiver."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.receiver = Receiver(self.clock)
        self.reports: list[tuple[str, str]] = []
        self.path = folder / "outbox.db"
        self.outboxes: list[Outbox] = []

    async def open(self, **areas: Any) -> Outbox:
        areas.setdefault("store", StoreLimits(commit_interval=0.0001))
        outbox = Outbox(
            self.path,
            self.receiver,
            limits=Limits(**areas),
            clock=self.clock,
            wall_clock=self.clock.wall,
            rng=random.Random(1),
            report=lambda code, message: self.reports.append((code, message)),
        )
        await outbox.open()
        self.outboxes.append(outbox)
        return outbox

    async def advance(self, outbox: Outbox, seconds: float) -> None:
        """Let time pass, and what is due then be sent."""
        self.clock.now += seconds
        outbox.pump()
        await settled(outbox)


@asynccontextmanager
async def web_server(
    handle: Callable[[Any], Any], **options: Any
) -> AsyncIterator[str]:
    """Answers HTTP requests by a function; its URL, without a slash at the end."""
    server = web.Server(handle, **options)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def eventually(condition: Callable[[], Any]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def settled(outbox: Outbox) -> None:
    """Until nothing is in flight and everything is written down."""
    await eventually(lambda: not outbox._tasks and not outbox._is_pump_due)
    await outbox._writes.write(lambda connection: None)


def event(name: str = "task.started", task: str | None = "t1", **more: Any) -> Event:
    return Event(name, {"n": 1}, task_id=task, **more)
