"""What an EventStream yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """An event of the agent."""

    message: Mapping[str, Any]
    """The whole message as the agent sent it."""

    @property
    def type(self) -> str:
        """Such as `p2p.peer_connected`."""
        return str(self.message["type"])

    @property
    def payload(self) -> Any:
        """What the event tells; mostly a dict."""
        return self.message.get("payload")

    @property
    def epoch(self) -> str:
        """The life of the agent's event bus that `seq` counts in."""
        return str(self.message["epoch"])

    @property
    def seq(self) -> int:
        """Grows with each event of an epoch; others' events leave holes."""
        return int(self.message["seq"])

    @property
    def id(self) -> str | None:
        """The same wherever the event is seen."""
        return self.message.get("id")

    @property
    def timestamp(self) -> str | None:
        """ISO 8601, UTC."""
        return self.message.get("timestamp")

    @property
    def correlation_id(self) -> str | None:
        """What the event belongs to or answers."""
        return self.message.get("correlation_id")


@dataclass(frozen=True, slots=True)
class Gap:
    """The agent says that it left some events out."""

    type: ClassVar[str] = "gap"

    first: int
    last: int
    dropped: int
    """How many of ours between the two numbers."""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """What happened since `since` is not known; the next event begins anew."""

    type: ClassVar[str] = "reset"

    reason: str
    since: str | None = None
    """The last position, "epoch-seq"; None when there was none yet."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The present peers, as the events that would have told of them."""

    type: ClassVar[str] = "snapshot"

    events: tuple[StreamedEvent, ...]

    @property
    def position(self) -> tuple[str, int] | None:
        """Epoch and number of the newest event it includes; None without peers."""
        if not self.events:
            return None
        return self.events[-1].epoch, self.events[-1].seq


Item = StreamedEvent | Gap | Reset | Snapshot
