"""The matcher against the naive one: every filter asked about every event."""

from __future__ import annotations

import gc
import logging
import random
import sys
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from praxis_fast.events.event import Event, EventFilter, Priority
from tests.conftest import has_core, load_backend

if TYPE_CHECKING:
    from types import SimpleNamespace

KINDS = ["task.created", "task.done", "p2p.peer_connected", "p2p.x", "log", "[x]", ""]
GLOBS = ["task.*", "p2p.*", "*", "?og", "[lp]og", "*.peer_*", "t*k.d?ne", "["]
SOURCES = ["agent-1", "agent-2", "praxis/p2p", "x"]
SOURCE_PATTERNS = ["agent", "agent-1", "agent-*", "p2p", "*/p2p", "*", "?", "", "[xy]"]
TASKS = ["t1", "t2", "t3"]
PEERS = ["12D3a", "12D3b"]
TAGS = ["env", "zone", "hot"]
VALUES = ["prod", "test", ""]
ROLES = [None, "guest", "user", "admin", "nobody"]

names = st.sampled_from(TAGS)
rules = st.one_of(names, st.tuples(names, st.sampled_from(VALUES)))


def any_of(values: list[str]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(st.sampled_from(values), max_size=3)


filters = st.builds(
    EventFilter,
    event_types=any_of([*KINDS, *GLOBS]),
    source_patterns=any_of(SOURCE_PATTERNS),
    required_tags=st.just(()) | st.frozensets(rules, max_size=2),
    excluded_tags=st.just(()) | st.frozensets(rules, max_size=2),
    peers=any_of(PEERS),
    tasks=any_of(TASKS),
    min_priority=st.none() | st.sampled_from(list(Priority)),
    role=st.sampled_from(ROLES),
)
events = st.builds(
    Event,
    type=st.sampled_from([*KINDS, "dog", "task.dxne"]),
    source=st.sampled_from([None, *SOURCES]),
    tags=st.dictionaries(names, st.sampled_from(VALUES), max_size=3),
    priority=st.sampled_from(list(Priority)),
    task_id=st.sampled_from([None, *TASKS, "t9"]),
    peer_id=st.sampled_from([None, *PEERS]),
    required_role=st.sampled_from(ROLES),
)


def answer(matcher: Any, event: Event) -> set[Any]:
    """The keys of all matching groups; each group and key is there once."""
    groups = matcher.match(event)
    assert len(set(groups)) == len(groups)
    keys = [key for group in groups for key in group.keys]
    assert len(set(keys)) == len(keys)
    return set(keys)


def naive(filters: dict[Any, EventFilter], event: Event) -> set[Any]:
    return {key for key, test in filters.items() if test.matches(event)}


class Churn(RuleBasedStateMachine):
    """Subscribers come and go between events; every answer is the naive one."""

    backend: SimpleNamespace

    def __init__(self) -> None:
        super().__init__()
        self.matcher = self.backend.Matcher()
        self.filters: dict[int, EventFilter] = {}
        self.recent: list[Event] = []

    @rule(key=st.integers(0, 9), test=filters)
    def add(self, key: int, test: EventFilter) -> None:
        group = self.matcher.add(key, test)
        self.filters[key] = test
        assert group.filter == test
        assert key in group.keys

    @rule(key=st.integers(0, 9))
    def discard(self, key: int) -> None:
        self.matcher.discard(key)
        self.filters.pop(key, None)

    @rule(event=events)
    def match(self, event: Event) -> None:
        assert answer(self.matcher, event) == naive(self.filters, event)
        self.recent = [event, *self.recent[:4]]

    @invariant()
    def remembered_answers_are_right(self) -> None:
        for event in self.recent:
            assert answer(self.matcher, event) == naive(self.filters, event)

    @invariant()
    def counts_are_right(self) -> None:
        assert len(self.matcher) == len(self.filters)
        assert self.matcher.groups == len(set(self.filters.values()))


def test_answers_equal_the_naive_matcher_when_subscribers_come_and_go(
    backend: SimpleNamespace,
) -> None:
    machine = type("Churn", (Churn,), {"backend": backend})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=150, deadline=None)
    )


@settings(max_examples=300, deadline=None)
@given(
    tests=st.lists(filters, max_size=30),
    published=st.lists(events, max_size=10),
)
def test_twins_and_the_naive_matcher_agree_when_many_filters_are_there(
    tests: list[EventFilter], published: list[Event]
) -> None:
    matchers = [load_backend("pure").Matcher()]
    if has_core():
        matchers.append(load_backend("core").Matcher())
    for key, test in enumerate(tests):
        for matcher in matchers:
            matcher.add(key, test)
    for event in published:
        expected = naive(dict(enumerate(tests)), event)
        for matcher in matchers:
            assert answer(matcher, event) == expected


