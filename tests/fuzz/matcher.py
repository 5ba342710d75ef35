"""The matcher: both twins name the same groups while subscribers come and go."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from praxis_fast.events.event import Event, EventFilter, Priority, Tags
from tests.fuzz.target import ScriptTarget
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
STEPS = 60


class MatcherScript(ScriptTarget):
    """Subscribing, unsubscribing and matching in a random order."""

    name = "matcher"

    def __init__(self) -> None:
        self.backends = backends()

    def check(self, data: bytes) -> None:
        rng = Random(data)
        matchers = [backend.Matcher() for backend in self.backends]
        for step in range(STEPS):
            first, *others = do_step(rng, matchers)
            for other in others:
                assert other == first, f"step {step}: {other}, plain {first}"


def do_step(rng: Random, matchers: Sequence[Any]) -> list[Any]:
    """The same call on each; what it answered."""
    chance, key = rng.random(), rng.randrange(20)
    if chance < 0.35:
        test = make_filter(rng)
        return [sorted(each.add(key, test).keys) for each in matchers]
    if chance < 0.5:
        for each in matchers:
            each.discard(key)
        return [(len(each), each.groups, key in each) for each in matchers]
    event = make_event(rng)
    return [
        sorted(sorted(group.keys) for group in each.match(event)) for each in matchers
    ]


def some(rng: Random, values: list[str], chance: float = 0.4) -> list[str] | None:
    """A few of the values, mostly no condition at all."""
    if rng.random() > chance:
        return None
    return rng.sample(values, rng.choice([0, 1, 1, 2, 3]))


def make_filter(rng: Random) -> EventFilter:
    def rules(chance: float) -> list[Any] | None:
        names = some(rng, TAGS, chance) or []
        return [
            name if rng.random() < 0.5 else (name, rng.choice(VALUES)) for name in names
        ]

    return EventFilter(
        event_types=some(rng, PATTERNS, 0.7),
        source_patterns=some(rng, SOURCE_PATTERNS),
        required_tags=rules(0.2),
        excluded_tags=rules(0.2),
        peers=some(rng, NAMES, 0.2),
        tasks=some(rng, NAMES, 0.2),
        min_priority=rng.choice([None, None, *Priority]),
        role=rng.choice([None, *ROLES]),
    )


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
