"""The audit log on disk: entries in a chain of hashes, and anchors where it was cut.

    entry n:  hash = SHA-256(previous hash, n, time, type, task, peer, event)
    head:     n and hash of the newest entry, sealed with a key kept in another file
    anchor:   n and hash of the newest entry that was let go, sealed the same way

Changing an entry breaks its hash, taking one out or swapping two breaks the chain, and
cutting the end off disagrees with the head. Everything here is a function of a
connection, run in one of the database's threads.
"""

from __future__ import annotations

import hmac
from dataclasses import astuple, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from praxis_fast.events.event import utc_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

# Before the first entry.
START = bytes(32)
_PAGE = 1000

# The triggers guard against accidents; against intent there is the chain. Only what an
# anchor covers may be deleted.
SCHEMA = (
    """
    CREATE TABLE entries(
        n INTEGER PRIMARY KEY, at REAL NOT NULL, time TEXT NOT NULL, type TEXT NOT NULL,
        task TEXT, peer TEXT, event BLOB NOT NULL, hash BLOB NOT NULL
    );
    CREATE INDEX entries_by_time ON entries(at);
    CREATE INDEX entries_by_type ON entries(type, n);
    CREATE TABLE head(
        one INTEGER PRIMARY KEY CHECK(one=1), n INTEGER NOT NULL, hash BLOB NOT NULL,
        seal BLOB NOT NULL
    );
    CREATE TABLE anchors(
        n INTEGER PRIMARY KEY, hash BLOB NOT NULL, at REAL NOT NULL, seal BLOB NOT NULL
    );
    CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER entries_last BEFORE DELETE ON entries
        WHEN OLD.n > COALESCE((SELECT MAX(n) FROM anchors), 0)
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER anchors_stay BEFORE UPDATE ON anchors
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER anchors_last BEFORE DELETE ON anchors
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    """,
)

_COLUMNS = "n, at, time, type, task, peer, event, hash"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written of one event."""

    at: float
    """When it was written, epoch seconds."""
    time: str
    """When it happened, as the event says."""
    type: str
    task: str | None
    peer: str | None
    event: bytes
    """The whole event, JSON."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found."""

    is_intact: bool
    entries: int
    first: int | None
    last: int | None
    fault: str | None = None
    at: int | None = None
    """The number of the entry the fault was found at."""

    def to_message(self) -> dict[str, Any]:
        """The report as the API tells it."""
        return {
            "intact": self.is_intact,
            "entries": self.entries,
            "first": self.first,
            "last": self.last,
            "fault": self.fault,
            "at": self.at,
        }


def chained(previous: bytes, number: int, entry: Entry) -> bytes:
    """The hash of an entry; each field goes in with its kind and length, so that none
    can borrow from its neighbour."""
    digest = sha256(previous)
    for value in (number, *astuple(entry)):
        data = value if isinstance(value, bytes) else str(value).encode()
        digest.update(b"%s:%d:" % (type(value).__name__.encode(), len(data)) + data)
    return digest.digest()


def _seal(key: bytes, kind: bytes, number: int, value: bytes) -> bytes:
    return hmac.digest(key, kind + b":%d:" % number + value, sha256)


def _is_sealed(
    key: bytes, kind: bytes, number: object, value: object, seal: object
) -> bool:
    """Whether it was us who wrote this down; a file may hold anything anywhere."""
    if not isinstance(number, int) or not isinstance(value, bytes):
        return False
    return _fits(seal, _seal(key, kind, number, value))


def _head(db: sqlite3.Connection) -> tuple[int, bytes]:
    row = db.execute("SELECT n, hash FROM head").fetchone()
    return (0, START) if row is None else row


def append(db: sqlite3.Connection, entries: Sequence[Entry], key: bytes) -> int:
    """Write entries behind the newest one; the number of the first."""
    first, value = _head(db)
    number = first
    rows: list[tuple[Any, ...]] = []
    for number, entry in enumerate(entries, first + 1):
        value = chained(value, number, entry)
        rows.append((number, *astuple(entry), value))
    db.executemany(
        f"INSERT INTO entries({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        rows,
    )
    db.execute(
        "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)",
        (number, value, _seal(key, b"head", number, value)),
    )
    return first + 1


