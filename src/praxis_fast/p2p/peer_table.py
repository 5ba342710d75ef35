"""All peers this host knows of, their states, and when to dial them; without sockets.

Theory of operation: announcements and connections are told to the table with the time;
it answers with events for the observers. `next_deadline` says when to call
`on_deadline`, which answers with the dials that are due. Every change of state goes
through one table of transitions.

What strangers say is a hint (DSC-2): hints of one source replace that source's earlier
ones and never touch an address at which the peer proved its identity, or one that the
user gave. Peers only heard of are bounded and the oldest make room (ID-3).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from praxis_fast.errors import UsageError
from praxis_fast.p2p.announcement import is_dialable
from praxis_fast.p2p.backoff import Backoff
from praxis_fast.p2p.dial_budget import WINDOW, DialBudget
from praxis_fast.p2p.peer_entry import Entry
from praxis_fast.p2p.peer_record import (
    Dial,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerForgotten,
    PeerRecord,
    PeerState,
    TableEvent,
)
from praxis_fast.p2p.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from random import Random

    from praxis_fast.limits import Limits
    from praxis_fast.wire.multiaddr import Multiaddr
    from praxis_fast.wire.peer_id import PeerID

IDLE = PeerState.IDLE
DIALING = PeerState.DIALING
CONNECTED = PeerState.CONNECTED
DISCONNECTED = PeerState.DISCONNECTED


class Cause(Enum):
    """Why a peer changes its state."""

    DIAL = "a dial begins"
    DIAL_FAILED = "a dial failed"
    UP = "a connection is up"
    LOST = "the connection failed"
    ASKED = "we closed the connection"
    SETTLE = "the time as a lost peer is over"


# docs/architecture.md. A lost peer that comes back by itself settles first, then it
# is an inbound connection of an idle one.
TRANSITIONS = {
    (IDLE, Cause.DIAL): DIALING,
    (IDLE, Cause.UP): CONNECTED,
    (DIALING, Cause.UP): CONNECTED,
    (DIALING, Cause.DIAL_FAILED): IDLE,
    (CONNECTED, Cause.LOST): DISCONNECTED,
    (CONNECTED, Cause.ASKED): IDLE,
    (DISCONNECTED, Cause.DIAL): DIALING,
    (DISCONNECTED, Cause.SETTLE): IDLE,
}

MAX_VERIFIED = 4  # a peer that moves leaves its old addresses behind
# A connection that held this long was a good one: the pauses begin anew after it.
STEADY_AFTER = 30.0


class PeerTable:
    """The peers, bounded; see the module for the rules.

    `now` is monotonic seconds; `wall_clock` only stamps the records.
    """

    def __init__(
        self,
        limits: Limits,
        now: float,
        *,
        rng: Random,
        wall_clock: Callable[[], float],
    ) -> None:
        discovery = limits.discovery
        self._limits = discovery
        self._wall_clock = wall_clock
        self._entries: dict[PeerID, Entry] = {}
        self._arrivals = TokenBucket(
            discovery.candidate_rate, max(1.0, discovery.candidate_rate), now
        )
        self._backoff = Backoff(
            limits.connections.backoff_min, limits.connections.backoff_max, rng
        )
        self._budget = DialBudget(discovery.dials_per_address)
        self._next_check = now + discovery.check_interval
        self._is_full = False  # dials are due, and wait for one to end
        self.refused = 0  # hints of new peers over the rate

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, peer_id: PeerID) -> bool:
        return peer_id in self._entries

    def state(self, peer_id: PeerID) -> PeerState:
        """The peer's state; one that is not in the table is idle."""
        entry = self._entries.get(peer_id)
        return IDLE if entry is None else entry.state

    def record(self, peer_id: PeerID) -> PeerRecord | None:
        entry = self._entries.get(peer_id)
        return None if entry is None else self._record(entry)

    def snapshot(self) -> list[PeerRecord]:
        """All peers, in the order they were found."""
        return [self._record(entry) for entry in self._entries.values()]

    def hint(
        self, peer_id: PeerID, addresses: Iterable[Multiaddr], now: float
    ) -> list[TableEvent]:
        """Somebody announced the peer by mDNS."""
        entry = self._entries.get(peer_id)
        events: list[TableEvent] = []
        if entry is None:
            if not self._arrivals.take(now):
                self.refused += 1
                return []
            events = self._admit(peer_id, "mdns", addresses, now)
        else:
            self._heard_again(entry, addresses, now)
        return events

    def add(
        self,
        peer_id: PeerID,
        addresses: Iterable[Multiaddr],
        now: float,
        *,
        pinned: bool = False,
    ) -> list[TableEvent]:
        """The user names the peer; a pinned one (bootstrap) is redialled for ever."""
        source = "bootstrap" if pinned else "manual"
        events: list[TableEvent] = []
        if peer_id not in self._entries:
            events = self._admit(peer_id, source, addresses, now)
        entry = self._entries[peer_id]
        self._list(entry, source, addresses)
        self._see(entry, now)
        entry.is_pinned = entry.is_pinned or pinned
        entry.is_wanted = True
        entry.failures = 0
        entry.next_dial = now
        return events

    def identified(
        self, peer_id: PeerID, addresses: Iterable[Multiaddr], now: float
    ) -> None:
        """The peer itself said where it listens; still a hint until it is dialled."""
        entry = self._entries.get(peer_id)
        if entry is not None:
            self._list(entry, "identify", addresses)
            self._see(entry, now)

    def goodbye(self, peer_id: PeerID, now: float) -> None:
        """Somebody said that the peer leaves; believed of unproven ones only (DSC-3).

        It is forgotten at the next check, unless it is heard of again before: a peer
        that comes and goes is one peer (DSC-7).
        """
        entry = self._entries.get(peer_id)
        if entry is not None and not entry.is_proven and not entry.is_pinned:
            entry.is_leaving = True

    def connected(
        self, peer_id: PeerID, now: float, address: Multiaddr | None = None
    ) -> list[TableEvent]:
        """A first connection is up; `address` is where we dialled, None if inbound."""
        events: list[TableEvent] = []
        if peer_id not in self._entries:
            source = "inbound" if address is None else "manual"
            events = self._admit(peer_id, source, (), now)
        entry = self._entries[peer_id]
        if entry.state is DISCONNECTED:
            self._step(entry, Cause.SETTLE)
        self._step(entry, Cause.UP)
        entry.is_proven = True
        entry.is_wanted = True
        entry.up_at = now
        entry.connected_at = self._wall_clock()
        self._see(entry, now)
        if address is not None:
            self._verify(entry, address)
        events += self._make_room(keep=entry)
        return [*events, PeerConnected(self._record(entry))]

    def disconnected(
        self, peer_id: PeerID, reason: str, now: float, *, asked: bool = False
    ) -> list[TableEvent]:
        """The last connection is gone; `asked` if we wanted it so."""
        entry = self._entry(peer_id)
        self._step(entry, Cause.ASKED if asked else Cause.LOST)
        entry.disconnected_at = self._wall_clock()
        entry.is_wanted = not asked
        self._see(entry, now)
        if now - entry.up_at >= STEADY_AFTER:
            entry.failures = 0
        if not asked:
            self._postpone(entry, now)
        return [PeerDisconnected(self._record(entry), reason)]

    def dial_failed(self, peer_id: PeerID, now: float) -> None:
        """A dial ended without a connection; nothing if the peer came by itself."""
        entry = self._entries.get(peer_id)
        if entry is not None and entry.state is DIALING:
            self._step(entry, Cause.DIAL_FAILED)
            self._postpone(entry, now)

    def forget(self, peer_id: PeerID) -> list[TableEvent]:
        """The user is done with the peer; a connected one stays until it leaves."""
        entry = self._entries.get(peer_id)
        if entry is None:
            return []
        entry.is_pinned = False
        entry.is_wanted = False
        if entry.state in (CONNECTED, DIALING):
            return []
        return [self._drop(entry)]

    def is_due(self, peer_id: PeerID, now: float) -> bool:
        """Whether `on_deadline` would dial the peer now."""
        entry = self._entries.get(peer_id)
        return entry is not None and not self._is_full and self._is_due(entry, now)

    def next_deadline(self) -> float:
        """When `on_deadline` has something to do; also call it when a dial ended."""
        if self._is_full:
            return self._next_check
        dials = (e.next_dial for e in self._entries.values() if self._is_waiting(e))
        return min(self._next_check, min(dials, default=self._next_check))

    def on_deadline(self, now: float, busy: int = 0) -> list[TableEvent | Dial]:
        """Forget stale peers and begin the dials that are due.

        `busy` counts dials under way that the table does not know of.
        """
        events: list[TableEvent | Dial] = []
        if now >= self._next_check:
            self._next_check = now + self._limits.check_interval
            events += self._check(now)
        free = self._limits.max_dials - busy - self._count(DIALING)
        due = [e for e in self._entries.values() if self._is_due(e, now)]
        # Peers known to be real do not wait behind announced ones.
        due.sort(key=lambda entry: (not entry.trusted(), entry.next_dial))
        self._is_full = False
        for entry in due:
            if free <= 0:
                self._is_full = True
                break
            if (dial := self._dial(entry, now)) is not None:
                events.append(dial)
                free -= 1
        return events

    def _check(self, now: float) -> Iterator[TableEvent]:
        for entry in list(self._entries.values()):
            if entry.state is CONNECTED:
                self._see(entry, now)
            elif self._is_stale(entry, now):
                yield self._drop(entry)

    def _is_stale(self, entry: Entry, now: float) -> bool:
        if entry.is_pinned or entry.state is DIALING:
            return False
        return entry.is_leaving or now - entry.seen_at >= self._limits.stale_after

    def _is_waiting(self, entry: Entry) -> bool:
        return (
            entry.is_wanted
            and not entry.is_leaving
            and entry.state in (IDLE, DISCONNECTED)
            and any(entry.listed.values())
        )

    def _is_due(self, entry: Entry, now: float) -> bool:
        return self._is_waiting(entry) and entry.next_dial <= now

    def _dial(self, entry: Entry, now: float) -> Dial | None:
        """Begin a dial to what the budget allows, or put it off."""
        trusted = entry.trusted()
        allowed = []
        frees = []
        for addr in entry.addresses(self._limits.max_addresses):
            free_at = now if addr in trusted else self._budget.frees_at(addr, now)
            if free_at <= now:
                self._budget.spend(addr, now)
                allowed.append(addr)
            else:
                frees.append(free_at)
        if not allowed:
            entry.next_dial = min(frees)
            return None
        self._step(entry, Cause.DIAL)
        entry.dialled_at = now
        return Dial(entry.id, tuple(allowed))

    def _heard_again(
        self, entry: Entry, addresses: Iterable[Multiaddr], now: float
    ) -> None:
        self._see(entry, now)
        if now - entry.changed_at < self._limits.change_interval:
            return
        before = set(entry.addresses(self._limits.max_addresses))
        self._list(entry, "mdns", addresses)
        if set(entry.addresses(self._limits.max_addresses)) - before:
            entry.changed_at = now
            self._hurry(entry, now)

    def _hurry(self, entry: Entry, now: float) -> None:
        """A new address is worth a dial, though no more than the budget's pace."""
        pace = WINDOW / self._limits.dials_per_address
        earliest = now if entry.dialled_at is None else entry.dialled_at + pace
        entry.next_dial = min(entry.next_dial, max(now, earliest))

    def _admit(
        self, peer_id: PeerID, source: str, addresses: Iterable[Multiaddr], now: float
    ) -> list[TableEvent]:
        wall = self._wall_clock()
        entry = Entry(peer_id, source, wall, now, wall, changed_at=now, next_dial=now)
        self._list(entry, source, addresses)
        self._entries[peer_id] = entry
        events = self._make_room(keep=entry)
        return [*events, PeerDiscovered(self._record(entry))]

    def _make_room(self, keep: Entry) -> list[TableEvent]:
        """Forget the longest unheard over the bound, of the same kind as `keep`."""
        limit = (
            self._limits.max_peers if keep.is_proven else self._limits.max_candidates
        )
        same = [e for e in self._entries.values() if e.is_proven is keep.is_proven]
        spare = [
            entry
            for entry in same
            if entry is not keep
            and not entry.is_pinned
            and entry.state in (IDLE, DISCONNECTED)
        ]
        spare.sort(key=lambda entry: entry.seen_at)
        return [self._drop(entry) for entry in spare[: max(0, len(same) - limit)]]

    def _drop(self, entry: Entry) -> PeerForgotten:
        if entry.state is DISCONNECTED:
            self._step(entry, Cause.SETTLE)
        del self._entries[entry.id]
        return PeerForgotten(self._record(entry))

    def _list(self, entry: Entry, source: str, addresses: Iterable[Multiaddr]) -> None:
        """Replace what one source says; ID-3 wants lists replaced, never appended."""
        full = (addr.with_peer(entry.id) for addr in addresses if is_dialable(addr))
        limit = self._limits.max_addresses
        entry.listed[source] = tuple(dict.fromkeys(full))[:limit]

    def _verify(self, entry: Entry, address: Multiaddr) -> None:
        older = entry.listed.get("verified", ())
        self._list(entry, "verified", (address, *older))
        entry.listed["verified"] = entry.listed["verified"][:MAX_VERIFIED]

    def _see(self, entry: Entry, now: float) -> None:
        entry.seen_at = now
        entry.last_seen = self._wall_clock()
        entry.is_leaving = False

    def _postpone(self, entry: Entry, now: float) -> None:
        entry.failures += 1
        entry.next_dial = now + self._backoff.pause(entry.failures)

    def _count(self, state: PeerState) -> int:
        return sum(entry.state is state for entry in self._entries.values())

    def _entry(self, peer_id: PeerID) -> Entry:
        try:
            return self._entries[peer_id]
        except KeyError:
            raise UsageError(f"no peer {peer_id} in the table") from None

    def _step(self, entry: Entry, cause: Cause) -> None:
        try:
            entry.state = TRANSITIONS[entry.state, cause]
        except KeyError:
            raise UsageError(
                f"peer {entry.id} is {entry.state.value}: {cause.value}"
            ) from None

    def _record(self, entry: Entry) -> PeerRecord:
        addresses = entry.addresses(self._limits.max_addresses)
        return PeerRecord(
            id=entry.id,
            addresses=tuple(str(addr) for addr in addresses),
            found_at=entry.found_at,
            last_seen=entry.last_seen,
            state=entry.state,
            connected_at=entry.connected_at,
            disconnected_at=entry.disconnected_at,
            source=entry.source,
        )
