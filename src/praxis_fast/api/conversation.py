"""What one WebSocket client says and what it is answered (sans-IO).

    client                               server
      │ ◄── chatMessage (welcome) ────────│   on /ws and /ws/events
      │ ─── SUBSCRIBE_EVENTS ────────────►│   first call replaces, later ones add
      │ ◄── chatMessage "Subscribed to …" │   then `error` for the names nobody knows
      │ ◄── present peers ────────────────│   with "snapshot": true
      │ ◄── heartbeat, again and again ───│   with "positions": true, or after RESUME
      │ ─── RESUME ──────────────────────►│   what came after "since"
      │ ◄── resumed, events … | reset ────│   then live
      │ ─── PING ────────────────────────►│
      │ ◄── PONG ─────────────────────────│

The texts are those of the reference's connection manager; keys are only added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from praxis_fast.api.wanted import Wanted, narrowed
from praxis_fast.errors import MessageError, UsageError
from praxis_fast.events.filter import is_glob
from praxis_fast.events.types import DEFAULT_TYPES, expand, resolve
from praxis_fast.wire.json_text import decode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from praxis_fast.limits import JSONLimits

WELCOME: dict[str, Any] = {
    "type": "chatMessage",
    "payload": {
        "content": "Connected to Praxis Agent",
        "sender": "system",
        "type": "system",
    },
}

EVERYTHING = frozenset({"*"})

# Said for every request that cannot be understood, as the reference has it.
BAD_REQUEST = "WEBSOCKET_ERROR"
UNSUPPORTED = "UNSUPPORTED"


@dataclass(frozen=True, slots=True)
class Reply:
    """A message for this client alone."""

    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subscribe:
    """From now on the client gets events of these types; None is all of them."""

    types: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The client wants the present peers, before anything newer."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The client wants what came after the event it names, "epoch-seq"."""

    since: str


@dataclass(frozen=True, slots=True)
class Positions:
    """Whether the client wants to be told where it may go on, without any event."""

    is_wanted: bool


Action = Reply | Subscribe | Snapshot | Positions | Resume


