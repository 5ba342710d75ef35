"""The JSON splitter: every kernel, the plain twin and the standard library agree."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar
from zlib import crc32

from praxis_fast.errors import JSONStreamError
from tests.core.splitters import COMPILED, PURE, Splitters, outcome
from tests.fuzz.target import ParserTarget, quick_cuts

SHAPES = [
    {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "add"}},
    {"type": "SUBSCRIBE_EVENTS", "payload": {"event_types": ["p2p.*", "task"]}},
    {"text": 'a "quoted" \\ path\n\u00e9', "list": [[], {}, [[1.5e-3]], None, True]},
    ["x" * 70, {"k" * 40: ["\\" * 33, '"' * 17]}, -0.0, 12345678901234567890],
]
SHORT = [
    b'{"a":[1,"b"]}',
    b'1 "a" true[]2',
    b'{"t":"\\"\\\\"} [{}]',
    b' \n[[["x"],{}]]\n',
    b'"\xc3\xa9\\u00e9" -1.5e3\t',
    b"[" + b'{"k":' * 3 + b"null" + b"}" * 3 + b"]",
]
CHOICES = COMPILED or [PURE]
LIMITS: tuple[dict[str, int], ...] = (
    {},
    {"max_frame": 64, "max_depth": 4, "max_blank": 5},
    {"max_frame": 200, "max_depth": 2},
    {"max_frame": 1, "max_depth": 1, "max_blank": 1},
)
NUMBER = re.compile(r" \d")
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
        *(b"[" * 129, b"[" * 128 + b"]" * 128),
    )
    goals: ClassVar[Sequence[str]] = (
        *(f"{kernel.name}, limits {i}" for i in range(4) for kernel in CHOICES),
        *("text of at least", "nesting of", "white space of at least"),
        *("stray '}' between texts", "stray ']' between texts"),
        *("stray ',' between texts", "stray ':' between texts"),
        *("backslash outside a string", "stream ended inside a text of", "no error"),
        *("no text", "1 text", "many texts", "an open text", "as the library reads it"),
        *("1 piece", "2 pieces", "6 pieces", "byte by byte", "call by call"),
    )

    def seeds(self) -> Sequence[bytes]:
        one = [json.dumps(shape).encode() for shape in SHAPES]
        wide = [json.dumps(shape, indent=2).encode() for shape in SHAPES]
        streams = [*one, *wide, b"".join(one), b" 1 2 ".join(wide)]
        # Most executions are short: the plain twin takes its time for every byte.
        streams += SHORT * 4
        return [
            bytes([number * (number % 5 > 1) % 4]) + text
            for number, text in enumerate(streams)
        ]

    def check(self, data: bytes) -> None:
        stream, seed = data[1:], crc32(data)
        number = data[0] % len(LIMITS) if data else 0
        limits = LIMITS[number]
        splitters = CHOICES[(seed >> 8) % len(CHOICES)]
        self.reached[f"{splitters.name}, limits {number}"] += 1
        expected = outcome(PURE, [stream], **limits)
        chunks = self.cut(stream, seed)
        found = outcome(splitters, chunks, **limits)
        assert found == expected, (splitters.name, chunks)
        if seed & 0x700000 == 0:
            self.reached["call by call"] += 1
            expected_calls = calls(PURE, chunks, **limits)
            assert calls(splitters, chunks, **limits) == expected_calls
        self.note(*expected)
        if not number and is_as_read(stream, expected[0], expected[1]):
            self.reached["as the library reads it"] += 1

    def cut(self, stream: bytes, seed: int) -> list[bytes]:
        if seed & 0xF0000 == 0:
            self.reached["byte by byte"] += 1
            return [stream[i : i + 1] for i in range(len(stream))]
        chunks = quick_cuts(stream, seed)
        self.reached["1 piece" if len(chunks) == 1 else f"{len(chunks)} pieces"] += 1
        return chunks

    def note(self, texts: list[bytes], error: str | None, pending: int) -> None:
        """Count what this execution came to."""
        count = min(len(texts), 2)
        self.reached[("no text", "1 text", "many texts")[count]] += 1
        self.reached[NUMBER.split(error, 1)[0] if error else "no error"] += 1
        self.reached["an open text"] += pending > 0


def calls(splitters: Splitters, chunks: list[bytes], **limits: int) -> list[Any]:
    """What every single call answers, and what is held after it."""
    splitter = splitters.make(**limits)
    answers: list[Any] = []
    for chunk in chunks:
        try:
            answers.append(splitter.receive_data(chunk))
        except JSONStreamError as error:
            answers.append(str(error))
        answers.append(splitter.pending)
    return answers


def is_as_read(stream: bytes, texts: list[bytes], error: str | None) -> bool:
    """Whether `raw_decode` reads the stream, one text after another: then as cut."""
    documents = library_texts(stream)
    # The library has no limit of its own that a short input could meet.
    if documents is None or (error or "").startswith("nesting"):
        return False
    assert error is None, error
    assert texts == documents
    return True


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
