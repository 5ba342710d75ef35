"""How an event looks to a client: one frame per event and shape.

A shape makes the message, a pack puts its JSON into what the stream carries.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from praxis_fast.api.frames import text_frame
from praxis_fast.events.encode import encode
from praxis_fast.events.payloads import gap_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.events.event import Event

    Shape = Callable[[Event], dict[str, Any]]
    # From a message's JSON and the number a client has seen after it.
    Pack = Callable[[bytes, int], bytes]

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


def enriched_shape(version: str) -> Shape:
    """The same with upstream's `component`, who published, and the agent's version."""

    def shape(event: Event) -> dict[str, Any]:
        message = aliased_shape(event)
        message["component"] = event.source
        message["version"] = version
        return message

    return shape


def websocket_pack(payload: bytes, seq: int) -> bytes:
    """One text frame."""
    return text_frame(payload)


def gap_frame(
    first: int,
    last: int,
    dropped: int,
    *,
    epoch: str,
    pack: Pack = websocket_pack,
    **more: str,
) -> bytes:
    """Says aloud that a subscriber did not get some of its events."""
    payload = {**gap_payload(first, last, dropped), "epoch": epoch, **more}
    return pack(encode({"type": "gap", "payload": payload}), last)


def event_frame(
    event: Event, shape: Shape, max_bytes: int, pack: Pack = websocket_pack
) -> bytes:
    """The event ready for the socket, or the gap it leaves when it cannot be sent."""
    try:
        payload = encode(shape(event))
    except (TypeError, ValueError) as error:
        reason = f"event cannot be encoded: {error}"
    else:
        if len(payload) <= max_bytes:
            return pack(payload, event.seq)
        reason = f"event of {len(payload)} bytes, limit {max_bytes}"
    logger.warning("event %s-%s is not sent: %s", event.epoch, event.seq, reason)
    seq, epoch = event.seq, event.epoch
    return gap_frame(seq, seq, 1, epoch=epoch, pack=pack, reason=reason)
