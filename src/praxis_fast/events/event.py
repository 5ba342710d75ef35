"""What an event is; its filter, priority and tags are found here too."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import force_setattr

from praxis_fast.events.filter import EventFilter
from praxis_fast.events.priority import Priority
from praxis_fast.events.tags import Tags

__all__ = [
    "Event",
    "EventFilter",
    "EventMetadata",
    "Priority",
    "Tags",
    "utc_now",
    "utc_text",
]


def utc_text(seconds: float) -> str:
    """Epoch seconds as ISO 8601 in UTC with milliseconds and `Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def utc_now() -> str:
    """The present moment as `utc_text` writes it."""
    return utc_text(datetime.now(UTC).timestamp())


def random_id() -> str:
    """A random UUID as text; the bus makes them in batches instead."""
    return str(uuid4())


@dataclass(frozen=True, slots=True)
class EventMetadata:
    """Upstream's view of an event's stamp."""

    event_id: str
    timestamp: datetime
    correlation_id: str | None = None
    source: str | None = None
    tags: Tags = field(default_factory=Tags)


class Event(Struct, frozen=True, eq=False):
    """One thing that happened; immutable but for the `data` it was given.

    Two events are equal only when they are the same object. A `required_role` may be
    given as a field or as a tag of that name; the field then holds it in both cases.
    """

    type: str
    data: dict[str, Any] = {}
    source: str | None = None
    correlation_id: str | None = None
    tags: Tags = Tags()
    priority: Priority = Priority.NORMAL
    task_id: str | None = None
    peer_id: str | None = None
    required_role: str | None = None
    id: str = ""
    time: str = ""
    epoch: str = ""
    seq: int = 0

    def __post_init__(self) -> None:
        # Whatever the bus stamps has its right type already: four cheap tests.
        if type(self.tags) is not Tags:
            force_setattr(self, "tags", Tags(self.tags))
        if self.tags and self.required_role is None:
            force_setattr(self, "required_role", self.tags.get("required_role"))
        if type(self.priority) is not Priority:
            force_setattr(self, "priority", Priority.parse(self.priority))
        if not self.id:
            force_setattr(self, "id", random_id())
        if not self.time:
            force_setattr(self, "time", utc_now())

    @property
    def metadata(self) -> EventMetadata:
        """Upstream's view; its tags hold `required_role` too."""
        tags = self.tags
        if self.required_role is not None:
            tags = Tags({**tags, "required_role": self.required_role})
        return EventMetadata(
            event_id=self.id,
            timestamp=datetime.fromisoformat(self.time),
            correlation_id=self.correlation_id,
            source=self.source,
            tags=tags,
        )

    def to_message(self) -> dict[str, Any]:
        """The WebSocket message, ready for a JSON encoder."""
        return {
            "type": self.type,
            "payload": self.data,
            "id": self.id,
            "epoch": self.epoch,
            "seq": self.seq,
            "timestamp": self.time,
            "correlation_id": self.correlation_id,
        }
