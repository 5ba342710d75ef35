"""What is known of one peer, and what happened to it: the table's answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praxis_fast.wire.multiaddr import Multiaddr
    from praxis_fast.wire.peer_id import PeerID


class PeerState(StrEnum):
    """Where a peer stands (docs/architecture.md)."""

    IDLE = "idle"
    DIALING = "dialing"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """One peer at one moment; times are seconds since 1970."""

    id: PeerID
    # Full multiaddrs with /p2p/, the most trusted first.
    addresses: tuple[str, ...]
    found_at: float
    last_seen: float
    state: PeerState
    # Of the present or the last connection.
    connected_at: float | None
    disconnected_at: float | None
    # How it was first heard of: "mdns", "bootstrap", "manual" or "inbound".
    source: str

    @property
    def is_connected(self) -> bool:
        return self.state is PeerState.CONNECTED


@dataclass(frozen=True, slots=True)
class PeerDiscovered:
    """A peer that was not in the table is in it now."""

    record: PeerRecord


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A connection to the peer is up; its identity is proven."""

    record: PeerRecord


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The last connection to the peer is gone."""

    record: PeerRecord
    reason: str


@dataclass(frozen=True, slots=True)
class PeerForgotten:
    """The peer left the table; hearing of it again is a new discovery."""

    record: PeerRecord


@dataclass(frozen=True, slots=True)
class Dial:
    """An action: dial the peer now, and report `connected` or `dial_failed`."""

    peer_id: PeerID
    addresses: tuple[Multiaddr, ...]


TableEvent = PeerDiscovered | PeerConnected | PeerDisconnected | PeerForgotten
