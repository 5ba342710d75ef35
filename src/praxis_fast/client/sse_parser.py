"""Server-Sent Events, as the WHATWG's HTML standard has them (sans-IO)."""

from __future__ import annotations

from dataclasses import dataclass

from praxis_fast.errors import ProtocolError

# A frame longer than this is no event of ours.
MAX_FRAME = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """What stood between two empty lines."""

    id: str | None = None
    data: str | None = None


class SSEParser:
    """Cuts a stream into frames; comments alone make an empty one.

    Lines end with LF or CRLF, as every server sends them; a lone CR, which the standard
    allows as well, is part of its line.
    """

    __slots__ = ("_buffer", "_id", "_lines", "_max_frame", "_size", "_start")

    def __init__(self, *, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._id: str | None = None
        self._lines: list[str] = []
        self._size = 0
        self._start = 0

    def receive_data(self, data: bytes) -> list[Frame]:
        """The frames that end in this data."""
        self._buffer += data
        frames: list[Frame] = []
        begin = 0
        while (end := self._buffer.find(b"\n", max(begin, self._start))) >= 0:
            line = self._buffer[begin:end].removesuffix(b"\r")
            begin = self._start = end + 1
            if line:
                self._take(bytes(line))
            else:
                frames.append(self._end())
        del self._buffer[:begin]
        self._start = len(self._buffer)
        self._check(len(self._buffer))
        return frames

    def _take(self, line: bytes) -> None:
        self._size += len(line)
        self._check(0)
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._lines.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value

    def _end(self) -> Frame:
        frame = Frame(self._id, "\n".join(self._lines) if self._lines else None)
        self._id, self._lines, self._size = None, [], 0
        return frame

    def _check(self, more: int) -> None:
        if self._size + more > self._max_frame:
            raise ProtocolError(
                f"frame of {self._size + more} bytes, limit {self._max_frame}"
            )
