"""The outbox on disk: endpoints, messages, and what came of each try.

Everything here is a function of a connection, run in one of the database's threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from praxis_fast.events.endpoint import Endpoint
from praxis_fast.events.event import utc_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

State = Literal["waiting", "delivered", "dead"]
STATES: tuple[State, ...] = ("waiting", "delivered", "dead")

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
)


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
    attempts: int
    tries: int
    since: float | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try and what came of it."""

    at: float
    duration: float
    status: int | None
    error: str | None


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
    db: sqlite3.Connection, message: NewMessage, endpoints: Sequence[str]
) -> list[tuple[str, int]]:
    """Write a message for each endpoint; the endpoints and numbers of the new ones.

    An id an endpoint has had already is not written again.
    """
    added: list[tuple[str, int]] = []
    for endpoint in endpoints:
        known = db.execute(
            "SELECT 1 FROM messages WHERE endpoint=? AND id=? "
            "UNION ALL SELECT 1 WHERE NOT EXISTS(SELECT 1 FROM endpoints WHERE id=?)",
            (endpoint, message.id, endpoint),
        ).fetchone()
        if known is None:
            added.append((endpoint, _append_one(db, message, endpoint)))
    return added


def _append_one(db: sqlite3.Connection, message: NewMessage, endpoint: str) -> int:
    ((seq,),) = db.execute(
        "INSERT INTO lanes VALUES (?, ?, 1, ?) ON CONFLICT(endpoint, task) "
        "DO UPDATE SET last=last+1, touched=excluded.touched RETURNING last",
        (endpoint, message.task, message.created),
    ).fetchall()
    number = db.execute(
        "INSERT INTO messages(endpoint, task, seq, id, type, created, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(endpoint, message.task, seq),
            *(message.id, message.type, message.created, message.body),
        ),
    ).lastrowid
    assert number is not None
    return number


def load_waiting(db: sqlite3.Connection) -> list[tuple[str, str, int, float]]:
    """Endpoint, task, number and due time of all that waits, oldest first."""
    return db.execute(
        "SELECT endpoint, task, n, due FROM messages WHERE state='waiting' ORDER BY n"
    ).fetchall()


def load_message(db: sqlite3.Connection, number: int) -> Message | None:
    """A message that waits."""
    row = db.execute(
        "SELECT n, id, seq, body, attempts, tries, since FROM messages "
        "WHERE n=? AND state='waiting'",
        (number,),
    ).fetchone()
    return None if row is None else Message(*row)


def record(
    db: sqlite3.Connection,
    message: Message,
    attempt: Attempt,
    state: State,
    due: float,
) -> None:
    """Write what came of a try: the message's new state and one line of history.

    A delivered message keeps its line and gives its body back.
    """
    number = message.attempts + 1
    db.execute(
        "UPDATE messages SET state=?, attempts=?, tries=?, due=?, status=?, error=?, "
        "since=COALESCE(since, ?), ended=?, body=CASE ? WHEN 'delivered' THEN NULL "
        "ELSE body END WHERE n=? AND state='waiting'",
        (
            *(state, number, message.tries + 1, due, attempt.status, attempt.error),
            *(attempt.at, None if state == "waiting" else attempt.at, state),
            message.number,
        ),
    )
    db.execute(
        "INSERT OR REPLACE INTO attempts SELECT ?, ?, ?, ?, ?, ? "
        "WHERE EXISTS(SELECT 1 FROM messages WHERE n=?)",
        (
            *(message.number, number, attempt.at, attempt.duration),
            *(attempt.status, attempt.error, message.number),
        ),
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
