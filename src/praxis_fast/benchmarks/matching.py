"""Event matching: what it costs to find who wants an event, and to come and go.

Of ten filters one asks for a tag, one for a task, two for globs and six for ten types
each; nearly all are different. "Nothing remembered" has a subscriber to everything come
and go before each run, off the clock: every answer is then found anew, for types seen
before.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from praxis_fast._pure import matcher as plain
from praxis_fast.benchmarks.muxing import Stopwatch
from praxis_fast.benchmarks.rows import Contender, Table, interleave
from praxis_fast.errors import UsageError
from praxis_fast.events.event import Event, EventFilter, Tags
from praxis_fast.events.filter import any_glob

try:
    from praxis_fast._core import matcher as compiled
except ImportError:
    compiled = None

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SIZES", "measure", "measure_churn", "measure_nobody", "twins"]

SEED: Final = 20261121

# Subscribers, the share an event matches, and events in a run: few where the loop over
# all filters takes long.
SIZES: Final = ((1000, 0.01, 64), (10_000, 0.001, 16), (10_000, 0.01, 16))
LARGEST: Final = (100_000, 0.01, 4)

KINDS_PER_SPACE: Final = 5
TYPES_PER_FILTER: Final = 10
GLOBS_PER_FILTER: Final = 2


def twins() -> dict[str, Any]:
    """What there is: the plain twin first, then the compiled one."""
    found = {"plain twin": plain, "core": compiled}
    return {name: twin for name, twin in found.items() if twin is not None}


def make_filters(subscribers: int, share: float) -> list[EventFilter]:
    """Filters of which an event matches this share; the same on every machine."""
    rng = random.Random(f"{SEED} filters {subscribers} {share}")
    return [make_filter(rng, number, share) for number in range(subscribers)]


def make_filter(rng: random.Random, number: int, share: float) -> EventFilter:
    """The filter of one subscriber."""
    spaces, kind = range(spaces_for(share)), number % 10
    if kind == 0:
        zone = rng.randrange(round(1 / share))
        return EventFilter(
            required_tags={("zone", f"z{zone}")},
            excluded_tags={("build", f"b{number}")},
        )
    if kind == 1:
        return EventFilter(tasks={f"task-{number}"})
    if kind < 4:
        globs = {f"space{space}.*" for space in rng.sample(spaces, GLOBS_PER_FILTER)}
        return EventFilter(event_types=globs, min_priority=rng.choice((None, 0, 1)))
    types = {
        f"space{rng.choice(spaces)}.kind{rng.randrange(KINDS_PER_SPACE)}"
        for _ in range(TYPES_PER_FILTER)
    }
    return EventFilter(event_types=types)


def spaces_for(share: float) -> int:
    """Type names there have to be for a filter to match this share of the events."""
    return round(TYPES_PER_FILTER / KINDS_PER_SPACE / share)


def make_events(count: int, share: float) -> list[Event]:
    """Events of types that some subscribers want."""
    rng = random.Random(f"{SEED} events {share}")
    return [
        Event(
            type=f"space{rng.randrange(spaces_for(share))}.kind{rng.randrange(5)}",
            source=f"agent-{rng.randrange(50)}",
            tags=Tags({"zone": f"z{rng.randrange(round(1 / share))}", "env": "prod"}),
            task_id=f"task-{rng.randrange(1000)}",
            peer_id=f"12D3KooW{rng.randrange(100)}",
        )
        for _ in range(count)
    ]


def make_matcher(twin: Any, filters: Sequence[EventFilter]) -> Any:
    """A matcher with a subscriber for each filter."""
    matcher = twin.Matcher()
    for number, wanted in enumerate(filters):
        matcher.add(number, wanted)
    return matcher


def match(matcher: Any, events: Sequence[Event], watch: Stopwatch) -> int:
    """How many subscribers want the events, one by one."""
    groups = watch.time(match_all, matcher.match, events)
    return sum(len(group.keys) for found in groups for group in found)


def match_all(find: Any, events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """What is on the clock."""
    return [find(event) for event in events]


def match_anew(matcher: Any, events: Sequence[Event], watch: Stopwatch) -> int:
    """The same, with no answer that may be used again."""
    matcher.add("everything", EventFilter(min_priority=3))
    matcher.discard("everything")
    return match(matcher, events, watch)


class UpstreamFilter:
    """A filter as upstream have it: sets, looked into one after the other.

    They know no globs: these are turned into all type names that fit beforehand.
    """

    __slots__ = ("excluded", "least", "required", "tasks", "types")

    def __init__(self, wanted: EventFilter, types: Sequence[str]) -> None:
        self.types = wanted.event_types and {
            name for name in types if any_glob(wanted.event_types, name)
        }
        self.tasks = wanted.tasks
        self.required = wanted.required_tags
        self.excluded = wanted.excluded_tags
        self.least = wanted.min_priority or 0

    def matches(self, event: Event) -> bool:
        """Whether the event passes."""
        if self.types is not None and event.type not in self.types:
            return False
        if self.tasks is not None and event.task_id not in self.tasks:
            return False
        if event.priority < self.least:
            return False
        tags = event.tags.items()
        if self.required and not self.required <= tags:
            return False
        return not (self.excluded and self.excluded & tags)


def ask_all(
    filters: Sequence[UpstreamFilter], events: Sequence[Event], watch: Stopwatch
) -> int:
    """Upstream's way: every subscriber's filter is asked about every event."""

    def find(event: Event) -> tuple[UpstreamFilter, ...]:
        return tuple([wanted for wanted in filters if wanted.matches(event)])

    return sum(map(len, watch.time(match_all, find, events)))


def contenders(
    filters: Sequence[EventFilter], events: Sequence[Event], watch: Stopwatch
) -> list[Contender]:
    """The twins and the loop of upstream."""
    matchers = {name: make_matcher(twin, filters) for name, twin in twins().items()}
    rivals = [
        Contender(name, partial(match, matcher, events, watch))
        for name, matcher in matchers.items()
    ]
    if "core" in matchers:
        anew = partial(match_anew, matchers["core"], events, watch)
        rivals.append(Contender("core, nothing remembered", anew))
    types = sorted({event.type for event in events})
    upstream = [UpstreamFilter(wanted, types) for wanted in filters]
    loop = partial(ask_all, upstream, events, watch)
    return [*rivals, Contender("upstream Python loop", loop)]


def measure(
    subscribers: int = 10_000, share: float = 0.01, count: int = 16, *, rounds: int = 5
) -> Table:
    """Events to so many subscribers; raises when contenders disagree on who wants."""
    watch = Stopwatch()
    filters, events = make_filters(subscribers, share), make_events(count, share)
    title = f"matching {subscribers} subscribers, {share:.1%} each"
    rivals = contenders(filters, events, watch)
    rows = interleave(check(rivals), rounds=rounds, clock=watch)
    return Table(title, count, 0, rows, "event", "matching", subscribers)


def measure_nobody(
    subscribers: int = 10_000, *, count: int = 16, rounds: int = 5
) -> Table:
    """Events nobody wants."""
    watch = Stopwatch()
    filters = make_filters(subscribers, 0.01)
    events = [
        Event(type="nobody.cares", tags=Tags({"env": "x"}), task_id="task-x")
    ] * count
    rivals = contenders(filters, events, watch)
    rows = interleave(check(rivals), rounds=rounds, clock=watch)
    title = f"matching {subscribers} subscribers, nobody"
    return Table(title, count, 0, rows, "event", "matching nobody", subscribers)


def churn(
    matcher: Any, some: Sequence[tuple[int, EventFilter]], watch: Stopwatch
) -> int:
    """Subscribers go and come back."""
    watch.time(leave_and_join, matcher, some)
    return len(matcher)


def leave_and_join(matcher: Any, some: Sequence[tuple[int, EventFilter]]) -> None:
    """What is on the clock: one discard and one add for each."""
    for number, _ in some:
        matcher.discard(number)
    for number, wanted in some:
        matcher.add(number, wanted)


def measure_churn(
    subscribers: int = 10_000, *, count: int = 1000, rounds: int = 5
) -> Table:
    """Subscribers that come and go among so many."""
    watch = Stopwatch()
    filters = make_filters(subscribers, 0.01)
    some = list(enumerate(filters))[:count]
    rivals = [
        Contender(name, partial(churn, make_matcher(twin, filters), some, watch))
        for name, twin in twins().items()
    ]
    rows = interleave(check(rivals), rounds=rounds, clock=watch)
    title = f"discard and add among {subscribers} subscribers"
    return Table(title, len(some), 0, rows, "pair", "churn", subscribers)


def check(rivals: list[Contender]) -> list[Contender]:
    """The same contenders, if they all have the answer of the first."""
    expected = rivals[0].run()
    for rival in rivals:
        if (found := rival.run()) != expected:
            raise UsageError(f"{rival.name} found {found}, {expected} expected")
    return rivals
