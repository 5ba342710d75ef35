"""The whole receive path of a link, without the socket: bytes in, JSON out.

Small events, each a yamux frame, are decrypted, demultiplexed, split and decoded.
Encrypting them anew for each pass is off the clock, and so are read credits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import orjson

from praxis_fast._pure import splitter as plain_splitter
from praxis_fast.benchmarks import muxing
from praxis_fast.benchmarks.corpora import make_corpus
from praxis_fast.benchmarks.matching import check
from praxis_fast.benchmarks.muxing import HEADER, MESSAGE, Stopwatch
from praxis_fast.benchmarks.rows import Contender, Table, interleave
from praxis_fast.p2p.link import PLAIN_BUFFER, READ_BUFFER
from praxis_fast.wire.noise_state import CipherState
from praxis_fast.wire.noise_transport import NoiseTransport

try:
    from praxis_fast._core import splitter as compiled_splitter
except ImportError:
    compiled_splitter = None

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["make_frames", "measure"]

SPLITTERS: Final = {"plain twin": plain_splitter, "core": compiled_splitter}
KEY: Final = bytes(range(32))


def make_frames(count: int) -> list[bytes]:
    """Yamux frames of stream 1, an event in each."""
    texts = make_corpus("events", count).texts
    return [HEADER.pack(0, 0, 0, 1, len(text)) + text for text in texts]


def fill(frames: Sequence[bytes]) -> list[bytes]:
    """The same bytes in full messages."""
    stream = b"".join(frames)
    return [stream[i : i + MESSAGE] for i in range(0, len(stream), MESSAGE)]


class Path:
    """Cipher, session and splitter of one link, fed with what it sent itself."""

    def __init__(self, name: str, messages: Sequence[bytes], *, decode: bool) -> None:
        self._messages = messages
        self._noise = NoiseTransport(CipherState(KEY), CipherState(KEY))
        self._read = memoryview(bytearray(READ_BUFFER))
        self._plain = memoryview(bytearray(PLAIN_BUFFER))
        self._session = muxing.make_session(muxing.twins()[name], 1)
        self._split = SPLITTERS[name].JSONSplitter().receive_data
        self._use: Callable[[bytes], object] | None = orjson.loads if decode else None

    def run(self, watch: Stopwatch) -> int:
        """How many texts came out."""
        found = 0
        for message in self._messages:
            data = self._noise.send_data(message)
            self._read[: len(data)] = data
            texts, size = watch.time(self._receive, len(data))
            found += texts
            self._session.consume(1, size)
            self._session.data_to_send()
        return found

    def _receive(self, nbytes: int) -> tuple[int, int]:
        """What is on the clock: all but the socket's read."""
        found = size = 0
        use, split = self._use, self._split
        plaintext = self._noise.receive_into(self._read, nbytes, self._plain)
        for event in self._session.receive_data(plaintext):
            size += len(event.data)
            texts = split(event.data)
            found += len(texts)
            if use is not None:
                for text in texts:
                    use(text)
        return found, size


def contenders(frames: Sequence[bytes], watch: Stopwatch) -> list[Contender]:
    """The twins, with and without decoding, and with a message for each event."""
    full, rivals = fill(frames), []
    for name in muxing.twins():
        for note, messages, decode in (
            ("", full, True),
            (", not decoded", full, False),
            (", an event per message", frames, True),
        ):
            path = Path(name, messages, decode=decode)
            rivals.append(Contender(f"{name}{note}", partial(path.run, watch)))
    return rivals


def measure(
    count: int = 2000,
    *,
    rounds: int = 5,
    outside: Callable[[Sequence[bytes], Stopwatch], Sequence[Contender]] | None = None,
) -> Table:
    """Events through the path; raises when contenders find other than all of them."""
    watch, frames = Stopwatch(), make_frames(count)
    rivals: list[Contender] = contenders(frames, watch)
    if outside is not None:
        rivals += outside(fill(frames), watch)
    rows = interleave(check(rivals), rounds=rounds, clock=watch)
    size = sum(map(len, frames)) - HEADER.size * count
    return Table("receive path, events", count, size, rows, "event")
