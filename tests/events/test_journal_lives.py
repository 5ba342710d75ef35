"""Random lives of one journal: what is given again is what was published, or told."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import Event
from praxis_fast.events.journal import file as journal_file
from praxis_fast.events.journal.file import JournalFile
from praxis_fast.events.journal.ring import Journal, ResetError
from tests.events.test_journal_file import Life, publish

SEEDS = range(int(os.environ.get("LIVES", "6")))
STEPS = 250


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    made = Life(tmp_path / "journal.db")
    yield made
    made.faults.clear()
    for file in made.files:
        await file.close()


class World:
    """All that was ever published, and where somebody may come back from."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.numbers: dict[tuple[str, int], str] = {}
        self.acked: set[str] = set()

    def publish(self, bus: EventBus, count: int) -> None:
        made: list[Event] = []
        sink = bus.add_sink(made.append)
        publish(bus, count)
        sink.close()
        for event in made:
            assert self.numbers.setdefault((event.epoch, event.seq), event.id)
            assert self.numbers[event.epoch, event.seq] == event.id, "number twice"
        self.events += made

    async def acknowledge(self, file: JournalFile) -> None:
        """The newest event is on disk, and with it what was not let go before."""
        await file.written(file.journal.last)
        self.acked.add(self.events[-1].id)

    async def come_back(self, file: JournalFile, index: int) -> str:
        """Go on after an event; "reset" or how the continuation was."""
        seen = self.events[index]
        try:
            position = file.journal.position(f"{seen.epoch}-{seen.seq}")
            found, gaps = await continuation(file.journal, position)
        except ResetError as error:
            return f"reset: {error.reason}"
        numbers = [event.seq for event in found]
        assert numbers == sorted(set(numbers))
        for event in found:
            assert self.numbers[event.epoch, event.seq] == event.id
        later = self.events[index + 1 :]
        given = [event.id for event in found]
        order = {event.id: n for n, event in enumerate(later)}
        places = [order[event_id] for event_id in given]
        assert places == sorted(places)
        missing = [event for event in later if event.id not in set(given)]
        assert not self.acked & {event.id for event in missing}
        assert not missing or gaps, "lost without a word"
        return "gap" if missing else "exact"


async def continuation(
    journal: Journal, position: int
) -> tuple[list[Event], list[range]]:
    """What a subscriber gets that comes back, and the numbers left out."""
    found: list[Event] = []
    gaps: list[range] = []
    while position < journal.last:
        if journal.is_past(position):
            past = await journal.fetch(position, 7)
            events, upto = [entry.event for entry in past.entries], past.upto
        else:
            events, upto = journal.read(position, None, 7)
        for number in (*(event.seq for event in events), upto + 1):
            if number > position + 1:
                gaps.append(range(position + 1, number))
            position = number
        found += events
        assert upto >= position - 1
        position = upto
    return found, gaps


@pytest.mark.parametrize("seed", SEEDS)
async def test_bus_4_nothing_is_lost_or_repeated_without_a_word(
    life: Life, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(journal_file, "RESERVE", 60)
    monkeypatch.setattr(journal_file, "RETRY", 0.0005)
    rng, world = random.Random(seed), World()
    told: dict[str, int] = {}
    bus, file = await life.begin(max_waiting=100, max_events=700)
    for _ in range(STEPS):
        chance = rng.random()
        if chance < 0.5:
            world.publish(bus, rng.randrange(1, 40))
            for _ in range(rng.randrange(5)):
                await asyncio.sleep(0)
        elif chance < 0.6 and bus.published:
            life.faults.clear()
            await world.acknowledge(file)
        elif chance < 0.65:
            life.faults += [sqlite3.OperationalError("disk I/O error")] * 3
        elif chance < 0.7:
            life.faults.clear()
            await file.close()
            bus, file = await life.begin(max_waiting=100, max_events=700)
        elif chance < 0.75:
            life.faults.clear()
            await life.crash(file)
            bus, file = await life.begin(max_waiting=100, max_events=700)
        elif world.events:
            newest = len(world.events) - 1
            index = max(0, newest - int(rng.expovariate(0.005)))
            how = await world.come_back(file, index)
            told[how] = told.get(how, 0) + 1
    print(told)
    assert told.get("exact", 0) > 3
