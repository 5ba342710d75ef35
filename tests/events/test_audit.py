from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from praxis_fast.errors import StoreError
from praxis_fast.events.audit import AuditLog
from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import Event
from praxis_fast.limits import StoreLimits
from tests.events.receivers import eventually

START = 1_760_000_000.0
DAY = 86400.0


class Wall:
    now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
async def make(tmp_path: Path, wall: Wall) -> AsyncIterator[Callable[..., Any]]:
    logs: list[AuditLog] = []

    async def open_log(**options: Any) -> AuditLog:
        options.setdefault("types", ["*"])
        options.setdefault("limits", StoreLimits(commit_interval=0.0001))
        log = AuditLog(tmp_path / "audit.db", wall_clock=wall, **options)
        await log.open()
        logs.append(log)
        return log

    yield open_log
    for log in logs:
        await log.close()


async def fill(log: AuditLog, wall: Wall, count: int, step: float = 1.0) -> None:
    for number in range(count):
        event = Event("tool.executed", {"n": number}, task_id=f"t{number % 2}")
        assert await log.append(event)
        wall.now += step


def tamper(path: Path, *statements: str) -> None:
    """Change the file as somebody with an editor would, triggers and all."""
    database = sqlite3.connect(path / "audit.db")
    for (name,) in database.execute(
        "SELECT name FROM sqlite_master WHERE type='trigger'"
    ).fetchall():
        database.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


async def test_events_are_written_and_the_chain_is_whole(make: Any, wall: Wall) -> None:
    log = await make()
    assert (await log.verify()).to_message() == {
        "intact": True,
        "entries": 0,
        "first": None,
        "last": None,
        "fault": None,
        "at": None,
    }
    await fill(log, wall, 5)
    report = await log.verify()
    assert (report.is_intact, report.entries, report.first, report.last) == (
        *(True, 5, 1, 5),
    )
    await log.close()
    log = await make()
    await fill(log, wall, 1)
    assert (await log.verify()).entries == 6


async def test_query_takes_times_types_and_tasks(make: Any, wall: Wall) -> None:
    log = await make()
    await fill(log, wall, 4)
    await log.append(Event("p2p.peer_connected", {}, peer_id="p"))

    async def found(**asked: Any) -> list[int]:
        return [entry["number"] for entry in await log.query(**asked)]

    assert await found() == [1, 2, 3, 4, 5]
    assert await found(since=START + 2) == [3, 4, 5]
    assert await found(until=START + 2) == [1, 2]
    assert await found(types=["p2p.*", "none"]) == [5]
    assert await found(types=["tool.executed"], task="t1") == [2, 4]
    assert await found(after=1, limit=2) == [2, 3]
    (entry,) = await log.query(types=["p2p.*"])
    assert (entry["event_type"], entry["peer_id"]) == ("p2p.peer_connected", "p")
    assert (entry["event"]["type"], entry["recorded_at"]) == (
        *("p2p.peer_connected", "2025-10-09T08:53:24.000Z"),
    )
    assert len(entry["hash"]) == 64


@pytest.mark.parametrize(
    ("statement", "fault", "at"),
    [
        ("UPDATE entries SET event=replace(event,'2','9') WHERE n=3", "changed", 3),
        ("UPDATE entries SET type='other' WHERE n=3", "changed", 3),
        ("UPDATE entries SET task='x' WHERE n=3", "changed", 3),
        ("UPDATE entries SET task='', peer='t0' WHERE n=3", "changed", 3),
        ("UPDATE entries SET at=at+1 WHERE n=3", "changed", 3),
        ("UPDATE entries SET event=CAST(event AS TEXT) WHERE n=3", "changed", 3),
        ("UPDATE head SET n='x'", "head is not ours", "x"),
        ("UPDATE head SET hash='x'", "head is not ours", 5),
        ("UPDATE entries SET hash=zeroblob(32) WHERE n=3", "changed", 3),
        ("UPDATE entries SET hash='text' WHERE n=3", "changed", 3),
        ("DELETE FROM entries WHERE n=3", "entry is missing", 3),
        ("DELETE FROM entries WHERE n=1", "entry is missing", 1),
        ("DELETE FROM entries WHERE n>3", "at the end are missing", 4),
        ("DELETE FROM entries", "at the end are missing", 1),
        ("DELETE FROM head", "head is missing", 5),
        ("UPDATE head SET n=4", "head is not ours", 4),
        ("UPDATE head SET seal=zeroblob(32)", "head is not ours", 5),
        (
            "INSERT INTO anchors SELECT n, hash, at, hash FROM entries WHERE n=2",
            "anchor is not ours",
            2,
        ),
    ],
)
async def test_aud_1_every_change_is_found(
    make: Any, wall: Wall, tmp_path: Path, statement: str, fault: str, at: object
) -> None:
    log = await make()
    await fill(log, wall, 5)
    await log.close()
    tamper(tmp_path, statement)
    report = await (await make()).verify()
    assert not report.is_intact
    assert fault in (report.fault or "")
    assert report.at == at


async def test_aud_1_reordered_entries_are_found(
    make: Any, wall: Wall, tmp_path: Path
) -> None:
    log = await make()
    await fill(log, wall, 5)
    await log.close()
    tamper(
        tmp_path,
        "UPDATE entries SET n=100 WHERE n=2",
        "UPDATE entries SET n=2 WHERE n=3",
        "UPDATE entries SET n=3 WHERE n=100",
    )
    report = await (await make()).verify()
    assert (report.fault, report.at) == ("entry was changed", 2)


