"""The journal on disk: pages of encoded events, and which numbers may be given out.

    state   epoch, last, reserved, owner       one row
    epochs  those that ended in an order we know, and the last number of each
    pages   first … last of each page, its events as one JSON text, oldest page first

Everything here is a function of a connection, run in one of the database's threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from praxis_fast.errors import StoreError
from praxis_fast.events.journal.stored_event import StoredEvent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from praxis_fast.limits import JournalFileLimits

SCHEMA = (
    """
    CREATE TABLE state(
        one INTEGER PRIMARY KEY CHECK(one=1), epoch TEXT NOT NULL,
        last INTEGER NOT NULL, reserved INTEGER NOT NULL, owner TEXT NOT NULL,
        events INTEGER NOT NULL, size INTEGER NOT NULL
    );
    CREATE TABLE epochs(epoch TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE pages(
        first INTEGER PRIMARY KEY, last INTEGER NOT NULL, events INTEGER NOT NULL,
        size INTEGER NOT NULL, at REAL NOT NULL, data BLOB NOT NULL
    );
    """,
)

# The last one ended in order.
NOBODY = ""

# Pages let go in one write: at most as many as a write adds, and then some.
_MAX_CUT = 1000


_decoder = msgspec.json.Decoder(list[StoredEvent])


@dataclass(frozen=True, slots=True)
class Page:
    """Events that are written and let go together."""

    first: int
    last: int
    events: int
    at: float
    """When it was made, epoch seconds."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is in the file."""

    epoch: str
    first: int
    """The oldest event; one more than `last` when there is none."""
    last: int
    """The newest event, of those that were ever here."""
    events: int
    size: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What the next process begins with."""

    kept: Kept
    start: int
    """No process ever gave a higher number in this epoch."""
    former: dict[str, int]
    """Epochs before this one whose numbers go on here, and the last of each."""


class TakenOverError(StoreError):
    """Another process has the file now; this one must not write to it any more."""


def take_over(
    db: sqlite3.Connection, owner: str, epoch: str, seq: int, ahead: int
) -> Taken:
    """Become the one who writes, and reserve numbers.

    A file without a past begins with `epoch` after `seq`.
    """
    found = db.execute("SELECT reserved, owner FROM state").fetchone()
    if found is None:
        db.execute(
            "INSERT INTO state VALUES (1, ?, ?, ?, ?, 0, 0)",
            (epoch, seq, seq + ahead, owner),
        )
        return Taken(_kept(db), seq, {})
    reserved, holder = found
    # One number is left out after a crash whatever there is: it makes the gap that
    # tells of events in an epoch which never came here.
    start = max(reserved if holder == NOBODY else reserved + 1, seq)
    db.execute("UPDATE state SET reserved=?, owner=?", (start + ahead, owner))
    former = dict(db.execute("SELECT epoch, last FROM epochs ORDER BY last").fetchall())
    return Taken(_kept(db), start, former)


def append(
    db: sqlite3.Connection,
    pages: Sequence[Page],
    *,
    owner: str,
    epoch: str,
    former: Mapping[str, int],
    reserved: int,
    limits: JournalFileLimits,
) -> Kept:
    """Write pages that follow the newest one, and let go what is over the limits."""
    _check_owner(db, owner)
    db.executemany("INSERT OR IGNORE INTO epochs VALUES (?, ?)", former.items())
    _forget_after(db, pages[0].first - 1)
    db.executemany(
        "INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?)",
        [(p.first, p.last, p.events, len(p.data), p.at, p.data) for p in pages],
    )
    db.execute(
        "UPDATE state SET epoch=?, last=?, reserved=?, events=events+?, size=size+?",
        (
            *(epoch, pages[-1].last, reserved, sum(page.events for page in pages)),
            sum(len(page.data) for page in pages),
        ),
    )
    return evict(db, limits, pages[-1].at)


def _check_owner(db: sqlite3.Connection, owner: str) -> None:
    """Numbers that follow ours may be another process's events."""
    (holder,) = db.execute("SELECT owner FROM state").fetchone()
    if holder != owner:
        raise TakenOverError("the journal is written by another process now")


def _forget_after(db: sqlite3.Connection, last: int) -> None:
    """A write that seemed to fail may have reached the disk; it is written again."""
    events, size = db.execute(
        "SELECT SUM(events), SUM(size) FROM pages WHERE first>?", (last,)
    ).fetchone()
    if events is not None:
        db.execute("DELETE FROM pages WHERE first>?", (last,))
        db.execute("UPDATE state SET events=events-?, size=size-?", (events, size))


def evict(db: sqlite3.Connection, limits: JournalFileLimits, now: float) -> Kept:
    """Let go the oldest pages, as far as the limits say."""
    events, size = db.execute("SELECT events, size FROM state").fetchone()
    oldest, cut = now - limits.max_age, None
    rows = db.execute(
        "SELECT last, events, size, at FROM pages ORDER BY first LIMIT ?", (_MAX_CUT,)
    )
    for last, number, length, at in rows:
        if events <= limits.max_events and size <= limits.max_bytes and at >= oldest:
            break
        events, size, cut = events - number, size - length, last
    rows.close()
    if cut is not None:
        db.execute("DELETE FROM pages WHERE first<=?", (cut,))
        db.execute("DELETE FROM epochs WHERE last<?", (cut,))
        db.execute("UPDATE state SET events=?, size=?", (events, size))
    return _kept(db)


def rest(db: sqlite3.Connection, owner: str, seq: int) -> None:
    """All up to `seq` is here: whoever continues the epoch leaves no number out.

    Nothing happens when others write by now.
    """
    db.execute(
        "UPDATE state SET reserved=?, owner=? WHERE owner=?", (seq, NOBODY, owner)
    )


def read(
    db: sqlite3.Connection, owner: str, position: int, max_events: int
) -> tuple[int | None, list[StoredEvent]]:
    """The oldest number there is, and the next events after a position.

    As many as are asked for, rounded up to a page. Raises StoreError.
    """
    _check_owner(db, owner)
    (oldest,) = db.execute("SELECT MIN(first) FROM pages").fetchone()
    (begin,) = db.execute(
        "SELECT MAX(first) FROM pages WHERE first<=?", (position + 1,)
    ).fetchone()
    rows = db.execute(
        "SELECT data FROM pages WHERE first>=? ORDER BY first",
        (position + 1 if begin is None else begin,),
    )
    found: list[list[StoredEvent]] = []
    number = 0
    for (data,) in rows:
        events = _decoded(data, position)
        found.append(events)
        number += len(events)
        if events:
            # The next page holds some of them again where a write that seemed to fail
            # reached the disk and its oldest events were let go before the next try.
            position = events[-1].seq
        if number >= max_events:
            break
    rows.close()
    return oldest, list(chain.from_iterable(found))


def _decoded(data: bytes, position: int) -> list[StoredEvent]:
    try:
        events = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise StoreError(f"a page of the journal is broken: {error}") from error
    return [event for event in events if event.seq > position]


def _kept(db: sqlite3.Connection) -> Kept:
    epoch, last, events, size = db.execute(
        "SELECT epoch, last, events, size FROM state"
    ).fetchone()
    (first,) = db.execute("SELECT MIN(first) FROM pages").fetchone()
    return Kept(epoch, last + 1 if first is None else first, last, events, size)
