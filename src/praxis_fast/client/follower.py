"""The client's side of the conversation about events (sans-IO).

Theory of operation
-------------------
One Follower lives as long as its EventStream and sees one connection after another.
What it must carry over is its position, the epoch and number of the last event.

    client                                   agent
      │ ─── SUBSCRIBE_EVENTS ──────────────────►│   SUBSCRIBING: events are of default
      │ ◄── chatMessage "Subscribed to …" ──────│   types, thrown away
      │ ─── RESUME {"since"} ──────────────────►│   RESUMING
      │ ◄── resumed | reset | error ────────────│
      │ ◄── events, gap, reset ─────────────────│   FOLLOWING
      │ ─── SUBSCRIBE_EVENTS {"snapshot"}, PING ►│   when told to keep a snapshot: at
      │ ◄── chatMessage, present peers, PONG ───│   first, after each Gap and Reset

The continuation after `resumed` holds everything after the position, so what came
before that answer is thrown away; after `reset` nothing else will bring it. A stream
that has no position yet asks for one that cannot be: the `reset` tells where it is, so
that it can go on from there even if no event comes before the connection is lost.

An agent may begin another epoch amid its life, when its disk fails; its numbers go on
then, and nothing is lost. Whoever lost something says `reset`, so a new epoch counts as
one without a word only where the numbers do not grow.

The agent writes the answer to a snapshot request and the peers in one piece, so the
snapshot ends with the first message that is none of it; the PONG is there to be that
message.
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

# Said in place of a position by a stream that has none.
START = "start"

NO_POSITION = "no event had been received yet"
NO_RESUME = "the agent cannot resume"
NEW_EPOCH = "the agent began a new epoch"


class _State(Enum):
    SUBSCRIBING = 1
    RESUMING = 2
    FOLLOWING = 3


class Follower:
    """Turns messages into items; knows what was seen and what to ask for."""

    def __init__(
        self,
        types: Sequence[str],
        *,
        since: str | None = None,
        keeps_snapshot: bool = False,
    ) -> None:
        self._types = list(types)
        self._keeps_snapshot = keeps_snapshot
        # Also asked for once more when the connection is lost before it came.
        self._lacks_snapshot = keeps_snapshot
        self._state = _State.SUBSCRIBING
        self._is_first = True
        self._to_send: list[str] = []
        self._numbers = count(1)
        self._subscribe_id = self._snapshot_id = ""
        self._seen = None if since is None else _position(since)
        self._early: list[Mapping[str, Any]] = []
        self._present: list[StreamedEvent] | None = None
        self._talk: dict[str, Callable[[Mapping[str, Any]], list[Item]]] = {
            "chatMessage": self._on_chat,
            "error": self._on_error,
            "resumed": self._on_resumed,
            "reset": self._on_reset,
            "gap": self._on_gap,
            "closing": self._on_closing,
            "heartbeat": self._on_closing,
        }

    @property
    def is_following(self) -> bool:
        """Whether everything from here on is told: subscribed, and resumed or reset."""
        return self._state is _State.FOLLOWING

    @property
    def position(self) -> str | None:
        """Up to where everything is known, "epoch-seq"."""
        return None if self._seen is None else f"{self._seen[0]}-{self._seen[1]}"

    @property
    def names(self) -> list[str]:
        """The types to ask for."""
        return self._types if self._is_first else [_stable(n) for n in self._types]

    def begin_unasked(self) -> list[Item]:
        """A new connection is open where types and position went with the request.

        The continuation begins without `resumed`, or with `reset`.
        """
        is_blind = self._seen is None and not self._is_first
        self._go_on()
        return [self._reset(NO_POSITION)] if is_blind else []

    def begin(self) -> None:
        """A new connection is open; what the old one had not finished is void."""
        self._state = _State.SUBSCRIBING
        self._to_send.clear()
        self._early.clear()
        self._present = None
        self._snapshot_id = ""
        self._subscribe_id = self._ask("SUBSCRIBE_EVENTS", {"event_types": self.names})

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
        if self._seen is not None and seq <= self._seen[1]:
            if self._seen[0] == epoch:
                return items
            items.append(self._reset(NEW_EPOCH))
            self._ask_snapshot()
        self._seen = (epoch, seq)
        return [*items, StreamedEvent(message)]

    def _keep_early(self, message: Mapping[str, Any]) -> None:
        if len(self._early) >= MAX_EARLY:
            raise NetworkError(f"{MAX_EARLY} events and no answer to RESUME")
        self._early.append(message)

    def _end_snapshot(self) -> list[Item]:
        if self._present is None:
            return []
        present, self._present = self._present, None
        self._lacks_snapshot = False
        return [Snapshot(tuple(present))]

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
        self._state = _State.RESUMING
        self._ask("RESUME", {"since": self.position or START})
        return []

    def _on_resumed(self, message: Mapping[str, Any]) -> list[Item]:
        if self._state is _State.RESUMING:
            self._early.clear()
            self._go_on()
        return []

    def _on_reset(self, message: Mapping[str, Any]) -> list[Item]:
        payload = _payload(message)
        reason = str(payload.get("reason") or "reset")
        if self._state is _State.SUBSCRIBING:
            return []
        items = self._start_over(reason)
        self._move_to(payload.get("epoch"), payload.get("seq"))
        return items

    def _on_closing(self, message: Mapping[str, Any]) -> list[Item]:
        """A goodbye or a sign of life: nothing of ours came up to this position."""
        since = _payload(message).get("since")
        if self._state is _State.FOLLOWING and isinstance(since, str):
            epoch, _, seq = since.rpartition("-")
            self._move_to(epoch, int(seq) if seq.isdecimal() else None)
        return []

    def _on_error(self, message: Mapping[str, Any]) -> list[Item]:
        payload = _payload(message)
        if self._state is _State.RESUMING:
            unsupported = payload.get("code") == "UNSUPPORTED"
            told = NO_RESUME if unsupported else str(payload.get("message") or "error")
            return self._start_over(told)
        rejected = payload.get("rejected")
        if rejected:
            raise _unknown(rejected)
        answered = message.get("correlation_id")
        if self._state is _State.SUBSCRIBING and answered == self._subscribe_id:
            raise _refused(payload)
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
        if self._seen is not None and last <= self._seen[1]:
            return []
        epoch = payload.get("epoch") if self._seen is None else self._seen[0]
        self._move_to(epoch, last)
        self._lacks_snapshot = self._keeps_snapshot
        self._ask_snapshot()
        dropped = _number(payload.get("dropped"))
        return [Gap(first, last, dropped, payload.get("reason"))]

    # asking

    def _start_over(self, reason: str) -> list[Item]:
        """There is no continuation: at first that is no news."""
        is_news = self._seen is not None or not self._is_first
        items: list[Item] = [self._reset(reason)] if is_news else []
        early, self._early = self._early, []
        self._go_on()
        for message in early:
            items += self.receive_message(message)
        return items

    def _go_on(self) -> None:
        self._state = _State.FOLLOWING
        self._is_first = False
        self._ask_snapshot()

    def _reset(self, reason: str) -> Reset:
        reset = Reset(reason, self.position)
        self._seen = None
        self._lacks_snapshot = self._keeps_snapshot
        return reset

    def _move_to(self, epoch: object, seq: object) -> None:
        """Nothing of ours is to come up to this number."""
        if not isinstance(epoch, str) or not isinstance(seq, int):
            return
        if not epoch.isprintable():
            return
        if self._seen is None or self._seen[1] < seq:
            self._seen = (epoch, seq)

    def _ask_snapshot(self) -> None:
        if not self._lacks_snapshot:
            return
        # Asking for the same types once more changes nothing; their answer comes right
        # before the peers.
        names = [_stable(name) for name in self._types]
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
    # Both are said again when we come back, in a header at that.
    return isinstance(seq, int) and isinstance(epoch, str) and epoch.isprintable()


def _stable(name: str) -> str:
    """The name so that an agent takes it that has not published this type yet.

    An agent knows users' own types once it has published one of them, so after it
    starts anew it would reject what it accepted before; globs it always accepts.
    """
    accepted, _ = resolve([name])
    return name if accepted else f"[{name[0]}]{name[1:]}"


def _position(text: str) -> tuple[str, int]:
    epoch, dash, seq = text.rpartition("-")
    if not (epoch.isprintable() and epoch and dash and seq.isdecimal()):
        raise UsageError(f"since must be a position, epoch-seq, not {text!r}")
    return epoch, int(seq)


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
