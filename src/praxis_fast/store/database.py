"""A SQLite file that acknowledges only what is on the disk."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from praxis_fast.errors import StoreError, UsageError
from praxis_fast.limits import StoreLimits
from praxis_fast.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from praxis_fast.store.writer import OnFault

T = TypeVar("T")

# FULL: each commit is on the disk when it returns, so that an acknowledged write
# survives power loss; NORMAL would lose the last ones. `fullfsync` matters on macOS.
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA fullfsync=ON",
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA journal_size_limit=67108864",
)
# Another process may look into the file meanwhile (backup, sqlite3).
_BUSY_TIMEOUT = 5.0
_FREE_SHARE = 0.02


class Database:
    """One file, one writer thread, one reader thread; belongs to the running loop.

    `schema` holds one script for each version of the file; an older file gets those it
    has not seen. Files are readable by us alone.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        schema: Sequence[str],
        *,
        limits: StoreLimits | None = None,
        on_fault: OnFault | None = None,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
    ) -> None:
        self.path = Path(path)
        self._schema = tuple(schema)
        self._limits = limits or StoreLimits()
        self._on_fault = on_fault
        self._make = partial(connect, timeout=_BUSY_TIMEOUT, isolation_level=None)
        self._writer: Writer | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._reading: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Make the file or bring it up to date; StoreError when that cannot be done."""
        try:
            await asyncio.to_thread(self._prepare)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path} cannot be opened: {error}") from error
        self._writer = Writer(
            self._connect,
            asyncio.get_running_loop(),
            limits=self._limits,
            check_space=self._check_space,
            on_fault=self._on_fault,
        )
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="praxis-store-read")

    async def close(self) -> None:
        """Write what waits and close the file; may be called twice."""
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        if writer is not None:
            await asyncio.to_thread(writer.close)
        if reader is not None:
            await asyncio.get_running_loop().run_in_executor(reader, self._end_reading)
            reader.shutdown()

    def write(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have `work(connection)` done in the writer's thread, atomically.

        The future has the result once it is on the disk, or StoreError when it is not;
        it need not be awaited. Raises ResourceLimitError when too much is waiting.
        """
        if self._writer is None:
            raise UsageError("the database is not open")
        return self._writer.submit(work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work(connection)`, which sees one state, changes nothing."""
        if self._reader is None:
            raise UsageError("the database is not open")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self._read, work)

    # in threads

    def _prepare(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        # SQLite gives its other files the mode of this one.
        descriptor = os.open(self.path, flags, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        connection = self._connect()
        try:
            self._migrate(connection)
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = self._make(self.path)
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            # Whatever a failed fsync left in the log is brought to the disk or refused.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(self._schema):
            raise StoreError(
                f"{self.path} has version {version}, known up to {len(self._schema)}"
            )
        for number, script in enumerate(self._schema[version:], version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA user_version={number}; COMMIT"
            )

    def _check_space(self) -> None:
        found = os.statvfs(self.path.parent)
        free = found.f_bavail * found.f_frsize
        share = int(found.f_blocks * found.f_frsize * _FREE_SHARE)
        least = min(self._limits.min_free, share)
        if free < least:
            raise StoreError(f"{free} bytes free on the disk, at least {least} needed")

    def _read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            if self._reading is None:
                self._reading = self._make(self.path)
                self._reading.execute("PRAGMA query_only=ON")
            self._reading.execute("BEGIN")
            try:
                return work(self._reading)
            finally:
                self._reading.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._end_reading()
            raise StoreError(f"{self.path.name} cannot be read: {error}") from error

    def _end_reading(self) -> None:
        connection, self._reading = self._reading, None
        if connection is not None:
            connection.close()
