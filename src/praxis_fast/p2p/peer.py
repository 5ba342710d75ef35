"""The links to one peer, and which of them carries what (docs/limits.md CON-6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praxis_fast.p2p.link import Link
    from praxis_fast.wire.identify import Identify
    from praxis_fast.wire.peer_id import PeerID

# Links made further apart are no simultaneous dials: the older one may be dead without
# our knowing (a peer that crashed and came back), so the newer one is trusted.
SIMULTANEOUS = 30.0

# Hosts whose identify says so settle simultaneous dials by our rule.
OUR_AGENT = "praxis-fast/"


class Peer:
    """One connected peer: its links, the newest last, and what it said of itself.

    When both sides dialled, two links are there. Both hosts keep the one the smaller
    peer id dialled; the other one's new streams go elsewhere as soon as identify told
    that the peer knows this rule, and it is left once the peer was told on all links:
    from then on neither side opens a stream on it.
    """

    __slots__ = (
        "_dials_first",
        "_waiters",
        "identity",
        "is_pushing",
        "links",
        "needs_push",
        "peer_id",
        "protocols",
    )

    def __init__(self, peer_id: PeerID, own_id: PeerID) -> None:
        self.peer_id = peer_id
        self.links: list[Link] = []
        self.identity: Identify | None = None
        self.protocols: frozenset[str] = frozenset()
        self.is_pushing = False
        self.needs_push = False
        self._dials_first = own_id.multihash < peer_id.multihash
        self._waiters: list[asyncio.Future[None]] = []

    def choose(self) -> Link | None:
        """The link for a new stream: the newest that is not to be left."""
        newest_first = self.links[::-1]
        usable = [link for link in newest_first if link.is_usable]
        staying = [link for link in usable if not link.is_retired]
        return next(iter(staying or usable or newest_first), None)

    def learn(self, identity: Identify) -> bool:
        """Remember what the peer said; whether it is news."""
        before, self.identity = self.identity, identity
        self.protocols = frozenset(identity.protocols)
        self.wake()
        return before is None or _essence(before) != _essence(identity)

    async def wait_identified(self) -> None:
        """Wait until the peer said who it is, or it is known that it will not."""
        if self.identity is None and self.links:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def wake(self) -> None:
        """Nothing more will be learned for now."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def settle(self) -> None:
        """Keep one of two links that both sides dialled."""
        if self.identity is None:
            return
        if not (self.identity.agent_version or "").startswith(OUR_AGENT):
            return
        if self._is_spread():
            for link in self.links[:-1]:
                link.retire()
            self.links[-1].stay()
            return
        kept = [link for link in self.links if link.inbound != self._dials_first]
        other = [link for link in self.links if link.inbound == self._dials_first]
        if not kept:
            for link in other:
                link.stay()
            return
        for link in other:
            link.retire()
        if all(link.was_told for link in self.links):
            for link in other:
                link.leave()

    def _is_spread(self) -> bool:
        """Whether the links were made at quite different times."""
        times = [link.opened_at for link in self.links]
        return bool(times) and max(times) - min(times) > SIMULTANEOUS


def _essence(identity: Identify) -> tuple[object, ...]:
    """All but the address we are seen at, which differs from link to link."""
    return (
        identity.protocol_version,
        identity.agent_version,
        identity.listen_addrs,
        identity.protocols,
    )
