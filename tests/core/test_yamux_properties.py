"""The law of the muxer: every stream's bytes arrive once, in order, within the window.

Two sessions talk over two pipes that are cut anywhere. A model knows what each side has
written to each stream; readers take bytes at random. At the end everything has arrived
and both sessions have given back all they held.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from praxis_fast.limits import MuxerLimits
from tests.core.yamux_wire import DATA, INITIAL_WINDOW, SYN, WINDOW, frames

LIMITS = MuxerLimits(max_window=1024 * 1024, max_outbound=300_000)


class End:
    """One side: its session, what it wrote, what it has and has not read."""

    def __init__(self, backend: Any, client: bool) -> None:
        self.session = backend.YamuxSession(client=client, limits=LIMITS)
        self.names = {
            name: getattr(backend, name)
            for name in ("StreamOpened", "DataReceived", "StreamClosed", "WindowOpened")
        }
        self.wire: deque[bytes] = deque()  # on its way to us
        self.wrote: dict[int, bytearray] = {}
        self.read: dict[int, bytearray] = {}
        self.unread: dict[int, deque[Any]] = {}
        self.stuck: dict[int, bytes] = {}  # written in part: waits for WindowOpened
        self.writable: set[int] = set()
        self.ended: set[int] = set()
        # what we granted the peer, seen from the wire alone
        self.granted: dict[int, int] = {}

    def add(self, stream_id: int) -> None:
        self.wrote[stream_id] = bytearray()
        self.read[stream_id] = bytearray()
        self.unread[stream_id] = deque()
        self.writable.add(stream_id)

    def hear(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, self.names["StreamOpened"]):
                self.add(event.stream_id)
                self.session.accept_stream(event.stream_id)
            elif isinstance(event, self.names["DataReceived"]):
                self.unread[event.stream_id].append(event.data)
            elif isinstance(event, self.names["StreamClosed"]):
                self.ended.add(event.stream_id)
            elif isinstance(event, self.names["WindowOpened"]):
                rest = self.stuck.pop(event.stream_id, None)
                if rest is not None:
                    self.write(event.stream_id, rest)

    def write(self, stream_id: int, payload: bytes) -> None:
        taken = self.session.send_data(stream_id, payload)
        self.wrote[stream_id] += payload[:taken]
        if taken < len(payload):
            self.stuck[stream_id] = payload[taken:]

    def take(self, stream_id: int, size: int) -> None:
        """Read up to `size` bytes of a stream."""
        pieces = self.unread[stream_id]
        while pieces and size:
            piece = memoryview(pieces.popleft())
            self.read[stream_id] += piece[:size]
            self.session.consume(stream_id, min(size, len(piece)))
            if len(piece) > size:
                pieces.appendleft(piece[size:])
            size = max(0, size - len(piece))

    def flush(self, peer: End, bound: int | None) -> None:
        raw = self.session.data_to_send(bound)
        for frame in frames(raw):
            if frame.kind == WINDOW:
                if frame.flags & SYN:
                    self.granted.setdefault(frame.stream_id, INITIAL_WINDOW)
                known = self.granted.get(frame.stream_id, INITIAL_WINDOW)
                self.granted[frame.stream_id] = known + frame.length
            elif frame.kind == DATA:
                left = peer.granted.get(frame.stream_id, INITIAL_WINDOW) - frame.length
                assert left >= 0
                peer.granted[frame.stream_id] = left
        if raw:
            peer.wire.append(raw)

    def deliver(self, rng: random.Random, now: float) -> None:
        if not self.wire:
            return
        raw = self.wire.popleft()
        cut = rng.randrange(len(raw) + 1)
        if rng.random() < 0.5 and cut < len(raw):
            self.wire.appendleft(raw[cut:])
            raw = raw[:cut]
        self.hear(self.session.receive_data(raw, now))


def act(end: End, rng: random.Random) -> None:
    """One random operation of a side's user."""
    choice = rng.random()
    idle = sorted(end.writable - end.stuck.keys())
    if choice < 0.1 and len(end.wrote) < 40:
        end.add(end.session.open_stream())
    elif choice < 0.5 and idle:
        stream_id = rng.choice(idle)
        end.write(stream_id, rng.randbytes(rng.choice([1, 50, 9000, 80_000, 400_000])))
    elif choice < 0.55 and idle:
        stream_id = rng.choice(idle)
        end.session.close_stream(stream_id)
        end.writable.discard(stream_id)
    elif end.unread:
        end.take(rng.choice(list(end.unread)), rng.choice([1, 700, 70_000, 10**6]))


def settle(ends: tuple[End, End], rng: random.Random, now: float) -> None:
    """Read, write and deliver until nothing is left to do, closing all streams."""
    left, right = ends
    for _ in range(10_000):
        for end, peer in ((left, right), (right, left)):
            for stream_id in list(end.unread):
                end.take(stream_id, 10**9)
            for stream_id in sorted(end.writable - end.stuck.keys()):
                end.session.close_stream(stream_id)
                end.writable.discard(stream_id)
            end.flush(peer, None)
            end.hear(end.session.on_deadline(now))
            end.deliver(rng, now)
        is_quiet = all(
            not end.wire and not end.stuck and not end.session.pending_out
            for end in ends
        )
        if is_quiet and not any(any(end.unread.values()) for end in ends):
            return
    raise AssertionError("the two sessions never came to rest")


@pytest.mark.parametrize("number", range(12))
def test_streams_arrive_once_and_in_order_when_both_sides_do_anything(
    backend: Any, number: int
) -> None:
    rng = random.Random(number)
    ends = End(backend, client=True), End(backend, client=False)
    now = 0.0
    for _ in range(600):
        now += rng.choice([0.0, 0.0001, 0.01])
        end, peer = rng.sample(ends, 2)
        act(end, rng)
        if rng.random() < 0.5:
            end.flush(peer, rng.choice([None, 1, 5000, 100_000]))
        if rng.random() < 0.6:
            end.deliver(rng, now)
        if end.session.next_deadline() <= now:
            end.hear(end.session.on_deadline(now))
    settle(ends, rng, now)
    for end, peer in (ends, ends[::-1]):
        assert end.read == peer.wrote
        assert end.ended == set(end.wrote)
        assert end.session.num_streams == 0
        assert end.session.unread == 0
        assert end.session.pending_out == 0
        assert end.session.next_deadline() > now
