from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest

from praxis_fast.errors import UsageError
from praxis_fast.events.clocktext import ClockText
from praxis_fast.events.event import Event, Priority, Tags, utc_text
from praxis_fast.events.ids import IDSource


def test_event_stamps_itself_when_made_by_hand() -> None:
    event = Event("a.b", {"x": 1})
    assert UUID(event.id).version == 4
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.time)
    assert (event.priority, event.tags, event.seq) == (Priority.NORMAL, Tags(), 0)


def test_event_is_immutable_when_a_field_is_set() -> None:
    with pytest.raises(AttributeError):
        Event("a").type = "b"  # type: ignore[misc]


@pytest.mark.parametrize("tags", [["a", "b"], {"a", "b"}, {"a": "", "b": ""}])
def test_event_makes_tags_when_given_plain_ones(tags: object) -> None:
    event = Event("a", tags=tags)  # type: ignore[arg-type]
    assert type(event.tags) is Tags
    assert event.tags == {"a", "b"}


def test_event_takes_the_role_from_its_tags_when_none_is_given() -> None:
    assert Event("a", tags=Tags({"required_role": "admin"})).required_role == "admin"


def test_metadata_gives_the_seeds_view() -> None:
    event = Event(
        "a", source="s", correlation_id="c", tags=Tags(["x"]), required_role="user"
    )
    metadata = event.metadata
    assert metadata.event_id == event.id
    assert metadata.timestamp == datetime.fromisoformat(event.time)
    assert metadata.timestamp.tzinfo is UTC
    assert (metadata.correlation_id, metadata.source) == ("c", "s")
    assert metadata.tags.get("required_role", "guest") == "user"
    assert "x" in metadata.tags


def test_to_message_has_the_contract_s_keys() -> None:
    event = Event("a", {"x": 1}, epoch="e", seq=3)
    assert list(event.to_message()) == [
        *("type", "payload", "id", "epoch", "seq", "timestamp", "correlation_id")
    ]


@pytest.mark.parametrize(
    ("given", "priority"),
    [("low", Priority.LOW), ("HIGH", Priority.HIGH), (3, Priority.CRITICAL)],
)
def test_priority_parses_names_and_numbers(
    given: str | int, priority: Priority
) -> None:
    assert Priority.parse(given) is priority
    assert Event("a", priority=given).priority is priority  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["urgent", 7])
def test_priority_refuses_what_nobody_knows(wrong: str | int) -> None:
    with pytest.raises(UsageError, match="not one of low, normal, high, critical"):
        Priority.parse(wrong)


def test_priority_shows_its_name() -> None:
    assert str(Priority.CRITICAL) == "critical"


def test_utc_text_has_milliseconds_and_z() -> None:
    assert utc_text(1_760_000_000.1239) == "2025-10-09T08:53:20.123Z"


def test_clock_text_equals_utc_text_at_any_moment() -> None:
    moments = [0.0, 0.999, 1.0, 1.5, 1_760_000_000.25, 1_760_000_000.75, 5.0]
    clock = iter(moments)
    text = ClockText(lambda: next(clock))
    assert [text() for _ in moments] == [utc_text(moment) for moment in moments]


def test_ids_are_distinct_random_uuids() -> None:
    source = IDSource()
    ids = [source() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(UUID(text).version == 4 for text in ids)
    assert all(UUID(text).variant == "specified in RFC 4122" for text in ids)
    assert all(str(UUID(text)) == text for text in ids)
