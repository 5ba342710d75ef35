"""A process that publishes through a journal on disk, to be killed.

It first says what the journal holds after a position, one line `kept SEQ N` for each
event, then `open EPOCH`; then `gave SEQ N` when an event has its number and `acked SEQ`
when it is on disk.
"""

from __future__ import annotations

import asyncio
import os
import random

import orjson

from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import Event
from praxis_fast.events.journal.file import JournalFile
from praxis_fast.limits import JournalLimits, Limits, StoreLimits

# Nearly all is read from disk.
LIMITS = Limits(
    journal=JournalLimits(max_events=16), store=StoreLimits(commit_interval=0.0005)
)


def say(*words: object) -> None:
    # One system call: the line is out whole before anything can kill us.
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


def text_of(number: int) -> str:
    return f"{number:x}." * (1 + number % 97)


async def recall(file: JournalFile, position: int) -> None:
    journal = file.journal
    # Lives that ended before they wrote anything leave nothing at the beginning.
    position = max(position, file.first - 1)
    while position < journal.last:
        past = await journal.fetch(position, 100)
        for entry in past.entries:
            event = entry.event
            data = orjson.loads(orjson.dumps(event.data))
            number = data["n"]
            assert data == {"n": number, "text": text_of(number)}
            assert (event.id, event.epoch) == (f"e{number}", journal.epoch)
            assert event.task_id == f"t{number % 5}"
            say("kept", event.seq, number)
        position = past.upto


async def acknowledge(file: JournalFile, seq: int) -> None:
    await file.written(seq)
    say("acked", seq)


async def record(path: str, position: str, first: str, count: str, seed: str) -> None:
    rng = random.Random(int(seed))
    bus = EventBus()
    file = JournalFile(path, bus, limits=LIMITS)
    await file.open()
    await recall(file, int(position))
    say("open", bus.epoch)
    number, end = int(first), int(first) + int(count)
    async with asyncio.TaskGroup() as group:
        while number < end:
            for _ in range(rng.randrange(1, 20)):
                event = publish(bus, number)
                say("gave", event.seq, number)
                group.create_task(acknowledge(file, event.seq))
                number += 1
            await asyncio.sleep(rng.choice((0, 0, 0.001)))
    await asyncio.Event().wait()


def publish(bus: EventBus, number: int) -> Event:
    made = Event(
        "task.progress",
        {"n": number, "text": text_of(number)},
        task_id=f"t{number % 5}",
        id=f"e{number}",
    )
    return bus.publish(made)
