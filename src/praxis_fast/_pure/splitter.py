"""Finds where JSON texts end in a stream of bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from praxis_fast.errors import JSONStreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["JSONSplitter"]

# Far above any frame this library accepts; offsets of the compiled twin have 32 bits.
HIGHEST_LIMIT: Final = 2**30

BACKSLASH: Final = ord("\\")

# What to look for next in each state. All bytes before it belong to the state.
NOT_BLANK = re.compile(rb"[^ \t\n\r]")
SCALAR_END = re.compile(rb'[ \t\n\r"\\\[\]{},:]')
STRUCTURE = re.compile(rb'["\\\[\]{}]')
STRING_END = re.compile(rb'["\\]')


class JSONSplitter:
    """Cuts a stream into its top-level JSON texts, without decoding them.

    Texts stand side by side, with or without white space, and arrive in any chunking.
    Only ends are found: what lies between them is the decoder's to judge. A text found
    before a fault is never lost: the call that meets the fault returns the texts before
    it, and the next call raises (`receive_data(b"")` asks at once). After an error
    every call raises it again.

    States and what leads out of them:

        between ── { [ ──► inside ── last } ] ──► between
           │ "               │ ▲ "
           │                 ▼ │
           └──────────────► string ◄──► escape
        between ── other ──► scalar ── white space, structure, quote ──► between
    """

    __slots__ = (
        "_blank",
        "_depth",
        "_ended",
        "_fault",
        "_held",
        "_max_blank",
        "_max_depth",
        "_max_frame",
        "_step",
        "_texts",
    )

    def __init__(
        self,
        *,
        max_frame: int = 1048576,
        max_depth: int = 128,
        max_blank: int = 65536,
    ) -> None:
        self._max_frame = _checked("max_frame", max_frame)
        self._max_depth = _checked("max_depth", max_depth)
        self._max_blank = _checked("max_blank", max_blank)
        self._held = bytearray()
        self._depth = 0
        self._blank = 0
        self._ended = False
        self._fault = ""
        self._texts: list[bytes] = []
        self._step: Callable[[JSONSplitter, bytes, int], int] = JSONSplitter._between

    def __reduce__(self) -> str:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def pending(self) -> int:
        """Bytes held of a text that has not ended."""
        return len(self._held)

    def receive_data(self, data: Buffer) -> list[bytes]:
        """Take any contiguous buffer; return the texts that end in it."""
        self._refuse_if_dead()
        if self._ended:
            raise UsageError("data after the end of the stream")
        chunk = _as_bytes(data)
        pos = 0
        while pos < len(chunk) and not self._fault:
            pos = self._step(self, chunk, pos)
        return self._hand_over()

    def receive_eof(self) -> list[bytes]:
        """End the stream; return a last bare scalar, raise for an unfinished text."""
        self._refuse_if_dead()
        self._ended = True
        if self._step is JSONSplitter._scalar:
            self._finish_text()
        elif self._held:
            self._fail(f"stream ended inside a text of {len(self._held)} bytes")
        return self._hand_over()

    def _between(self, chunk: bytes, pos: int) -> int:
        """Skip white space between texts and start the next text."""
        end = _find(NOT_BLANK, chunk, pos)
        self._blank += end - pos
        if self._blank > self._max_blank:
            limit = self._max_blank
            self._fail(f"white space of at least {limit + 1} bytes, limit {limit}")
        elif end < len(chunk):
            self._start_text(chunk[end])
        return end

    def _start_text(self, byte: int) -> None:
        """Choose the state for the text that starts with this byte, left unread."""
        self._blank = 0
        if byte in b"}],:":
            self._fail(f"stray {chr(byte)!r} between texts")
        elif byte == BACKSLASH:
            self._fail("backslash outside a string")
        elif byte in b'[{"':
            self._step = JSONSplitter._inside
        else:
            self._step = JSONSplitter._scalar

    def _scalar(self, chunk: bytes, pos: int) -> int:
        """Take a number, a word or junk up to what cannot belong to it."""
        end = _find(SCALAR_END, chunk, pos)
        self._hold(chunk[pos:end])
        if self._fault or end == len(chunk):
            return end
        if chunk[end] == BACKSLASH:
            self._fail("backslash outside a string")
        else:
            self._finish_text()
        return end

    def _inside(self, chunk: bytes, pos: int) -> int:
        """Take bytes outside strings up to and with the next structure."""
        end = _find(STRUCTURE, chunk, pos)
        self._hold(chunk[pos : end + 1])
        if not self._fault and end < len(chunk):
            self._on_structure(chunk[end])
        return end + 1

    def _on_structure(self, byte: int) -> None:
        if byte in b'"':
            self._step = JSONSplitter._string
        elif byte == BACKSLASH:
            self._fail("backslash outside a string")
        elif byte in b"[{":
            self._depth += 1
            if self._depth > self._max_depth:
                self._fail(f"nesting of {self._depth} levels, limit {self._max_depth}")
        else:
            self._depth -= 1
            if self._depth == 0:
                self._finish_text()

    def _string(self, chunk: bytes, pos: int) -> int:
        """Take bytes inside a string up to and with a quote or a backslash."""
        end = _find(STRING_END, chunk, pos)
        self._hold(chunk[pos : end + 1])
        if self._fault or end == len(chunk):
            return end + 1
        if chunk[end] == BACKSLASH:
            self._step = JSONSplitter._escape
        elif self._depth:
            self._step = JSONSplitter._inside
        else:
            self._finish_text()
        return end + 1

    def _escape(self, chunk: bytes, pos: int) -> int:
        """Take the byte after a backslash, whatever it is."""
        self._hold(chunk[pos : pos + 1])
        self._step = JSONSplitter._string
        return pos + 1

    def _hold(self, piece: bytes) -> None:
        if len(self._held) + len(piece) > self._max_frame:
            limit = self._max_frame
            self._fail(f"text of at least {limit + 1} bytes, limit {limit}")
        else:
            self._held += piece

    def _finish_text(self) -> None:
        self._texts.append(bytes(self._held))
        self._held.clear()
        self._step = JSONSplitter._between

    def _fail(self, fault: str) -> None:
        self._fault = fault
        self._held.clear()

    def _hand_over(self) -> list[bytes]:
        texts, self._texts = self._texts, []
        if not texts:
            self._refuse_if_dead()
        return texts

    def _refuse_if_dead(self) -> None:
        if self._fault:
            raise JSONStreamError(self._fault)


def _find(pattern: re.Pattern[bytes], chunk: bytes, pos: int) -> int:
    """Where the pattern is found next, or the end of the chunk."""
    match = pattern.search(chunk, pos)
    return match.start() if match else len(chunk)


def _checked(name: str, value: int) -> int:
    if type(value) is not int or not 1 <= value <= HIGHEST_LIMIT:
        raise UsageError(
            f"{name} of {value!r}, expected a whole number from 1 to {HIGHEST_LIMIT}"
        )
    return value


def _as_bytes(data: Buffer) -> bytes:
    try:
        view = memoryview(data)
    except TypeError:
        view = None
    if view is None or not view.c_contiguous:
        name = type(data).__name__
        raise UsageError(f"data of type {name}, expected a contiguous buffer")
    return view.tobytes()
