from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from praxis_fast.events.event import Event, EventFilter, Priority, Tags
from praxis_fast.events.filter import role_sees

EVENT = Event(
    "p2p.peer_connected",
    source="agent.alpha",
    tags=Tags({"env": "prod", "lan": ""}),
    priority=Priority.HIGH,
    task_id="t1",
    peer_id="p1",
)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"event_types": {"p2p.peer_connected"}},
        {"event_types": {"p2p.*"}},
        {"event_types": "p2p.peer_[ac]onnected"},
        {"event_types": ["x", "p2p.*"]},
        {"source_patterns": {"alpha"}},
        {"source_patterns": {"agent.?lpha"}},
        {"peers": {"p1", "p2"}},
        {"tasks": ["t1"]},
        {"required_tags": {"lan"}},
        {"required_tags": {"env": "prod"}},
        {"required_tags": [("env", "prod"), "lan"]},
        {"required_tags": set()},
        {"excluded_tags": {"wan"}},
        {"excluded_tags": {"env": "test"}},
        {"min_priority": "high"},
        {"role": "guest"},
        {"event_types": {"p2p.*"}, "peers": {"p1"}, "min_priority": 1},
    ],
)
def test_filter_matches_when_every_condition_holds(fields: dict[str, Any]) -> None:
    assert EventFilter(**fields).matches(EVENT)


@pytest.mark.parametrize(
    "fields",
    [
        {"event_types": set()},
        {"event_types": {"p2p"}},
        {"event_types": {"P2P.*"}},
        {"source_patterns": set()},
        {"source_patterns": {"beta"}},
        {"source_patterns": {"alpha*"}},
        {"peers": set()},
        {"peers": {"p2"}},
        {"tasks": set()},
        {"tasks": {"t2"}},
        {"required_tags": {"wan"}},
        {"required_tags": {"env": "test"}},
        {"excluded_tags": {"lan"}},
        {"excluded_tags": {"env": "prod"}},
        {"min_priority": "critical"},
        {"event_types": {"p2p.*"}, "peers": {"p2"}},
    ],
)
def test_filter_does_not_match_when_one_condition_fails(fields: dict[str, Any]) -> None:
    assert not EventFilter(**fields).matches(EVENT)


@pytest.mark.parametrize("fields", [{"source_patterns": {"a"}}, {"peers": {"p"}}])
def test_filter_does_not_match_when_the_event_lacks_the_field(
    fields: dict[str, Any],
) -> None:
    assert not EventFilter(**fields).matches(Event("x"))


@pytest.mark.parametrize(
    ("role", "required", "sees"),
    [
        (None, "admin", True),
        (None, "nobody-knows", True),
        ("guest", None, True),
        ("nobody-knows", None, True),
        ("guest", "guest", True),
        ("guest", "user", False),
        ("user", "guest", True),
        ("user", "admin", False),
        ("admin", "admin", True),
        ("admin", "nobody-knows", False),
        ("nobody-knows", "guest", False),
    ],
)
def test_bus_1_role_sees_by_rank_and_denies_by_default(
    role: str | None, required: str | None, sees: bool
) -> None:
    assert role_sees(role, required) is sees
    event = Event("x", required_role=required)
    assert EventFilter(role=role).matches(event) is sees


def test_filters_are_equal_and_hash_alike_when_their_conditions_are() -> None:
    one = EventFilter(["a", "b"], peers=("p",), min_priority="low")
    two = EventFilter({"b", "a"}, peers={"p"}, min_priority=Priority.LOW)
    assert one == two
    assert hash(one) == hash(two)
    assert one != EventFilter(["a"])


def test_filter_takes_the_reference_s_positions() -> None:
    wanted = EventFilter({"a"}, {"s"}, {"r"}, {"x"})
    assert wanted.event_types == {"a"}
    assert wanted.source_patterns == {"s"}
    assert wanted.required_tags == {"r"}
    assert wanted.excluded_tags == {"x"}


def test_filter_is_immutable_when_a_field_is_set() -> None:
    with pytest.raises(FrozenInstanceError):
        EventFilter().role = "admin"  # type: ignore[misc]


# Word for word from upstream's document on agent events.
class AccessControlledEventFilter(EventFilter):
    def __init__(self, user_role: str, *args, **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(*args, **kwargs)
        self.user_role = user_role

    def matches(self, event: Event) -> bool:
        # Apply standard filtering
        if not super().matches(event):
            return False

        # Apply access control based on role
        required_role = event.metadata.tags.get("required_role", "guest")
        role_hierarchy = {"admin": 3, "user": 2, "guest": 1}

        return role_hierarchy.get(self.user_role, 0) >= role_hierarchy.get(
            required_role, 0
        )


def test_seeds_filter_works_as_written() -> None:
    user = AccessControlledEventFilter("user", event_types={"p2p.*"})
    assert user.user_role == "user"
    assert user.matches(EVENT)
    assert not user.matches(Event("task.started"))
    assert not user.matches(Event("p2p.x", tags=Tags({"required_role": "admin"})))
    assert not user.matches(Event("p2p.x", required_role="admin"))


def test_filter_of_a_subclass_is_never_taken_for_another_s() -> None:
    user = AccessControlledEventFilter("user")
    assert user == AccessControlledEventFilter("user")
    assert user != AccessControlledEventFilter("admin")
    assert user != EventFilter()


def test_overrides_matches_tells_subclasses_with_their_own() -> None:
    class Plain(EventFilter):
        pass

    assert not EventFilter.overrides_matches
    assert not Plain.overrides_matches
    assert AccessControlledEventFilter.overrides_matches
