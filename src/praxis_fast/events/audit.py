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
from praxis_fast.store.database import Database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from praxis_fast.events.audit_store import Report
    from praxis_fast.events.event import Event
    from praxis_fast.limits import StoreLimits

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
        entry = store.Entry(
            at=self._wall_clock(),
            time=event.time,
            type=event.type,
            task=event.task_id,
            peer=event.peer_id,
            event=_encoded(event),
        )
        try:
            written = self._db.write(partial(store.append, entry=entry, key=self._key))
        except ResourceLimitError as error:
            self._refuse(str(error))
            return None
        written.add_done_callback(self._on_written)
        return written

    def _on_written(self, written: asyncio.Future[int]) -> None:
        if written.exception() is None:
            self.written += 1
        else:
            self.refused += 1

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        if self.refused == 1:
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
        return orjson.dumps({**told, "data": None})


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
