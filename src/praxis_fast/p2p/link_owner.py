"""What a link needs from the host it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from praxis_fast.limits import Limits
    from praxis_fast.p2p.duties import Handler
    from praxis_fast.p2p.link import Link
    from praxis_fast.p2p.observers import Observers
    from praxis_fast.p2p.pool import Pool
    from praxis_fast.p2p.upgrading import Upgrading
    from praxis_fast.wire.noise import StaticKey
    from praxis_fast.wire.peer_id import PeerID


class LinkOwner(Protocol):
    """The host, as its links and connections on their way to be links see it."""

    static_key: StaticKey
    peer_id: PeerID
    limits: Limits
    handlers: dict[str, Handler]
    observers: Observers
    read_buffer: memoryview
    plain_buffer: memoryview
    pool: Pool
    spares: list[bytearray]

    def clock(self) -> float:
        """Monotonic seconds."""

    def on_secured(self, link: Link) -> None:
        """The peer has proven who it is and streams may be opened."""

    def on_ended(self, link: Link, reason: str) -> None:
        """A secured link carries nothing any more; called once."""

    def on_memory_short(self) -> None:
        """The pool is over its limit."""

    def on_gone(self, connection: Link | Upgrading) -> None:
        """The connection's socket is closed, or another's, and its tasks are done."""
