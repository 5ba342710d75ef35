"""How an event looks to a WebSocket client: one frame per event and shape."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from praxis_fast.api.encode import encode
from praxis_fast.api.frames import text_frame
from praxis_fast.events.payloads import gap_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.events.event import Event

    Shape = Callable[[Event], dict[str, Any]]

logger = logging.getLogger(__name__)


def plain_shape(event: Event) -> dict[str, Any]:
    """The message of `/ws` and `/ws/events`."""
    return event.to_message()


def aliased_shape(event: Event) -> dict[str, Any]:
    """The message of `/events`: the keys `event`, `task_id` and `data` are added."""
    message = event.to_message()
    message["event"] = event.type
    message["task_id"] = event.task_id
    message["data"] = event.data
    return message


def gap_frame(first: int, last: int, dropped: int, **more: str) -> bytes:
    """Says aloud that a subscriber did not get some of its events."""
    payload = {**gap_payload(first, last, dropped), **more}
    return text_frame(encode({"type": "gap", "payload": payload}))


def event_frame(event: Event, shape: Shape, max_bytes: int) -> bytes:
    """The event ready for the socket, or the gap it leaves when it cannot be sent."""
    try:
        payload = encode(shape(event))
    except (TypeError, ValueError) as error:
        reason = f"event cannot be encoded: {error}"
    else:
        if len(payload) <= max_bytes:
            return text_frame(payload)
        reason = f"event of {len(payload)} bytes, limit {max_bytes}"
    logger.warning("event %s-%s is not sent: %s", event.epoch, event.seq, reason)
    return gap_frame(event.seq, event.seq, 1, reason=reason)
