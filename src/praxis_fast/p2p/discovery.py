"""Finding peers and keeping connected to them: mDNS, bootstrap, a table, a dial loop.

Theory of operation: everything that is heard (announcements, bootstrap addresses, what
the host says of connections) goes into the peer table; its events go to the observers
in order. One task asks the table and the bootstrap list what is due, begins the dials
and sleeps until the next deadline or a change. Both sides of a pair dial; the host
settles that (CON-6).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from praxis_fast.errors import AddressError, NetworkError, ProtocolError, UsageError
from praxis_fast.limits import Limits
from praxis_fast.p2p.bootstrap import Bootstrap
from praxis_fast.p2p.link import ASKED, SHUTDOWN
from praxis_fast.p2p.mdns import MDNS, SERVICE
from praxis_fast.p2p.peer_record import (
    Dial,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerRecord,
    PeerState,
    TableEvent,
)
from praxis_fast.p2p.peer_table import PeerTable
from praxis_fast.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from praxis_fast.p2p.host import Host
    from praxis_fast.p2p.observers import LinkInfo
    from praxis_fast.wire.identify import Identify
    from praxis_fast.wire.peer_id import PeerID

logger = logging.getLogger(__name__)


class PeerObserver(Protocol):
    """Told of peers, in order; the calls are quick and do not block."""

    def on_peer_discovered(self, record: PeerRecord) -> None: ...

    def on_peer_connected(self, record: PeerRecord) -> None: ...

    def on_peer_disconnected(self, record: PeerRecord, reason: str) -> None: ...


class Discovery:
    """Finds the peers of one host; ConfigError for a wrong bootstrap address.

    Without multicast `start` still succeeds: one warning is logged, `mdns_error` holds
    it, and bootstrap addresses do the work.
    """

    def __init__(
        self,
        host: Host,
        *,
        limits: Limits | None = None,
        bootstrap: Iterable[str | Multiaddr] = (),
        enable_mdns: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        interfaces: Sequence[str] | None = None,
        service: str = SERVICE,
    ) -> None:
        self._host = host
        self._limits = limits or Limits()
        self._clock = clock
        self._rng = rng or random.SystemRandom()
        self._interfaces = interfaces
        self._service = service
        self._enable_mdns = enable_mdns
        self._bootstrap = Bootstrap(bootstrap, self._limits.connections, self._rng)
        self._table = PeerTable(
            self._limits, clock(), rng=self._rng, wall_clock=wall_clock
        )
        self._observers: list[PeerObserver] = []
        self._untold: deque[TableEvent] = deque()
        self._is_telling = False
        self._changed = asyncio.Event()
        self._is_hearing = False  # what the host tells
        self._loop_task: asyncio.Task[None] | None = None
        self._dials: dict[asyncio.Task[PeerID | None], PeerID | Multiaddr] = {}
        self._mdns: MDNS | None = None
        self.mdns_error: NetworkError | None = None

    def add_observer(self, observer: PeerObserver) -> None:
        self._observers.append(observer)

    def remove_observer(self, observer: PeerObserver) -> None:
        self._observers.remove(observer)

    async def __aenter__(self) -> Discovery:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to announce, to listen and to dial; the host is started already."""
        if self._loop_task is not None:
            raise UsageError("discovery is already started")
        self.mdns_error = None
        if not self._is_hearing:
            self._host.add_observer(self)
            self._is_hearing = True
        self._catch_up()
        for peer_id, addrs in self._bootstrap.peers.items():
            if peer_id != self._host.peer_id:
                self._tell(self._table.add(peer_id, addrs, self._clock(), pinned=True))
        self._loop_task = asyncio.create_task(self._run(), name="discovery")
        try:
            if self._enable_mdns:
                await self._start_mdns()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Say goodbye and stop dialling; connections stay as they are."""
        if self._is_hearing:
            self._host.remove_observer(self)
            self._is_hearing = False
        await self.rest()

    async def rest(self) -> None:
        """Like `close`, and go on telling what becomes of the connections."""
        loop_task, self._loop_task = self._loop_task, None
        if loop_task is None:
            return
        mdns, self._mdns = self._mdns, None
        tasks = [loop_task, *self._dials]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if mdns is not None:
            await mdns.close()

    def snapshot(self) -> list[PeerRecord]:
        """All known peers, in the order they were found."""
        return self._table.snapshot()

    def record(self, peer_id: PeerID) -> PeerRecord | None:
        return self._table.record(peer_id)

    def add(self, peer_id: PeerID, addrs: Iterable[str | Multiaddr]) -> None:
        """Know this peer and connect to it; AddressError for a malformed address."""
        if peer_id == self._host.peer_id:
            raise UsageError("a host does not connect to itself")
        parsed = [a if isinstance(a, Multiaddr) else Multiaddr.parse(a) for a in addrs]
        self._tell(self._table.add(peer_id, parsed, self._clock()))
        self._changed.set()

    def forget(self, peer_id: PeerID) -> None:
        """Dial this peer no more; it leaves the table unless it is connected."""
        self._tell(self._table.forget(peer_id))

    # What the host tells.

    def on_connected(self, peer_id: PeerID, info: LinkInfo) -> None:
        if self._table.state(peer_id) is PeerState.CONNECTED:
            return
        address = None if info.inbound else _parsed(info.address)
        self._bootstrap.found(peer_id)
        self._tell(self._table.connected(peer_id, self._clock(), address))
        self._changed.set()

    def on_disconnected(self, peer_id: PeerID, reason: str) -> None:
        if self._table.state(peer_id) is not PeerState.CONNECTED:
            return
        # Who closed it on purpose does not want it back.
        asked = reason in (ASKED, SHUTDOWN)
        now = self._clock()
        if not asked:
            self._bootstrap.lost(peer_id, now)
        self._tell(self._table.disconnected(peer_id, reason, now, asked=asked))
        self._changed.set()

    def on_identified(self, peer_id: PeerID, identity: Identify) -> None:
        parsed = (_parsed(data) for data in identity.listen_addrs)
        addrs = [addr for addr in parsed if addr is not None]
        self._table.identified(peer_id, addrs, self._clock())

    # What mDNS tells.

    def _on_found(self, peer_id: PeerID, addrs: list[Multiaddr]) -> None:
        now = self._clock()
        self._tell(self._table.hint(peer_id, addrs, now))
        # Most announcements are of known peers; a flood of them wakes nobody.
        if self._table.is_due(peer_id, now):
            self._changed.set()

    def _on_goodbye(self, peer_id: PeerID) -> None:
        self._table.goodbye(peer_id, self._clock())

    def _catch_up(self) -> None:
        """Take in what the host did before the start."""
        now = self._clock()
        up = set(self._host.peers())
        for record in self._table.snapshot():
            if record.is_connected and record.id not in up:
                reason = "gone while discovery was stopped"
                self._tell(self._table.disconnected(record.id, reason, now))
        for peer_id in up:
            if self._table.state(peer_id) is not PeerState.CONNECTED:
                self._tell(self._table.connected(peer_id, now))

    async def _start_mdns(self) -> None:
        mdns = MDNS(
            self._host.peer_id,
            [Multiaddr.parse(addr) for addr in self._host.addrs],
            self._on_found,
            on_goodbye=self._on_goodbye,
            limits=self._limits.discovery,
            interfaces=self._interfaces,
            service=self._service,
        )
        try:
            await mdns.start()
        except NetworkError as error:
            self.mdns_error = error
            logger.warning("%s; only bootstrap addresses are used", error)
        else:
            self._mdns = mdns

    async def _run(self) -> None:
        try:
            await self._dial_for_ever()
        except Exception:
            logger.exception("discovery dials no more")

    async def _dial_for_ever(self) -> None:
        while True:
            self._changed.clear()
            self._begin_dials()
            pause = max(0.0, self._next_deadline() - self._clock())
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _next_deadline(self) -> float:
        deadline = self._table.next_deadline()
        nameless = self._bootstrap.next_deadline()
        if nameless is None or len(self._dials) >= self._limits.discovery.max_dials:
            return deadline
        return min(deadline, nameless)

    def _begin_dials(self) -> None:
        now = self._clock()
        # Bootstrap addresses first: the user named them.
        free = self._limits.discovery.max_dials - len(self._dials)
        for addr in self._bootstrap.on_deadline(now, free):
            self._spawn(addr, (addr,))
        busy = sum(isinstance(dialled, Multiaddr) for dialled in self._dials.values())
        for event in self._table.on_deadline(now, busy):
            if isinstance(event, Dial):
                self._spawn(event.peer_id, event.addresses)
            else:
                self._tell([event])

    def _spawn(self, dialled: PeerID | Multiaddr, addrs: tuple[Multiaddr, ...]) -> None:
        task = asyncio.create_task(self._dial(dialled, addrs), name=f"dial {dialled}")
        self._dials[task] = dialled
        task.add_done_callback(self._on_dial_done)

    async def _dial(
        self, dialled: PeerID | Multiaddr, addrs: tuple[Multiaddr, ...]
    ) -> PeerID | None:
        try:
            async with asyncio.timeout(self._limits.connections.dial_timeout):
                if isinstance(dialled, Multiaddr):
                    return await self._host.connect(dialled)
                return await self._host.connect_peer(dialled, addrs)
        except (NetworkError, ProtocolError, OSError) as error:
            logger.debug("dialled %s in vain: %s", dialled, error)
        except Exception:
            logger.exception("the dial of %s failed", dialled)
        return None

    def _on_dial_done(self, task: asyncio.Task[PeerID | None]) -> None:
        dialled = self._dials.pop(task)
        now = self._clock()
        self._changed.set()
        if not isinstance(dialled, Multiaddr):
            # Nothing fails if the host told of a connection meanwhile.
            self._table.dial_failed(dialled, now)
            return
        found = None if task.cancelled() else task.result()
        if found is not None and self._host.is_connected(found):
            self._bootstrap.learned(dialled, found)
        else:
            self._bootstrap.failed(dialled, now)

    def _tell(self, events: Iterable[TableEvent]) -> None:
        """Tell the observers in order, also when one of them causes more events."""
        self._untold.extend(events)
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._untold:
                self._tell_one(self._untold.popleft())
        finally:
            self._is_telling = False

    def _tell_one(self, event: TableEvent) -> None:
        for observer in tuple(self._observers):
            try:
                _call(observer, event)
            except Exception:
                # The observer's fault ends with its own call.
                logger.exception("a peer observer failed on %s", event)


def _call(observer: PeerObserver, event: TableEvent) -> None:
    match event:
        case PeerDiscovered(record):
            observer.on_peer_discovered(record)
        case PeerConnected(record):
            observer.on_peer_connected(record)
        case PeerDisconnected(record, reason):
            observer.on_peer_disconnected(record, reason)
        case _:
            logger.debug("forgot peer %s", event.record.id)


def _parsed(addr: str | bytes) -> Multiaddr | None:
    """What a peer said is its address, if it is one."""
    try:
        if isinstance(addr, bytes):
            return Multiaddr.from_bytes(addr)
        return Multiaddr.parse(addr)
    except AddressError:
        return None
