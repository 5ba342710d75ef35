"""The client's side of the conversation about events (sans-IO).

Theory of operation
-------------------
One Follower lives as long as its EventStream and sees one connection after another.
What it must carry over is its position, the epoch and number of the last event.

    client                                   agent
      │ ─── SUBSCRIBE_EVENTS ──────────────────►│   SUBSCRIBING: events are of default
      │ ◄── chatMessage "Subscribed to …" ──────│   types, thrown away
      │ ─── RESUME {"since"} ──────────────────►│   RESUMING, when there is a position
      │ ◄── resumed | reset | error ────────────│
      │ ◄── events, gap, reset ─────────────────│   FOLLOWING
      │ ─── SUBSCRIBE_EVENTS {"snapshot"}, PING ►│   when told to keep a snapshot: at
      │ ◄── chatMessage, present peers, PONG ───│   first, after each Gap and Reset

The continuation after `resumed` holds everything after the position, so what came
before that answer is thrown away; after `reset` nothing else will bring it. The agent
writes the answer to a snapshot request and the peers in one piece, so the snapshot
ends with the first message that is none of it; the PONG is there to be that message.
"""

from __future__ import annotations

import json
import logging
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any

from praxis_fast.client.items import Gap, Item, Reset, Snapshot, StreamedEvent
from praxis_fast.errors import NetworkError, UsageError
from praxis_fast.events.types import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

logger = logging.getLogger(__name__)

# Events between our RESUME and its answer; one round trip brings far fewer.
MAX_EARLY = 10_000

NO_POSITION = "no event had been received yet"
NO_RESUME = "the agent cannot resume"
NEW_EPOCH = "the agent began a new epoch"


class _State(Enum):
    SUBSCRIBING = 1
    RESUMING = 2
    FOLLOWING = 3


