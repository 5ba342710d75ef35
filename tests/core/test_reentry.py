"""The compiled core holds when foreign code runs in the midst of a call.

A key's `__hash__` and `__eq__`, a filter's `matches`, a field of an event, and, at any
allocation, the collector with the finalizers it finds: all of these may call the very
machine that is at work. Nothing is promised about what such calls see but that memory
stays sound; run under sanitizers, these tests say more.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from praxis_fast.errors import PraxisError, StreamResetError
from praxis_fast.events.event import Event, EventFilter, Priority
from tests.conftest import has_core, load_backend
from tests.core.test_yamux_twins import NERVOUS, TIGHT
from tests.core.yamux_wire import DATA, Frame

pytestmark = pytest.mark.skipif(not has_core(), reason="the compiled core is not built")

CALLS = 150
MAX_DEPTH = 3
# Higher than any there is.
NO_DESCRIPTOR = 1 << 30
# How many allocations there may be before the collector runs.
DELAYS = [1, 3, 8, 15, 25, 40, 80]


@pytest.fixture
def core() -> SimpleNamespace:
    return load_backend("core")


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector looks at nothing older than the test, and is as it was after it."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class Bomb:
    """Garbage that only the collector finds; it then acts."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.itself = self

    def __del__(self) -> None:
        self.act()


class Life:
    """Random calls, amid which more random calls come from everywhere."""

    def __init__(self, core: SimpleNamespace, seed: int) -> None:
        self.core = core
        self.rng = Random(seed)
        self.depth = 0
        self.is_over = False

    def run(self) -> None:
        for _ in range(CALLS):
            gc.set_threshold(100_000)
            for _ in range(self.rng.randrange(3)):
                Bomb(self.interfere)
            gc.set_threshold(gc.get_count()[0] + self.rng.choice(DELAYS), 2, 2)
            self.interfere()
        self.is_over = True
        gc.set_threshold(100_000)

    def interfere(self, chance: float = 1.0) -> None:
        """Perhaps make another call."""
        if self.is_over or self.depth == MAX_DEPTH or self.rng.random() > chance:
            return
        self.depth += 1
        try:
            self.call()
        except (PraxisError, StrangeError):
            pass
        finally:
            self.depth -= 1

    def call(self) -> None:
        """One random call."""
        raise NotImplementedError


class StrangeError(Exception):
    """What foreign code raises."""


class Key:
    """A key that meddles whenever it is asked something."""

    def __init__(self, life: Life, number: int) -> None:
        self.life = life
        self.number = number

    def __hash__(self) -> int:
        self.life.interfere(0.02)
        if self.life.rng.random() < 0.003:
            raise StrangeError
        return self.number % 3

    def __eq__(self, other: object) -> bool:
        self.life.interfere(0.05)
        if self.life.rng.random() < 0.005:
            raise StrangeError
        return isinstance(other, Key) and other.number == self.number

    def __del__(self) -> None:
        self.life.interfere(0.2)


class MeddlingEvent:
    """An event without slots, each of whose fields meddles."""

    def __init__(self, life: Life) -> None:
        self.life = life

    def __getattr__(self, name: str) -> Any:
        life = self.life
        life.interfere(0.1)
        match name:
            case "priority":
                return life.rng.choice(list(Priority))
            case "tags":
                return life.rng.choice([{}, {"a": "b"}, {"a": "b", "c": 1}])
            case "required_role":
                return life.rng.choice([None, "user", "nobody"])
            case _:
                return life.rng.choice([None, "a", "a.b", "z"])


class Groups(Life):
    """A matcher and a fan-out that share groups."""

    def __init__(self, core: SimpleNamespace, seed: int) -> None:
        super().__init__(core, seed)
        self.groups: list[Any] = ["group", Key(self, 100)]
        # The same tuple of groups is published to again and again.
        self.chosen: tuple[Any, ...] = ()
        self.seq = 0
        self.fanout = core.Fanout()
        self.matcher = core.Matcher(on_error=lambda *_: self.interfere(0.2))
        life = self

        class Meddler(EventFilter):
            def matches(self, event: Any) -> bool:
                life.interfere(0.2)
                if life.rng.random() < 0.2:
                    raise StrangeError
                return True

        class Equal(EventFilter):
            def __eq__(self, other: object) -> bool:
                life.interfere(0.1)
                return super().__eq__(other)

            def __hash__(self) -> int:
                life.interfere(0.05)
                return super().__hash__()

        self.filters = [EventFilter, EventFilter, Equal, Meddler]

    def call(self) -> None:
        rng = self.rng
        steps = [self.publish] * 4 + [self.subscribe, self.flush, self.flush_key] * 2
        steps += [self.add, self.match, self.leave, self.written, self.ask]
        steps += [self.send, self.point]
        rng.choice(steps)()

    def key(self) -> Key:
        return Key(self, self.rng.randrange(8))

    def keep(self, group: Any) -> None:
        if len(self.groups) < 8:
            self.groups.append(group)
        else:
            self.groups[self.rng.randrange(8)] = group

    def add(self) -> None:
        rng = self.rng
        conditions = {
            "event_types": {rng.choice(["a", "a*", "*", "[ab]*", "z?"])},
            "source_patterns": {rng.choice(["a", "a*", "[a]?b"])},
            "tasks": {rng.choice("abc")},
            "required_tags": {rng.choice(["a", ("a", "b")])},
            "excluded_tags": {rng.choice(["a", ("a", "b")])},
        }
        chosen = rng.sample(list(conditions), rng.randrange(3))
        kind: Any = rng.choice(self.filters)
        test = kind(**{name: conditions[name] for name in chosen})
        self.keep(self.matcher.add(self.key(), test))

    def match(self) -> None:
        rng = self.rng
        event: Any = MeddlingEvent(self)
        if rng.random() < 0.5:
            event = Event(type=rng.choice(["a", "a.b"]), source=rng.choice([None, "a"]))
        for group in self.matcher.match(event):
            self.keep(group)

    def leave(self) -> None:
        self.matcher.discard(self.key())
        self.fanout.unsubscribe(self.key())

    def subscribe(self) -> None:
        rng = self.rng
        self.fanout.subscribe(
            self.key(),
            rng.choice(self.groups),
            max_bytes=rng.choice([1, 10, 60, 1000]),
            max_events=rng.choice([1, 2, 3, 100]),
            policy=rng.choice(["disconnect", "drop_oldest", "coalesce"]),
        )

    def publish(self) -> None:
        rng = self.rng
        self.seq += 1
        if rng.random() < 0.5:
            self.chosen = tuple(rng.sample(self.groups, k=rng.randrange(3)))
        topic = rng.choice([None, "a", "b"])
        self.fanout.publish(
            b"x" * rng.choice([1, 3, 50]), self.chosen, self.seq, topic=topic
        )

    def flush(self) -> None:
        self.fanout.flush(self.rng.choice([None, 1, 2, 5]))

    def flush_key(self) -> None:
        self.fanout.flush_key(self.key())
        self.fanout.drop(self.key())

    def send(self) -> None:
        self.core.send_turn(self.fanout, self.rng.choice([1, 2, 64]))

    def point(self) -> None:
        self.fanout.point(self.key(), self.rng.choice([-1, NO_DESCRIPTOR]))

    def written(self) -> None:
        self.fanout.written(self.key(), self.rng.choice([1, 10, 100, 100_000]))

    def ask(self) -> None:
        self.fanout.gaps(self.key())
        self.fanout.expelled()
        assert self.fanout.pending_bytes >= 0


