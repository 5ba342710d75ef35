"""The catalogue for programs: JSON Schema of every message a stream may carry."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from praxis_fast.events.catalogue import CATALOGUE, STREAM_KINDS

if TYPE_CHECKING:
    from praxis_fast.events.catalogue import EventKind

_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}

_PROPERTIES: dict[str, Any] = {
    "type": {**_TEXT, "description": "one of x-event-types, or a name of users' code"},
    "payload": {"type": "object"},
    "id": {**_TEXT, "description": "UUID of the event"},
    "epoch": {**_TEXT, "description": "changes when the history is lost"},
    "seq": {"type": "integer", "minimum": 0, "description": "grows within an epoch"},
    "timestamp": _TIME,
    "correlation_id": {"type": ["string", "integer", "null"]},
    "snapshot": {"const": True, "description": "tells the present state, not a change"},
    "event": {**_TEXT, "description": "as type; on /events and /events/stream"},
    "task_id": {"type": ["string", "null"], "description": "there as well"},
    "data": {"type": "object", "description": "as payload; there as well"},
    "component": {"type": ["string", "null"], "description": "who published; there"},
    "version": {**_TEXT, "description": "of the agent; there as well"},
}


@cache
def event_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the messages; types nobody knows are valid too."""
    kinds = (*CATALOGUE.values(), *STREAM_KINDS.values())
    types = list(dict.fromkeys(kind.payload for kind in kinds))
    # References are "#/$defs/<name>", as JSON Schema 2020-12 has them.
    refs, definitions = msgspec.json.schema_components(types)
    ref_of = dict(zip(types, refs, strict=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Event",
        "type": "object",
        "required": ["type", "payload"],
        "properties": _PROPERTIES,
        "allOf": [_rule(kind, ref_of[kind.payload]) for kind in kinds],
        "$defs": definitions,
        "x-event-types": {kind.name: _told(kind) for kind in kinds},
    }


def _rule(kind: EventKind, ref: dict[str, Any]) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": kind.name}}},
        "then": {"properties": {"payload": ref}},
    }


def _told(kind: EventKind) -> dict[str, str]:
    return {
        "emitter": kind.emitter,
        "priority": str(kind.priority),
        "payload": kind.payload.__name__,
        "description": kind.about,
    }
