"""The one thread that writes a database: many writes share a commit.

Theory of operation
-------------------
    submit ─► queue ─► batch (256 writes or 5 ms) ─► BEGIN … COMMIT ─► futures resolved

A write is acknowledged (its future resolved) only after the commit that holds it has
reached the disk. Each write stands in a savepoint of its own: one that fails takes only
itself back. A disk that is full or broken fails the whole batch; nothing of it is
acknowledged, `on_fault` hears of it once, and the next batch tries again (DB-3).

After a failed fsync the kernel may have thrown the written pages away and called them
clean, so the handle is never used again (DB-4). The next one begins with a checkpoint
that empties the log: no later commit stands behind frames that are not on the disk.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from praxis_fast.errors import ResourceLimitError, StoreError, UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from praxis_fast.limits import StoreLimits

    Work = Callable[[sqlite3.Connection], Any]
    OnFault = Callable[[StoreError | None], None]

logger = logging.getLogger(__name__)

# These are one write's own fault; the rest is the database's.
_OWN_FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
)


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class Writer:
    """Runs writes on a connection of its own until `close`.

    `connect` makes the connection, in the thread; it is called again after an I/O
    error. `check_space` raises StoreError when the disk is nearly full. `on_fault` is
    called in the loop: with the error when writing stops, with None when it goes again.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        loop: asyncio.AbstractEventLoop,
        *,
        limits: StoreLimits,
        check_space: Callable[[], None] = lambda: None,
        on_fault: OnFault | None = None,
        name: str = "praxis-store",
    ) -> None:
        self._connect = connect
        self._loop = loop
        self._limits = limits
        self._check_space = check_space
        self._on_fault = on_fault
        self._connection: sqlite3.Connection | None = None
        self._is_failing = False
        self._queue: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        # A daemon: whoever forgets `close` must not hang the interpreter. What was
        # acknowledged is on the disk either way.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> asyncio.Future[Any]:
        """Have `work(connection)` done; the future has its result once committed."""
        with self._changed:
            if self._is_closing:
                raise UsageError("the database is closed")
            if len(self._queue) >= self._limits.max_queued:
                raise ResourceLimitError(
                    f"write {len(self._queue) + 1} waiting, "
                    f"limit {self._limits.max_queued}"
                )
            job = _Job(work, self._loop.create_future())
            self._queue.append(job)
            # The thread sleeps only with no job at all, or for a batch to fill.
            if len(self._queue) in (1, self._limits.max_batch):
                self._changed.notify()
        return job.done

    def close(self) -> None:
        """Do what is queued, then close the connection; blocks until then."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    # in the thread

    def _run(self) -> None:
        while batch := self._next_batch():
            self._commit(batch)
            self._call_in_loop(_resolve, batch)
        self._disconnect()

    def _next_batch(self) -> list[_Job]:
        """Waits for a job, then a little for others; empty when it is time to end."""
        most = self._limits.max_batch
        with self._changed:
            while not self._queue and not self._is_closing:
                self._changed.wait()
            until = monotonic() + self._limits.commit_interval
            while len(self._queue) < most and not self._is_closing:
                if (rest := until - monotonic()) <= 0:
                    break
                self._changed.wait(rest)
            return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    def _commit(self, batch: list[_Job]) -> None:
        try:
            self._check_space()
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                _do(connection, job)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError, StoreError) as error:
            self._fail(batch, error)
        else:
            self._say_well()

    def _fail(self, batch: list[_Job], cause: Exception) -> None:
        error = StoreError(f"not written: {cause}")
        error.__cause__ = cause
        for job in batch:
            job.result, job.error = None, error
        if not isinstance(cause, StoreError) and not _is_full(cause):
            # Whatever it was, the handle has seen an I/O error: never trust it again.
            self._disconnect()
        elif self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._disconnect()
        if not self._is_failing:
            self._is_failing = True
            logger.error("database: %s", error)
            self._call_in_loop(self._on_fault, error)

    def _say_well(self) -> None:
        if self._is_failing:
            self._is_failing = False
            logger.warning("database: writing again")
            self._call_in_loop(self._on_fault, None)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except sqlite3.Error as error:
            logger.warning("database: not closed cleanly: %s", error)

    def _call_in_loop(self, call: Callable[..., None] | None, told: Any) -> None:
        if call is None:
            return
        try:
            self._loop.call_soon_threadsafe(call, told)
        except RuntimeError:
            # The loop has ended without closing us; nobody waits any more.
            logger.debug("database: the loop is gone")


def _do(connection: sqlite3.Connection, job: _Job) -> None:
    """Run one write; its own fault takes only itself back."""
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not isinstance(error, _OWN_FAULTS):
            raise
        connection.execute("ROLLBACK TO job")
        job.error = error
    connection.execute("RELEASE job")


def _is_full(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _resolve(batch: list[_Job]) -> None:
    for job in batch:
        if job.done.done():
            continue
        if job.error is None:
            job.done.set_result(job.result)
        else:
            job.done.set_exception(job.error)
            # Not everybody who writes waits for it; faults are told by `on_fault`.
            job.done.exception()
