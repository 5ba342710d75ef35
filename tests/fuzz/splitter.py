"""The JSON splitter: every kernel, the plain twin and the standard library agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from zlib import crc32

from tests.conftest import cuts
from tests.core.splitters import COMPILED, PURE, outcome
from tests.fuzz.target import ParserTarget

SHAPES = [
    {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "add"}},
    {"type": "SUBSCRIBE_EVENTS", "payload": {"event_types": ["p2p.*", "task"]}},
    {"text": 'a "quoted" \\ path\n\u00e9', "list": [[], {}, [[1.5e-3]], None, True]},
    ["x" * 70, {"k" * 40: ["\\" * 33, '"' * 17]}, -0.0, 12345678901234567890],
]
LIMITS: tuple[dict[str, int], ...] = (
    {},
    {"max_frame": 64, "max_depth": 4, "max_blank": 5},
    {"max_frame": 200, "max_depth": 2},
    {"max_frame": 1, "max_depth": 1, "max_blank": 1},
)
BLANK = b" \t\r\n"
OPENERS = b'{["'
DECODER = json.JSONDecoder()


class Splitter(ParserTarget):
    """The first byte chooses the limits; the others are the stream."""

    name = "splitter"
    tokens = (
        *(b'"', b"\\", b'\\"', b"\\\\", b"{", b"}", b"[", b"]", b"{}", b"[]", b","),
        *(b":", b" ", b"\n", b"1", b'""', b'{"a":', b"true", b"\\" * 63, b'"' * 64),
        *(b"[" * 65, b"]" * 65, b" " * 66, b'"' + b"a" * 61, b"\xff", b"\xc3\xa9"),
    )

    def seeds(self) -> Sequence[bytes]:
        one = [json.dumps(shape).encode() for shape in SHAPES]
        wide = [json.dumps(shape, indent=2).encode() for shape in SHAPES]
        streams = [*one, *wide, b"".join(one), b" 1 2 ".join(wide), b'1 "a" true[]2']
        return [bytes([number % 2]) + text for number, text in enumerate(streams * 2)]

    def check(self, data: bytes) -> None:
        stream = data[1:]
        limits = LIMITS[data[0] % len(LIMITS) if data else 0]
        expected = outcome(PURE, [stream], **limits)
        rng = Random(crc32(data))
        splitters = rng.choice(COMPILED or [PURE])
        chunks = cuts(stream, rng)
        found = outcome(splitters, chunks, **limits)
        # How much is held before the end is told only where no error takes its place.
        told = 3 if expected[1] is None else 2
        assert found[:told] == expected[:told], (splitters.name, chunks)
        if not limits:
            check_library(stream, expected[0], expected[1])


def check_library(stream: bytes, texts: list[bytes], error: str | None) -> None:
    """What `raw_decode` reads one after another is what was cut out."""
    documents = library_texts(stream)
    if documents is not None:
        assert error is None, error
        assert texts == documents


def library_texts(stream: bytes) -> list[bytes] | None:
    """The stream's documents; None for a stream that is not valid JSON throughout.

    Read as Latin-1, which keeps every offset. A bare scalar with anything but white
    space or a new text behind it is one text for the splitter and two for the library.
    """
    text = stream.decode("latin-1")
    documents: list[bytes] = []
    pos = 0
    while True:
        while pos < len(stream) and stream[pos] in BLANK:
            pos += 1
        if pos == len(stream):
            return documents
        try:
            _, end = DECODER.raw_decode(text, pos)
        except (json.JSONDecodeError, RecursionError):
            return None
        is_scalar = stream[pos] not in OPENERS
        if is_scalar and end < len(stream) and stream[end] not in OPENERS + BLANK:
            return None
        documents.append(stream[pos:end])
        pos = end
