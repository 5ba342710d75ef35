"""No reference is lost: what the core takes it gives back, on good and bad input."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from praxis_fast.errors import JSONStreamError, PraxisError, YamuxError
from praxis_fast.events.event import Event, EventFilter
from tests.core.test_yamux_twins import NERVOUS
from tests.core.yamux_wire import DATA, FIN, PING, RST, SYN, WINDOW, Frame

WARM_UP = 100
ROUNDS = 500
# Higher than any there is.
NO_DESCRIPTOR = 1 << 30
# A lost reference shows as at least one block a round; caches fill in the warm-up.
TOLERANCE = ROUNDS // 2
# A block has up to 512 bytes. What is larger, and what the core takes from C itself, is
# no block: this is less than the smallest of it, lost once a round.
BYTES_TOLERANCE = ROUNDS * 16


class MallocInfo(ctypes.Structure):
    """What glibc tells of its heap (mallinfo2)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def malloced() -> int:
    """Bytes taken from the C library by this thread; 0 where that cannot be told."""
    tell = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if tell is None:
        return 0
    tell.restype = MallocInfo
    told = tell()
    return int(told.uordblks + told.hblkhd)


def split(core: SimpleNamespace) -> None:
    splitter = core.JSONSplitter(max_depth=4)
    splitter.receive_data(b'{"a": [1, 2, "x"]} {"b": ')
    splitter.receive_data(memoryview(b"null} 17 "))
    try:
        splitter.receive_data(b"[[[[[[")
        splitter.receive_eof()
    except JSONStreamError:
        pass


def multiplex(core: SimpleNamespace) -> None:
    client = core.YamuxSession(client=True)
    server = core.YamuxSession(client=False)
    number = client.open_stream()
    client.send_data(number, b"x" * 3000)
    for event in server.receive_data(client.data_to_send(), 1.0):
        if isinstance(event, core.DataReceived):
            server.consume(number, len(event.data))
    server.accept_stream(number)
    server.send_data(number, bytearray(b"y" * 100))
    server.close_stream(number)
    client.receive_data(server.data_to_send(), 1.0)
    client.reset_stream(number)
    try:
        server.receive_data(b"\x01" * 12, 2.0)
    except YamuxError:
        server.data_to_send()


def pile_up(core: SimpleNamespace) -> None:
    """More writes than a stream keeps room for: sent, reset, and left behind."""
    session = core.YamuxSession(client=True)
    numbers = [session.open_stream() for _ in range(3)]
    for _ in range(2):
        session.data_to_send()
        for number in numbers * 20:
            session.send_data(number, b"abc")
    session.reset_stream(numbers[0])


def match(core: SimpleNamespace) -> None:
    matcher = core.Matcher()
    matcher.add("a", EventFilter(event_types={"task.*"}, required_tags={"x"}))
    matcher.add("b", EventFilter(tasks={"t1"}))
    matcher.add("c", EventFilter(excluded_tags={"x"}, min_priority="high"))
    for kind in ("task.started", "p2p.peer_connected"):
        matcher.match(make_event(kind))
    matcher.discard("a")
    matcher.match(make_event("task.started"))


def make_event(kind: str) -> Event:
    return Event(type=kind, data={"n": 1}, source="test", task_id="t1")


def fan_out(core: SimpleNamespace) -> None:
    matcher, fanout = core.Matcher(), core.Fanout()
    group = matcher.add("a", EventFilter())
    for policy in ("disconnect", "drop_oldest", "coalesce"):
        fanout.subscribe(policy, group, max_bytes=64, max_events=3, policy=policy)
    for seq in range(1, 8):
        fanout.publish(b"frame %d" % seq, (group,), seq, topic="topic")
    fanout.expelled()
    for key, data in fanout.flush():
        fanout.gaps(key)
        fanout.written(key, len(data))
    fanout.unsubscribe("coalesce")


def split_in_vain(core: SimpleNamespace) -> None:
    for data in (b"}", b"\\", b"[[[[[[", b" " * 9, b"x" * 99, b"[1] ]", b'"\\'):
        splitter = core.JSONSplitter(max_depth=4, max_frame=64, max_blank=8)
        feed = splitter.receive_data
        attempt(partial(feed, data), partial(feed, b""))
        attempt(splitter.receive_eof, splitter.receive_eof)
    attempt(
        lambda: core.JSONSplitter(max_frame=0),
        lambda: core.JSONSplitter().receive_data("text"),
        lambda: core.JSONSplitter().receive_data(memoryview(bytes(8))[::2]),
        lambda: core.JSONSplitter(max_depth=object()),
    )


def multiplex_in_vain(core: SimpleNamespace) -> None:
    for frames in BAD_FRAMES:
        session = core.YamuxSession(client=False, limits=NERVOUS)
        feed = session.receive_data
        raw = b"".join(frame.encode() for frame in frames)
        attempt(partial(feed, raw), partial(feed, b""))
        attempt(session.open_stream, session.data_to_send, session.receive_eof)
    session = core.YamuxSession(client=True, limits=NERVOUS)
    number = session.open_stream()
    attempt(*[session.open_stream] * (NERVOUS.max_backlog + 1))
    attempt(
        lambda: session.send_data(number, "text"),
        lambda: session.send_data(number, memoryview(bytes(8))[::2]),
        lambda: session.send_data(99, bytearray(8)),
        lambda: session.consume(number, 1),
        lambda: session.consume(number, object()),
        lambda: session.data_to_send(object()),
        lambda: session.receive_data("text"),
        lambda: session.go_away(-1),
        lambda: session.on_deadline(1000.0),
        lambda: core.YamuxSession(client=True, limits=object()),
    )


