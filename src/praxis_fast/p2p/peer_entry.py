"""What the table keeps of one peer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praxis_fast.p2p.peer_record import PeerState

if TYPE_CHECKING:
    from praxis_fast.wire.multiaddr import Multiaddr
    from praxis_fast.wire.peer_id import PeerID

# Where addresses come from, the most trusted first. "verified" is the table's own: the
# peer proved its identity there.
SOURCES = ("verified", "bootstrap", "manual", "identify", "mdns")
TRUSTED = ("verified", "bootstrap", "manual")


@dataclass(slots=True)
class Entry:
    """One peer; only the table touches it.

    `seen_at`, `changed_at`, `up_at`, `dialled_at` and `next_dial` are on the monotonic
    clock, the others are stamps for records.
    """

    id: PeerID
    source: str
    found_at: float
    seen_at: float
    last_seen: float
    state: PeerState = PeerState.IDLE
    listed: dict[str, tuple[Multiaddr, ...]] = field(default_factory=dict)
    changed_at: float = 0.0
    connected_at: float | None = None
    disconnected_at: float | None = None
    up_at: float = 0.0
    is_proven: bool = False  # was connected once
    is_pinned: bool = False  # a bootstrap peer: never forgotten
    is_wanted: bool = True  # dialled without being asked
    is_leaving: bool = False  # said goodbye
    failures: int = 0
    dialled_at: float | None = None
    next_dial: float = 0.0

    def addresses(self, limit: int) -> tuple[Multiaddr, ...]:
        """Where to dial the peer, the most trusted first."""
        found: dict[Multiaddr, None] = {}
        for source in SOURCES:
            found.update(dict.fromkeys(self.listed.get(source, ())))
        return tuple(found)[:limit]

    def trusted(self) -> set[Multiaddr]:
        """The addresses that no stranger made up."""
        return {addr for source in TRUSTED for addr in self.listed.get(source, ())}