def test_equal_filters_share_a_group(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    group = matcher.add("a", EventFilter(event_types={"log"}, tasks={"t1"}))
    assert matcher.add("b", EventFilter(event_types=["log"], tasks=["t1"])) is group
    assert matcher.add("c", EventFilter(event_types={"log"}, tasks={"t2"})) is not group
    assert group.keys == {"a", "b"}
    assert isinstance(group, backend.Group)
    assert (len(matcher), matcher.groups) == (3, 2)
    assert repr(group).startswith("<Group of 2: EventFilter(")


def test_keys_are_live_when_subscribers_come_and_go(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    keys = matcher.add("a", EventFilter()).keys
    matcher.add("b", EventFilter())
    assert keys == {"a", "b"}
    assert keys & {"b", "c"} == {"b"}
    matcher.discard("a")
    assert list(keys) == ["b"]
    matcher.discard("b")
    assert not keys
    assert matcher.match(Event("log")) == ()


def test_add_replaces_the_filter_when_the_key_is_known(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    first = matcher.add("a", EventFilter(event_types={"log"}))
    assert matcher.add("a", EventFilter(event_types={"log"})) is first
    second = matcher.add("a", EventFilter(event_types={"task.*"}))
    assert not first.keys
    assert matcher.match(Event("log")) == ()
    assert matcher.match(Event("task.done")) == (second,)
    assert "a" in matcher
    assert "b" not in matcher


def test_discard_is_ignored_when_the_key_is_unknown(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    matcher.add("a", EventFilter())
    matcher.discard("b")
    assert len(matcher) == 1


def test_add_changes_nothing_when_the_key_cannot_be_hashed(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        matcher.add([], EventFilter())
    assert (len(matcher), matcher.groups) == (0, 0)


def test_matcher_refuses_arguments_it_does_not_know(backend: SimpleNamespace) -> None:
    with pytest.raises(TypeError):
        backend.Matcher(1)
    with pytest.raises(TypeError):
        backend.Matcher(limit=1)


class Picky(EventFilter):
    """Asks for events with an even number, and breaks on those without one."""

    def matches(self, event: Event) -> bool:
        return super().matches(event) and event.data["n"] % 2 == 0


def test_an_own_filter_is_asked_event_by_event(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    matcher.add("even", Picky(event_types={"log"}))
    matcher.add("all", EventFilter(event_types={"log"}))
    assert answer(matcher, Event("log", {"n": 2})) == {"even", "all"}
    assert answer(matcher, Event("log", {"n": 3})) == {"all"}
    assert answer(matcher, Event("log", {"n": 4})) == {"even", "all"}
    assert answer(matcher, Event("x", {"n": 4})) == set()
    matcher.discard("even")
    assert answer(matcher, Event("log", {"n": 2})) == {"all"}


def test_bus_2_a_filter_that_raises_hurts_only_itself(
    backend: SimpleNamespace,
) -> None:
    errors: list[tuple[EventFilter, Exception]] = []
    matcher = backend.Matcher(on_error=lambda *error: errors.append(error))
    picky = Picky()
    matcher.add("bad", picky)
    matcher.add("good", EventFilter())
    assert answer(matcher, Event("log")) == {"good"}
    assert answer(matcher, Event("log")) == {"good"}
    assert [(test, repr(error)) for test, error in errors] == [
        (picky, "KeyError('n')")
    ] * 2


def test_a_raising_filter_is_logged_once_when_nobody_wants_its_errors(
    backend: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    matcher = backend.Matcher()
    matcher.add("bad", Picky())
    with caplog.at_level(logging.WARNING):
        matcher.match(Event("log"))
        matcher.match(Event("log"))
    (record,) = caplog.records
    assert "raised KeyError('n'): no match" in record.getMessage()


def test_an_error_of_on_error_is_not_hidden(backend: SimpleNamespace) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no room")

    matcher = backend.Matcher(on_error=fail)
    matcher.add("bad", Picky())
    with pytest.raises(RuntimeError, match="no room"):
        matcher.match(Event("log"))


def test_own_filters_may_change_subscriptions_while_they_are_asked(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()

    class Restless(EventFilter):
        def matches(self, event: Event) -> bool:
            matcher.discard("other")
            matcher.add("new", EventFilter())
            return True

    matcher.add("self", Restless())
    matcher.add("other", Restless(event_types={"log"}))
    matcher.match(Event("log"))
    assert "other" not in matcher
    assert answer(matcher, Event("log")) == {"self", "new"}


class Quiet(EventFilter):
    """A subclass that only carries something."""

    def __init__(self, level: int) -> None:
        super().__init__(event_types={"log"})
        self.__dict__["level"] = level


def test_a_subclass_without_matches_is_indexed_and_keeps_its_attributes(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    assert matcher.add("a", Quiet(1)) is not matcher.add("b", Quiet(2))
    assert matcher.add("c", Quiet(1)).keys == {"a", "c"}
    assert answer(matcher, Event("log")) == {"a", "b", "c"}


class Name(str):
    """A text of a class of its own, as peer ids are."""

    __slots__ = ()


def test_texts_of_own_classes_equal_plain_ones(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    matcher.add("a", EventFilter(peers={Name("p")}))
    matcher.add("b", EventFilter(peers={"p"}, event_types={Name("l*")}))
    event = Event(Name("log"), peer_id=Name("p"))
    assert answer(matcher, event) == {"a", "b"}
    assert answer(matcher, Event("log", peer_id="p")) == {"a", "b"}


def test_events_of_any_class_are_read(backend: SimpleNamespace) -> None:
    class Slotted:
        __slots__ = (
            "peer_id",
            "priority",
            "required_role",
            "source",
            "tags",
            "task_id",
            "type",
        )

    class Own(Event, frozen=True, eq=False):
        color: str = "red"

    def make(kind: type) -> Any:
        event = kind()
        for name in Slotted.__slots__:
            setattr(event, name, getattr(Event("log", task_id="t"), name))
        return event

    published = [
        Event("log", task_id="t"),
        make(Slotted),
        Own("log", task_id="t"),
        make(type("Open", (), {})),
    ]
    for first in published:
        matcher = backend.Matcher()
        matcher.add("a", EventFilter(event_types={"l*"}, tasks={"t"}, role="guest"))
        for event in (first, *published, *published):
            assert answer(matcher, event) == {"a"}


def test_names_that_are_no_text_are_compared_all_the_same(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    tests = {
        "peer": EventFilter(peers={7}),
        "tag": EventFilter(required_tags={("n", 1)}),
        "none": EventFilter(tasks={None}),
        "not": EventFilter(excluded_tags={("n", None)}),
    }
    for key, test in tests.items():
        matcher.add(key, test)
    for event in (
        Event("log", peer_id=7, tags={"n": 1}),
        Event("log", peer_id="7", tags={"n": "1"}),
        Event("log", tags={"n": True}, task_id="t"),
        Event("log", peer_id=[7], tags={"n": [1], 5: "x"}, task_id="t"),
    ):
        expected = {
            key
            for key, test in tests.items()
            if not isinstance(event.peer_id, list) or key != "peer"
            if test.matches(event)
        }
        assert answer(matcher, event) == expected


def test_glob_signs_mean_what_fnmatch_says(backend: SimpleNamespace) -> None:
    rng = random.Random(7)
    for _ in range(300):
        pattern = "".join(rng.choices("ab*?[]!-é.", k=rng.randrange(7)))
        matcher = backend.Matcher()
        matcher.add("type", EventFilter(event_types={pattern}))
        matcher.add("source", EventFilter(source_patterns={pattern}))
        tests = {
            "type": EventFilter(event_types={pattern}),
            "source": EventFilter(source_patterns={pattern}),
        }
        for _ in range(20):
            text = "".join(rng.choices("ab-]é\n.", k=rng.randrange(6)))
            event = Event(text, source=text)
            assert answer(matcher, event) == naive(tests, event), (pattern, text)


def test_globs_with_many_stars_take_no_exponential_time(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    matcher.add("a", EventFilter(event_types={"*a" * 60 + "*b"}))
    assert matcher.match(Event("a" * 3000)) == ()


def test_globs_added_later_reach_types_seen_before(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    tests: dict[int, EventFilter] = {}
    event = Event("task.done", source="agent-1")
    for number in range(400):
        tests[number] = EventFilter(
            event_types={f"{'task.d'[: number % 7]}*{'ne'[: number % 3]}"},
            source_patterns={f"agent-{number % 5}", f"*{number}"},
        )
        matcher.add(number, tests[number])
        if number >= 40:
            matcher.discard(number - 40)
            del tests[number - 40]
        assert answer(matcher, event) == naive(tests, event)


def test_answers_are_right_when_more_shapes_come_than_are_remembered(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    count = 3000 if backend.name == "core" else 100
    tests = {
        number: EventFilter(tasks={f"t{number}"}, role="user")
        for number in range(count)
    }
    for key, test in tests.items():
        matcher.add(key, test)
    for task in range(count + 10):
        event = Event("log", task_id=f"t{task}")
        assert answer(matcher, event) == ({task} if task in tests else set())


def test_a_filter_with_many_names_and_an_event_with_many_tags(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    tags = {f"k{number}": str(number) for number in range(200)}
    tests = {
        "all": EventFilter(required_tags=tags.items()),
        "one": EventFilter(required_tags={("k7", "7")}),
        "more": EventFilter(required_tags={*tags.items(), "no"}),
        "not": EventFilter(excluded_tags={("k150", "150")}),
        "types": EventFilter(event_types={f"e{n}" for n in range(300)}, tasks={"t"}),
    }
    for key, test in tests.items():
        matcher.add(key, test)
    for event in (Event("e1", tags=tags, task_id="t"), Event("e300", task_id="t")):
        for _ in range(2):
            assert answer(matcher, event) == naive(tests, event)


def churn(matcher: Any, rounds: int) -> None:
    rng = random.Random(3)
    for number in range(rounds):
        for key in range(20):
            kind = f"e{number}-{key}"
            test = EventFilter(
                event_types={kind, f"{kind}*"},
                source_patterns={f"*{kind}"},
                required_tags={kind: kind},
                tasks={kind} if rng.random() < 0.5 else None,
            )
            matcher.add(key, test)
            event = Event(kind, source=kind, tags={kind: kind}, task_id=kind)
            assert answer(matcher, event) == {key}
    for key in range(20):
        matcher.discard(key)


def test_memory_is_bounded_when_filters_come_and_go(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    # Enough to fill what the compiled twin remembers; the plain one remembers nothing.
    rounds = 150 if backend.name == "core" else 15
    tracemalloc.start()
    try:
        churn(matcher, rounds)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        churn(matcher, rounds)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 600_000


def test_bus_2_memory_is_bounded_when_no_two_events_are_alike(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    matcher.add("a", EventFilter(event_types={"x*"}, source_patterns={"x*"}))
    matcher.add("b", EventFilter(tasks={"x"}, required_tags={"x": "x"}))

    def publish(count: int, size: int) -> None:
        for number in range(count):
            text = f"x{number}".ljust(size, "y")
            event = Event(text, source=text, tags={text: text, "x": text}, task_id=text)
            assert answer(matcher, event) == {"a"}

    publish(3000, 200)
    tracemalloc.start()
    try:
        publish(2100, 200)
        before = tracemalloc.get_traced_memory()[0]
        publish(8000, 200)
        publish(300, 100_000)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 500_000


def test_removed_filters_are_freed_in_the_end(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    test = EventFilter(event_types={"log"}, tasks={"t"})
    held = sys.getrefcount(test)
    matcher.add("a", test)
    event = Event("log", task_id="t")
    matcher.match(event)
    matcher.discard("a")
    for number in range(3000):
        matcher.add("b", EventFilter(tasks={str(number)}))
    matcher.discard("b")
    assert sys.getrefcount(test) == held


def test_a_matcher_in_a_cycle_is_collected(backend: SimpleNamespace) -> None:
    class Key:
        matcher: Any = None

    key = Key()
    key.matcher = backend.Matcher()
    key.matcher.add(key, EventFilter(event_types={"l*"}))
    assert len(key.matcher.match(Event("log"))) == 1
    gone = weakref.ref(key)
    del key
    gc.collect()
    assert gone() is None


def test_references_do_not_leak_when_events_repeat(backend: SimpleNamespace) -> None:
    matcher = backend.Matcher()
    group = matcher.add("a", EventFilter(event_types={"1234567"}))
    event = Event(str(1234567))
    matcher.match(event)
    held = sys.getrefcount(group), sys.getrefcount(event), sys.getrefcount(event.type)
    for number in range(1000):
        matcher.add("b", EventFilter(event_types={"log"}, tasks={str(number)}))
        assert matcher.match(event) == (group,)
    now = sys.getrefcount(group), sys.getrefcount(event), sys.getrefcount(event.type)
    assert now == held


def test_subscriptions_may_change_when_the_collector_runs_in_a_match(
    backend: SimpleNamespace,
) -> None:
    matcher = backend.Matcher()
    numbers = iter(range(10**9))

    class Finalizer:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            number = next(numbers)
            matcher.add(number % 50, EventFilter(event_types={f"e{number % 9}*", "e*"}))
            matcher.discard((number * 7) % 50)
            matcher.match(Event(f"e{number}"))

    thresholds = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:
        for number in range(1500):
            Finalizer()
            matcher.match(Event(f"e{number % 700}x"))
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    kept = {
        key: group.filter for group in matcher.match(Event("e1")) for key in group.keys
    }
    assert naive(kept, Event("e1")) == set(kept)
    assert len(kept) == len(matcher)
