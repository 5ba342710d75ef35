"""What a webhook's receiver reads: the event, in every form upstream know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from praxis_fast import __version__
from praxis_fast.errors import MessageError
from praxis_fast.events.encode import encode
from praxis_fast.events.event import Event
from praxis_fast.events.priority import Priority
from praxis_fast.events.tags import Tags

if TYPE_CHECKING:
    from collections.abc import Mapping


def webhook_body(event: Event) -> bytes:
    """The body without its number; MessageError when the data has no JSON form."""
    message = {
        "id": event.id,
        "event": event.type,
        "type": event.type,
        "task_id": event.task_id,
        "peer_id": event.peer_id,
        "timestamp": event.time,
        "component": event.source,
        "version": __version__,
        "priority": str(event.priority),
        "tags": event.tags,
        "required_role": event.required_role,
        "epoch": event.epoch,
        "seq": event.seq,
        "correlation_id": event.correlation_id,
        "data": event.data,
    }
    try:
        return encode(message)
    except TypeError as error:
        raise MessageError(f"event {event.type} has no json form: {error}") from None


def told_event(told: Mapping[str, Any]) -> Event:
    """The event that a body tells of, to ask a filter about it."""
    return Event(
        told["type"],
        told.get("data") or {},
        told.get("component"),
        told.get("correlation_id"),
        Tags(told.get("tags")),
        Priority.parse(told.get("priority", Priority.NORMAL)),
        told.get("task_id"),
        told.get("peer_id"),
        told.get("required_role"),
        told["id"],
        told.get("timestamp") or told["time"],
        told.get("epoch", ""),
        told.get("seq", 0),
    )


def numbered(body: bytes, seq: int) -> bytes:
    """The body as it is sent: `delivery.seq` counts what its endpoint gets of a task.

    A number that never comes was given up: its receiver sees the gap.
    """
    return b'{"delivery":{"seq":%d},' % seq + body[1:]
