"""HK-6, DB-1: what was acknowledged arrives and stays, however often we are killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from praxis_fast import verify_webhook
from tests.events.lives import Lives
from tests.events.publisher import TASKS
from tests.events.receivers import SECRET, web_server

# `make kill` asks for 1,000.
CYCLES = int(os.environ.get("KILL_CYCLES", "20"))
SEED = int(os.environ.get("KILL_SEED", "20261121"))
# More than one life lasts, so that each is killed amid its work.
COUNT = 200


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
    async with web_server(made.handle) as url:
        made.url = f"{url}/"
        yield made


async def test_hk_6_receiver_s_set_covers_the_acked_set(
    receiver: FlakyReceiver, tmp_path: Path
) -> None:
    print(f"seed {SEED}, cycles {CYCLES}")
    rng = random.Random(SEED)
    path, acked, first = tmp_path / "outbox.db", set[int](), 0
    async with Lives.open() as lives:
        for _ in range(CYCLES):
            await lives.begin("publish", path, receiver.url, first, COUNT)
            assert await lives.line() == ["open"]
            told = [await lives.line() for _ in range(rng.randrange(COUNT // 4))]
            for _ in range(rng.randrange(50)):
                await asyncio.sleep(0)
            told += await lives.kill()
            acked |= {int(line[0]) for line in told}
            first += COUNT
        await lives.begin("publish", path, receiver.url, first, 0)
        async with asyncio.timeout(120 + 2 * CYCLES):
            while not acked <= receiver.ids:
                await asyncio.sleep(0.01)
        await lives.kill()
    assert len(acked) > CYCLES
    assert len(receiver.first) == TASKS
    for task, got in receiver.first.items():
        numbers = [number for _, number in got]
        assert [seq for seq, _ in got] == list(range(1, len(got) + 1)), task
        assert numbers == sorted(numbers), task


class History:
    """What lives said about one journal, held against each other."""

    def __init__(self) -> None:
        self.epoch = ""
        self.given: dict[int, int] = {}
        """Event by number, of all that were ever given one."""
        self.acked: set[int] = set()
        self.kept: set[int] = set()

    @property
    def position(self) -> int:
        """All that was acknowledged up to here has been found kept."""
        return max(self.kept, default=0)

    def hear(self, lines: list[list[str]]) -> None:
        for word, *told in lines:
            match word:
                case "gave":
                    seq, number = map(int, told)
                    assert seq not in self.given, f"number {seq} given twice"
                    self.given[seq] = number
                case "acked":
                    self.acked.add(int(told[0]))
                case _:
                    raise AssertionError(word)

    def recall(self, position: int, lines: list[list[str]]) -> None:
        """A life began: this is what it found after a position."""
        found = [(int(seq), int(number)) for _, seq, number in lines]
        numbers = [seq for seq, _ in found]
        assert numbers == sorted(set(numbers))
        missing = {seq for seq in self.acked if seq > position} - set(numbers)
        assert not missing, f"acknowledged and lost: {sorted(missing)[:10]}"
        for seq, number in found:
            assert self.given.get(seq, number) == number
        self.kept |= set(numbers)


async def begin(lives: Lives, history: History, position: int) -> None:
    """Hear what a life finds, until it is open."""
    found: list[list[str]] = []
    while (line := await lives.line())[0] == "kept":
        found.append(line)
    assert line[0] == "open"
    assert history.epoch in ("", line[1])
    history.epoch = line[1]
    history.recall(position, found)


async def test_db_1_journal_covers_the_acked_set(tmp_path: Path) -> None:
    print(f"seed {SEED}, cycles {CYCLES}")
    rng = random.Random(SEED)
    path, history, first = tmp_path / "journal.db", History(), 0
    async with Lives.open() as lives:
        for _ in range(CYCLES):
            position = history.position
            seed = rng.randrange(10**9)
            await lives.begin("record", path, position, first, COUNT, seed)
            first += COUNT
            if rng.random() < 0.1:
                # It may be killed while it opens the file, too.
                await asyncio.sleep(rng.random() * 0.03)
                said = await lives.kill()
                while said and said[0][0] in ("kept", "open"):
                    said.pop(0)
                history.hear(said)
                continue
            await begin(lives, history, position)
            said = [await lives.line() for _ in range(rng.randrange(COUNT // 2))]
            # However slow the disk is, half of them have something to lose.
            is_hurried = rng.random() < 0.5
            while not is_hurried and all(line[0] != "acked" for line in said):
                said.append(await lives.line())
            history.hear(said + await lives.kill())
        await lives.begin("record", path, 0, first, 0, 0)
        await begin(lives, history, 0)
        await lives.kill()
    assert len(history.acked) > CYCLES // 4
    print(f"{len(history.given)} events, {len(history.acked)} acknowledged")
