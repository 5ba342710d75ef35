"""The outbox on disk: endpoints, messages, and what came of each try.

Everything here is a function of a connection, run in one of the database's threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from praxis_fast.events.event import utc_text
from praxis_fast.events.webhooks.endpoint import Endpoint

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

State = Literal["waiting", "delivered", "dead"]
STATES: tuple[State, ...] = ("waiting", "delivered", "dead")

# Rows in one statement; SQLite takes at least 999 values, and a row has up to nine.
CHUNK = 100

# `lanes.last` outlives the messages it numbered: numbers never begin again while the
# lane is in use. `since` is when the tries began that count towards giving up.
SCHEMA = (
    """
    CREATE TABLE endpoints(
        id TEXT PRIMARY KEY, config BLOB NOT NULL, disabled TEXT
    ) WITHOUT ROWID;
    CREATE TABLE lanes(
        endpoint TEXT NOT NULL REFERENCES endpoints(id) ON DELETE CASCADE,
        task TEXT NOT NULL, last INTEGER NOT NULL, touched REAL NOT NULL,
        PRIMARY KEY(endpoint, task)
    ) WITHOUT ROWID;
    CREATE TABLE messages(
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        endpoint TEXT NOT NULL REFERENCES endpoints(id) ON DELETE CASCADE,
        task TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
        created REAL NOT NULL, body BLOB, state TEXT NOT NULL DEFAULT 'waiting',
        attempts INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
        since REAL, due REAL NOT NULL DEFAULT 0, ended REAL, status INTEGER, error TEXT,
        UNIQUE(endpoint, id)
    );
    CREATE INDEX messages_by_state ON messages(endpoint, state, n);
    CREATE INDEX messages_by_end ON messages(state, ended);
    CREATE TABLE attempts(
        message INTEGER NOT NULL REFERENCES messages(n) ON DELETE CASCADE,
        number INTEGER NOT NULL, at REAL NOT NULL, duration REAL NOT NULL,
        status INTEGER, error TEXT, PRIMARY KEY(message, number)
    ) WITHOUT ROWID;
    """,
    # What waits has no end: it need not be entered there when it is new.
    """
    DROP INDEX messages_by_end;
    CREATE INDEX messages_by_end ON messages(state, ended) WHERE ended IS NOT NULL;
    """,
)


# A cross join looks each row up; `IN` with rows of two would read the whole table.
_KNOWN = """
    SELECT m.endpoint, m.id FROM (VALUES ROWS) AS v
    CROSS JOIN messages AS m ON m.endpoint=v.column1 AND m.id=v.column2
"""
_LAST = """
    SELECT l.endpoint, l.task, l.last FROM (VALUES ROWS) AS v
    CROSS JOIN lanes AS l ON l.endpoint=v.column1 AND l.task=v.column2
"""
# What came of tries, as `record` writes it. Columns of ROWS: number, state, attempts,
# tries, due, status, error, at, duration.
_SETTLE = """
    UPDATE messages SET state=v.column2, attempts=v.column3, tries=v.column4,
        due=v.column5, status=v.column6, error=v.column7,
        since=COALESCE(since, v.column8),
        ended=CASE v.column2 WHEN 'waiting' THEN NULL ELSE v.column8 END,
        body=CASE v.column2 WHEN 'delivered' THEN NULL ELSE body END
    FROM (VALUES ROWS) AS v
    WHERE messages.n=v.column1 AND messages.state='waiting'
"""
_REMEMBER = """
    INSERT OR REPLACE INTO attempts(message, number, at, duration, status, error)
    SELECT v.column1, v.column3, v.column8, v.column9, v.column6, v.column7
    FROM (VALUES ROWS) AS v WHERE EXISTS(SELECT 1 FROM messages WHERE n=v.column1)
