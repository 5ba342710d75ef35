from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

# More than the kernel takes from a sender whose reader sleeps.
HUGE = b"x" * 16_000_000
BATCH = 64


class End:
    """One end of a connection; `got` reads what the other end has."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)

    def got(self, size: int) -> bytes:
        return self.far.recv(size, socket.MSG_WAITALL)

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def ends() -> Iterator[list[End]]:
    ends = [End(name) for name in range(150)]
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def fanout(backend: SimpleNamespace, ends: list[End]) -> Any:
    fanout = backend.Fanout()
    for end in ends:
        fanout.subscribe(end, end.name % 2, max_bytes=1 << 30)
        fanout.point(end, end.near.fileno())
    return fanout


def send_all(backend: SimpleNamespace, fanout: Any) -> list[tuple[Any, bytes, int]]:
    left: list[tuple[Any, bytes, int]] = []
    while fanout.has_pending:
        left += backend.send_turn(fanout)
    return left


def test_each_subscriber_gets_its_own_bytes_in_order(
    backend: SimpleNamespace, fanout: Any, ends: list[End]
) -> None:
    for seq in range(6):
        fanout.publish(b"%d;" % seq, (seq % 2,), seq)
        if seq % 3 == 2:
            assert send_all(backend, fanout) == []
    for end in ends:
        assert end.got(6) == (b"1;3;5;" if end.name % 2 else b"0;2;4;")
    assert fanout.pending_bytes == 0


def test_a_turn_serves_no_more_than_its_budget(
    backend: SimpleNamespace, fanout: Any, ends: list[End]
) -> None:
    fanout.publish(b"a", (0, 1), 1)
    served = 0
    for budget in (1, 10, BATCH, 1000, 1000):
        backend.send_turn(fanout, budget)
        before, served = served, sum(not fanout.is_waiting(end) for end in ends)
        assert 0 < served - before <= min(budget, BATCH)
    assert served == len(ends)
    assert not fanout.has_pending
    assert backend.send_turn(fanout) == []
    with pytest.raises(UsageError, match=r"^budget of 0, at least 1$"):
        backend.send_turn(fanout, 0)


def test_rest_is_told_when_the_kernel_is_full(
    backend: SimpleNamespace, fanout: Any, ends: list[End]
) -> None:
    for end in ends[2:]:
        fanout.unsubscribe(end)
    fanout.publish(HUGE, (0,), 1)
    fanout.publish(b"a", (1,), 2)
    ((end, data, size),) = backend.send_turn(fanout)
    assert end is ends[0]
    assert data is HUGE
    assert 0 < size < len(HUGE)
    assert ends[1].got(1) == b"a"
    fanout.publish(b"b", (0, 1), 3)
    assert backend.send_turn(fanout) == []
    assert ends[0].got(size) == HUGE[:size]
    # Nothing more is written before the rest is.
    assert fanout.is_waiting(ends[0])
    fanout.written(ends[0], len(HUGE) - size)
    assert backend.send_turn(fanout) == []
    assert ends[0].got(1) == b"b"


def test_whoever_has_no_descriptor_is_left_to_the_caller(
    backend: SimpleNamespace, fanout: Any, ends: list[End]
) -> None:
    fanout.point(ends[0], -1)
    fanout.point(ends[1], -7)
    fanout.point("nobody", 1)
    assert [fanout.descriptor(end) for end in ends[:2]] == [-1, -1]
    assert fanout.descriptor(ends[2]) == ends[2].near.fileno()
    fanout.publish(b"a", (0, 1), 1)
    left = send_all(backend, fanout)
    assert sorted((end.name, data, size) for end, data, size in left) == [
        (0, b"a", 0),
        (1, b"a", 0),
    ]
    fanout.publish(b"b", (0, 1), 2)
    assert send_all(backend, fanout) == []
    assert all(end.got(2) == b"ab" for end in ends[2:])
    fanout.written(ends[0], 1)
    assert backend.send_turn(fanout) == [(ends[0], b"b", 0)]


def test_ws_8_bytes_behind_a_gap_are_left_to_the_caller(
    backend: SimpleNamespace, fanout: Any, ends: list[End]
) -> None:
    end = ends[0]
    fanout.subscribe(end, "own", max_events=1)
    for seq in (1, 2, 3):
        fanout.publish(b"%d" % seq, ("own",), seq)
    assert backend.send_turn(fanout) == [(end, b"3", 0)]
    assert fanout.descriptor(end) == -1
    assert fanout.gaps(end) == [(1, 2, 2)]
    assert fanout.descriptor(end) == end.near.fileno()
    fanout.written(end, 1)
    fanout.publish(b"4", ("own",), 4)
    assert backend.send_turn(fanout) == []
    assert end.got(1) == b"4"


def test_nothing_is_taken_when_the_other_end_is_gone(
    backend: SimpleNamespace, fanout: Any, ends: list[End]
) -> None:
    ends[0].far.close()
    fanout.publish(b"a", (0,), 1)
    assert send_all(backend, fanout) == [(ends[0], b"a", 0)]


def test_a_descriptor_is_forgotten_with_its_subscriber(
    backend: SimpleNamespace, fanout: Any, ends: list[End]
) -> None:
    fanout.unsubscribe(ends[0])
    fanout.subscribe(ends[0], 0)
    fanout.publish(b"a", (0,), 1)
    assert send_all(backend, fanout) == [(ends[0], b"a", 0)]


def test_every_byte_arrives_once_whatever_the_kernel_takes(
    backend: SimpleNamespace, fanout: Any, ends: list[End], seed: random.Random
) -> None:
    """Readers at random paces; what is left is written by the caller, later."""
    expected: dict[End, bytes] = dict.fromkeys(ends, b"")
    got: dict[End, bytes] = dict.fromkeys(ends, b"")
    rests: dict[End, bytes] = {}
    groups = ((0,), (1,), (0, 1))
    for seq in range(200):
        to = seed.choice(groups)
        frame = b"%d;" % seq + b"." * seed.choice([1, 100, 20_000])
        fanout.publish(frame, to, seq)
        for end in ends:
            expected[end] += frame if end.name % 2 in to else b""
        if seed.random() < 0.5:
            for end, data, size in send_all(backend, fanout):
                rests[end] = data[size:]
        for end in seed.sample(ends, 30):
            read(end, got)
            write_rest(fanout, end, rests)
    while fanout.has_pending or rests:
        for end, data, size in send_all(backend, fanout):
            rests[end] = data[size:]
        for end in ends:
            read(end, got)
            write_rest(fanout, end, rests)
    for end in ends:
        read(end, got)
    assert got == expected
    assert fanout.pending_bytes == 0


def read(end: End, got: dict[End, bytes]) -> None:
    try:
        while data := end.far.recv(1 << 20, socket.MSG_DONTWAIT):
            got[end] += data
    except BlockingIOError:
        pass


def write_rest(fanout: Any, end: End, rests: dict[End, bytes]) -> None:
    rest = rests.pop(end, b"")
    if not rest:
        return
    try:
        taken = end.near.send(rest)
    except BlockingIOError:
        taken = 0
    if rest[taken:]:
        rests[end] = rest[taken:]
    fanout.written(end, taken)
