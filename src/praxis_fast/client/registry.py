"""AgentRegistry: the peers of a running agent, as they are now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from praxis_fast.client.address import shown_url
from praxis_fast.client.agent_entry import TYPES, AgentEntry, entry_after, peer_of
from praxis_fast.client.items import Gap, Reset, Snapshot, StreamedEvent
from praxis_fast.client.stream import EventStream
from praxis_fast.errors import NetworkError, PraxisError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from praxis_fast.client.items import Item

    OnChange = Callable[[AgentEntry | None, AgentEntry | None], None]
    Wanted = str | Callable[[AgentEntry], bool]

logger = logging.getLogger(__name__)


class Watch:
    """A callback for changes, until it is closed."""

    def __init__(self, watches: set[Watch], on_change: OnChange) -> None:
        self._watches = watches
        self.on_change = on_change
        watches.add(self)

    def close(self) -> None:
        """Call it no more."""
        self._watches.discard(self)


class AgentRegistry(Mapping[str, AgentEntry]):
    """A view of an agent's peers by peer id, kept live by an EventStream of its own.

    Entering it returns when the present peers are there; options are those of
    EventStream. It begins with a snapshot, follows every change, and takes a new
    snapshot wherever the stream had to leave something out. While the connection is
    lost, `is_current` is False and the view stays as it was.

    An agent that is forgotten by the watched one leaves at the next snapshot; with
    `keep_disconnected=False` it leaves as soon as it is disconnected. Belongs to one
    event loop; the task that follows ends with the context.
    """

    def __init__(
        self, *args: Any, keep_disconnected: bool = True, **options: Any
    ) -> None:
        if not options.keys().isdisjoint(("types", "snapshot", "since")):
            raise UsageError("a registry chooses types, snapshot and since itself")
        self._stream = EventStream(*args, types=TYPES, snapshot=True, **options)
        self._keeps_disconnected = keep_disconnected
        self._entries: dict[str, AgentEntry] = {}
        self._included: tuple[str, int] | None = None
        self._is_complete = False
        self._watches: set[Watch] = set()
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.error: PraxisError | None = None
        """Why it follows no more."""

    # the view

    def __getitem__(self, peer_id: str) -> AgentEntry:
        return self._entries[peer_id]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<AgentRegistry of {shown_url(self._stream.url)}: {len(self)} agents>"

    @property
    def is_current(self) -> bool:
        """Whether the view is as the agent has it."""
        return self._is_complete and self._stream.is_following

    def connected(self) -> list[AgentEntry]:
        """Those that can be reached now."""
        return [entry for entry in self._entries.values() if entry.is_connected]

    def find(self, wanted: Wanted) -> AgentEntry | None:
        """The first agent that fits; a text is the name or id of a connected one."""
        fits = _named(wanted) if isinstance(wanted, str) else wanted
        return next(filter(fits, self._entries.values()), None)

    async def wait_for(
        self, wanted: Wanted, *, timeout: float | None = None
    ) -> AgentEntry:
        """The same as soon as there is one; TimeoutError when that takes too long.

        Raises what ended the registry, if it has ended.
        """
        async with asyncio.timeout(timeout), self._changed:
            while (entry := self.find(wanted)) is None:
                self._check()
                await self._changed.wait()
            return entry

    def on_change(self, callback: OnChange) -> Watch:
        """Call back with the agent before and after each change.

        Before is None for one that is new, after for one that is gone. Callbacks are
        called in order, between events, and should be quick.
        """
        return Watch(self._watches, callback)

    # its life

    async def start(self) -> None:
        """Connect and take the first snapshot."""
        if self._task is not None:
            raise UsageError("a registry is started once")
        await self._stream.connect()
        self._task = asyncio.create_task(self._follow())
        async with self._changed:
            while not self._is_complete:
                self._check()
                await self._changed.wait()

    async def close(self) -> None:
        """Follow no more; the view stays as it is."""
        await self._stream.close()
        if self._task is not None:
            # It may be on its way to a new connection, which can take long.
            self._task.cancel()
            await asyncio.wait({self._task})

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # inside

    def _check(self) -> None:
        if self.error is not None:
            raise self.error
        if self._stream.is_closed:
            raise NetworkError("the registry is closed")

    async def _follow(self) -> None:
        try:
            async for item in self._stream:
                self._apply(item)
                await self._tell_waiters()
        except PraxisError as error:
            self.error = error
        except Exception:
            logger.exception("the registry failed")
            self.error = PraxisError("the registry failed; see its log record")
        finally:
            await self._tell_waiters()

    async def _tell_waiters(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _apply(self, item: Item) -> None:
        match item:
            case StreamedEvent():
                self._on_event(item)
            case Snapshot():
                self._on_snapshot(item)
            case Gap() | Reset():
                self._is_complete = False

    def _on_event(self, event: StreamedEvent) -> None:
        epoch, seq = self._included or ("", 0)
        if event.epoch == epoch and event.seq <= seq:
            # Older than the snapshot, which knows better.
            return
        peer_id = peer_of(event)
        if peer_id is not None:
            self._put(peer_id, entry_after(event, self._entries.get(peer_id)))

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        present: dict[str, AgentEntry] = {}
        for event in snapshot.events:
            peer_id = peer_of(event)
            entry = entry_after(event, present.get(peer_id or ""))
            if peer_id is not None and entry is not None:
                present[peer_id] = entry
        for peer_id in self._entries.keys() - present.keys():
            self._put(peer_id, None)
        for peer_id, entry in present.items():
            self._put(peer_id, entry)
        self._included = snapshot.position
        self._is_complete = True

    def _put(self, peer_id: str, after: AgentEntry | None) -> None:
        if after is not None and not self._keeps_disconnected:
            after = None if after.status == "disconnected" else after
        before = self._entries.get(peer_id)
        if before == after:
            return
        if after is None:
            del self._entries[peer_id]
        else:
            self._entries[peer_id] = after
        for watch in tuple(self._watches):
            self._call(watch, before, after)

    @staticmethod
    def _call(
        watch: Watch, before: AgentEntry | None, after: AgentEntry | None
    ) -> None:
        try:
            watch.on_change(before, after)
        except Exception:
            # Users' code: its fault must not end the registry (BUS-2).
            logger.exception("a callback of the registry failed")


def _named(wanted: str) -> Callable[[AgentEntry], bool]:
    def fits(entry: AgentEntry) -> bool:
        return entry.is_connected and wanted in (entry.name, entry.peer_id)

    return fits
