from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from praxis_fast.errors import ResourceLimitError, StoreError, UsageError
from praxis_fast.limits import StoreLimits
from praxis_fast.store.database import Database

SCHEMA = ("CREATE TABLE rows(n INTEGER PRIMARY KEY, text TEXT UNIQUE)",)


class Flaky(sqlite3.Connection):
    """Counts statements, and fails the one it is told to."""

    fails: str | None = None
    code = sqlite3.SQLITE_IOERR_FSYNC
    commits = 0
    opened = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Flaky.opened += 1

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        Flaky.commits += sql == "COMMIT"
        if sql == Flaky.fails:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = Flaky.code
            raise error
        return super().execute(sql, *args)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[Flaky]:
    for name, value in {"fails": None, "commits": 0, "opened": 0}.items():
        monkeypatch.setattr(Flaky, name, value)
    monkeypatch.setattr(Flaky, "code", sqlite3.SQLITE_IOERR_FSYNC)
    return Flaky


@pytest.fixture
async def make(tmp_path: Path, flaky: type[Flaky]) -> AsyncIterator[Callable[..., Any]]:
    made: list[Database] = []

    async def open_database(**options: Any) -> Database:
        database = Database(
            tmp_path / "data" / "a.db",
            options.pop("schema", SCHEMA),
            connect=lambda *args, **more: sqlite3.connect(*args, factory=flaky, **more),
            **options,
        )
        await database.open()
        made.append(database)
        return database

    yield open_database
    for database in made:
        await database.close()


def add(text: str) -> Callable[[sqlite3.Connection], int | None]:
    return lambda connection: (
        connection.execute("INSERT INTO rows(text) VALUES (?)", (text,)).lastrowid
    )


async def texts(database: Database) -> list[str]:
    rows = await database.read(
        lambda connection: connection.execute(
            "SELECT text FROM rows ORDER BY n"
        ).fetchall()
    )
    return [text for (text,) in rows]


async def test_write_is_there_when_acknowledged(make: Any, tmp_path: Path) -> None:
    database = await make()
    assert await database.write(add("a")) == 1
    assert await texts(database) == ["a"]
    await database.close()
    await database.close()
    again = await make()
    assert await texts(again) == ["a"]