"""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """An event on its way into the outbox."""

    id: str
    type: str
    task: str
    body: bytes
    created: float


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is sent."""

    number: int
    id: str
    seq: int
    body: bytes
    created: float
    attempts: int = 0
    tries: int = 0
    since: float | None = None

    def tried(self, attempt: Attempt) -> Message:
        """The same after one more try."""
        return replace(
            self,
            attempts=self.attempts + 1,
            tries=self.tries + 1,
            since=attempt.at if self.since is None else self.since,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try and what came of it."""

    at: float
    duration: float
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a try made of a message."""

    message: Message
    attempt: Attempt
    state: State
    due: float = 0.0
    """When it is due again, epoch seconds."""


class Added(NamedTuple):
    """A message that is new in the outbox of one endpoint."""

    endpoint: str
    number: int
    seq: int


def save_endpoint(db: sqlite3.Connection, endpoint: Endpoint) -> None:
    """Write an endpoint, new or changed; it is enabled then."""
    db.execute(
        "INSERT INTO endpoints(id, config) VALUES (?, ?) ON CONFLICT(id) "
        "DO UPDATE SET config=excluded.config, disabled=NULL",
        (endpoint.id, msgspec.json.encode(endpoint)),
    )


def load_endpoints(db: sqlite3.Connection) -> list[tuple[Endpoint, str | None]]:
    """Every endpoint, and why it is disabled if it is."""
    rows = db.execute("SELECT config, disabled FROM endpoints ORDER BY id").fetchall()
    return [
        (msgspec.json.decode(config, type=Endpoint), disabled)
        for config, disabled in rows
    ]


def delete_endpoint(db: sqlite3.Connection, endpoint: str) -> None:
    """Forget an endpoint and everything of it."""
    db.execute("DELETE FROM endpoints WHERE id=?", (endpoint,))


def disable_endpoint(
    db: sqlite3.Connection, endpoint: str, reason: str, now: float
) -> None:
    """Send it nothing more; what waits for it becomes dead letters."""
    db.execute("UPDATE endpoints SET disabled=? WHERE id=?", (reason, endpoint))
    db.execute(
        "UPDATE messages SET state='dead', ended=?, error=? "
        "WHERE endpoint=? AND state='waiting'",
        (now, reason, endpoint),
    )


def append(
    db: sqlite3.Connection, messages: Sequence[tuple[NewMessage, Sequence[str]]]
) -> list[list[Added]]:
    """Write each message for its endpoints; for each, what is new in the outbox.

    An id an endpoint has had already is not written again, and nothing is written for
    an endpoint that is gone.
    """
    added: list[list[Added]] = [[] for _ in messages]
    if not messages:
        return added
    # Each statement crosses between two threads twice, so many rows share one.
    wanted = {
        (endpoint, message.id): (message, told)
        for (message, endpoints), told in zip(messages, added, strict=True)
        for endpoint in endpoints
    }
    endpoints = {name for (name,) in db.execute("SELECT id FROM endpoints")}
    known = set(_select(db, _KNOWN, wanted))
    new = {
        key: value
        for key, value in wanted.items()
        if key not in known and key[0] in endpoints
    }
    lanes = {(endpoint, message.task): 0 for (endpoint, _), (message, _) in new.items()}
    for endpoint, task, last in _select(db, _LAST, lanes):
        lanes[endpoint, task] = last
    rows = list(_numbered(db, new, lanes))
    _insert(
        db,
        "INSERT INTO messages(n, endpoint, task, seq, id, type, created, body) VALUES",
        rows,
    )
    touched = {(row[1], row[2]): row[6] for row in rows}
    _insert(
        db,
        "INSERT INTO lanes VALUES",
        [(*key, last, touched[key]) for key, last in lanes.items()],
        "ON CONFLICT(endpoint, task) DO UPDATE "
        "SET last=excluded.last, touched=excluded.touched",
    )
    return added


def _numbered(
    db: sqlite3.Connection,
    new: dict[tuple[str, str], tuple[NewMessage, list[Added]]],
    lanes: dict[tuple[str, str], int],
) -> Iterator[tuple[Any, ...]]:
    """Rows of new messages, counted in all and in their lanes."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name='messages'").fetchone()
    number = 0 if row is None else row[0]
    for (endpoint, _), (message, told) in new.items():
        number += 1
        lanes[endpoint, message.task] += 1
        seq = lanes[endpoint, message.task]
        told.append(Added(endpoint, number, seq))
        yield (
            *(number, endpoint, message.task, seq),
            *(message.id, message.type, message.created, message.body),
        )


def _select(
    db: sqlite3.Connection, query: str, keys: Iterable[tuple[str, str]]
) -> Iterator[Any]:
    for chunk in _chunks(list(keys)):
        yield from db.execute(query.replace("ROWS", _marks(chunk)), _flat(chunk))


def _insert(
    db: sqlite3.Connection, head: str, rows: Sequence[tuple[Any, ...]], tail: str = ""
) -> None:
    for chunk in _chunks(rows):
        db.execute(f"{head} {_marks(chunk)} {tail}", _flat(chunk))


def _chunks(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    for at in range(0, len(rows), CHUNK):
        yield rows[at : at + CHUNK]


def _marks(rows: Sequence[tuple[Any, ...]]) -> str:
    mark = f"({', '.join('?' * len(rows[0]))})"
    return ", ".join([mark] * len(rows))


def _flat(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]


def load_waiting(db: sqlite3.Connection) -> list[tuple[str, str, int, float]]:
    """Endpoint, task, number and due time of all that waits, oldest first."""
    return db.execute(
        "SELECT endpoint, task, n, due FROM messages WHERE state='waiting' ORDER BY n"
    ).fetchall()


def oldest(db: sqlite3.Connection, endpoints: Sequence[str]) -> float | None:
    """When the oldest message that waits was made."""
    found = [
        db.execute(
            "SELECT created FROM messages WHERE endpoint=? AND state='waiting' "
            "ORDER BY n LIMIT 1",
            (endpoint,),
        ).fetchone()
        for endpoint in endpoints
    ]
    return min((created for row in found if row for created in row), default=None)


def load_message(db: sqlite3.Connection, number: int) -> Message | None:
    """A message that waits."""
    row = db.execute(
        "SELECT n, id, seq, body, created, attempts, tries, since FROM messages "
        "WHERE n=? AND state='waiting'",
        (number,),
    ).fetchone()
    return None if row is None else Message(*row)


def record(db: sqlite3.Connection, results: Sequence[Result]) -> None:
    """Write what came of tries, at most one of each message: its new state and one
    line of history.

    A delivered message keeps its line and gives its body back.
    """
    for chunk in _chunks([_row(result) for result in results]):
        rows, values = _marks(chunk), _flat(chunk)
        for statement in (_SETTLE, _REMEMBER):
            db.execute(statement.replace("ROWS", rows), values)


def _row(result: Result) -> tuple[Any, ...]:
    message, attempt = result.message, result.attempt
    return (
        *(message.number, result.state, message.attempts + 1, message.tries + 1),
        *(result.due, attempt.status, attempt.error, attempt.at, attempt.duration),
    )


def redrive(
    db: sqlite3.Connection, endpoint: str, ids: Iterable[str] | None
) -> list[tuple[str, int]]:
    """Let dead letters wait again; the tasks and numbers of those, oldest first."""
    db.execute("UPDATE endpoints SET disabled=NULL WHERE id=?", (endpoint,))
    rows = db.execute(
        "SELECT task, n, id FROM messages WHERE endpoint=? AND state='dead' ORDER BY n",
        (endpoint,),
    ).fetchall()
    wanted = None if ids is None else set(ids)
    chosen = [(task, n) for task, n, key in rows if wanted is None or key in wanted]
    db.executemany(
        "UPDATE messages SET state='waiting', tries=0, since=NULL, due=0, ended=NULL "
        "WHERE n=?",
        [(n,) for _, n in chosen],
    )
    return chosen


def purge(
    db: sqlite3.Connection, *, delivered_before: float, dead_before: float
) -> int:
    """Forget messages that ended long ago; how many."""
    deleted = db.execute(
        "DELETE FROM messages WHERE (state='delivered' AND ended<?) "
        "OR (state='dead' AND ended<?)",
        (delivered_before, dead_before),
    ).rowcount
    # The lane without a task lives as long as its endpoint.
    db.execute(
        "DELETE FROM lanes WHERE task<>'' AND touched<? AND NOT EXISTS(SELECT 1 FROM "
        "messages m WHERE m.endpoint=lanes.endpoint AND m.task=lanes.task)",
        (min(delivered_before, dead_before),),
    )
    return deleted


def purge_endpoint(db: sqlite3.Connection, endpoint: str, state: State) -> int:
    """Forget all messages of an endpoint in a state; how many."""
    return db.execute(
        "DELETE FROM messages WHERE endpoint=? AND state=?", (endpoint, state)
    ).rowcount


def history(
    db: sqlite3.Connection,
    endpoint: str,
    *,
    state: str | None,
    before: int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """An endpoint's messages, newest first, each with its tries."""
    rows = db.execute(
        "SELECT n, id, type, task, seq, created, state, attempts, ended, status, error "
        "FROM messages WHERE endpoint=? AND (? IS NULL OR state=?) "
        "AND (? IS NULL OR n<?) ORDER BY n DESC LIMIT ?",
        (endpoint, state, state, before, before, limit),
    ).fetchall()
    return [_delivery(db, row) for row in rows]


def _delivery(db: sqlite3.Connection, row: Sequence[Any]) -> dict[str, Any]:
    n, key, kind, task, seq, created, state, attempts, ended, status, error = row
    tries = db.execute(
        "SELECT number, at, duration, status, error FROM attempts WHERE message=? "
        "ORDER BY number DESC LIMIT 20",
        (n,),
    ).fetchall()
    return {
        "number": n,
        "id": key,
        "event_type": kind,
        "task_id": task or None,
        "seq": seq,
        "state": state,
        "created_at": utc_text(created),
        "ended_at": None if ended is None else utc_text(ended),
        "attempts": attempts,
        "response_code": status,
        "error": error,
        "history": [
            {
                "attempt": number,
                "attempted_at": utc_text(at),
                "duration": duration,
                "response_code": code,
                "error": told,
            }
            for number, at, duration, code, told in tries
        ],
    }


def counts(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """For each endpoint: messages by state, tries, and the last good and bad one."""
    found: dict[str, dict[str, Any]] = {}
    for endpoint, state, number in db.execute(
        "SELECT endpoint, state, COUNT(*) FROM messages GROUP BY endpoint, state"
    ):
        found.setdefault(endpoint, {})[state] = number
    for endpoint, total, good, last_good, last_bad in db.execute(
        "SELECT m.endpoint, COUNT(*), SUM(a.status BETWEEN 200 AND 299), "
        "MAX(CASE WHEN a.status BETWEEN 200 AND 299 THEN a.at END), "
        "MAX(CASE WHEN a.status BETWEEN 200 AND 299 THEN NULL ELSE a.at END) "
        "FROM attempts a JOIN messages m ON m.n=a.message GROUP BY m.endpoint"
    ):
        found.setdefault(endpoint, {}).update(
            requests=total, successes=good or 0, last_good=last_good, last_bad=last_bad
        )
    return found