async def test_aud_1_end_cut_with_its_head_is_found(
    make: Any, wall: Wall, tmp_path: Path
) -> None:
    log = await make()
    await fill(log, wall, 5)
    await log.close()
    tamper(
        tmp_path,
        "DELETE FROM entries WHERE n>3",
        "UPDATE head SET n=3, hash=(SELECT hash FROM entries WHERE n=3)",
    )
    report = await (await make()).verify()
    assert report.fault == "head is not ours"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET type='x'",
        "DELETE FROM entries WHERE n=1",
        "DELETE FROM anchors",
        "UPDATE anchors SET n=9",
    ],
)
async def test_log_is_append_only_for_everybody(
    make: Any, wall: Wall, statement: str
) -> None:
    log = await make()
    await fill(log, wall, 4)
    await log.let_go(START + 1)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        await log._db.write(lambda db: db.execute(statement.replace("n=1", "n=2")))
    assert (await log.verify()).is_intact


async def test_retention_leaves_an_anchor_and_a_whole_chain(
    make: Any, wall: Wall
) -> None:
    log = await make(retention=3 * DAY)
    await fill(log, wall, 10, DAY)
    log._clean_up()
    await fill(log, wall, 1)
    report = await log.verify()
    assert (report.is_intact, report.first, report.last) == (True, 8, 11)
    wall.now += 100 * DAY
    log._clean_up()
    assert (await log.verify()).is_intact
    await fill(log, wall, 1)
    report = await log.verify()
    assert (report.is_intact, report.first, report.entries) == (True, 12, 1)
    assert await log.let_go(0) == 0


async def test_only_the_types_asked_for_are_written(make: Any) -> None:
    log = await make(types=["tool.*"])
    bus = EventBus()
    bus.add_sink(log.sink)
    bus.publish("tool.executed", {"password": "canary"})
    bus.publish("log.entry")
    assert log.append(Event("log.entry")) is None
    await eventually(lambda: log.written)
    (entry,) = await log.query()
    assert entry["event"]["data"] == {"password": "***"}
    await bus.close()


async def test_event_without_json_form_is_written_without_its_data(make: Any) -> None:
    log = await make()
    await log.append(Event("tool.executed", {"a": object()}))
    (entry,) = await log.query()
    assert entry["event"]["data"] is None
    assert (await log.verify()).is_intact


async def test_events_of_one_turn_share_a_write(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await make()
    jobs: list[Any] = []
    write = log._db.write
    monkeypatch.setattr(log._db, "write", lambda work: jobs.append(work) or write(work))
    acks = [log.append(Event("tool.executed", {"n": n})) for n in range(50)]
    assert await asyncio.gather(*acks) == list(range(1, 51))
    assert len(jobs) == 1
    assert log.written == 50
    assert [e["event"]["data"]["n"] for e in await log.query()] == list(range(50))
    assert (await log.verify()).is_intact
    # Those of the last turn come to the disk too.
    late = log.append(Event("tool.executed"))
    await log.close()
    assert await late == 51


async def test_a_lone_surrogate_costs_nobody_an_entry(make: Any) -> None:
    log = await make()
    acks = [
        log.append(Event("tool.executed", data, task_id=task, peer_id=task))
        for task in ("t1", "\ud800", "t2")
        for data in ({}, {"a": object()})
    ]
    assert await asyncio.gather(*acks) == [1, 2, 3, 4, 5, 6]
    assert [entry["task_id"] for entry in await log.query()] == [
        *("t1", "t1", "\\ud800", "\\ud800", "t2", "t2"),
    ]
    assert (await log.verify()).is_intact


async def test_files_are_ours_alone_and_a_broken_key_is_refused(
    make: Any, tmp_path: Path
) -> None:
    log = await make()
    modes = {
        stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)
    }
    assert modes == {0o600}
    await log.close()
    assert log.append(Event("tool.executed")) is None
    (tmp_path / "audit.db.key").write_bytes(b"short")
    with pytest.raises(StoreError, match="5 bytes are no key"):
        await make()


async def test_db_3_full_disk_is_told_once(make: Any) -> None:
    told: list[tuple[str, str]] = []
    log = await make(report=lambda code, message: told.append((code, message)))
    await log._db.write(lambda db: db.execute("PRAGMA max_page_count=1").fetchone())
    for _ in range(3):
        with pytest.raises(StoreError):
            await log.append(Event("tool.executed", {"a": "x" * 50_000}))
    assert [code for code, _ in told] == ["audit_not_written"]
    assert log.refused == 3
    await log._db.write(lambda db: db.execute("PRAGMA max_page_count=9999").fetchone())
    await log.append(Event("tool.executed"))
    assert (await log.verify()).entries == 1


async def test_writes_over_the_bound_are_refused_and_told_once(make: Any) -> None:
    told: list[tuple[str, str]] = []
    log = await make(
        limits=StoreLimits(commit_interval=60, max_queued=1),
        report=lambda code, message: told.append((code, message)),
    )
    acks = [log.append(Event("tool.executed")) for _ in range(3)]
    assert [ack is None for ack in acks] == [False, True, True]
    assert [code for code, _ in told] == ["audit_not_written"]
    await log.close()
    assert acks[0] is not None
    await acks[0]