class BadRequestError(Exception):
    """A message that is answered with an error; the connection goes on."""

    def __init__(self, message: str, code: str = BAD_REQUEST, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.more = more


class Conversation:
    """Holds which types a client asked for and answers its messages."""

    __slots__ = (
        "_hidden",
        "_is_default",
        "_known",
        "_limits",
        "_max_filters",
        "_now",
        "_share",
        "_types",
        "_wanted",
        "principal",
    )

    def __init__(
        self,
        *,
        types: frozenset[str] = DEFAULT_TYPES,
        known: Callable[[], Set[str]] = frozenset,
        now: Callable[[], str] = str,
        max_filters: int = 256,
        limits: JSONLimits | None = None,
        wanted: Wanted | None = None,
        hidden: Callable[[Any, frozenset[str] | None], list[str]] | None = None,
        principal: object = None,
        share: Callable[[frozenset[str]], frozenset[str]] = frozenset,
    ) -> None:
        self._limits = limits
        # Which of these types the principal never gets to see.
        self._hidden = hidden or _nothing
        self.principal = principal
        # Gives the object to keep for a set of types.
        self._share = share
        # All conditions but the types.
        self._wanted = wanted or Wanted()
        self._types: Set[str] = types
        self._is_default = True
        self._known = known
        self._now = now
        self._max_filters = max_filters

    @property
    def types(self) -> frozenset[str] | None:
        """The types asked for; None is all of them."""
        return None if "*" in self._types else frozenset(self._types)

    @property
    def wanted(self) -> Wanted:
        """All conditions."""
        return replace(self._wanted, types=self.types)

    def receive_message(self, message: str | bytes) -> list[Action]:
        """What to do about one message, in this order."""
        request_id: object = None
        try:
            request = self._parse(message)
            request_id = request.get("id", request.get("correlation_id"))
            return self._answer(request, request_id)
        except BadRequestError as error:
            return [self._error(error, request_id)]
        except UsageError as error:
            return [self._error(BadRequestError(str(error)), request_id)]

    def _parse(self, message: str | bytes) -> dict[str, Any]:
        if isinstance(message, bytes):
            raise BadRequestError("binary messages are not understood, send JSON text")
        try:
            request = decode_json(message.encode(), self._limits)
        except MessageError as error:
            raise BadRequestError(f"Invalid JSON format: {error}") from None
        if not isinstance(request, dict) or not isinstance(request.get("type"), str):
            raise BadRequestError('a message is an object with a text "type"')
        return request

    def _answer(self, request: dict[str, Any], request_id: object) -> list[Action]:
        kind: str = request["type"]
        payload = request.get("payload")
        if kind == "SUBSCRIBE_EVENTS":
            return self._subscribe(payload, request_id)
        if kind == "UNSUBSCRIBE_EVENTS":
            return self._unsubscribe(payload, request_id)
        if kind == "RESUME":
            return [self._resume(payload)]
        if kind in ("PING", "ping"):
            answer = "PONG" if kind == "PING" else "pong"
            return [self._reply(answer, {"timestamp": self._now()}, request_id)]
        raise BadRequestError(
            f"message type {kind[:128]!r} is not supported here", UNSUPPORTED
        )

    def _resume(self, payload: object) -> Resume:
        since = payload.get("since") if isinstance(payload, dict) else None
        if not isinstance(since, str):
            raise BadRequestError('payload needs "since", a text "epoch-seq"')
        return Resume(since)

    def _subscribe(self, payload: object, request_id: object) -> list[Action]:
        wants_snapshot = isinstance(payload, dict) and payload.get("snapshot") is True
        changed = self._narrowed(payload)
        positions = self._positions(payload)
        is_optional = wants_snapshot or positions is not None or changed is not None
        names = self._names(payload, is_optional=is_optional)
        if changed is not None:
            self._wanted = changed
        actions: list[Action] = []
        if names is not None:
            actions += self._add(names, request_id)
        elif changed is not None:
            actions += self._changed("Subscribed to", {}, [], request_id)
        if wants_snapshot:
            actions.append(Snapshot())
        if positions is not None:
            actions.append(Positions(positions))
        return actions

    @staticmethod
    def _positions(payload: object) -> bool | None:
        told = payload.get("positions") if isinstance(payload, dict) else None
        if told is None or isinstance(told, bool):
            return told
        raise BadRequestError('"positions" must be true or false')

    def _narrowed(self, payload: object) -> Wanted | None:
        """All conditions with those of the payload; None when it has none."""
        return narrowed(self._wanted, payload) if isinstance(payload, dict) else None

    def _add(self, names: list[object], request_id: object) -> list[Action]:
        accepted, rejected = resolve(names, self._known())
        if rejected and not accepted:
            return [self._unknown(rejected, request_id)]
        added = {name for types in accepted.values() for name in types}
        types = added if self._is_default else self._types | added
        self._set_types(types)
        return self._changed("Subscribed to", accepted, rejected, request_id)

    def _unsubscribe(self, payload: object, request_id: object) -> list[Action]:
        names = self._names(payload, is_optional=False)
        assert names is not None
        accepted, rejected = resolve(names, self._known())
        types = set(self._types)
        for name in {name for found in accepted.values() for name in found}:
            self._remove(types, name)
        if rejected and not accepted:
            return [self._unknown(rejected, request_id)]
        self._set_types(types)
        return self._changed("Unsubscribed from", accepted, rejected, request_id)

    def _set_types(self, types: Set[str]) -> None:
        if len(types) > self._max_filters:
            raise BadRequestError(
                f"subscription of {len(types)} event types, limit {self._max_filters}"
            )
        self._types, self._is_default = self._share(frozenset(types)), False

    def _remove(self, types: set[str], name: str) -> None:
        """Take a type or glob out; a wider glob is replaced by the rest it stands for.

        The rest are the types known now: what is published for the first time later is
        not among them.
        """
        for held in tuple(types):
            if held == name or (is_glob(name) and fnmatchcase(held, name)):
                types.remove(held)
            elif is_glob(held) and not is_glob(name) and fnmatchcase(name, held):
                types.remove(held)
                types |= expand(held, self._known()) - {name}

    def _names(self, payload: object, *, is_optional: bool) -> list[object] | None:
        names = payload.get("event_types") if isinstance(payload, dict) else None
        if names is None and is_optional:
            return None
        if isinstance(names, str):
            names = [names]
        if not isinstance(names, list):
            raise BadRequestError('payload needs "event_types", a list of names')
        if len(names) > self._max_filters:
            raise BadRequestError(
                f"{len(names)} event types in one request, limit {self._max_filters}"
            )
        return names

    def _changed(
        self,
        verb: str,
        accepted: dict[str, tuple[str, ...]],
        rejected: list[str],
        request_id: object,
    ) -> list[Action]:
        payload = {
            "content": f"{verb} {len(accepted)} event types",
            "sender": "system",
            "type": "system",
            "event_types": list(accepted),
            "rejected": rejected,
        }
        if narrowed := self._hidden(self.principal, self.types):
            # The subscription holds all the same; these will never come.
            payload["narrowed"] = narrowed
        actions: list[Action] = [
            Subscribe(self.types),
            self._reply("chatMessage", payload, request_id),
        ]
        if rejected:
            actions.append(self._unknown(rejected, request_id))
        return actions

    def _unknown(self, rejected: list[str], request_id: object) -> Reply:
        error = BadRequestError(
            f"Invalid event types: {', '.join(rejected)}", rejected=rejected
        )
        return self._error(error, request_id)

    def _error(self, error: BadRequestError, request_id: object) -> Reply:
        payload = {
            "message": str(error),
            "code": error.code,
            "timestamp": self._now(),
            **error.more,
        }
        return self._reply("error", payload, request_id)

    def _reply(self, kind: str, payload: dict[str, Any], request_id: object) -> Reply:
        message: dict[str, Any] = {"type": kind, "payload": payload}
        if isinstance(request_id, (str, int)):
            message["correlation_id"] = request_id
        return Reply(message)


def _nothing(principal: object, types: frozenset[str] | None) -> list[str]:
    return []
