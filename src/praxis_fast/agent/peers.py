"""The peers we know, by id: what the table says of them, and their cards."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from praxis_fast.events.payloads import card_payload, peer_payload
from praxis_fast.events.types import AGENT_TWINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from praxis_fast.events.bus import EventBus
    from praxis_fast.p2p.peer_record import PeerRecord
    from praxis_fast.wire.card import Card
    from praxis_fast.wire.peer_id import PeerID

logger = logging.getLogger(__name__)


class Peers:
    """Keeps each peer's card beside its record and tells the bus of every change.

    `records` answers with the present table; a card is kept as long as its peer is in
    it.
    """

    def __init__(self, bus: EventBus, records: Callable[[], list[PeerRecord]]) -> None:
        self._bus = bus
        self._records = records
        self._cards: dict[PeerID, Card] = {}

    def __iter__(self) -> Iterator[PeerRecord]:
        return iter(self._records())

    def card(self, peer_id: PeerID) -> Card | None:
        """The peer's newest card."""
        return self._cards.get(peer_id)

    def cards(self) -> dict[PeerID, Card]:
        """All cards of the peers in the table."""
        self._drop_strangers()
        return dict(self._cards)

    def with_tool(self, name: str) -> PeerID | None:
        """The connected peer we know longest whose card has the tool."""
        for record in self._records():
            card = self._cards.get(record.id)
            if record.is_connected and card is not None and _has_tool(card, name):
                return record.id
        return None

    def snapshot(self) -> list[dict[str, Any]]:
        """Every peer as the events tell it, with its state, name and source."""
        return [
            self._payload(record)
            | {
                "state": record.state.value,
                "connected": record.is_connected,
                "source": record.source,
                "name": None if (card := self.card(record.id)) is None else card.name,
            }
            for record in self._records()
        ]

    def on_peer_discovered(self, record: PeerRecord) -> None:
        self._drop_strangers()
        self._publish("p2p.peer_discovered", record, self._payload(record))

    def on_peer_connected(self, record: PeerRecord) -> None:
        self._publish("p2p.peer_connected", record, self._payload(record))

    def on_peer_disconnected(self, record: PeerRecord, reason: str) -> None:
        payload = self._payload(record) | {"reason": reason}
        self._publish("p2p.peer_disconnected", record, payload)

    def on_card(self, peer_id: PeerID, card: Card) -> None:
        """A card came; the newest one wins (CARD-2)."""
        old = self._cards.get(peer_id)
        if old is not None and card.timestamp < old.timestamp:
            logger.debug("%s sent a card older than the one we have", peer_id)
            return
        self._cards[peer_id] = card
        message = card_payload(peer_id, card.to_message())
        self._bus.publish("p2p.card_exchange", message, peer_id=peer_id)
        if old is None or replace(old, timestamp=card.timestamp) == card:
            return
        for record in self._records():
            if record.id == peer_id:
                payload = self._payload(record)
                self._bus.publish("agent.updated", payload, peer_id=peer_id)

    def _publish(self, name: str, record: PeerRecord, payload: dict[str, Any]) -> None:
        for told in (name, AGENT_TWINS[name]):
            self._bus.publish(told, payload, peer_id=record.id)

    def _payload(self, record: PeerRecord) -> dict[str, Any]:
        card = self._cards.get(record.id)
        return peer_payload(
            record.id,
            record.addresses,
            found_at=record.found_at,
            last_seen=record.last_seen,
            connected_at=record.connected_at,
            disconnected_at=record.disconnected_at,
            is_connected=record.is_connected,
            card=None if card is None else card.to_message(),
        )

    def _drop_strangers(self) -> None:
        """Forget the cards of peers that left the table."""
        known = {record.id for record in self._records()}
        for peer_id in self._cards.keys() - known:
            del self._cards[peer_id]


def _has_tool(card: Card, name: str) -> bool:
    return any(spec.name == name for spec in card.tools)