def match_in_vain(core: SimpleNamespace) -> None:
    matcher = core.Matcher()
    told = core.Matcher(on_error=refuse)
    event = make_event("task.started")
    matcher.add("a", Broken())
    told.add("a", Broken())
    names: Any = [7]
    odd = EventFilter(event_types=names)
    attempt(
        lambda: matcher.match(event),
        lambda: told.match(event),
        lambda: matcher.match(object()),
        lambda: matcher.add([], EventFilter()),
        lambda: matcher.add("b", object()),
        lambda: matcher.add("b", odd),
        lambda: matcher.discard([]),
        lambda: [] in matcher,
    )
    matcher.discard("a")


def fan_out_in_vain(core: SimpleNamespace) -> None:
    fanout = core.Fanout()
    fanout.subscribe("a", "group")
    attempt(
        lambda: fanout.subscribe([], "group"),
        lambda: fanout.subscribe("b", []),
        lambda: fanout.subscribe("b", "group", max_bytes=0),
        lambda: fanout.subscribe("b", "group", max_events=object()),
        lambda: fanout.subscribe("b", "group", policy="none"),
        lambda: fanout.publish(bytearray(b"x"), ["group"], 1),
        lambda: fanout.publish(b"", ["group"], 1),
        lambda: fanout.publish(b"x", ["group"], -1),
        lambda: fanout.publish(b"x", ["group"], object()),
        lambda: fanout.publish(b"x", ["group"], 1, topic=7),
        lambda: fanout.publish(b"x", 7, 1),
        lambda: fanout.publish(b"x", ([],), 2) or fanout.flush(),
        lambda: fanout.flush(0),
        lambda: fanout.flush(object()),
        lambda: fanout.flush_key([]),
        lambda: fanout.drop([]),
        lambda: fanout.gaps([]),
        lambda: fanout.written("a", -1),
        lambda: fanout.written("a", object()),
        lambda: fanout.point("a", object()),
        lambda: fanout.unsubscribe([]),
    )


def send(core: SimpleNamespace) -> None:
    fanout = core.Fanout()
    for key, fd in enumerate((-1, NO_DESCRIPTOR, NO_DESCRIPTOR)):
        fanout.subscribe(key, "group", max_events=1)
        fanout.point(key, fd)
    for seq in range(1, 4):
        fanout.publish(b"x" * seq, ("group",), seq)
    core.send_turn(fanout, 2)
    core.send_turn(fanout)
    attempt(
        lambda: core.send_turn(fanout, 0),
        lambda: core.send_turn(fanout, object()),
        lambda: core.send_turn(object()),
    )


def refuse(test: object, error: Exception) -> None:
    raise error


class Broken(EventFilter):
    """A filter that always fails."""

    def matches(self, event: Event) -> bool:
        raise LookupError(event.type)


def attempt(*calls: Callable[[], object]) -> None:
    """Make calls that may refuse what they are given."""
    for call in calls:
        with contextlib.suppress(PraxisError, TypeError, LookupError, AttributeError):
            call()


# What no session takes, the streams that it is about opened before.
OPEN = Frame(WINDOW, SYN, 1, 0)
BAD_FRAMES = [
    [Frame(7, 0, 0, 0)],
    [Frame(DATA, 0x8000, 1, 0)],
    [Frame(PING, SYN, 1, 0)],
    [Frame(DATA, SYN, 1, 300_000)],
    [Frame(DATA, SYN, 2, 0)],
    [OPEN, OPEN],
    [OPEN, Frame(WINDOW, RST, 1, 0), OPEN],
    [OPEN, Frame(DATA, FIN, 1, 3, b"abc"), Frame(DATA, 0, 1, 3, b"abc")],
    [OPEN, Frame(WINDOW, 0, 1, 0xFFFFFFFF)],
    [Frame(PING, SYN, 0, number) for number in range(99)],
    [Frame(WINDOW, SYN, number, 0) for number in range(1, 99, 2)],
    [Frame(WINDOW, RST, 77, 0) for _ in range(300)],
    [Frame(WINDOW, (SYN, RST)[i & 1], 1 + (i & ~1), 0) for i in range(90)],
]
SCENARIOS = [split, multiplex, pile_up, match, fan_out, send]
SCENARIOS += [split_in_vain, multiplex_in_vain, match_in_vain, fan_out_in_vain]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_kept_after_many_rounds(
    backend: SimpleNamespace,
    scenario: Callable[[SimpleNamespace], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Records of filters that failed would be kept otherwise.
    caplog.set_level(logging.CRITICAL, logger="praxis_fast")
    for _ in range(WARM_UP):
        scenario(backend)
    gc.collect()
    before, before_bytes = sys.getallocatedblocks(), malloced()
    for _ in range(ROUNDS):
        scenario(backend)
    gc.collect()
    assert sys.getallocatedblocks() - before < TOLERANCE
    if backend.name == "core":
        assert malloced() - before_bytes < BYTES_TOLERANCE