class Session(Life):
    """A yamux session whose owner's finalizers call it."""

    def __init__(self, core: SimpleNamespace, seed: int) -> None:
        super().__init__(core, seed)
        self.start()

    def start(self) -> None:
        is_client = self.rng.random() < 0.5
        self.peer_id = 2 if is_client else 1
        self.ids = [self.peer_id]
        self.now = 0.0
        limits = self.rng.choice([TIGHT, NERVOUS])
        self.session = self.core.YamuxSession(client=is_client, limits=limits)

    def frame(self) -> bytes:
        rng = self.rng
        flags = rng.choices([0, 1, 2, 4, 8, 5, 9], [40, 30, 5, 8, 6, 2, 2])[0]
        stream_id = rng.choice(self.ids[-6:])
        if flags & 1:
            stream_id, self.peer_id = self.peer_id, self.peer_id + 2
            self.ids.append(stream_id)
        kind, size = rng.randrange(2), rng.choice([0, 1, 100, 5000, 30_000])
        body = bytes(size) if kind == DATA else b""
        return Frame(kind, flags, stream_id, size, body).encode()

    def call(self) -> None:
        rng, session = self.rng, self.session
        stream_id = rng.choice(self.ids[-6:])
        self.now += rng.choice([0.0, 0.1, 3.0])
        makers: list[Callable[[bytes], Any]] = [bytes, bytearray, memoryview]
        makers.append(lambda data: array("H", data * 2))
        data = rng.choice(makers)(b"z" * rng.choice([0, 1, 300, 70_000]))
        match rng.randrange(14):
            case 0 | 1 | 2 | 3:
                session.receive_data(b"".join([self.frame(), self.frame()]), self.now)
            case 4 | 5:
                session.send_data(stream_id, data)
            case 6:
                session.data_to_send(rng.choice([None, 1000, 100_000]))
            case 7:
                session.consume(stream_id, rng.choice([0, 1, 100]))
            case 8:
                self.ids.append(session.open_stream())
            case 9:
                session.accept_stream(stream_id)
                session.close_stream(stream_id)
            case 10:
                session.reset_stream(stream_id)
            case 11:
                session.on_deadline(self.now)
            case 12:
                session.receive_eof()
            case _:
                self.start()


@pytest.mark.parametrize("start", range(0, 60, 10))
@pytest.mark.parametrize("life", [Groups, Session])
def test_calls_amid_calls_leave_memory_sound(
    core: SimpleNamespace, life: type[Life], start: int
) -> None:
    for seed in range(start, start + 10):
        print(f"seed {seed}")
        life(core, seed).run()


def test_a_stream_reset_by_the_collector_takes_no_data(core: SimpleNamespace) -> None:
    data = bytearray(100)
    outcomes = set()
    for delay in range(20):
        session = core.YamuxSession(client=True)
        number = session.open_stream()
        Bomb(lambda: session.reset_stream(number))  # noqa: B023
        gc.set_threshold(gc.get_count()[0] + delay)
        try:
            outcomes.add(session.send_data(number, data))
        except StreamResetError:
            outcomes.add(None)
        gc.set_threshold(100_000)
    assert None in outcomes


def test_a_slot_of_another_class_is_no_slot(
    core: SimpleNamespace,
) -> None:
    class Wide:
        __slots__ = (*(f"field{number}" for number in range(40)), "source")

    class Narrow:
        __slots__ = ("priority",)
        type = "a"
        task_id = peer_id = required_role = None
        tags = None
        source = Wide.source  # type: ignore[attr-defined]

    event: Any = Narrow()
    event.priority = Priority.NORMAL
    matcher = core.Matcher()
    matcher.add(1, EventFilter(source_patterns={"a"}))
    with pytest.raises(TypeError, match="doesn't apply to a 'Narrow' object"):
        matcher.match(event)
