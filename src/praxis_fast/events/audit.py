"""The audit log: what happened, in a form that tells when it was changed (AUD-1)."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from praxis_fast.errors import MessageError, ResourceLimitError, StoreError
from praxis_fast.events import audit_store as store
from praxis_fast.events.event import EventFilter
from praxis_fast.events.webhooks.body import webhook_body
from praxis_fast.limits import StoreLimits
from praxis_fast.store.database import Database
from praxis_fast.store.futures import fail_futures
from praxis_fast.store.text import storable
from praxis_fast.wire.json_text import encode_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from praxis_fast.events.audit_store import Report
    from praxis_fast.events.event import Event

    Tell = Callable[[str, str], None]

logger = logging.getLogger(__name__)

MAX_LIMIT = 10_000

_CLEAN_UP = 3600.0
_KEY_SIZE = 32


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """How much an audit log holds."""

    first: int
    """The number of the oldest entry there is."""
    last: int
    """The number of the newest one; less than `first` when there is none."""

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return max(0, self.last - self.first + 1)


class AuditLog:
    """Writes events of some types, and answers what was written.

    Belongs to one running loop. `retention` is in seconds; None keeps everything. The
    key that seals the log's ends lies beside it, `<path>.key`: keep it elsewhere too,
    and a log that was made anew as a whole is found out.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        types: Iterable[str],
        retention: float | None = None,
        limits: StoreLimits | None = None,
        wall_clock: Callable[[], float] = time.time,
        report: Tell = lambda code, message: None,
    ) -> None:
        self._key_path = Path(f"{os.fspath(path)}.key")
        self._key = b""
        self._filter = EventFilter(event_types=types)
        self._retention = retention
        self._wall_clock = wall_clock
        self._report = report
        self._db = Database(
            path, store.SCHEMA, limits=limits, on_fault=self._on_store_fault
        )
        # Entries of this turn of the loop, and how many the disk has not yet.
        self._batch: list[tuple[store.Entry, asyncio.Future[int]]] = []
        self._under_way = 0
        self._max_under_way = (limits or StoreLimits()).max_queued
        self._is_full = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False
        self.written = 0
        """Entries written since the start."""
        self.faults = 0
        """How often `verify` found the log changed."""
        self.last_check: tuple[float, bool] | None = None
        """When `verify` last went through it, and whether it was whole."""
        self.refused = 0
        """Events that could not be taken: the disk is full, or too much is waiting."""

    async def open(self) -> None:
        """Open the log; StoreError when it cannot be used."""
        await self._db.open()
        try:
            self._key = await asyncio.to_thread(_load_key, self._key_path)
        except OSError as error:
            await self._db.close()
            raise StoreError(f"{self._key_path} cannot be used: {error}") from error
        self._is_open = True
        self._clean_up()

    async def close(self) -> None:
        """Write what waits and close; may be called twice."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        await self._db.close()

    def sink(self, event: Event) -> None:
        """Take an event of the bus."""
        self._append(event)

    def append(self, event: Event) -> asyncio.Future[int] | None:
        """Write an event if its type is one to be written; done when on the disk."""
        written = self._append(event)
        return None if written is None else asyncio.shield(written)

    async def query(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        types: Iterable[str] = (),
        task: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Entries in order, oldest first; `after` is the last number one has."""
        entries = await self._db.read(
            partial(
                store.query,
                since=since,
                until=until,
                types=tuple(types),
                task=task,
                after=after,
                limit=min(limit, MAX_LIMIT),
            )
        )
        return [entry | {"event": orjson.loads(entry["event"])} for entry in entries]

    async def verify(self) -> Report:
        """Whether anybody changed, cut or reordered what was written."""
        report = await self._db.read(partial(store.verify, key=self._key))
        if not report.is_intact:
            self.faults += 1
            # Anybody may ask again; what was found is said when it is found.
            if self.last_check is None or self.last_check[1]:
                text = f"audit log: {report.fault}, at entry {report.at}"
                logger.error("%s", text)
                self._report("audit_changed", text)
        self.last_check = (self._wall_clock(), report.is_intact)
        return report

    async def figures(self) -> AuditFigures:
        """How much it holds."""
        first, last = await self._db.read(store.span)
        return AuditFigures(first, last)

    async def let_go(self, before: float) -> int:
        """Delete what was written before a time; an anchor keeps the chain whole."""
        return await self._db.write(self._letting_go(before))

    # inside

    def _append(self, event: Event) -> asyncio.Future[int] | None:
        if not self._is_open or not self._filter.matches(event):
            return None
        if self._under_way >= self._max_under_way:
            self._refuse(
                f"entry {self._under_way + 1} waiting for the disk, "
                f"limit {self._max_under_way}"
            )
            return None
        self._under_way += 1
        loop = asyncio.get_running_loop()
        written: asyncio.Future[int] = loop.create_future()
        self._batch.append((self._entry(event), written))
        if len(self._batch) == 1:
            # A job for the database costs the same whatever is in it.
            loop.call_soon(self._flush)
        return written

    def _entry(self, event: Event) -> store.Entry:
        return store.Entry(
            at=self._wall_clock(),
            time=storable(event.time),
            type=storable(event.type),
            task=None if event.task_id is None else storable(event.task_id),
            peer=None if event.peer_id is None else storable(event.peer_id),
            event=_encoded(event),
        )

    def _flush(self) -> None:
        """Hand the database what came in a turn of the loop."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        entries, futures = zip(*batch, strict=True)
        try:
            written = self._db.write(
                partial(store.append, entries=entries, key=self._key)
            )
        except ResourceLimitError as error:
            self._refuse(str(error), len(futures))
            self._fail(futures, error)
        else:
            written.add_done_callback(partial(self._on_written, futures))

    def _on_written(
        self, futures: Sequence[asyncio.Future[int]], written: asyncio.Future[int]
    ) -> None:
        if (error := written.exception()) is not None:
            self.refused += len(futures)
            self._fail(futures, error)
            return
        self._under_way -= len(futures)
        self._is_full = self._is_full and self._under_way > 0
        self.written += len(futures)
        for number, future in enumerate(futures, written.result()):
            if not future.done():
                future.set_result(number)

    def _fail(
        self, futures: Sequence[asyncio.Future[int]], error: BaseException
    ) -> None:
        self._under_way -= len(futures)
        fail_futures(futures, error)

    def _refuse(self, reason: str, number: int = 1) -> None:
        """Count it; tell it once until there is room again."""
        self.refused += number
        if not self._is_full:
            self._is_full = True
            logger.error("audit: not written: %s", reason)
            self._report("audit_not_written", f"audit log: {reason}")

    def _on_store_fault(self, error: StoreError | None) -> None:
        if error is not None:
            self._report("audit_not_written", f"audit log: {error}")

    def _letting_go(self, before: float) -> Callable[[sqlite3.Connection], int]:
        return partial(
            store.let_go, before=before, now=self._wall_clock(), key=self._key
        )

    def _clean_up(self) -> None:
        """Let old entries go, now and every hour."""
        if self._retention is None:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_CLEAN_UP, self._clean_up)
        try:
            self._db.write(self._letting_go(self._wall_clock() - self._retention))
        except ResourceLimitError as error:
            logger.warning("audit: old entries stay: %s", error)


def _encoded(event: Event) -> bytes:
    """The event; of one that has no JSON form, what there is besides its data."""
    try:
        return webhook_body(event)
    except (MessageError, TypeError, ValueError) as error:
        logger.warning("audit: data of event %s is left out: %s", event.id, error)
        told: dict[str, Any] = {"id": event.id, "type": event.type, "time": event.time}
        told["required_role"] = event.required_role
        return encode_json({**told, "data": None})


def _load_key(path: Path) -> bytes:
    """The key that seals the log's ends; made at first, never replaced."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != _KEY_SIZE:
            raise OSError(f"{len(key)} bytes are no key") from None
        return key
    with open(descriptor, "wb") as file:
        key = os.urandom(_KEY_SIZE)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key
