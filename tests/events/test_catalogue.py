from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from praxis_fast.events import payloads
from praxis_fast.events.bus import EventBus
from praxis_fast.events.catalogue import CATALOGUE, PRIORITIES, STREAM_KINDS
from praxis_fast.events.catalogue_page import page
from praxis_fast.events.priority import Priority
from praxis_fast.events.schema import event_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT: dict[str, Mapping[str, Any]] = {
    "p2p.peer_connected": payloads.peer_payload(
        "p", ["/ip4/1.2.3.4/tcp/1"], found_at=1.0, card={"name": "a"}, reason="x"
    ),
    "p2p.card_exchange": payloads.card_payload("p", {"tools": []}),
    "p2p.tool_request": payloads.tool_request_payload(
        "p", "add", {"a": 1}, "r", direction="out"
    ),
    "p2p.tool_response": payloads.tool_response_payload(
        "p", "add", "r", direction="in", error={"code": 1}, duration=0.5
    ),
    "system.error": payloads.error_payload("m", component="c", error_code="e"),
    "gap": payloads.gap_payload(1, 2, 2),
}


@pytest.mark.parametrize("name", BUILT)
def test_built_payloads_are_of_the_catalogue_s_type(name: str) -> None:
    kind = (CATALOGUE | STREAM_KINDS)[name]  # type: ignore[operator]
    built = dict(BUILT[name])
    assert msgspec.convert(built, kind.payload) == built


def test_every_kind_has_a_payload_type_and_a_sentence() -> None:
    for kind in (*CATALOGUE.values(), *STREAM_KINDS.values()):
        assert kind.payload.__doc__
        assert kind.about.endswith(".")
        assert kind.emitter in ("agent", "bus", "application", "stream")


def test_schema_names_every_type_and_refers_to_what_it_defines() -> None:
    schema = event_schema()
    names = [rule["if"]["properties"]["type"]["const"] for rule in schema["allOf"]]
    assert names == [*CATALOGUE, *STREAM_KINDS] == list(schema["x-event-types"])
    for rule in schema["allOf"]:
        ref = rule["then"]["properties"]["payload"]["$ref"]
        assert ref.removeprefix("#/$defs/") in schema["$defs"]
    assert "from" in schema["$defs"]["GapPayload"]["properties"]


def test_docs_events_is_current() -> None:
    path = Path(__file__).parents[2] / "docs" / "events.md"
    assert path.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("name", ["security_audit", "task.progress", "task.started"])
def test_publish_takes_the_priority_of_the_catalogue_when_none_is_given(
    name: str,
) -> None:
    bus = EventBus()
    assert bus.publish(name).priority is CATALOGUE[name].priority
    assert bus.publish(name, priority="critical").priority is Priority.CRITICAL
    assert bus.publish("my.type").priority is Priority.NORMAL
    assert PRIORITIES.get(name, Priority.NORMAL) is CATALOGUE[name].priority