class Follower:
    """Turns messages into items; knows what was seen and what to ask for."""

    def __init__(self, types: Sequence[str], *, keeps_snapshot: bool = False) -> None:
        self._types = list(types)
        self._keeps_snapshot = keeps_snapshot
        self._state = _State.SUBSCRIBING
        self._is_first = True
        self._to_send: list[str] = []
        self._numbers = count(1)
        self._subscribe_id = self._snapshot_id = ""
        self._seen: tuple[str, int] | None = None
        # Where to go on before any event was seen: as new as the first snapshot.
        self._snapshot_at: tuple[str, int] | None = None
        self._early: list[Mapping[str, Any]] = []
        self._present: list[StreamedEvent] | None = None
        self._talk: dict[str, Callable[[Mapping[str, Any]], list[Item]]] = {
            "chatMessage": self._on_chat,
            "error": self._on_error,
            "resumed": self._on_resumed,
            "reset": self._on_reset,
            "gap": self._on_gap,
        }

    @property
    def is_following(self) -> bool:
        """Whether everything from here on is told: subscribed, and resumed or reset."""
        return self._state is _State.FOLLOWING

    @property
    def position(self) -> str | None:
        """The last event, as "epoch-seq"."""
        position = self._seen or self._snapshot_at
        return None if position is None else f"{position[0]}-{position[1]}"

    def begin(self) -> None:
        """A new connection is open; what the old one had not finished is void."""
        self._state = _State.SUBSCRIBING
        self._to_send.clear()
        self._early.clear()
        self._present = None
        self._snapshot_id = ""
        names = self._types if self._is_first else [_stable(n) for n in self._types]
        self._subscribe_id = self._ask("SUBSCRIBE_EVENTS", {"event_types": names})

    def messages_to_send(self) -> list[str]:
        """Texts for the agent, taken out."""
        taken, self._to_send = self._to_send, []
        return taken

    def receive_message(self, message: Mapping[str, Any]) -> list[Item]:
        """What one message of the agent means.

        Raises UsageError when the agent does not know the types asked for.
        """
        if _is_event(message):
            return self._on_event(message)
        items = self._end_snapshot()
        handler = self._talk.get(str(message.get("type")))
        return items if handler is None else items + handler(message)

    # events

    def _on_event(self, message: Mapping[str, Any]) -> list[Item]:
        if message.get("snapshot") is True:
            if self._present is not None:
                self._present.append(StreamedEvent(message))
            return []
        items = self._end_snapshot()
        if self._state is _State.FOLLOWING:
            return items + self._follow(message)
        if self._state is _State.RESUMING:
            self._keep_early(message)
        return items

    def _follow(self, message: Mapping[str, Any]) -> list[Item]:
        epoch, seq = message["epoch"], message["seq"]
        items: list[Item] = []
        if self._seen is not None and self._seen[0] != epoch:
            items.append(self._reset(NEW_EPOCH))
        if self._seen is not None and seq <= self._seen[1]:
            return items
        self._seen = (epoch, seq)
        return [*items, StreamedEvent(message)]

    def _keep_early(self, message: Mapping[str, Any]) -> None:
        if len(self._early) >= MAX_EARLY:
            raise NetworkError(f"{MAX_EARLY} events and no answer to RESUME")
        self._early.append(message)

    def _end_snapshot(self) -> list[Item]:
        if self._present is None:
            return []
        snapshot = Snapshot(tuple(self._present))
        self._present = None
        if self._snapshot_at is None:
            self._snapshot_at = snapshot.position
        return [snapshot]

    # talk

    def _on_chat(self, message: Mapping[str, Any]) -> list[Item]:
        answered = message.get("correlation_id")
        if answered == self._snapshot_id:
            self._present = []
        if answered != self._subscribe_id or self._state is not _State.SUBSCRIBING:
            return []
        rejected = _payload(message).get("rejected")
        if rejected:
            raise _unknown(rejected)
        return self._on_subscribed()

    def _on_subscribed(self) -> list[Item]:
        is_first, self._is_first = self._is_first, False
        position = self.position
        if position is not None:
            self._state = _State.RESUMING
            self._ask("RESUME", {"since": position})
            return []
        self._state = _State.FOLLOWING
        if not is_first:
            return [self._reset(NO_POSITION)]
        self._ask_snapshot()
        return []

    def _on_resumed(self, message: Mapping[str, Any]) -> list[Item]:
        if self._state is _State.RESUMING:
            self._state = _State.FOLLOWING
            self._early.clear()
        return []

    def _on_reset(self, message: Mapping[str, Any]) -> list[Item]:
        if self._state is _State.SUBSCRIBING:
            return []
        return self._start_over(str(_payload(message).get("reason") or "reset"))

    def _on_error(self, message: Mapping[str, Any]) -> list[Item]:
        payload = _payload(message)
        if self._state is _State.RESUMING:
            unsupported = payload.get("code") == "UNSUPPORTED"
            told = NO_RESUME if unsupported else str(payload.get("message") or "error")
            return self._start_over(told)
        answered = message.get("correlation_id")
        if self._state is _State.SUBSCRIBING and answered == self._subscribe_id:
            rejected = payload.get("rejected")
            raise _unknown(rejected) if rejected else _refused(payload)
        logger.warning("the agent complains: %s", payload.get("message"))
        return []

    def _on_gap(self, message: Mapping[str, Any]) -> list[Item]:
        if self._state is _State.SUBSCRIBING:
            return []
        if self._state is _State.RESUMING:
            self._keep_early(message)
            return []
        payload = _payload(message)
        first, last = _number(payload.get("from")), _number(payload.get("to"))
        if self._seen is not None:
            if last <= self._seen[1]:
                return []
            self._seen = (self._seen[0], last)
        self._ask_snapshot()
        dropped = _number(payload.get("dropped"))
        return [Gap(first, last, dropped, payload.get("reason"))]

    # asking

    def _start_over(self, reason: str) -> list[Item]:
        items: list[Item] = [self._reset(reason)]
        self._state = _State.FOLLOWING
        early, self._early = self._early, []
        for message in early:
            items += self.receive_message(message)
        return items

    def _reset(self, reason: str) -> Reset:
        reset = Reset(reason, self.position)
        self._seen = self._snapshot_at = None
        self._ask_snapshot()
        return reset

    def _ask_snapshot(self) -> None:
        if not self._keeps_snapshot:
            return
        names = self._types if self._is_first else [_stable(n) for n in self._types]
        wanted = {"event_types": names, "snapshot": True}
        self._snapshot_id = self._ask("SUBSCRIBE_EVENTS", wanted)
        self._ask("PING", {})

    def _ask(self, kind: str, payload: dict[str, Any]) -> str:
        request_id = f"{kind}-{next(self._numbers)}"
        request = {"type": kind, "payload": payload, "id": request_id}
        self._to_send.append(json.dumps(request))
        return request_id


def _is_event(message: Mapping[str, Any]) -> bool:
    """Only events have a number; talk has none."""
    seq, epoch = message.get("seq"), message.get("epoch")
    return isinstance(seq, int) and isinstance(epoch, str)


def _stable(name: str) -> str:
    """The name so that an agent takes it that has not published this type yet.

    An agent knows users' own types once it has published one of them, so after it
    starts anew it would reject what it accepted before; globs it always accepts.
    """
    accepted, _ = resolve([name])
    return name if accepted else f"[{name[0]}]{name[1:]}"


def _payload(message: Mapping[str, Any]) -> dict[str, Any]:
    payload = message.get("payload")
    return payload if isinstance(payload, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _unknown(rejected: object) -> UsageError:
    names = rejected if isinstance(rejected, list) else [rejected]
    told = ", ".join(str(name) for name in names)
    return UsageError(
        f"the agent knows no event types {told}; globs may name types still to come"
    )


def _refused(payload: Mapping[str, Any]) -> UsageError:
    return UsageError(f"the agent refused the subscription: {payload.get('message')}")
