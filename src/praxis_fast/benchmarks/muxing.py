"""The yamux session: what a frame costs on its way in and out.

Inbound, messages of at most 65,519 bytes are full of frames, as one Noise message
decrypts to. Each is copied just before its turn, so that it lies as near as what was
just decrypted; that and giving the credit back are not on the clock.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from praxis_fast._pure import yamux as plain
from praxis_fast.benchmarks.rows import Contender, Table, interleave
from praxis_fast.errors import UsageError
from praxis_fast.limits import MuxerLimits

try:
    from praxis_fast._core import yamux as compiled
except ImportError:
    compiled = None

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BODIES", "STREAMS", "measure", "measure_sending", "measure_streams"]

HEADER: Final = Struct(">BBHII")
DATA, WINDOW_UPDATE, SYN = 0, 1, 1
MESSAGE: Final = 65519
HUGE_WINDOW: Final = 2**31

# Bytes in a frame's body, and streams that take turns.
BODIES: Final = (64, 1024, 16384)
STREAMS: Final = (1, 100, 1000, 10_000)

# The limits stay on; these two are raised, for 10,000 streams at once.
MANY: Final = 10_000
LIMITS: Final = replace(MuxerLimits(), max_streams=MANY, max_backlog=MANY)
RAISED: Final = f"muxer.max_streams and muxer.max_backlog to {MANY:,}"


class Stopwatch:
    """A clock that only goes while a call of interest runs."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        return self._seconds

    def time(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call it on the clock."""
        start = time.perf_counter()
        result = call(*args)
        self._seconds += time.perf_counter() - start
        return result


def make_messages(body: int, streams: int) -> list[bytes]:
    """Full messages in which each of the streams has a frame, one after the other."""
    per_message = MESSAGE // (HEADER.size + body)
    count = max(16, -(-streams // per_message))
    ids = [2 * number + 1 for number in range(streams)]
    frames = (
        HEADER.pack(0, DATA, 0, ids[number % streams], body) + bytes(body)
        for number in range(count * per_message)
    )
    return [b"".join(next(frames) for _ in range(per_message)) for _ in range(count)]


def make_session(twin: Any, streams: int) -> Any:
    """A server's session in which the peer has opened so many streams."""
    session = twin.YamuxSession(client=False, limits=LIMITS)
    for number in range(streams):
        session.receive_data(HEADER.pack(0, WINDOW_UPDATE, SYN, 2 * number + 1, 0))
        session.accept_stream(2 * number + 1)
    session.data_to_send()
    return session


def receive(session: Any, messages: Sequence[bytes], watch: Stopwatch) -> int:
    """How many bytes of stream data the session finds."""
    count = 0
    for message in messages:
        fresh = bytes(memoryview(message))
        for event in watch.time(session.receive_data, fresh):
            count += len(event.data)
            session.consume(event.stream_id, len(event.data))
        session.data_to_send()
    return count


def read_headers(message: bytes) -> list[memoryview]:
    """Frames cut out by a loop, with nothing known of streams or windows."""
    found, view, pos, unpack = [], memoryview(message), 0, HEADER.unpack_from
    while pos < len(message):
        length = unpack(message, pos)[4]
        pos += HEADER.size
        found.append(view[pos : pos + length])
        pos += length
    return found


def receive_headers(messages: Sequence[bytes], watch: Stopwatch) -> int:
    """The same bytes, found by the loop alone."""
    return sum(
        len(body)
        for message in messages
        for body in watch.time(read_headers, bytes(memoryview(message)))
    )


def twins() -> dict[str, Any]:
    """What there is: the plain twin first, then the compiled one."""
    found = {"plain twin": plain, "core": compiled}
    return {name: twin for name, twin in found.items() if twin is not None}


def receivers(body: int, watch: Stopwatch) -> list[Contender]:
    """All that comes with praxis-fast, for one stream."""
    messages = make_messages(body, 1)
    return [
        *(
            Contender(name, partial(receive, make_session(twin, 1), messages, watch))
            for name, twin in twins().items()
        ),
        Contender("headers only, Python", partial(receive_headers, messages, watch)),
    ]


def measure(
    body: int = 1024,
    *,
    rounds: int = 7,
    outside: Callable[[Sequence[bytes], Stopwatch], Sequence[Contender]] | None = None,
) -> Table:
    """Frames of one stream coming in; raises when contenders find different bytes."""
    watch, messages = Stopwatch(), make_messages(body, 1)
    count = len(messages) * (MESSAGE // (HEADER.size + body))
    title = f"yamux in, bodies of {body}"
    rivals = receivers(body, watch)
    if outside is not None:
        rivals += outside(messages, watch)
    return _table(title, count, body, rivals, watch, rounds)


def measure_streams(
    body: int = 1024, *, streams: Sequence[int] = STREAMS, rounds: int = 7
) -> Table:
    """The same frames spread over more and more open streams, quickest twin only."""
    watch = Stopwatch()
    twin = list(twins().values())[-1]
    # As many messages for one stream as for most, so that only the streams differ.
    count = len(make_messages(body, max(streams)))
    rivals = []
    for number in streams:
        some = make_messages(body, number)
        messages = (some * -(-count // len(some)))[:count]
        session = make_session(twin, number)
        rivals.append(
            Contender(f"{number} streams", partial(receive, session, messages, watch))
        )
    frames = count * (MESSAGE // (HEADER.size + body))
    title = f"yamux in, bodies of {body}, streams in turn"
    return _table(title, frames, body, rivals, watch, rounds)


def send(session: Any, body: bytes, count: int, watch: Stopwatch) -> int:
    """How many bytes a message of so many writes becomes, all of them taken."""
    data = watch.time(_write, session, body, count)
    session.receive_data(HEADER.pack(0, WINDOW_UPDATE, 0, 1, len(body) * count))
    return len(data) - HEADER.size


def _write(session: Any, body: bytes, count: int) -> bytes:
    for _ in range(count):
        session.send_data(1, body)
    data: bytes = session.data_to_send()
    return data


def measure_sending(body: int = 1024, *, rounds: int = 7) -> Table:
    """Writes of one turn that leave as one frame."""
    watch = Stopwatch()
    count = MESSAGE // (HEADER.size + body)
    rivals = []
    for name, twin in twins().items():
        session = twin.YamuxSession(client=True, limits=LIMITS)
        session.open_stream()
        session.data_to_send()
        session.receive_data(HEADER.pack(0, WINDOW_UPDATE, 0, 1, HUGE_WINDOW))
        rivals.append(
            Contender(name, partial(send, session, bytes(body), count, watch))
        )
    title = f"yamux out, writes of {body}"
    return _table(title, count, body, rivals, watch, rounds)


def _table(
    title: str,
    frames: int,
    body: int,
    rivals: Sequence[Contender],
    watch: Stopwatch,
    rounds: int,
) -> Table:
    expected = frames * body
    for rival in rivals:
        if (found := rival.run()) != expected:
            raise UsageError(f"{rival.name} found {found} bytes, {expected} expected")
    rows = interleave(rivals, rounds=rounds, clock=watch)
    return Table(title, frames, expected, rows, "frame")
