"""Both twins do the same: equal events, bytes out, exceptions and accounts.

Random scripts mix calls with frames that are well formed, late, hostile or noise. A
script is driven by a seeded generator, so both twins see the same one as long as they
answer alike; the first difference fails.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from praxis_fast.errors import PraxisError
from praxis_fast.limits import MuxerLimits
from tests.conftest import has_core, load_backend
from tests.core.yamux_wire import DATA, SYN, Frame

needs_core = pytest.mark.skipif(not has_core(), reason="the compiled core is not built")

TIGHT = MuxerLimits(
    max_window=512 * 1024,
    max_streams=8,
    max_backlog=5,
    max_unread=900_000,
    max_pongs=4,
    max_control=6,
    max_outbound=200_000,
    control_rate=20.0,
    control_burst=300,
    reset_rate=5.0,
    reset_burst=40,
    half_closed_timeout=9.0,
)
NERVOUS = replace(
    TIGHT,
    max_unread=150_000,
    max_pongs=2,
    control_burst=20,
    reset_rate=0.5,
    reset_burst=2,
)
SIZES = [0, 1, 5, 255, 256, 300, 4096, 70_000, 262_144, 262_145, 600_000, 2**32 - 1]


class Script:
    """One random conversation with one session; `trace` is all that came of it."""

    def __init__(self, backend: Any, seed: int) -> None:
        self.rng = random.Random(seed)
        self.client = self.rng.random() < 0.5
        self.session = backend.YamuxSession(
            client=self.client, limits=self.rng.choice([TIGHT, NERVOUS, MuxerLimits()])
        )
        self.now = 0.0
        self.trace: list[Any] = []
        self.is_hostile = self.rng.random() < 0.3
        self.peer_id = 2 if self.client else 1
        self.skipped: list[int] = []

    def run(self, steps: int) -> list[Any]:
        names = ["frames"] * 8 + ["flush"] * 3 + ["consume"] * 3 + ["send"] * 3
        names += ["open", "accept", "close", "reset", "deadline", "ping", "rare"]
        for _ in range(steps):
            if self.session.is_closed and self.rng.random() < 0.2:
                break
            self.now += self.rng.choice([0.0, 0.0, 0.001, 0.001, 0.2, 3.0, 7.0])
            self.step(self.rng.choice(names))
        self.step("eof")
        return self.trace

    def step(self, name: str) -> None:
        try:
            result = getattr(self, name)()
        except PraxisError as error:
            events = [note(event) for event in getattr(error, "events", [])]
            result = (type(error).__name__, str(error), vars(error).get("code"), events)
        session = self.session
        self.trace.append((name, result, session.pending_out, session.unread))
        self.trace.append((session.num_streams, session.is_closed, session.can_open))
        self.trace.append((session.rtt, session.dropped_frames))
        self.trace.append(session.next_deadline())

    def stream_id(self) -> int:
        """Mostly one of the latest ids of either side."""
        if self.rng.random() < 0.005:
            return self.rng.choice([-1, 0, 2**32 - 1, 2**32, 77])
        return max(1, self.peer_id + self.rng.randrange(-14, 2))

    def opened_id(self) -> int:
        """Mostly the peer's next id; now and then one goes ahead of others."""
        if self.is_hostile and self.rng.random() < 0.01:
            return self.rng.randrange(1, 40)
        if self.skipped and self.rng.random() < 0.3:
            return self.skipped.pop()
        step = self.rng.choice([2, 2, 2, 2, 2, 2, 6, 80 if self.is_hostile else 2])
        first = self.peer_id
        self.peer_id += step
        self.skipped.extend(range(first + 2, self.peer_id, 2))
        return first

    def frame(self) -> bytes:
        rng = self.rng
        if self.is_hostile and rng.random() < 0.003:
            return rng.randbytes(rng.randrange(1, 30))
        kind = rng.choices([0, 1, 2, 3, 4], [60, 30, 12, 0.3, 0.05 * self.is_hostile])[
            0
        ]
        flags = rng.choices(
            [0, 1, 2, 4, 8, 5, 3, 9, 12, rng.randrange(32)],
            [55, 25, 8, 3, 2, 3, 1, 1, 1, 0.5 * self.is_hostile],
        )[0]
        stream_id = 0
        if kind < 2 or (self.is_hostile and rng.random() < 0.01):
            stream_id = self.opened_id() if flags & SYN else self.stream_id()
            stream_id &= 0xFFFFFFFF
        weights = [5, 5, 5, 5, 5, 5, 5, 1, 0.3, 0.03, 0.01, 0.01]
        length = rng.choices(SIZES, weights)[0]
        if kind == DATA:
            body = rng.randbytes(min(length, 700_000))
            return Frame(kind, flags, stream_id, length, body).encode()
        return Frame(kind, flags, stream_id, length).encode()

    def frames(self) -> Any:
        rng = self.rng
        raw = b"".join(self.frame() for _ in range(rng.randrange(1, 6)))
        cut = rng.randrange(len(raw) + 1) if rng.random() < 0.5 else len(raw)
        found = [
            note(event) for event in self.session.receive_data(raw[:cut], self.now)
        ]
        rest = rng.choice([bytes, bytearray, memoryview])(raw[cut:])
        return found + [
            note(event) for event in self.session.receive_data(rest, self.now)
        ]

    def flush(self) -> Any:
        bound = self.rng.choice([None, None, 0, 1, 1000, 70_000])
        return self.session.data_to_send(bound)

    def consume(self) -> Any:
        size = self.rng.choice([0, 1, 300, 4096, 131_072, 262_144])
        return self.session.consume(self.stream_id(), size)

    def send(self) -> Any:
        stream_id = self.stream_id()
        size = self.rng.choice([0, 1, 300, 65_507, 150_000, 262_064, 262_065, 600_000])
        kind = self.rng.choice([bytes, bytearray, memoryview])
        taken = self.session.send_data(stream_id, kind(self.rng.randbytes(size)))
        return taken, self.session.send_window(stream_id)

    def open(self) -> Any:
        return self.session.open_stream()

    def accept(self) -> Any:
        return self.session.accept_stream(self.stream_id())

    def close(self) -> Any:
        return self.session.close_stream(self.stream_id())

    def reset(self) -> Any:
        return self.session.reset_stream(self.stream_id())

    def deadline(self) -> Any:
        return [note(event) for event in self.session.on_deadline(self.now)]

    def ping(self) -> Any:
        return self.session.ping(self.now)

    def rare(self) -> Any:
        chance = self.rng.random()
        if chance < 0.05:
            return self.session.go_away(self.rng.choice([0, 0, 0, 1, 2, 0x1005, -1]))
        if chance < 0.06:
            return self.eof()
        return None

    def eof(self) -> Any:
        return [note(event) for event in self.session.receive_eof()]


def note(event: Any) -> Any:
    """An event with its data, which `repr` leaves out."""
    if type(event).__name__ == "DataReceived":
        return repr(event), bytes(event.data)
    return repr(event)


@needs_core
@pytest.mark.parametrize("start", range(0, 400, 20))
def test_twins_agree_on_random_scripts(start: int) -> None:
    for seed in range(start, start + 20):
        plain = Script(load_backend("pure"), seed).run(80)
        compiled = Script(load_backend("core"), seed).run(80)
        for step, (one, other) in enumerate(zip(plain, compiled, strict=True)):
            assert one == other, f"seed {seed}, entry {step}"
