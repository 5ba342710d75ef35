"""Who says what about itself to whom: when cards are built and exchanged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praxis_fast.agent.card_protocol import CardProtocol
from praxis_fast.wire.card import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.agent.config import AgentConfig
    from praxis_fast.agent.faults import Faults
    from praxis_fast.agent.peers import Peers
    from praxis_fast.agent.tasks import Tasks
    from praxis_fast.agent.tools import ToolBox
    from praxis_fast.p2p.host import Host
    from praxis_fast.p2p.observers import LinkInfo
    from praxis_fast.wire.peer_id import PeerID

# The dialler opens the card stream; after this many seconds we no longer rely on it.
PATIENCE = 2.0


class Introductions:
    """Builds our card, and swaps it with every peer that connects.

    It observes the host. The card goes out again whenever the tools change, stamped
    later than any before it, so that the newest wins in whatever order they arrive.
    """

    def __init__(
        self,
        host: Host,
        config: AgentConfig,
        *,
        tools: ToolBox,
        peers: Peers,
        faults: Faults,
        tasks: Tasks,
        allowed: frozenset[PeerID],
        wall_clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._config = config
        self._tools = tools
        self._peers = peers
        self._faults = faults
        self._tasks = tasks
        self._allowed = allowed
        self._wall_clock = wall_clock
        self._earliest = 0
        self._is_refreshing = False
        self._met: dict[PeerID, asyncio.Event] = {}
        self.protocol = CardProtocol(
            host,
            own_card=self.card_for,
            on_card=self._on_card,
            on_rejected=self._on_rejected,
            limits=config.limits,
            wall_clock=wall_clock,
        )

    def card_for(self, peer_id: PeerID | None = None) -> Card:
        """Our card with the tools this peer may call; none: what everybody may see."""
        return Card(
            name=self._config.name,
            version=self._config.version,
            peer_id=self._host.peer_id,
            capabilities=("p2p", "tools"),
            tools=self._tools.specs(remote_only=peer_id not in self._allowed),
            timestamp=max(int(self._wall_clock()), self._earliest),
            description=self._config.description,
        )

    def tools_changed(self) -> None:
        """Send the card again, once for all changes of this turn of the loop."""
        if not self._is_refreshing:
            self._is_refreshing = True
            asyncio.get_running_loop().call_soon(self._send_again)

    def _send_again(self) -> None:
        self._is_refreshing = False
        self._earliest = self.card_for().timestamp + 1
        for peer_id in self._host.peers():
            self._exchange(peer_id)

    def _exchange(self, peer_id: PeerID) -> None:
        self._tasks.spawn(self.protocol.exchange(peer_id), f"card for {peer_id}")

    def on_connected(self, peer_id: PeerID, info: LinkInfo) -> None:
        """The host has a new peer."""
        self._met[peer_id] = asyncio.Event()
        if info.inbound:
            work = self._await_card(peer_id, self._met[peer_id])
            self._tasks.spawn(work, f"card of {peer_id}")
        else:
            self._exchange(peer_id)

    def on_disconnected(self, peer_id: PeerID, _reason: str) -> None:
        """The host lost a peer."""
        if (met := self._met.pop(peer_id, None)) is not None:
            met.set()

    async def _await_card(self, peer_id: PeerID, met: asyncio.Event) -> None:
        """The peer dialled us; ask for its card if it does not offer it."""
        try:
            async with asyncio.timeout(PATIENCE):
                await met.wait()
        except TimeoutError:
            await self.protocol.exchange(peer_id)

    def _on_card(self, peer_id: PeerID, card: Card) -> None:
        if (met := self._met.get(peer_id)) is not None:
            met.set()
        if card.is_skewed(self._wall_clock(), self._config.limits.cards):
            message = f"clock of {peer_id} is far from ours"
            self._faults.report(
                "card", "clock_skew", message, severity="warning", peer_id=peer_id
            )
        self._peers.on_card(peer_id, card)

    def _on_rejected(self, peer_id: PeerID, message: str) -> None:
        self._faults.audit("card_rejected", peer_id, message)
