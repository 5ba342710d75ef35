"""One agent as the registry shows it, and what an event makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from praxis_fast.client.items import StreamedEvent


class AgentStatus(StrEnum):
    """How the watched agent stands to another; equal to its text."""

    DISCOVERED = "discovered"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


# What the registry subscribes to. A first card comes as `p2p.card_exchange` only.
CARD = "p2p.card_exchange"
UPDATED = "agent.updated"
CHANGES = {
    "agent.discovered": AgentStatus.DISCOVERED,
    "agent.connected": AgentStatus.CONNECTED,
    "agent.disconnected": AgentStatus.DISCONNECTED,
}
TYPES = (*CHANGES, UPDATED, CARD)


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """An agent that another one knows."""

    peer_id: str
    status: AgentStatus
    addresses: tuple[str, ...] = ()
    card: Mapping[str, Any] | None = None
    last_seen: float | None = None
    """Epoch seconds, by the watched agent's clock; likewise the texts below."""
    discovered_at: str | None = None
    connected_at: str | None = None
    disconnected_at: str | None = None

    @property
    def name(self) -> str | None:
        """From its card."""
        name = (self.card or {}).get("name")
        return name if isinstance(name, str) else None

    @property
    def capabilities(self) -> tuple[str, ...]:
        """From its card."""
        return _texts((self.card or {}).get("capabilities"))

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of its tools, from its card."""
        tools = (self.card or {}).get("tools")
        specs = tools if isinstance(tools, list) else []
        return _texts([tool.get("name") for tool in specs if isinstance(tool, dict)])

    @property
    def is_connected(self) -> bool:
        """Whether the watched agent can reach it now."""
        return self.status is AgentStatus.CONNECTED


def entry_after(event: StreamedEvent, old: AgentEntry | None) -> AgentEntry | None:
    """The agent after an event; None when the event tells of no agent we know of."""
    payload = event.payload
    if not isinstance(payload, dict):
        return old
    if event.type == CARD:
        card = payload.get("card")
        changed = old is not None and isinstance(card, dict)
        return replace(old, card=card) if old is not None and changed else old
    peer_id = peer_of(event)
    if peer_id is None or event.type not in TYPES:
        return old
    card = payload.get("agent_card")
    if not isinstance(card, dict):
        card = None if old is None else old.card
    return AgentEntry(
        peer_id=peer_id,
        status=_status(event.type, payload, old),
        addresses=_texts(payload.get("addresses")) or (old.addresses if old else ()),
        card=card,
        last_seen=_newest(payload.get("last_seen"), old),
        discovered_at=payload.get("discovered_at"),
        connected_at=payload.get("connected_at"),
        disconnected_at=payload.get("disconnected_at"),
    )


def peer_of(event: StreamedEvent) -> str | None:
    """Which agent an event is about."""
    payload = event.payload
    if not isinstance(payload, dict):
        return None
    peer_id = payload.get("peer_id") or payload.get("id")
    return peer_id if isinstance(peer_id, str) else None


def _status(
    name: str, payload: Mapping[str, Any], old: AgentEntry | None
) -> AgentStatus:
    """By the payload where the event tells of something else than a connection.

    Only `agent.discovered` stands for an agent in a snapshot that is away just now.
    """
    status = CHANGES.get(name)
    if status in (AgentStatus.CONNECTED, AgentStatus.DISCONNECTED):
        return status
    if payload.get("is_connected"):
        return AgentStatus.CONNECTED
    if payload.get("disconnected_at"):
        return AgentStatus.DISCONNECTED
    return old.status if status is None and old else AgentStatus.DISCOVERED


def _newest(seconds: object, old: AgentEntry | None) -> float | None:
    before = None if old is None else old.last_seen
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return before
    return float(seconds) if before is None else max(before, float(seconds))


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        return ()
    return tuple(value for value in values if isinstance(value, str))
