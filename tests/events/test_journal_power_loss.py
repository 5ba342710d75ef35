"""DB-2, BUS-4: the journal of a real run, cut at every sync point and between."""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from praxis_fast.events.journal import store
from praxis_fast.events.journal.store import Taken
from praxis_fast.events.journal.stored_event import StoredEvent
from tests.events.recorded_journal import KEPT
from tests.store.power import cuts, record

EVENTS = int(os.environ.get("POWER_EVENTS", "900"))
SEED = 20261121


def found_after(folder: Path) -> tuple[Taken, list[StoredEvent]]:
    """What the next process finds when the power is back."""
    database = sqlite3.connect(folder / "journal.db", isolation_level=None)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        taken = store.take_over(database, "next", "new", 0, 1)
        _, events = store.read(database, "next", -1, 10**9)
        return taken, events
    finally:
        database.close()


def check(taken: Taken, events: list[StoredEvent], said: Iterable[str]) -> None:
    given: dict[int, tuple[str, str]] = {}
    acked: set[int] = set()
    for line in said:
        word, *told = line.split()
        if word == "gave":
            given[int(told[1])] = (told[0], told[2])
        else:
            acked.add(int(told[0]))
    kept = {event.seq: (event.epoch, event.id) for event in events}
    assert list(kept) == sorted(kept)
    assert len(kept) == len(events) == taken.kept.events <= KEPT
    missing = {seq for seq in acked if seq >= taken.kept.first} - kept.keys()
    assert not missing, f"acknowledged and lost: {sorted(missing)[:10]}"
    assert not acked or max(acked) <= taken.kept.last
    for seq, made in kept.items():
        assert given.get(seq, made) == made
    epoch = taken.kept.epoch
    ours = [seq for seq, (name, _) in given.items() if name == epoch]
    assert max(ours, default=0) <= taken.start
    for name, last in taken.former.items():
        ended = [seq for seq, (other, _) in given.items() if other == name]
        assert max(ended, default=0) <= last or name == epoch


@pytest.mark.skipif(sys.platform != "linux", reason="records by LD_PRELOAD")
def test_db_2_power_loss_loses_no_acked_event_and_gives_no_number_twice(
    tmp_path: Path,
) -> None:
    print(f"seed {SEED}")
    recording = record(tmp_path, "tests.events.recorded_journal", EVENTS)
    tries = 0
    epochs: set[str] = set()
    for cut in cuts(recording, tmp_path / "cut", random.Random(SEED)):
        taken, events = found_after(cut.folder)
        check(taken, events, cut.said)
        epochs.add(taken.kept.epoch)
        tries += 1
    assert tries > 50
    assert len(epochs) > 2
