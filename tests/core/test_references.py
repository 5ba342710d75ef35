"""No reference is lost: what the core takes it gives back, on good and bad input."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from praxis_fast.errors import JSONStreamError, YamuxError
from praxis_fast.events.event import Event, EventFilter

WARM_UP = 200
ROUNDS = 2000
# A lost reference shows as at least one block a round; caches fill in the warm-up.
TOLERANCE = ROUNDS // 20


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


@pytest.mark.parametrize("scenario", [split, multiplex, match, fan_out])
def test_nothing_is_kept_after_many_rounds(
    backend: SimpleNamespace, scenario: Callable[[SimpleNamespace], None]
) -> None:
    for _ in range(WARM_UP):
        scenario(backend)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(ROUNDS):
        scenario(backend)
    gc.collect()
    assert sys.getallocatedblocks() - before < TOLERANCE
