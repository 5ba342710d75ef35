"""The fan-out: both twins hand out the same bytes, gaps and goodbyes."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Sequence
from functools import cached_property
from random import Random
from typing import Any, ClassVar

from praxis_fast.errors import UsageError
from praxis_fast.events.event import EventFilter
from tests.fuzz.mutator import below
from tests.fuzz.target import Target
from tests.fuzz.yamux import backends

POLICIES = ("disconnect", "drop_oldest", "coalesce", "coalesce")
TOPICS = (None, None, None, "a", "a", "b", "b", "c" * 20)
SIZES = (1, 1, 3, 10, 40, 60, 1, 200)
RISES = (1, 1, 1, 1, 1, 0, 5, 2)
BUDGETS = (None, None, None, None, 1, 2, 3, 2)
MAX_BYTES = (1, 5, 40, 100, 100, 1000, 1000, 1 << 62)
MAX_EVENTS = (1, 2, 2, 3, 3, 5, 10, 1000)
WRITTEN = (0, 1, 5, 40, 100, 10_000, 10_000, 10_000)
GROUPS = ("g1", "g2", ("g", 3), 4)
CHOSEN = [[bit for bit in range(4) if mask >> bit & 1] for mask in range(16)]
# Higher than any there is.
NO_DESCRIPTOR = 1 << 30
FILTERS = [EventFilter(event_types={name}) for name in "abcd"]
KEYS = 8
STEPS = 10
LONG, LONG_STEPS = 0.001, 1000
NUMBER = re.compile(r"-?\d+")


class Fanout(Target):
    """A byte for the kind of groups, then three for each step: what, who and how."""

    name = "fanout"
    goals: ClassVar[Sequence[str]] = (
        *("disconnect", "drop_oldest", "coalesce", "a key that moves", "unsubscribe"),
        *("publish", "publish with topic", "two groups", "written", "long"),
        *("flush", "flush in slices", "flush of a key mid-turn", "frames"),
        *("frames for one key", "nothing for one key", "nothing but gaps"),
        *("sent", "nothing sent", "left to do", "dropped", "nothing to drop"),
        *("no gap", "a gap", "many gaps", "expelled", "nobody expelled"),
        *("frame is empty", "sequence N after N", "N bytes written, at least N"),
        *("budget of N, at least N", "max_bytes of N, at least N"),
        *("max_events of N, at least N", "topic must be a str, not int"),
        *("frame must be bytes, not bytearray", "groups of a matcher"),
        "policy 'none' is not one of disconnect, drop_oldest, coalesce",
    )

    def __init__(self) -> None:
        super().__init__()
        self.backends = backends()

    @cached_property
    def socket(self) -> tuple[int, int]:
        """Both ends of a socket, made by the process that uses it and never closed.

        All it holds is taken out again before the other twin's turn.
        """
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        return near.detach(), far.detach()

    def draw(self, rng: Random) -> bytes:
        steps = LONG_STEPS if rng.random() < LONG else 4 + below(rng, STEPS)
        data = bytearray(rng.randbytes(1 + 3 * steps))
        # The first two steps subscribe.
        data[1] = SUBSCRIBES | data[1] % KEYS
        data[4] = SUBSCRIBES | data[4] % KEYS
        return bytes(data)

    def check(self, data: bytes) -> None:
        first, *others = [Script(each, self.socket, data) for each in self.backends]
        first.run()
        for other in others:
            other.run()
            for step, (one, two) in enumerate(
                zip(first.trace, other.trace, strict=True)
            ):
                assert one == two, f"step {step}: {two}, plain {one}"
        if len(data) > 3 * LONG_STEPS:
            first.seen.add("long")
        self.reached.update(first.seen)


class Script:
    """One life of a fan-out; everything it answered, and what it came to."""

    def __init__(self, backend: Any, socket: tuple[int, int], data: bytes) -> None:
        self.data = data
        self.fanout = backend.Fanout()
        self.send_turn = backend.send_turn
        self.near, self.far = socket
        self.groups: Sequence[Any] = GROUPS
        self.trace: list[Any] = []
        self.seen: set[str] = set()
        self.seq = 0
        if data and data[0] & 1:
            # Groups of a matcher, in which the compiled twin keeps its logs.
            self.seen.add("groups of a matcher")
            matcher = backend.Matcher()
            self.groups = [matcher.add(i, test) for i, test in enumerate(FILTERS)]
        self.chosen: list[Sequence[Any]] = [
            tuple(self.groups[bit] for bit in bits) for bits in CHOSEN
        ]

    def run(self) -> None:
        data, fanout, trace = self.data, self.fanout, self.trace
        for place in range(1, len(data) - 2, 3):
            choice, how, what = data[place : place + 3]
            key = choice % KEYS
            try:
                trace.append(CALLS[choice >> 3](self, key, how, what))
            except UsageError as error:
                trace.append(str(error))
                self.seen.add(NUMBER.sub("N", str(error)))
            # `has_pending` may say too much, so twins may differ in it.
            trace.append(
                (len(fanout), fanout.has_gaps, key in fanout, fanout.is_waiting(key))
            )
            if how & 7 == 0:
                trace.append((fanout.pending_bytes, fanout.queued))
        self.flush(0, 0, 0)
        trace.append([fanout.gaps(key) for key in range(KEYS)])
        trace.append((sorted(fanout.expelled()), fanout.pending_bytes))

    def publish(self, key: int, how: int, what: int) -> None:
        self.seq += RISES[what >> 3 & 7]
        frame: Any = bytes([97 + self.seq % 26]) * SIZES[how & 7]
        topic: Any = TOPICS[what & 7]
        groups = self.chosen[how >> 4]
        if key & 3 == 0:
            # Not the same tuple again.
            groups = list(groups)
        if what == 255:
            frame, self.seq, topic = REFUSED[how & 3](frame, self.seq, topic)
        self.seen.add("publish with topic" if topic else "publish")
        if len(groups) > 1:
            self.seen.add("two groups")
        self.fanout.publish(frame, groups, self.seq, topic=topic)

    def flush(self, key: int, how: int, what: int) -> dict[Any, bytes]:
        """A whole turn in slices; whose slice comes first is each twin's own matter."""
        budget = BUDGETS[what & 7]
        self.seen.add("flush" if budget is None else "flush in slices")
        turn: dict[Any, bytes] = {}
        while self.fanout.has_pending:
            handed = self.fanout.flush(budget)
            assert budget is None or len(handed) <= budget
            assert turn.keys().isdisjoint(dict(handed))
            turn.update(handed)
            if how & 16:
                self.seen.add("flush of a key mid-turn")
                data = self.fanout.flush_key(key)
                if data is not None:
                    assert key not in turn
                    turn[key] = data
        assert self.fanout.flush(budget) == []
        for data in turn.values():
            self.seen.add("frames" if data else "nothing but gaps")
        if what == 255:
            self.fanout.flush(0)
        return turn

    def flush_key(self, key: int, how: int, what: int) -> bytes | None:
        data: bytes | None = self.fanout.flush_key(key)
        self.seen.add("nothing for one key" if data is None else "frames for one key")
        return data

    def send(self, key: int, how: int, what: int) -> Any:
        """A whole turn to descriptors; the last bytes of the socket show what came."""
        left: list[Any] = []
        taken = bytearray()
        while self.fanout.has_pending:
            left += self.send_turn(self.fanout, (64, 64, 1, 2)[how & 3])
            with contextlib.suppress(BlockingIOError):
                taken += os.read(self.far, 100_000)
        self.seen.add("sent" if taken else "nothing sent")
        if left:
            self.seen.add("left to do")
        return sorted(left), sorted(taken)

    def point(self, key: int, how: int, what: int) -> bool:
        """To the socket, to a descriptor nobody has, or to nowhere."""
        self.fanout.point(key, (self.near, self.near, NO_DESCRIPTOR, -1)[how >> 3 & 3])
        return bool(self.fanout.descriptor(key) >= 0)

    def drop(self, key: int, how: int, what: int) -> Any:
        found = self.fanout.drop(key)
        self.seen.add("nothing to drop" if found is None else "dropped")
        return found

    def written(self, key: int, how: int, what: int) -> None:
        self.seen.add("written")
        self.fanout.written(key, -1 if what == 255 else WRITTEN[how & 7])

    def subscribe(self, key: int, how: int, what: int) -> None:
        policy = POLICIES[how >> 6]
        max_bytes, max_events = MAX_BYTES[how & 7], MAX_EVENTS[what & 7]
        if what >= 252:
            max_bytes, max_events, policy = BAD[what & 3]
        self.seen.add("a key that moves" if key in self.fanout else policy)
        self.fanout.subscribe(
            key,
            self.groups[what >> 3 & 3],
            max_bytes=max_bytes,
            max_events=max_events,
            policy=policy,
        )
        if key & 1:
            self.point(key, how, what)

    def gaps(self, key: int, how: int, what: int) -> list[Any]:
        found: list[Any] = self.fanout.gaps(key)
        self.seen.add(("no gap", "a gap", "many gaps")[min(len(found), 2)])
        return found

    def expelled(self, key: int, how: int, what: int) -> list[Any]:
        found = sorted(self.fanout.expelled())
        self.seen.add("expelled" if found else "nobody expelled")
        return found

    def unsubscribe(self, key: int, how: int, what: int) -> None:
        self.seen.add("unsubscribe")
        self.fanout.unsubscribe(key)


Call = Callable[[Script, int, int, int], Any]
CALLS: Sequence[Call] = (
    *[Script.publish] * 12,
    *[Script.flush] * 3,
    *[Script.send] * 2,
    *[Script.point] * 2,
    *[Script.flush_key] * 2,
    *[Script.written] * 3,
    *[Script.gaps] * 1,
    Script.drop,
    Script.expelled,
    Script.unsubscribe,
    *[Script.subscribe] * 4,
)
# The last of the calls, as a first byte without a key.
SUBSCRIBES = 31 * KEYS
# What `publish` and `subscribe` refuse.
REFUSED: Sequence[Callable[[bytes, int, str | None], tuple[Any, int, Any]]] = (
    lambda frame, seq, topic: (b"", seq, topic),
    lambda frame, seq, topic: (frame, seq - 9, topic),
    lambda frame, seq, topic: (frame, seq, 7),
    lambda frame, seq, topic: (bytearray(frame), seq, topic),
)
BAD = ((0, 1, "coalesce"), (1, 0, "coalesce"), (1, 1, "none"), (-1, -1, "none"))
