"""What a client asks for, in a query or in a subscription, and the filter it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from praxis_fast.errors import UsageError
from praxis_fast.events.event import EventFilter
from praxis_fast.events.mailbox import POLICIES
from praxis_fast.events.priority import Priority
from praxis_fast.events.types import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from praxis_fast.events.filter import TagRule
    from praxis_fast.events.mailbox import Policy

# What longer lists would cost everybody, one client must not be able to ask for.
MAX_NAMES = 256
MAX_NAME = 256

# The names a query may use for each condition; those of both upstream projects.
_TYPES = ("types", "type", "event_types")
_TASKS = ("task", "tasks", "task_id", "task_filter")
_PEERS = ("peer", "peers", "peer_id")
_TAGS = ("tag", "tags")
_SOURCES = ("source", "sources")
_PRIORITY = ("priority", "min_priority")
_KEYS = (*_TASKS, *_PEERS, *_TAGS, *_SOURCES, *_PRIORITY)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions that must all hold; None restricts nothing."""

    types: frozenset[str] | None = None
    tasks: frozenset[str] | None = None
    peers: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    tags: frozenset[TagRule] = frozenset()
    min_priority: Priority | None = None

    def to_filter(self) -> EventFilter:
        """The filter for whoever may see everything."""
        return EventFilter(
            event_types=self.types,
            source_patterns=self.sources,
            required_tags=self.tags,
            peers=self.peers,
            tasks=self.tasks,
            min_priority=self.min_priority,
        )


# One for all: an empty set takes as much memory as a small one.
_NO_TAGS: frozenset[TagRule] = frozenset()


def wanted_of(
    query: Mapping[str, Sequence[str]],
    *,
    types: frozenset[str] | None = None,
    known: Set[str] = frozenset(),
) -> tuple[Wanted, list[str]]:
    """What a query asks for, and the type names in it that nobody knows.

    `types` are those without any in the query. Lists are cut at commas; a tag is
    `name`, `name:value` or `name=value`. Raises UsageError.
    """
    names = _listed(query, _TYPES)
    rejected: list[str] = []
    if names is not None:
        accepted, rejected = resolve(names, known)
        found = frozenset(name for types in accepted.values() for name in types)
        types = None if "*" in found else found
        if rejected and not accepted:
            raise UsageError(f"unknown event types: {', '.join(rejected)}")
    priorities = _listed(query, _PRIORITY)
    wanted = Wanted(
        types=types,
        tasks=_listed(query, _TASKS),
        peers=_listed(query, _PEERS),
        sources=_listed(query, _SOURCES),
        tags=frozenset(_tag(text) for text in _listed(query, _TAGS) or ()) or _NO_TAGS,
        min_priority=min(map(Priority.parse, priorities)) if priorities else None,
    )
    return wanted, rejected


def policy_of(query: Mapping[str, Sequence[str]]) -> Policy:
    """What shall happen when the client does not keep up. Raises UsageError."""
    asked = query.get("policy", ["drop_oldest"])[-1]
    if asked not in POLICIES:
        raise UsageError(f"policy {asked[:64]!r} is not one of {', '.join(POLICIES)}")
    return cast("Policy", asked)


def asides(rejected: list[str], hidden: list[str]) -> list[dict[str, Any]]:
    """What a stream says first of the types in its query: unknown, or never seen."""
    messages: list[dict[str, Any]] = []
    if rejected:
        told = {
            "message": f"Invalid event types: {', '.join(rejected)}",
            "code": "BAD_REQUEST",
            "rejected": rejected,
        }
        messages.append({"type": "error", "payload": told})
    if hidden:
        messages.append({"type": "narrowed", "payload": {"event_types": hidden}})
    return messages


def narrowed(kept: Wanted, payload: Mapping[str, object]) -> Wanted | None:
    """The conditions of a subscription in place of those kept; None: it has none.

    A value is a text, a list of texts, or a mapping of tags; null lifts a condition.
    Raises UsageError.
    """
    told = {key: payload[key] for key in _KEYS if key in payload}
    if not told:
        return None
    query = {
        key: _texts(key, value) for key, value in told.items() if value is not None
    }
    given, _ = wanted_of(query)

    def of(keys: Iterable[str]) -> Wanted:
        return kept if told.keys().isdisjoint(keys) else given

    return Wanted(
        tasks=of(_TASKS).tasks,
        peers=of(_PEERS).peers,
        sources=of(_SOURCES).sources,
        tags=of(_TAGS).tags,
        min_priority=of(_PRIORITY).min_priority,
    )


def _texts(key: str, value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [f"{name}:{text}" for name, text in value.items()]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError(f'"{key}" must be a text or a list of texts')
    return value


def _listed(
    query: Mapping[str, Sequence[str]], keys: Iterable[str]
) -> frozenset[str] | None:
    given = [query[key] for key in keys if key in query]
    if not given:
        return None
    texts = [text for one in given for text in one]
    names = frozenset(
        part.strip() for text in texts for part in text.split(",") if part.strip()
    )
    if len(names) > MAX_NAMES:
        raise UsageError(f"{len(names)} names in a filter, limit {MAX_NAMES}")
    for name in names:
        if len(name) > MAX_NAME:
            raise UsageError(f"name of {len(name)} characters, limit {MAX_NAME}")
    return names


def _tag(text: str) -> TagRule:
    for sign in ":=":
        name, found, value = text.partition(sign)
        if found:
            return (name, value)
    return text