def let_go(db: sqlite3.Connection, before: float, now: float, key: bytes) -> int:
    """Delete entries written before a time, leaving an anchor; how many."""
    # By number, not by time: a clock that was set back leaves no holes.
    (number,) = db.execute(
        "SELECT COALESCE((SELECT MIN(n) FROM entries WHERE at>=?)-1, "
        "(SELECT MAX(n) FROM entries))",
        (before,),
    ).fetchone()
    row = db.execute("SELECT hash FROM entries WHERE n=?", (number,)).fetchone()
    if row is None:
        return 0
    seal = _seal(key, b"anchor", number, row[0])
    db.execute("INSERT INTO anchors VALUES (?, ?, ?, ?)", (number, row[0], now, seal))
    return db.execute("DELETE FROM entries WHERE n<=?", (number,)).rowcount


def span(db: sqlite3.Connection) -> tuple[int, int]:
    """The numbers of the first and the last entry there should be."""
    (anchor,) = db.execute("SELECT COALESCE(MAX(n), 0) FROM anchors").fetchone()
    return anchor + 1, _head(db)[0]


def verify(db: sqlite3.Connection, key: bytes) -> Report:
    """Go through the whole chain."""
    first, previous = 0, START
    row = db.execute("SELECT n, hash, seal FROM anchors ORDER BY n DESC").fetchone()
    if row is not None:
        first, previous, seal = row
        if not _is_sealed(key, b"anchor", first, previous, seal):
            return Report(False, 0, None, None, "anchor is not ours", first)
    number, count = first, 0
    for found, entry, value in _all(db):
        number += 1
        if found != number:
            return _broken(count, first, number, "entry is missing")
        if not _fits(value, chained(previous, number, entry)):
            return _broken(count, first, number, "entry was changed")
        previous = value
        count += 1
    return _check_head(db, key, first, number, previous, count)


def _check_head(
    db: sqlite3.Connection, key: bytes, first: int, last: int, value: bytes, count: int
) -> Report:
    head = db.execute("SELECT n, hash, seal FROM head").fetchone()
    if head is None:
        if last == 0:
            return Report(True, 0, None, None)
        return _broken(count, first, last, "head is missing")
    number, newest, seal = head
    if not _is_sealed(key, b"head", number, newest, seal):
        return _broken(count, first, number, "head is not ours")
    if number != last or newest != value:
        return _broken(count, first, last + 1, "entries at the end are missing")
    return Report(True, count, first + 1 if count else None, last if count else None)


def _broken(count: int, first: int, at: int, fault: str) -> Report:
    has_any = count > 0
    return Report(
        False,
        count,
        first + 1 if has_any else None,
        first + count if has_any else None,
        fault,
        at,
    )


def _fits(given: object, wanted: bytes) -> bool:
    return isinstance(given, bytes) and hmac.compare_digest(given, wanted)


def _all(db: sqlite3.Connection) -> Iterator[tuple[int, Entry, bytes]]:
    cursor = db.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY n")  # noqa: S608
    while rows := cursor.fetchmany(_PAGE):
        for number, *fields, value in rows:
            yield number, Entry(*fields), value


def query(
    db: sqlite3.Connection,
    *,
    since: float | None,
    until: float | None,
    types: tuple[str, ...],
    task: str | None,
    after: int,
    limit: int,
) -> list[dict[str, Any]]:
    """Entries in order, oldest first; `types` are names and globs."""
    wanted = " OR ".join("type GLOB ?" for _ in types) or "1"
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM entries WHERE n>? AND (? IS NULL OR at>=?) "  # noqa: S608
        f"AND (? IS NULL OR at<?) AND (? IS NULL OR task=?) AND ({wanted}) "
        "ORDER BY n LIMIT ?",
        (after, since, since, until, until, task, task, *types, limit),
    ).fetchall()
    return [_told(number, Entry(*fields), value) for number, *fields, value in rows]


def _told(number: int, entry: Entry, value: bytes) -> dict[str, Any]:
    return {
        "number": number,
        "recorded_at": utc_text(entry.at),
        "timestamp": entry.time,
        "event_type": entry.type,
        "task_id": entry.task,
        "peer_id": entry.peer,
        "event": entry.event,
        "hash": value.hex(),
    }
