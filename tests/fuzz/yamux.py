"""yamux: both twins make the same of a peer's bytes, in short and long sessions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar
from zlib import crc32

from praxis_fast.errors import YamuxError
from tests.conftest import has_core, load_backend
from tests.core.test_yamux_twins import Script
from tests.core.yamux_wire import ACK, DATA, FIN, PING, RST, SYN, WINDOW, Frame
from tests.fuzz.conversation import (
    ACTS,
    ANSWERS,
    CUTS,
    LIMIT_BITS,
    OPENS,
    SERVER,
    Conversation,
)
from tests.fuzz.mutator import Mutator, below
from tests.fuzz.target import ScriptTarget, Target, quick_cuts

FRAMES = 4000
NUMBER = re.compile(r"-?\d+(\.\d+)?")
SIDES = ("client", "server")
SIZES = (0, 0, 1, 5, 40, 300, 262_144, 262_145, 600_000, 0xFFFFFFFF)


def backends() -> list[Any]:
    """The twins, the compiled one where it is built."""
    return [load_backend(name) for name in ("pure", "core")[: 1 + has_core()]]


class Yamux(Target):
    """The first byte is the session and what it does, the second where the cuts are."""

    name = "yamux"
    goals: ClassVar[Sequence[str]] = (
        *("client", "server", "limits 0", "limits 1", "limits 2", "limits 3"),
        *("1 piece", "2 pieces", "6 pieces", "ResourceLimitError", "UsageError"),
        *("StreamOpened", "DataReceived", "StreamClosed", "StreamReset"),
        *("WindowOpened", "PingReceived", "PongReceived", "GoAway"),
        *("frame of version N, expected N", "frame of type N, limit N"),
        *("frame with flags N, limit N", "frame of type N on stream N"),
        *("frame of N bytes on stream N, limit N", "stream N opened twice"),
        *("stream N opened with an id of ours", "stream id N used twice"),
        *("data on stream N after its end", "stream N is gone"),
        *("window of N bytes on stream N, limit N", "session is closed"),
        *("N control frames waiting, limit N", "more than N resets a second"),
        *("more than N control frames a second", "session is going away"),
        *("N streams not yet acknowledged, limit N", "stream N is closed for writing"),
        *("consumed N bytes of stream N, N are unread",),
        *("nothing heard for N seconds", "go-away code N, limit N"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.backends = backends()
        rng = Random("frames")
        self.pools = [[frame(rng, parity) for _ in range(FRAMES)] for parity in (0, 1)]
        self.sessions = [
            [session(rng, parity) for _ in range(FRAMES)] for parity in (0, 1)
        ]
        self.mutator = Mutator([b"".join(pool[:3]) for pool in self.pools])

    def draw(self, rng: Random) -> bytes:
        control = below(rng, 256)
        side, chance = control & SERVER, rng.random()
        if chance < 0.3:
            frames = rng.choices(self.pools[side], k=1 + below(rng, 12))
        else:
            frames = list(self.sessions[side][below(rng, FRAMES)])
            if chance < 0.7:
                other = self.pools[side][below(rng, FRAMES)]
                frames.insert(below(rng, len(frames) + 1), other)
        data = bytearray([control, below(rng, 256)]) + b"".join(frames)
        if 0.2 < chance < 0.4:
            self.mutator.bend(rng, data)
        return bytes(data)

    def check(self, data: bytes) -> None:
        if len(data) < 2:
            return
        control, stream = data[0], data[2:]
        seed = crc32(data)
        chunks = quick_cuts(stream, seed) if control & CUTS else [stream]
        first, *others = [
            Conversation(each, control, seed).run(chunks) for each in self.backends
        ]
        for other in others:
            assert other == first, f"{other}, plain {first}"
        self.note(control, first, len(chunks))
        if control & (ANSWERS | CUTS | ACTS) == CUTS:
            whole = Conversation(self.backends[-1], control, seed).run([stream])
            assert joined(first) == joined(whole), f"{first}, in one piece {whole}"

    def note(self, control: int, trace: list[Any], pieces: int) -> None:
        """Count what this execution came to, each thing once."""
        seen = {SIDES[control & SERVER], f"limits {control >> LIMIT_BITS & 3}"}
        seen.add("1 piece" if pieces == 1 else f"{pieces} pieces")
        for entry in trace:
            if type(entry) is tuple and isinstance(entry[0], type):
                seen.add(entry[0].__name__)
                seen.add(NUMBER.sub("N", entry[1]))
            elif type(entry) is tuple:
                seen.add("DataReceived")
            elif type(entry) is str:
                seen.add(entry.partition("(")[0])
        self.reached.update(seen)


class YamuxAlone(Yamux):
    """The compiled session alone, ten times as quick: bounds, and no other error."""

    name = "yamux-alone"
    goals = ()

    def check(self, data: bytes) -> None:
        if len(data) < 2:
            return
        conversation = Conversation(self.backends[-1], data[0], 0)
        session = conversation.session
        if data[0] & OPENS:
            session.open_stream()
        try:
            events = session.receive_data(data[2:], 0.25)
            if data[0] & ANSWERS:
                conversation.answer(events)
            is_dead = False
        except YamuxError:
            is_dead = True
        assert session.is_closed >= is_dead
        size = session.pending_out
        assert len(session.data_to_send()) == size
        session.receive_eof()
        assert (session.num_streams, session.unread, session.pending_out) == (0, 0, 0)


def session(rng: Random, parity: int) -> list[bytes]:
    """What a peer that keeps most rules sends: streams that open, talk and end."""
    frames: list[bytes] = []
    alive: list[int] = [1 + parity]
    next_id = 2 - parity
    opens, ends = rng.choice([(0.1, 1), (0.3, 2), (0.5, 40), (0.8, 2)])
    for _ in range(2 + below(rng, 10)):
        if rng.random() < opens:
            frames.append(Frame(below(rng, 2), SYN, next_id, 0).encode())
            alive.append(next_id)
            next_id += 2
            continue
        stream_id = alive[below(rng, len(alive))]
        flags = rng.choices([0, ACK, FIN, RST], [6, 1, 2, ends])[0]
        if flags >= FIN and len(alive) > 1:
            alive.remove(stream_id)
        size = rng.choice([0, 3, 40, 200])
        if rng.random() < 0.6:
            frames.append(Frame(DATA, flags, stream_id, size, bytes(size)).encode())
        elif rng.random() < 0.8:
            frames.append(Frame(WINDOW, flags, stream_id, size).encode())
        else:
            # Both a new ping and the answer to the session's own first one.
            frames.append(Frame(PING, rng.choice([SYN, ACK]), 0, 1).encode())
    return frames


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
    weights = [10, 10, 10, 10, 10, 6, 1, 0.4, 0.1, 3 if kind == WINDOW else 0.1]
    size = rng.choices(SIZES, weights)[0]
    body = rng.randbytes(min(size, 300)) if kind == DATA else b""
    return Frame(kind, flags, stream_id, size, body).encode()


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
        super().__init__()
        self.backends = backends()

    def check(self, data: bytes) -> None:
        seed = int.from_bytes(data, "big")
        steps = 10 + seed % 60
        first, *others = [Script(each, seed).run(steps) for each in self.backends]
        for other in others:
            for step, (one, two) in enumerate(zip(first, other, strict=True)):
                assert one == two, f"entry {step}: {two}, plain {one}"
