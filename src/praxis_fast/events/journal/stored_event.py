"""An event as the journal keeps it on disk."""

from __future__ import annotations

import msgspec
import orjson
from msgspec import Raw, Struct
from msgspec.structs import force_setattr

from praxis_fast.events.event import Event, Priority, Tags
from praxis_fast.events.journal.ring import OVERHEAD, Entry


class StoredEvent(Struct, array_like=True, frozen=True):
    """An event as a page holds it; `data` is the JSON that was encoded for clients."""

    seq: int
    epoch: str
    type: str
    data: Raw
    source: str | None
    correlation_id: str | None
    tags: dict[str, str]
    priority: Priority
    task_id: str | None
    peer_id: str | None
    required_role: str | None
    id: str
    time: str


def text_of(entry: Entry) -> bytes | None:
    """An event in a page; None when it has no JSON form."""
    if entry.data is None:
        return None
    event = entry.event
    stored = StoredEvent(
        event.seq,
        event.epoch,
        event.type,
        Raw(entry.data),
        event.source,
        event.correlation_id,
        event.tags,
        event.priority,
        event.task_id,
        event.peer_id,
        event.required_role,
        event.id,
        event.time,
    )
    try:
        return msgspec.json.encode(stored)
    except (TypeError, ValueError):
        # Users' texts may hold what UTF-8 cannot.
        return None


def entry_of(stored: StoredEvent) -> Entry:
    """The same as the ring would have kept it."""
    data = bytes(stored.data)
    event = Event(
        stored.type,
        {},
        stored.source,
        stored.correlation_id,
        Tags(stored.tags),
        stored.priority,
        stored.task_id,
        stored.peer_id,
        stored.required_role,
        stored.id,
        stored.time,
        stored.epoch,
        stored.seq,
    )
    force_setattr(event, "data", orjson.Fragment(data))
    return Entry(event, data, 0.0, len(data) + OVERHEAD)
