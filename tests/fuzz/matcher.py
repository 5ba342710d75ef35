"""The matcher: both twins name the same groups while subscribers come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, ClassVar

from praxis_fast.events.event import Event, EventFilter, Priority, Tags
from tests.fuzz.mutator import below
from tests.fuzz.target import Target
from tests.fuzz.yamux import backends

TYPES = [
    "task",
    "task.done",
    "task.failed",
    "p2p.peer_connected",
    "p2p.error",
    "tool.x",
    "",
]
PATTERNS = [*TYPES, "*", "task*", "*.*", "p2p.?eer*", "[tp]*", "[!t]*", "[", "a*a*a*b"]
SOURCES = ["agent", "agent.one", "p2p", "", "x" * 40]
SOURCE_PATTERNS = [*SOURCES, "*", "agent*", "gent", "?2p", "[a-p]*"]
NAMES = ["ann", "bob", "cid", ""]
TAGS = ["urgent", "env", "zone", "é"]
VALUES = ["", "prod", "test"]
ROLES = [None, "guest", "user", "admin", "strange"]
# Filters and events to draw from; steps of a script, and of one that is long.
POOL = 4096
STEPS = 9
LONG, LONG_STEPS = 0.001, 1000
# What a step does, by its first byte: match below, subscribe, or leave from here on.
MATCHES, LEAVES = 128, 232
# Which of the last bytes make a script one whose steps are counted.
NOTED = 7


class Name(str):
    """A text that is not exactly a `str`."""

    __slots__ = ()


class Told(EventFilter):
    """A filter with a state of its own, which keeps it apart from equal ones."""

    def __init__(self, about: int, **conditions: Any) -> None:
        super().__init__(**conditions)
        vars(self)["about"] = about


class Urgent(EventFilter):
    """Decides for itself."""

    def matches(self, event: Event) -> bool:
        return event.priority >= Priority.HIGH and super().matches(event)


class Broken(EventFilter):
    """Fails now and then."""

    def matches(self, event: Event) -> bool:
        if event.source is None:
            raise LookupError(event.type)
        return super().matches(event)


class Matcher(Target):
    """Three bytes for each step: subscribe, unsubscribe or match, who, and what."""

    name = "matcher"
    goals: ClassVar[Sequence[str]] = (
        *("no group", "1 group", "many groups", "a group of many", "a filter failed"),
        *("Told", "Urgent", "Broken", "type", "source", "task", "peer", "required tag"),
        *("excluded tag", "priority", "role", "several", "everything", "discarded"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.backends = backends()
        rng = Random("filters")
        conditions = [make_conditions(rng) for _ in range(POOL // 8)]
        # Equal filters that are not the same, a few of them very often.
        self.filters = [
            make_filter(rng, conditions[int(len(conditions) * rng.random() ** 4)])
            for _ in range(POOL)
        ]
        self.events = [make_event(rng) for _ in range(POOL)]

    def draw(self, rng: Random) -> bytes:
        steps = LONG_STEPS if rng.random() < LONG else 2 + below(rng, STEPS)
        data = bytearray(rng.randbytes(3 * steps))
        # The first two steps subscribe.
        for place in (0, 3):
            data[place] = MATCHES + data[place] % (LEAVES - MATCHES)
        return bytes(data)

    def check(self, data: bytes) -> None:
        first, *others = [self.run(backend, data) for backend in self.backends]
        for other in others:
            assert other == first, f"{other}, plain {first}"
        if data and (data[-1] & NOTED == 0 or len(data) > 3 * LONG_STEPS // 2):
            self.note(data, *first)

    def run(self, backend: Any, data: bytes) -> tuple[list[Any], list[Any]]:
        """All that one twin answered, and which filters failed."""
        failures: list[Any] = []
        matcher = backend.Matcher(
            on_error=lambda test, error: failures.append((id(test), repr(error)))
        )
        answers: list[Any] = []
        for place in range(0, len(data) - 2, 3):
            choice, number = data[place], data[place + 1] << 8 | data[place + 2]
            key = choice & 7
            if choice < MATCHES:
                event = self.events[number % POOL]
                answers.append(describe(matcher.match(event)))
            elif choice < LEAVES:
                group = matcher.add(key, self.filters[number % POOL])
                answers.append(describe([group]))
            else:
                matcher.discard(key)
                answers.append(key in matcher)
            answers.append((len(matcher), matcher.groups))
        # The twins ask the filters that decide for themselves in orders of their own.
        return answers, sorted(failures)

    def note(self, data: bytes, answers: list[Any], failures: list[Any]) -> None:
        """Count what this script came to, each thing once."""
        seen = {"a filter failed"} if failures else set()
        for place in range(0, len(data) - 2, 3):
            choice, number = data[place], data[place + 1] << 8 | data[place + 2]
            answer = answers[place // 3 * 2]
            if choice < MATCHES:
                seen.add(("no group", "1 group", "many groups")[min(len(answer), 2)])
                if any(len(keys) > 1 for keys in answer.values()):
                    seen.add("a group of many")
            elif choice < LEAVES:
                seen.update(name_conditions(self.filters[number % POOL]))
            else:
                seen.add("discarded")
        if len(data) == 3 * LONG_STEPS:
            seen.add("long")
        self.reached.update(seen)


def describe(groups: Sequence[Any]) -> dict[int, list[Any]]:
    """Who is in each group; its filter is the first of all that are equal."""
    return {id(group.filter): [*group.keys] for group in groups}


def some(rng: Random, values: list[str], chance: float = 0.4) -> list[str] | None:
    """A few of the values, mostly no condition at all."""
    if rng.random() > chance:
        return None
    return rng.sample(values, rng.choice([0, 1, 1, 2, 3]))


def make_conditions(rng: Random) -> dict[str, Any]:
    def rules(chance: float) -> list[Any] | None:
        names = some(rng, TAGS, chance) or []
        return [
            name if rng.random() < 0.5 else (name, rng.choice(VALUES)) for name in names
        ]

    conditions = {
        "event_types": some(rng, PATTERNS, 0.9),
        "source_patterns": some(rng, SOURCE_PATTERNS, 0.9),
        "required_tags": rules(0.9),
        "excluded_tags": rules(0.9),
        "peers": some(rng, NAMES, 0.9),
        "tasks": some(rng, NAMES, 0.9),
        "min_priority": rng.choice(list(Priority)),
        "role": rng.choice(ROLES),
    }
    # Most filters ask for one thing or two, or hardly anything would be matched.
    kept = rng.sample(list(conditions), rng.choice([0, 1, 1, 1, 2, 2, 3, 8]))
    return {key: conditions[key] for key in kept}


def make_filter(rng: Random, conditions: dict[str, Any]) -> EventFilter:
    """A filter of any class, its names now and then no exact texts."""
    if conditions.get("event_types") and rng.random() < 0.1:
        names = [Name(each) for each in conditions["event_types"]]
        conditions = conditions | {"event_types": names}
    makers: list[Callable[..., EventFilter]] = [EventFilter] * 20
    makers += [Urgent, Broken, lambda **rest: Told(rng.randrange(2), **rest)]
    return rng.choice(makers)(**conditions)


NAMES_OF_CONDITIONS = {
    "event_types": "type",
    "source_patterns": "source",
    "tasks": "task",
    "peers": "peer",
    "required_tags": "required tag",
    "excluded_tags": "excluded tag",
    "min_priority": "priority",
    "role": "role",
}


def name_conditions(test: EventFilter) -> list[str]:
    """What the filter asks for."""
    fields = vars(test)
    found = [name for key, name in NAMES_OF_CONDITIONS.items() if fields[key]]
    kind = [] if type(test) is EventFilter else [type(test).__name__]
    return [*found, *kind, *(["several"] if len(found) > 1 else [])] or ["everything"]


def make_event(rng: Random) -> Event:
    return Event(
        type=rng.choice(TYPES),
        source=rng.choice([None, *SOURCES]),
        tags=Tags(dict.fromkeys(some(rng, TAGS) or [], rng.choice(VALUES))),
        priority=rng.choice(list(Priority)),
        task_id=rng.choice([None, *NAMES]),
        peer_id=rng.choice([None, *NAMES]),
        required_role=rng.choice([None, None, *ROLES]),
    )
