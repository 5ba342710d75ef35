"""What the outbox writes in one turn of the loop, as one job of its database.

A job costs a lock, a wake-up and several crossings between two threads, whatever is in
it. Messages and results of tries come in bursts, so they share one.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from praxis_fast.errors import ResourceLimitError, StoreError
from praxis_fast.events.webhooks import store
from praxis_fast.store.futures import fail_futures

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from praxis_fast.events.webhooks.store import Added, Message, NewMessage, Result
    from praxis_fast.store.database import Database

    Appended = asyncio.Future[list[Added]]

logger = logging.getLogger(__name__)


class Writes:
    """Collects writes until the turn ends; `max_waiting` messages may be under way."""

    def __init__(self, db: Database, max_waiting: int) -> None:
        self._db = db
        self._max_waiting = max_waiting
        self._waiting = 0
        self._messages: list[tuple[NewMessage, Sequence[str]]] = []
        self._futures: list[Appended] = []
        self._results: dict[int, Result] = {}
        # The newest of each message, until it is on the disk.
        self._unwritten: dict[int, Result] = {}
        self._is_scheduled = False

    def append(self, message: NewMessage, endpoints: Sequence[str]) -> Appended:
        """Write a message for these endpoints; done when it is on the disk.

        Raises ResourceLimitError when too many are under way.
        """
        if self._waiting >= self._max_waiting:
            raise ResourceLimitError(
                f"message {self._waiting + 1} waiting for the disk, "
                f"limit {self._max_waiting}"
            )
        self._waiting += 1
        done: Appended = asyncio.get_running_loop().create_future()
        self._messages.append((message, endpoints))
        self._futures.append(done)
        self._schedule()
        return done

    def record(self, result: Result) -> None:
        """Write what came of a try; nobody waits for it."""
        number = result.message.number
        if number in self._results:
            self.flush()
        result = replace(result, message=replace(result.message, body=b""))
        self._results[number] = self._unwritten[number] = result
        self._schedule()

    def tried(self, number: int) -> Message | None:
        """A message, without its body, after a try that is not on the disk yet."""
        result = self._unwritten.get(number)
        return None if result is None else result.message.tried(result.attempt)

    def write(self, work: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        """Have something else done, behind everything collected so far."""
        self.flush()
        return self._db.write(work)

    def flush(self) -> None:
        """Hand the database what was collected."""
        self._is_scheduled = False
        messages, self._messages = self._messages, []
        futures, self._futures = self._futures, []
        results, self._results = list(self._results.values()), {}
        if not messages and not results:
            return
        try:
            written = self._db.write(
                partial(_write, messages=messages, results=results)
            )
        except (ResourceLimitError, StoreError) as error:
            logger.warning("outbox: not written: %s", error)
            self._fail(futures, results, error)
        else:
            written.add_done_callback(partial(self._on_written, futures, results))

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def _on_written(
        self,
        futures: list[Appended],
        results: list[Result],
        written: asyncio.Future[list[list[Added]]],
    ) -> None:
        error = written.exception()
        if error is not None:
            self._fail(futures, results, error)
            return
        self._waiting -= len(futures)
        self._forget(results)
        for future, added in zip(futures, written.result(), strict=True):
            if not future.done():
                future.set_result(added)

    def _fail(
        self, futures: list[Appended], results: list[Result], error: BaseException
    ) -> None:
        self._waiting -= len(futures)
        fail_futures(futures, error)
        if not isinstance(error, (ResourceLimitError, StoreError)):
            self._forget(results)
            return
        # The disk's fault, not theirs: they go with the next write.
        for result in results:
            number = result.message.number
            if self._unwritten.get(number) is result:
                self._results[number] = result

    def _forget(self, results: list[Result]) -> None:
        for result in results:
            if self._unwritten.get(result.message.number) is result:
                del self._unwritten[result.message.number]


def _write(
    db: sqlite3.Connection,
    messages: Sequence[tuple[NewMessage, Sequence[str]]],
    results: Sequence[Result],
) -> list[list[Added]]:
    store.record(db, results)
    return store.append(db, messages)
