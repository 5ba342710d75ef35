"""The journal on disk: history that reaches further back and outlives the process.

Theory of operation
-------------------
Publishing never waits for the disk. Every event goes to clients at once and waits here
to be written, so a crash takes with it the events that clients have seen and the disk
has not. The same number must then never be given to another event:

    state.last          what the disk has
    state.reserved      what this process may give out; written before it does

      written │ waiting │ not given yet │
    ──────────┼─────────┼───────────────┼──────────────►  numbers
           last     bus.seq          reserved

1. `open` reads `reserved` as R, writes R + RESERVE in its place, and only then does the
   bus go on, in the same epoch, at R + 2. Every number the dead process may have given
   is R or less. So (epoch, seq) names one event for ever (BUS-4).
2. Numbers from `last` to R + 1 have no event. Whoever comes back from before is given
   what there is and a `gap` over the rest: some of it may have been lost. It covers a
   number even where `last` is R: what came then had another epoch (3) and is lost.
3. Each commit of events moves `reserved` on. When the disk fails for so long that the
   numbers run out, the bus begins another epoch by itself. Its numbers go on, so
   positions of either epoch hold; the next commit writes down where the first ended.
4. `close` writes what waits and gives back the numbers that were not used, so that an
   orderly restart leaves no gap. What is published later has an epoch of its own.
5. A file that is taken over by another process is not written to any more. Both give
   only numbers they have reserved.

Reading goes from old to new: pages on disk, then what waits here, then the ring. What
waits is bounded; beyond that the oldest is let go and told as a gap later.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from praxis_fast.errors import ResourceLimitError, StoreError, UsageError
from praxis_fast.events.encode import encode
from praxis_fast.events.journal import store
from praxis_fast.events.journal.ring import EVICTED, Entry, Journal, Past, ResetError
from praxis_fast.events.journal.store import Kept, Page, TakenOverError
from praxis_fast.events.journal.stored_event import entry_of, text_of
from praxis_fast.limits import Limits
from praxis_fast.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.events.bus import EventBus, SinkHandle
    from praxis_fast.events.event import Event

    Report = Callable[[str, str], None]

logger = logging.getLogger(__name__)

# Numbers reserved ahead of the newest event on disk: more than a second of publishing
# at full speed, minutes of an ordinary agent while the disk fails.
RESERVE = 1 << 17

# A page is encoded in one step of the loop, well under a millisecond; this many share
# a write.
PAGE_EVENTS = 128
PAGE_BYTES = 256 * 1024
PAGES = 16

# s until a write that failed is tried again, and between looks for what is too old.
RETRY = 1.0
CLEAN_UP = 60.0

# Runs of lost events that are told apart.
MAX_LOSSES = 64

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class JournalFile:
    """Writes what a bus publishes to a file, and owns the bus's numbers while open.

    `journal` is the ring in front of it; hand that to the gateway. `report(code,
    message)` hears what an operator should know.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        bus: EventBus,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        report: Report = lambda code, message: None,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
    ) -> None:
        limits = limits or Limits()
        self.path = Path(path)
        self._bus = bus
        self._limits = limits.journal_file
        self._ring_limits = limits.journal
        self._clock = clock
        self._wall_clock = wall_clock
        self._report = report
        self._make = partial(
            Database, path, store.SCHEMA, limits=limits.store, connect=connect
        )
        self._db = self._make()
        self._owner = os.urandom(8).hex()
        self._journal: Journal | None = None
        self._kept = Kept("", 1, 0, 0, 0)
        self._former: dict[str, int] = {}
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._writing: list[Entry] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._sink: SinkHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_closing = False
        self._final_epoch = ""
        self.is_degraded = False
        """Whether events are not being written at present."""
        self._losses: list[range] = []
        self.lost = 0
        """Events that were let go before they could be written."""

    async def open(self) -> None:
        """Continue what the file holds, or begin; StoreError when it cannot be used."""
        try:
            await self._take_over()
        except StoreError as error:
            if getattr(error.__cause__, "sqlite_errorcode", None) not in _CORRUPT:
                raise
            await self._set_aside(error)
            await self._take_over()
        self._journal = Journal(
            self._bus,
            self._ring_limits,
            encode=encode,
            clock=self._clock,
            past=self,
            former=self._former,
        )
        # After the journal, which has then encoded the event.
        self._sink = self._bus.add_sink(self._on_event)
        self._task = asyncio.create_task(self._run(), name="journal file")

    async def _take_over(self) -> None:
        await self._db.open()
        bus = self._bus
        try:
            work = partial(
                store.take_over,
                owner=self._owner,
                epoch=bus.epoch,
                seq=bus.seq,
                ahead=RESERVE,
            )
            taken = await self._db.write(work)
        except BaseException:
            await self._db.close()
            raise
        self._kept, self._former = taken.kept, taken.former
        bus.continue_epoch(taken.kept.epoch, taken.start)
        # Whatever had these numbers is not here any more, or came before we listened.
        self._losses = [range(taken.kept.last + 1, bus.seq + 1)]
        bus.reserve(taken.start + RESERVE)

    async def _set_aside(self, error: StoreError) -> None:
        """History is lost: keep the broken file for whoever can mend it."""
        await self._db.close()
        aside = self.path.with_name(self.path.name + ".broken")
        for end in ("", "-wal", "-shm"):
            source = self.path.with_name(self.path.name + end)
            if await asyncio.to_thread(source.exists):
                await asyncio.to_thread(os.replace, source, f"{aside}{end}")
        self._db = self._make()
        logger.error("journal: %s; begun anew, the old one is %s", error, aside)
        self._report("journal_broken", f"{error}; begun anew, the old one is {aside}")

    async def close(self, timeout: float = 5.0) -> None:
        """Write what waits, as far as `timeout` allows, and close; may be called twice.

        The bus goes on in an epoch of its own.
        """
        if self._is_closing:
            return
        self._is_closing = True
        if self._sink is not None:
            self._sink.close()
        if self._journal is not None:
            self._journal.close()
        self._final_epoch, seq = self._bus.epoch, self._bus.seq
        self._bus.begin_epoch()
        if self._task is not None:
            self._changed.set()
            await asyncio.wait({self._task}, timeout=timeout)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            if not self.waiting:
                await self._rest(seq)
        self._end_waiters(StoreError("the journal was closed"))
        await self._db.close()

    async def _rest(self, seq: int) -> None:
        try:
            await self._db.write(partial(store.rest, owner=self._owner, seq=seq))
        except StoreError as error:
            logger.warning("journal: not ended in order: %s", error)

    # what there is

    @property
    def journal(self) -> Journal:
        """The ring in front of the file."""
        if self._journal is None:
            raise UsageError("the journal is not open")
        return self._journal

    @property
    def first(self) -> int:
        """The oldest event that can be read."""
        return self._kept.first

    @property
    def last(self) -> int:
        """The newest event on disk."""
        return self._kept.last

    @property
    def events(self) -> int:
        """Events on disk."""
        return self._kept.events

    @property
    def size(self) -> int:
        """Bytes of events on disk."""
        return self._kept.size

    @property
    def waiting(self) -> int:
        """Events not yet written."""
        return len(self._waiting) + len(self._writing)

    async def written(self, seq: int) -> None:
        """Returns when an event is on disk; StoreError when it will never be."""
        if seq > self._bus.seq:
            raise UsageError(f"event {seq} was not published yet")
        self._check_written(seq)
        if seq <= self._kept.last:
            return
        if self._is_closing or self._task is None or self._task.done():
            raise StoreError("the journal is not written")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((seq, done))
        await done

    # what the journal asks

    async def read(self, position: int, max_events: int) -> Past:
        """The next events after a position, from disk or from what waits.

        Raises ResetError when they were let go or cannot be read.
        """
        pending = self._pending_first()
        if pending is not None and pending <= position + 1:
            return self._read_pending(position, max_events)
        # Whatever is older than this is on disk by now, or never will be.
        upto = self.journal.last if pending is None else pending - 1
        work = partial(
            store.read, owner=self._owner, position=position, max_events=max_events
        )
        try:
            oldest, events = await self._db.read(work)
        except (StoreError, UsageError) as error:  # it may be closed already
            logger.warning("journal: %s", error)
            raise ResetError(EVICTED) from error
        if oldest is not None and position + 1 < oldest and oldest <= upto:
            # Let go meanwhile.
            raise ResetError(EVICTED)
        entries = [entry_of(event) for event in events]
        newest = entries[-1].event.seq if entries else position
        return Past(
            entries, newest if len(entries) >= max_events else max(newest, upto)
        )

    def _read_pending(self, position: int, max_events: int) -> Past:
        pending = (*self._writing, *self._waiting)
        entries = [entry for entry in pending if entry.event.seq > position]
        entries = entries[:max_events]
        # The newest may have been too large to wait.
        upto = entries[-1].event.seq if entries else self.journal.first - 1
        return Past(entries, max(upto, position))

    def _pending_first(self) -> int | None:
        pending = self._writing or self._waiting
        return pending[0].event.seq if pending else None

    # writing

    def _on_event(self, event: Event) -> None:
        entry = self.journal.newest
        if entry is None or entry.event.seq != event.seq:
            # Larger than the whole ring, or already gone.
            self._lose(event.seq)
            return
        self._waiting.append(entry)
        self._waiting_bytes += entry.size
        self._trim()
        self._changed.set()

    def _trim(self) -> None:
        limits = self._limits
        while self._waiting and (
            len(self._waiting) > limits.max_waiting
            or self._waiting_bytes > limits.max_waiting_bytes
        ):
            entry = self._waiting.popleft()
            self._waiting_bytes -= entry.size
            self._lose(entry.event.seq)

    def _lose(self, seq: int) -> None:
        self.lost += 1
        losses = self._losses
        if losses and losses[-1].stop == seq:
            losses[-1] = range(losses[-1].start, seq + 1)
            return
        losses.append(range(seq, seq + 1))
        if len(losses) > MAX_LOSSES:
            # Rather a loss too many than an event that is not there.
            losses[:2] = [range(losses[0].start, losses[1].stop)]

    def _check_written(self, seq: int) -> None:
        if any(seq in loss for loss in self._losses):
            raise StoreError(f"event {seq} was lost before it was written")

    async def _run(self) -> None:
        try:
            await self._work()
        except Exception as error:
            logger.exception("journal: nothing is written any more")
            self._give_up(StoreError(f"nothing is written any more: {error}"))

    async def _work(self) -> None:
        while not (self._is_closing and not self._waiting):
            try:
                if self._waiting:
                    await self._write()
                else:
                    await self._sleep()
            except TakenOverError as error:
                self._give_up(error)
                return
            except (StoreError, ResourceLimitError) as error:
                self._on_failure(error)
                if self._is_closing:
                    return
                await asyncio.sleep(RETRY)

    async def _sleep(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(CLEAN_UP):
                await self._changed.wait()
        except TimeoutError:
            work = partial(store.evict, limits=self._limits, now=self._wall_clock())
            self._kept = await self._db.write(work)

    async def _write(self) -> None:
        try:
            pages: list[Page] = []
            while self._waiting and len(pages) < PAGES:
                pages.append(self._page())
                await asyncio.sleep(0)
            self._kept = await self._append(pages)
        except BaseException:
            self._put_back()
            raise
        self._writing = []
        self._on_success()

    async def _append(self, pages: list[Page]) -> Kept:
        bus = self._bus
        epoch = self._final_epoch or bus.epoch
        reserved = bus.seq + RESERVE
        if epoch != self._kept.epoch:
            # On disk before anybody hears of it, the new epoch must be bounded too.
            bus.reserve(reserved)
        work = partial(
            store.append,
            pages=pages,
            owner=self._owner,
            epoch=epoch,
            former=self.journal.former,
            reserved=reserved,
            limits=self._limits,
        )
        kept = await self._db.write(work)
        if bus.epoch == epoch:
            bus.reserve(reserved)
        return kept

    def _page(self) -> Page:
        """The next events, moved from those that wait to those being written."""
        taken: list[Entry] = []
        size = 0
        while self._waiting and len(taken) < PAGE_EVENTS and size < PAGE_BYTES:
            entry = self._waiting.popleft()
            self._waiting_bytes -= entry.size
            size += entry.size
            taken.append(entry)
        self._writing += taken
        texts = [text for entry in taken if (text := text_of(entry)) is not None]
        return Page(
            taken[0].event.seq,
            taken[-1].event.seq,
            len(taken),
            self._wall_clock(),
            b"[" + b",".join(texts) + b"]",
        )

    def _put_back(self) -> None:
        self._waiting.extendleft(reversed(self._writing))
        self._waiting_bytes += sum(entry.size for entry in self._writing)
        self._writing = []
        self._trim()

    def _on_success(self) -> None:
        if self.is_degraded:
            self.is_degraded = False
            logger.warning("journal: written again")
            self._report("journal_written", "the journal is written again")
        last = self._kept.last
        ready = [pair for pair in self._waiters if pair[0] <= last]
        if ready:
            self._waiters = [pair for pair in self._waiters if pair[0] > last]
        for seq, done in ready:
            if done.done():
                continue
            try:
                self._check_written(seq)
            except StoreError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

    def _on_failure(self, error: Exception) -> None:
        if not self.is_degraded:
            self.is_degraded = True
            logger.error("journal: %s", error)
            self._report("journal_not_written", f"the journal is not written: {error}")

    def _give_up(self, error: StoreError) -> None:
        self._on_failure(error)
        self.journal.forget_past()
        self._end_waiters(error)
        if self._sink is not None:
            self._sink.close()
        self._waiting.clear()
        self._waiting_bytes = 0
        if not self._is_closing:
            self._bus.begin_epoch()

    def _end_waiters(self, error: StoreError) -> None:
        waiters, self._waiters = self._waiters, []
        for _, done in waiters:
            if not done.done():
                done.set_exception(error)
