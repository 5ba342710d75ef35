"""The present peers as events, for a client that has just subscribed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from praxis_fast.events.event import Event
from praxis_fast.events.types import AGENT_TWINS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from praxis_fast.events.bus import EventBus


def snapshot_events(
    payloads: Iterable[Mapping[str, Any]], bus: EventBus
) -> Iterator[Event]:
    """For each peer what told of it: discovered, and connected when it still is.

    The events have the newest number of the bus: what comes after them is newer.
    """
    for payload in payloads:
        yield from _both("p2p.peer_discovered", payload, bus)
        if payload.get("is_connected"):
            yield from _both("p2p.peer_connected", payload, bus)


def _both(name: str, payload: Mapping[str, Any], bus: EventBus) -> Iterator[Event]:
    for kind in (name, AGENT_TWINS[name]):
        yield Event(
            kind,
            dict(payload),
            bus.source,
            peer_id=payload.get("peer_id"),
            epoch=bus.epoch,
            seq=bus.seq,
        )