async def test_files_are_ours_alone(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "data" / "a.db"
    path.parent.mkdir(mode=0o700)
    path.touch(0o644)
    database = await make()
    await database.write(add("a"))
    modes = {stat.S_IMODE(os.stat(file).st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}
    assert len(list(path.parent.iterdir())) == 3


async def test_writes_share_a_commit_in_order(make: Any, flaky: type[Flaky]) -> None:
    limits = StoreLimits(commit_interval=60, max_batch=100)
    database = await make(limits=limits)
    flaky.commits = 0
    acks = [database.write(add(str(n))) for n in range(300)]
    await asyncio.gather(*acks)
    assert flaky.commits == 3
    assert [ack.result() for ack in acks] == list(range(1, 301))
    assert await texts(database) == [str(n) for n in range(300)]


async def test_close_writes_what_waits(make: Any) -> None:
    database = await make(limits=StoreLimits(commit_interval=60))
    acks = [database.write(add(str(n))) for n in range(10)]
    await database.close()
    assert [await ack for ack in acks] == list(range(1, 11))
    with pytest.raises(UsageError, match="not open"):
        database.write(add("late"))
    with pytest.raises(UsageError, match="not open"):
        await database.read(lambda connection: None)


async def test_write_that_fails_takes_only_itself_back(make: Any) -> None:
    database = await make()

    def bad(connection: sqlite3.Connection) -> None:
        add("half")(connection)
        raise ValueError("no good")

    acks = [
        database.write(work) for work in (add("a"), bad, add("b"), add("a"), add("c"))
    ]
    results = await asyncio.gather(*acks, return_exceptions=True)
    assert results[::2] == [1, 2, 3]
    assert isinstance(results[1], ValueError)
    assert isinstance(results[3], sqlite3.IntegrityError)
    assert await texts(database) == ["a", "b", "c"]


async def test_write_refuses_over_the_bound(make: Any) -> None:
    database = await make(limits=StoreLimits(commit_interval=60, max_queued=2))
    acks = [database.write(add("a")), database.write(add("b"))]
    with pytest.raises(ResourceLimitError, match="write 3 waiting, limit 2"):
        database.write(add("c"))
    await database.close()
    await asyncio.gather(*acks)


async def test_reader_changes_nothing(make: Any) -> None:
    database = await make()
    with pytest.raises(StoreError, match="readonly"):
        await database.read(add("a"))
    assert await texts(database) == []


async def test_schema_grows_and_a_newer_file_is_refused(make: Any) -> None:
    database = await make()
    await database.write(add("a"))
    await database.close()
    grown = (*SCHEMA, "ALTER TABLE rows ADD COLUMN more TEXT DEFAULT 'x'")
    database = await make(schema=grown)
    more = await database.read(
        lambda connection: connection.execute("SELECT more FROM rows").fetchall()
    )
    assert more == [("x",)]
    await database.close()
    with pytest.raises(StoreError, match="has version 2, known up to 1"):
        await make()


async def test_file_that_is_no_database_is_refused(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "data" / "a.db"
    path.parent.mkdir()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"a\.db cannot be opened"):
        await make()


async def test_db_3_full_disk_stops_acks_says_so_once_and_recovers(make: Any) -> None:
    faults: list[StoreError | None] = []
    database = await make(on_fault=faults.append)
    await database.write(add("before"))

    def bound(pages: int) -> Any:
        return lambda connection: connection.execute(
            f"PRAGMA max_page_count={pages}"
        ).fetchone()

    # A file that may not grow: SQLite's own SQLITE_FULL, as a full disk gives it.
    await database.write(bound(1))
    for _ in range(3):
        with pytest.raises(StoreError, match=r"not written: .*full"):
            await database.write(add("x" * 100_000))
    assert len(faults) == 1
    assert await texts(database) == ["before"]
    await database.write(bound(10_000))
    await database.write(add("after"))
    assert await texts(database) == ["before", "after"]
    assert faults[1:] == [None]


async def test_db_3_disk_nearly_full_stops_acks(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await make()
    real = os.statvfs
    sizes = (4096, 4096, 10**6, 10**6, 10, 0, 0, 0, 0, 255)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(sizes))
    with pytest.raises(StoreError, match="40960 bytes free on the disk, at least"):
        await database.write(add("a"))
    monkeypatch.setattr(os, "statvfs", real)
    assert await database.write(add("b")) == 1


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "SAVEPOINT job", "COMMIT"])
async def test_db_4_handle_is_never_used_after_a_failed_fsync(
    make: Any, flaky: type[Flaky], statement: str
) -> None:
    faults: list[StoreError | None] = []
    database = await make(on_fault=faults.append)
    await database.write(add("a"))
    opened, flaky.fails = flaky.opened, statement
    for _ in range(2):
        with pytest.raises(StoreError, match="not written: disk I/O error"):
            await database.write(add("lost"))
    flaky.fails = None
    await database.write(add("b"))
    assert flaky.opened == opened + 2
    assert await texts(database) == ["a", "b"]
    assert [type(fault) for fault in faults] == [StoreError, type(None)]


async def test_db_4_handle_stays_when_only_the_disk_was_full(
    make: Any, flaky: type[Flaky]
) -> None:
    database = await make()
    await database.write(add("a"))
    opened, flaky.fails, flaky.code = flaky.opened, "COMMIT", sqlite3.SQLITE_FULL
    with pytest.raises(StoreError):
        await database.write(add("lost"))
    flaky.fails = None
    await database.write(add("b"))
    assert flaky.opened == opened
    assert await texts(database) == ["a", "b"]
