from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from praxis_fast.errors import StoreError, UsageError
from praxis_fast.events.bus import EventBus
from praxis_fast.events.journal import file as journal_file
from praxis_fast.events.journal.file import PAGE_EVENTS, RESERVE, JournalFile
from praxis_fast.events.journal.ring import Entry, ResetError
from praxis_fast.events.priority import Priority
from praxis_fast.limits import (
    JournalFileLimits,
    JournalLimits,
    Limits,
    StoreLimits,
)

QUICK = StoreLimits(commit_interval=0.0001)


class Life:
    """One process after the other over one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_760_000_000.0
        self.files: list[JournalFile] = []
        self.reports: list[str] = []
        self.faults: list[sqlite3.Error] = []
        self.is_late = False
        """Whether what seems to fail has reached the disk."""

    async def begin(
        self,
        *,
        epoch: str | None = None,
        ring: int = 10,
        published: int = 0,
        **bounds: Any,
    ) -> tuple[EventBus, JournalFile]:
        bus = EventBus(source="test", epoch=epoch)
        for _ in range(published):
            bus.publish("agent.starting")
        limits = Limits(
            store=QUICK,
            journal=JournalLimits(max_events=ring, max_bytes=20_000),
            journal_file=JournalFileLimits(**bounds),
        )
        file = JournalFile(
            self.path,
            bus,
            limits=limits,
            wall_clock=lambda: self.now,
            report=lambda code, message: self.reports.append(code),
            connect=self.connect,
        )
        self.files.append(file)
        await file.open()
        return bus, file

    def connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        life = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql == "COMMIT" and life.faults:
                    if life.is_late:
                        super().execute(sql)
                    raise life.faults.pop()
                return super().execute(sql, *args)

        return sqlite3.connect(*args, factory=Connection, **kwargs)

    async def crash(self, file: JournalFile) -> None:
        """The process is gone: what was not written is lost, nothing is given back."""
        assert file._task is not None
        file._task.cancel()
        await asyncio.gather(file._task, return_exceptions=True)
        await file._db.close()
        file._is_closing = True


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    made = Life(tmp_path / "journal.db")
    yield made
    for file in made.files:
        await file.close()


async def history(file: JournalFile, position: int = 0) -> list[int]:
    """Every number after a position, as a subscriber that comes back gets them."""
    return [entry.event.seq for entry in await entries(file, position)]


async def entries(file: JournalFile, position: int) -> list[Entry]:
    journal = file.journal
    found: list[Entry] = []
    while journal.is_past(position):
        past = await journal.fetch(position, 3)
        assert past.upto > position
        found += past.entries
        position = past.upto
    while position < journal.last:
        events, position = journal.read(position)
        found += [Entry(event, None, 0.0, 0) for event in events]
    return found


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def publish(bus: EventBus, count: int) -> None:
    for _ in range(count):
        bus.publish("task.progress", {"n": bus.seq + 1}, task_id="t1")


async def test_ws_9_history_reaches_beyond_the_ring(life: Life) -> None:
    bus, file = await life.begin(epoch="e1")
    publish(bus, 1000)
    assert len(file.journal) == 10
    assert await history(file, 0) == list(range(1, 1001))
    await file.written(1000)
    assert await history(file, 500) == list(range(501, 1001))
    assert (file.first, file.last, file.events, file.waiting) == (1, 1000, 1000, 0)
    assert file.journal.position("e1-0") == 0


async def test_ws_9_history_is_whole_at_every_moment_of_writing(life: Life) -> None:
    bus, file = await life.begin()
    for _ in range(50):
        publish(bus, 37)
        await asyncio.sleep(0)
        assert await history(file, 0) == list(range(1, bus.seq + 1))


async def test_bus_4_epoch_and_sequence_go_on_after_an_orderly_end(life: Life) -> None:
    bus, file = await life.begin(epoch="e1")
    publish(bus, 25)
    await file.close()
    after = bus.publish("agent.stopped")
    assert (after.epoch != "e1", after.seq) == (True, 26)
    bus, file = await life.begin(epoch="e9")
    assert (bus.epoch, bus.seq, bus.published) == ("e1", 25, 0)
    assert await history(file) == list(range(1, 26))
    assert bus.publish("task.started").seq == 26
    assert await history(file, 20) == list(range(21, 27))


async def test_bus_4_no_number_comes_again_after_a_crash(life: Life) -> None:
    bus, file = await life.begin(epoch="e1")
    publish(bus, 5)
    await file.written(5)
    publish(bus, 3)
    await life.crash(file)
    bus, file = await life.begin()
    assert (bus.epoch, bus.seq) == ("e1", 6 + RESERVE)
    event = bus.publish("task.started")
    assert event.seq == 7 + RESERVE
    assert await history(file) == [1, 2, 3, 4, 5, 7 + RESERVE]
    past = await file.journal.fetch(5, 10)
    assert past.upto >= 6 + RESERVE
    await file.written(5)
    with pytest.raises(StoreError, match="event 8 was lost"):
        await file.written(8)
    # A number that was given out before the crash is still a position.
    assert file.journal.position("e1-8") == 8
    await life.crash(file)
    bus, file = await life.begin()
    assert bus.seq > event.seq


async def test_bus_4_a_crash_before_the_first_event_gives_no_number_again(
    life: Life,
) -> None:
    bus, file = await life.begin(epoch="e1", published=3)
    event = bus.publish("task.started")
    assert (event.epoch, event.seq) == ("e1", 4)
    await life.crash(file)
    bus, _ = await life.begin()
    assert (bus.epoch, bus.seq) == ("e1", 4 + RESERVE)


async def test_bus_4_epoch_changes_when_the_history_is_lost(life: Life) -> None:
    bus, file = await life.begin(epoch="e1")
    publish(bus, 5)
    await file.close()
    life.path.write_bytes(b"no database at all" * 1000)
    bus, file = await life.begin(epoch="e2")
    assert (bus.epoch, bus.seq) == ("e2", 0)
    assert life.reports == ["journal_broken"]
    assert life.path.with_name("journal.db.broken").exists()
    with pytest.raises(ResetError, match="epoch"):
        file.journal.position("e1-5")


async def test_bus_4_a_gap_tells_of_an_epoch_that_was_lost_whole(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "RESERVE", 20)
    bus, file = await life.begin(epoch="e1")
    publish(bus, 20)
    assert file._task is not None
    await eventually(lambda: file.last == 20)
    file._task.cancel()
    await asyncio.gather(file._task, return_exceptions=True)
    publish(bus, 21)
    assert bus.epoch != "e1"
    await life.crash(file)
    bus, file = await life.begin()
    assert (bus.epoch, bus.seq) == ("e1", 41)
    past = await file.journal.fetch(40, 10)
    assert (past.entries, past.upto) == ([], 41)


async def test_bus_4_epoch_changes_when_the_reserved_numbers_run_out(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "RESERVE", 20)
    bus, file = await life.begin(epoch="e1", ring=1000)
    publish(bus, 50)
    second = bus.epoch
    assert second != "e1"
    # Those that stay connected, or come back to this process, lose nothing.
    assert file.journal.position("e1-20") == 20
    with pytest.raises(ResetError, match="future"):
        file.journal.position("e1-21")
    await file.written(50)
    assert await history(file) == list(range(1, 51))
    await file.close()
    bus, file = await life.begin()
    assert (bus.epoch, bus.seq) == (second, 50)
    assert await history(file, 20) == list(range(21, 51))
    assert file.journal.position("e1-20") == 20
    with pytest.raises(ResetError, match="future"):
        file.journal.position("e1-21")


async def test_db_4_what_reached_the_disk_all_the_same_is_read_once(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "RETRY", 0.01)
    bus, file = await life.begin(max_waiting=100)
    life.is_late = True
    life.faults = [sqlite3.OperationalError("disk I/O error")]
    publish(bus, 90)
    await eventually(lambda: file.is_degraded)
    # The first 50 have no room any more.
    publish(bus, 60)
    await file.written(150)
    assert file.lost == 50
    for position in (0, 30, 70, 120):
        past = await file.journal.fetch(position, 128)
        numbers = [entry.event.seq for entry in past.entries]
        assert numbers == list(range(position + 1, 151))


async def test_db_1_what_is_published_while_the_file_is_opened_is_not_acknowledged(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = EventBus(epoch="e1")
    file = JournalFile(life.path, bus, limits=Limits(store=QUICK))
    life.files.append(file)
    write = file._db.write
    with monkeypatch.context() as patch:
        patch.setattr(file._db, "write", lambda work: [write(work), publish(bus, 2)][0])
        await file.open()
    publish(bus, 1)
    await file.written(3)
    for seq in (1, 2):
        with pytest.raises(StoreError, match=f"event {seq} was lost"):
            await file.written(seq)
    with pytest.raises(ResetError, match="evicted"):
        file.journal.position("e1-1")
    assert file.journal.position("e1-2") == 2


async def test_bus_4_a_second_process_takes_the_file_over(life: Life) -> None:
    old, first = await life.begin(epoch="e1")
    publish(old, 5)
    await first.written(5)
    new, second = await life.begin()
    publish(old, 5)
    publish(new, 5)
    await eventually(lambda: first.is_degraded)
    with pytest.raises(StoreError):
        await first.written(10)
    publish(old, 5)
    await second.written(new.seq)
    assert old.epoch != new.epoch == "e1"
    assert new.seq - 5 >= 5 + RESERVE
    await first.close()
    assert await history(second, 5 + RESERVE) == list(range(new.seq - 4, new.seq + 1))


async def test_bus_4_nothing_of_another_process_is_read_as_ours(life: Life) -> None:
    old, first = await life.begin(epoch="e1")
    publish(old, 50)
    await first.written(50)
    new, second = await life.begin()
    publish(new, 5)
    await second.written(new.seq)
    with pytest.raises(ResetError, match="evicted"):
        await first.journal.fetch(5, 10)
    publish(old, 1)
    await eventually(lambda: first.is_degraded)
    with pytest.raises(ResetError, match="evicted"):
        first.journal.position("e1-5")
    assert first.journal.position("e1-45") == 45


async def test_a_fault_of_our_own_is_told_and_ends_the_writing(
    life: Life, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bus, file = await life.begin(epoch="e1")
    monkeypatch.setattr(file, "_page", lambda: 1 // 0)
    publish(bus, 5)
    with pytest.raises(StoreError, match="nothing is written any more"):
        await file.written(5)
    assert life.reports == ["journal_not_written"]
    assert "ZeroDivisionError" in caplog.text
    publish(bus, 5)
    assert file.journal.position("e1-3") == 3
    assert file.waiting == 0


async def test_events_are_read_as_they_were_published(life: Life) -> None:
    bus, file = await life.begin(epoch="e1", ring=1)
    event = bus.publish(
        "task.progress",
        {"big": 2**70, "text": "\ud800", "none": None},
        source="s",
        correlation_id="c",
        tags={"a": "b"},
        priority="high",
        task_id="t",
        peer_id="p",
        required_role="admin",
    )
    bus.publish("task.progress", {"bad": object()})
    bus.publish("task.progress", {"name": "v"}, source="\ud800")
    publish(bus, 1)
    await file.written(4)
    past = await file.journal.fetch(0, 10)
    kept = past.entries[0].event
    for name in ("type", "source", "correlation_id", "tags", "task_id", "peer_id"):
        assert getattr(kept, name) == getattr(event, name), name
    for name in ("required_role", "id", "time", "epoch", "seq"):
        assert getattr(kept, name) == getattr(event, name), name
    assert kept.priority is Priority.HIGH
    text = orjson.dumps(kept.data)
    assert text.startswith(b'{"big":1180591620717411303424,')
    # The others have no JSON form; their numbers are left out.
    assert [entry.event.seq for entry in past.entries] == [1, 4]


@pytest.mark.parametrize("data", [b"", b"[[1]]", b"not json", b"[" * 10_000])
async def test_ws_9_reset_when_a_page_is_broken(life: Life, data: bytes) -> None:
    bus, file = await life.begin(epoch="e1")
    publish(bus, 300)
    await file.written(300)
    await file._db.write(
        lambda db: db.execute("UPDATE pages SET data=? WHERE first=1", (data,))
    )
    with pytest.raises(ResetError, match="evicted"):
        await file.journal.fetch(0, 10)
    assert len((await file.journal.fetch(128, 10)).entries) >= 10


async def test_ws_9_file_is_bounded_by_events(life: Life) -> None:
    bus, file = await life.begin(epoch="e1", max_events=300)
    publish(bus, 1000)
    await file.written(1000)
    assert 300 - PAGE_EVENTS <= file.events <= 300
    assert file.first > 1000 - 301
    with pytest.raises(ResetError, match="evicted"):
        file.journal.position(f"e1-{file.first - 2}")
    assert file.journal.position(f"e1-{file.first - 1}") == file.first - 1
    with pytest.raises(ResetError, match="evicted"):
        await file.journal.fetch(5, 10)


async def test_ws_9_file_is_bounded_by_bytes(life: Life) -> None:
    bus, file = await life.begin(max_bytes=50_000)
    for _ in range(200):
        bus.publish("task.progress", {"text": "x" * 1000})
        await file.written(bus.seq)
    assert file.size <= 50_000
    assert await history(file, file.first - 1) == list(range(file.first, 201))


async def test_ws_9_file_is_bounded_by_age(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "CLEAN_UP", 0.001)
    bus, file = await life.begin(max_age=60.0, ring=1)
    publish(bus, 5)
    await file.written(5)
    life.now += 30
    publish(bus, 5)
    await file.written(10)
    life.now += 31
    await eventually(lambda: file.events == 5)
    assert file.first == 6
    life.now += 60
    await eventually(lambda: file.events == 0)
    assert (file.first, file.size) == (11, 0)


async def test_bus_3_what_waits_is_bounded_and_told(life: Life) -> None:
    bus, file = await life.begin(epoch="e1", max_waiting=20)
    publish(bus, 5)
    await file.written(5)
    publish(bus, 100)
    assert (file.waiting, file.lost) == (20, 80)
    await file.written(105)
    assert await history(file, 3) == [4, 5, *range(86, 106)]
    with pytest.raises(StoreError, match="event 30 was lost"):
        await file.written(30)
    await file.written(5)


async def test_bus_3_losses_are_told_however_many(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "MAX_LOSSES", 2)
    bus, file = await life.begin(max_waiting=1)
    for _ in range(5):
        publish(bus, 3)
        waiting = asyncio.create_task(file.written(bus.seq - 1))
        await file.written(bus.seq)
        with pytest.raises(StoreError, match="was lost"):
            await waiting
    assert file.lost == 10
    with pytest.raises(StoreError, match="event 1 was lost"):
        await file.written(1)
    await file.written(12)


async def test_ws_9_event_larger_than_the_ring_is_a_gap(life: Life) -> None:
    bus, file = await life.begin(epoch="e1")
    publish(bus, 1)
    bus.publish("task.progress", {"text": "x" * 20_000})
    assert (len(file.journal), file.lost) == (0, 1)
    past = await file.journal.fetch(1, 10)
    assert (past.entries, past.upto) == ([], 2)
    await file.written(1)
    past = await file.journal.fetch(1, 10)
    assert (past.entries, past.upto) == ([], 2)
    publish(bus, 1)
    assert await history(file) == [1, 3]


async def test_db_3_live_traffic_goes_on_when_the_disk_is_full(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "RETRY", 0.001)
    bus, file = await life.begin(epoch="e1")
    seen: list[int] = []
    bus.add_sink(lambda event: seen.append(event.seq))
    publish(bus, 20)
    await file.written(20)
    life.faults += [sqlite3.OperationalError("disk I/O error")] * 50
    publish(bus, 100)
    await eventually(lambda: file.is_degraded)
    assert await history(file, 15) == list(range(16, 121))
    publish(bus, 100)
    await file.written(220)
    assert not file.is_degraded
    assert life.reports == ["journal_not_written", "journal_written"]
    assert await history(file, 0) == list(range(1, 221)) == seen
    assert bus.epoch == "e1"


async def test_db_4_a_commit_that_only_seemed_to_fail_is_not_there_twice(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "RETRY", 0.001)
    bus, file = await life.begin()
    append, calls = journal_file.store.append, []

    def commit_and_fail(db: sqlite3.Connection, *args: Any, **kwargs: Any) -> Any:
        kept = append(db, *args, **kwargs)
        calls.append(kept)
        if len(calls) == 1:
            db.execute("RELEASE job")
            db.commit()
            raise sqlite3.OperationalError("disk I/O error")
        return kept

    monkeypatch.setattr(journal_file.store, "append", commit_and_fail)
    publish(bus, 20)
    await eventually(lambda: file.is_degraded)
    publish(bus, 300)
    await file.written(320)
    assert await history(file, 0) == list(range(1, 321))
    assert file.events == 320


async def test_close_writes_what_waits(life: Life) -> None:
    bus, file = await life.begin()
    publish(bus, 5000)
    await file.close()
    await file.close()
    bus, file = await life.begin()
    assert (bus.seq, file.events) == (5000, 5000)


async def test_written_raises_when_it_cannot_be(life: Life) -> None:
    bus, file = await life.begin()
    with pytest.raises(UsageError, match="not published"):
        await file.written(1)
    publish(bus, 1)
    waiting = asyncio.create_task(file.written(1))
    await asyncio.sleep(0)
    life.faults += [sqlite3.OperationalError("disk I/O error")] * 3
    await file.close(timeout=0.01)
    with pytest.raises(StoreError, match="closed"):
        await waiting
    with pytest.raises(StoreError, match="not written"):
        await file.written(1)


async def test_open_fails_when_the_file_cannot_be_made(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    file = JournalFile(blocked / "journal.db", EventBus())
    with pytest.raises(StoreError):
        await file.open()
    await file.close()
    with pytest.raises(UsageError):
        _ = file.journal
