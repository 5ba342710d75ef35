"""HK-6, DB-1: whatever was acknowledged arrives, however often the sender is killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from praxis_fast import verify_webhook
from tests.events.publisher import TASKS
from tests.events.receivers import SECRET

# `make kill` asks for 1,000.
CYCLES = int(os.environ.get("KILL_CYCLES", "20"))
SEED = int(os.environ.get("KILL_SEED", "20261121"))
# More than one life lasts, so that each is killed amid its work.
COUNT = 400


class FlakyReceiver:
    """Takes messages, and fails some: before it took them, or after."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.url = ""
        self.first: dict[str, list[tuple[int, int]]] = {}
        """For each task, number in the task and of the event, as first received."""
        self.ids: set[int] = set()
        self.again = 0

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        seen = verify_webhook(request.headers, body, SECRET)
        message = json.loads(body)
        assert seen.id == message["id"] == f"e{message['data']['n']}"
        chance = self.rng.random()
        if chance < 0.02:
            return web.Response(status=503)
        self.take(message)
        if chance < 0.05:
            # Taken, and the sender does not learn it.
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    def take(self, message: dict[str, Any]) -> None:
        number = message["data"]["n"]
        if number in self.ids:
            self.again += 1
            return
        self.ids.add(number)
        seq = message["delivery"]["seq"]
        self.first.setdefault(str(message["task_id"]), []).append((seq, number))


@pytest.fixture
async def receiver() -> AsyncIterator[FlakyReceiver]:
    made = FlakyReceiver(random.Random(SEED))
    runner = web.ServerRunner(web.Server(made.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


async def live(
    path: Path, url: str, first: int, count: int, until: int
) -> tuple[asyncio.subprocess.Process, list[int]]:
    """A publisher after it acknowledged so many, and what it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.events.publisher"),
        *(str(path), url, str(first), str(count)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = await process.stdout.readline()
        assert line == b"open\n", (await process.communicate())[1].decode()
        acked = [int(await process.stdout.readline()) for _ in range(until)]
    return process, acked


async def kill(process: asyncio.subprocess.Process) -> list[int]:
    """Kill it; what it had said until then besides."""
    process.send_signal(signal.SIGKILL)
    out, err = await process.communicate()
    assert (process.returncode, err) == (-signal.SIGKILL, b"")
    return [int(line) for line in out.split()]


async def test_hk_6_receiver_s_set_covers_the_acked_set(
    receiver: FlakyReceiver, tmp_path: Path
) -> None:
    print(f"seed {SEED}, cycles {CYCLES}")
    rng = random.Random(SEED)
    path, acked, first = tmp_path / "outbox.db", set[int](), 0
    for _ in range(CYCLES):
        until = rng.randrange(COUNT // 4)
        process, told = await live(path, receiver.url, first, COUNT, until)
        for _ in range(rng.randrange(50)):
            await asyncio.sleep(0)
        told += await kill(process)
        acked |= set(told)
        first += COUNT
    process, _ = await live(path, receiver.url, first, 0, 0)
    async with asyncio.timeout(120 + 2 * CYCLES):
        while not acked <= receiver.ids:
            await asyncio.sleep(0.01)
    await kill(process)
    assert len(acked) > CYCLES
    assert len(receiver.first) == TASKS
    for task, got in receiver.first.items():
        numbers = [number for _, number in got]
        assert [seq for seq, _ in got] == list(range(1, len(got) + 1)), task
        assert numbers == sorted(numbers), task
