"""yamux: both twins make the same of a peer's bytes, in short and long sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from praxis_fast.errors import PraxisError, YamuxError
from praxis_fast.limits import MuxerLimits
from tests.conftest import has_core, load_backend
from tests.core.test_yamux_twins import NERVOUS, TIGHT, Script, note
from tests.core.yamux_wire import DATA, SYN, WINDOW, Frame
from tests.fuzz.mutator import Mutator, below
from tests.fuzz.target import ScriptTarget, Target

LIMITS = (
    MuxerLimits(),
    TIGHT,
    NERVOUS,
    replace(TIGHT, max_streams=2, max_backlog=1, max_control=3, control_burst=4),
)
FRAMES = 4000
SERVER, LIMIT_BITS, OPENS, ANSWERS = 1, 1, 8, 16
SIZES = (0, 0, 1, 5, 40, 300, 262_144, 262_145, 600_000, 0xFFFFFFFF)


def backends() -> list[Any]:
    """The twins, the compiled one where it is built."""
    return [load_backend(name) for name in ("pure", "core")[: 1 + has_core()]]


class Yamux(Target):
    """The first byte is the session and what it does, the second where the cut is."""

    name = "yamux"

    def __init__(self) -> None:
        self.backends = backends()
        rng = Random("frames")
        self.pools = [[frame(rng, parity) for _ in range(FRAMES)] for parity in (0, 1)]
        self.mutator = Mutator([b"".join(pool[:3]) for pool in self.pools])

    def draw(self, rng: Random) -> bytes:
        control = below(rng, 256)
        pool = self.pools[control & SERVER]
        frames = bytearray().join(rng.choices(pool, k=1 + below(rng, 12)))
        if rng.random() < 0.2:
            self.mutator.bend(rng, frames)
        return bytes([control, below(rng, 256)]) + frames

    def check(self, data: bytes) -> None:
        if len(data) < 2:
            return
        control, stream = data[0], data[2:]
        cut = len(stream) * data[1] // 255 if control & 32 else len(stream)
        chunks = [stream[:cut], stream[cut:]] if cut < len(stream) else [stream]
        first, *others = [converse(each, control, chunks) for each in self.backends]
        for other in others:
            assert other == first, f"{other}, plain {first}"
        if control & (ANSWERS | 64) == 64:
            whole = converse(self.backends[-1], control, [stream])
            assert joined(first) == joined(whole), f"{first}, in one piece {whole}"


class YamuxAlone(Yamux):
    """The compiled session alone, ten times as quick: bounds, and no other error."""

    name = "yamux-alone"

    def check(self, data: bytes) -> None:
        if len(data) < 2:
            return
        session = self.backends[-1].YamuxSession(
            client=not data[0] & SERVER, limits=LIMITS[data[0] >> LIMIT_BITS & 3]
        )
        if data[0] & OPENS:
            session.open_stream()
        try:
            events = session.receive_data(data[2:], 0.25)
            if data[0] & ANSWERS:
                answer(session, events, [])
            is_dead = False
        except YamuxError:
            is_dead = True
        assert session.is_closed >= is_dead
        size = session.pending_out
        assert len(session.data_to_send()) == size
        session.receive_eof()
        assert (session.num_streams, session.unread, session.pending_out) == (0, 0, 0)


def frame(rng: Random, parity: int) -> bytes:
    """A frame of a peer whose ids are of this parity; one in thirty breaks a rule."""
    if rng.random() < 0.03:
        return Frame(
            below(rng, 6), rng.choice([0, 1, 16, 0x8000]), below(rng, 9), below(rng, 99)
        ).encode(version=below(rng, 2))
    kind = rng.choices([0, 1, 2, 3], [50, 30, 15, 3])[0]
    flags = rng.choices([0, 1, 2, 4, 8, 5, 9, 3], [30, 25, 6, 8, 6, 3, 2, 1])[0]
    if kind > WINDOW:
        return Frame(kind, below(rng, 3), 0, rng.choice([0, 1, 2, 77])).encode()
    stream_id = rng.choices([2, 4, 6, 1 << 31], [50, 25, 12, 1])[0] - parity
    if rng.random() < 0.2:
        # The stream the session itself has opened.
        stream_id, flags = 1 + parity, flags & ~SYN
    weights = [10, 10, 10, 10, 10, 6, 1, 0.4, 0.1, 0.1]
    size = rng.choices(SIZES, weights)[0]
    body = rng.randbytes(min(size, 300)) if kind == DATA else b""
    return Frame(kind, flags, stream_id, size, body).encode()


def converse(backend: Any, control: int, chunks: list[bytes]) -> list[Any]:
    """One short session: all that came of it."""
    session = backend.YamuxSession(
        client=not control & SERVER, limits=LIMITS[control >> LIMIT_BITS & 3]
    )
    trace: list[Any] = []
    if control & OPENS:
        trace.append(session.open_stream())
    for chunk in chunks:
        fault: list[Any] = []
        try:
            events = session.receive_data(chunk, 0.25)
        except YamuxError as error:
            fault = [(type(error), str(error), error.code)]
            events = error.events
        trace += [note(event) for event in events] + fault
        if control & ANSWERS:
            answer(session, events, trace)
    trace += [session.num_streams, session.unread, session.dropped_frames]
    trace += [session.is_closed, session.pending_out, session.next_deadline()]
    trace.append(session.data_to_send())
    trace += [note(event) for event in session.receive_eof()]
    return trace


def answer(session: Any, events: Sequence[Any], trace: list[Any]) -> None:
    """What an owner does about events."""
    for event in events:
        try:
            match type(event).__name__:
                case "StreamOpened":
                    session.accept_stream(event.stream_id)
                    trace.append(session.send_data(event.stream_id, b"hello"))
                case "DataReceived":
                    session.consume(event.stream_id, len(event.data))
                case "StreamClosed":
                    session.close_stream(event.stream_id)
                case "PingReceived":
                    trace.append(session.data_to_send(13))
        except PraxisError as error:
            trace.append((type(error), str(error)))


def joined(trace: list[Any]) -> tuple[list[Any], dict[str, bytes]]:
    """The trace without the cuts of bodies: the rest in order, and all data."""
    rest: list[Any] = []
    data: dict[str, bytes] = {}
    for entry in trace:
        if isinstance(entry, tuple) and isinstance(entry[1], bytes):
            stream = entry[0].partition(",")[0]
            data[stream] = data.get(stream, b"") + entry[1]
        elif not (rest and entry == rest[-1] and isinstance(entry, tuple)):
            # A dead session says its error again for the second chunk.
            rest.append(entry)
    return rest, data


class YamuxScript(ScriptTarget):
    """The long conversations of the tests: calls, times and frames mixed."""

    name = "yamux-script"

    def __init__(self) -> None:
        self.backends = backends()

    def check(self, data: bytes) -> None:
        seed = int.from_bytes(data, "big")
        steps = 10 + seed % 60
        first, *others = [Script(each, seed).run(steps) for each in self.backends]
        for other in others:
            for step, (one, two) in enumerate(zip(first, other, strict=True)):
                assert one == two, f"entry {step}: {two}, plain {one}"
