"""What a WebSocket client sends: frames in, whole messages out (sans-IO).

Theory of operation
-------------------
One of these lives as long as its client, so it keeps nothing but a few numbers while no
frame is under way. A frame is judged by its header, before its body arrives.

    _buf    | header | mask | body ... | next frame ...
            complete frames are taken off, the rest waits; at most a header and
            `max_message` bytes

    OPEN ──── close() ────► CLOSING ── the client's close frame, or its end ──► ENDED
      └────── its close frame (answered), its end, or fail() ───────────────────► ENDED

Nothing that arrives after the client's close frame or its first mistake is looked at.
"""

from __future__ import annotations

import logging
import struct
import zlib
from typing import TYPE_CHECKING

from websockets.exceptions import ProtocolError
from websockets.frames import Close

if TYPE_CHECKING:
    from praxis_fast.limits import WebSocketLimits

# RFC 6455, 5.2.
_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_OPCODES = frozenset({_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG})
_FIN, _RSV1, _RSV, _MASKED = 0x80, 0x40, 0x70, 0x80
# RFC 6455, 5.5.
_MAX_CONTROL = 125

_OPEN, _CLOSING, _ENDED = range(3)

# RFC 7692, 7.2.2: what the sender took off the end of a compressed message.
_DEFLATE_TAIL = b"\x00\x00\xff\xff"


def quiet_logger() -> logging.Logger:
    """The library logs every opening and closing at INFO; we want its warnings only."""
    logger = logging.Logger("websockets.server", logging.WARNING)  # noqa: LOG001
    logger.parent = logging.getLogger(__name__)
    return logger


QUIET_LOGGER = quiet_logger()


class ViolationError(Exception):
    """The client broke the protocol; the connection ends with this close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Inbound:
    """Checks and joins one client's frames; knows the closing handshake.

    Violations end the connection with the code RFC 6455 gives them (WS-1, WS-4): 1002
    for frames, 1007 for text that is not UTF-8, 1009 for size; 1008 for floods (WS-6).
    With `is_deflated` messages may be compressed, each on its own (RFC 7692).
    """

    __slots__ = (
        "_allowance",
        "_buf",
        "_fragments",
        "_is_compressed",
        "_is_deflated",
        "_is_text",
        "_limits",
        "_out",
        "_parts",
        "_seen",
        "_size",
        "_state",
        "code",
    )

    def __init__(
        self, limits: WebSocketLimits, now: float = 0.0, *, is_deflated: bool = False
    ) -> None:
        self._limits = limits
        self._is_deflated = is_deflated
        self.code = 0
        """What we closed with; 0: it was the client, or nobody yet."""
        self._state = _OPEN
        self._buf = b""
        self._out = b""
        # The message under way: its pieces, their bytes and their number.
        self._parts: list[bytes] | None = None
        self._size = 0
        self._fragments = 0
        self._is_text = False
        self._is_compressed = False
        self._allowance = limits.control_rate
        self._seen = now

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close."""
        return self._state == _OPEN

    @property
    def wants_end(self) -> bool:
        """Whether the TCP connection is to be closed once everything is sent."""
        return self._state == _ENDED

    def receive_data(self, data: bytes, now: float = 0.0) -> list[str | bytes]:
        """Whole messages: `str` for text, `bytes` for binary."""
        messages: list[str | bytes] = []
        self._buf = self._buf + data if self._buf else data
        pos = 0
        try:
            while self._state != _ENDED:
                end = self._take_frame(pos, now, messages)
                if end == pos:
                    break
                pos = end
        except ViolationError as error:
            self.fail(error.code, error.reason)
        self._buf = b"" if self._state == _ENDED else self._buf[pos:]
        return messages

    def receive_eof(self) -> None:
        """The client will send nothing more."""
        self._end()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; nothing happens when it has begun."""
        if self._state == _OPEN:
            self.code = code
            self._state = _CLOSING
            self._out += _close_frame(Close(code, reason).serialize())

    def fail(self, code: int, reason: str) -> None:
        """Tell the client what it did wrong and end the connection."""
        if self._state == _OPEN:
            self.code = code
            # Pongs still waiting are not worth sending any more.
            self._out = _close_frame(Close(code, reason).serialize())
        self._end()

    def data_to_send(self) -> bytes:
        """Pongs and close frames for the client."""
        data, self._out = self._out, b""
        return data

    def _end(self) -> None:
        self._state = _ENDED
        self._buf = b""
        self._parts = None

    def _take_frame(self, pos: int, now: float, messages: list[str | bytes]) -> int:
        """Where the next frame begins; `pos` when this one is not complete."""
        buf = self._buf
        if len(buf) - pos < 2:
            return pos
        first, second = buf[pos], buf[pos + 1]
        size, body = second & 0x7F, pos + 2
        _check_first(first, second)
        if size > _MAX_CONTROL:
            width = 2 if size == 126 else 8
            body += width
            if len(buf) < body:
                return pos
            size = int.from_bytes(buf[body - width : body], "big")
        self._judge(first, size)
        end = body + 4 + size
        if len(buf) < end:
            return pos
        self._receive_frame(first, _unmask(buf, body, end), now, messages)
        return end

    def _judge(self, first: int, size: int) -> None:
        """What a header says may be enough to end the connection."""
        opcode = first & 0x0F
        if opcode >= _CLOSE:
            if first & _RSV:
                raise ViolationError(1002, "reserved bits must be 0")
            if size > _MAX_CONTROL:
                raise ViolationError(1002, "control frame too long")
            return
        total = self._size + size
        if total > self._limits.max_message:
            raise ViolationError(
                1009, f"message of {total} bytes, limit {self._limits.max_message}"
            )
        allowed = _RSV1 if self._is_deflated and opcode != _CONT else 0
        if first & _RSV & ~allowed:
            raise ViolationError(1002, "reserved bits must be 0")
        if (opcode == _CONT) != (self._parts is not None):
            raise ViolationError(1002, "fragments out of order")

    def _receive_frame(
        self, first: int, data: bytes, now: float, messages: list[str | bytes]
    ) -> None:
        opcode = first & 0x0F
        if opcode >= _CLOSE:
            self._admit_control(now)
            if opcode == _PING and self._state == _OPEN:
                self._out += bytes((_FIN | _PONG, len(data))) + data
            elif opcode == _CLOSE:
                self._receive_close(data)
        else:
            self._join(first, data, messages)

    def _admit_control(self, now: float) -> None:
        rate = self._limits.control_rate
        self._allowance = min(rate, self._allowance + (now - self._seen) * rate) - 1
        self._seen = now
        if self._allowance < 0:
            raise ViolationError(1008, f"more than {rate:g} control frames a second")

    def _receive_close(self, data: bytes) -> None:
        try:
            Close.parse(data)
        except ProtocolError as error:
            raise ViolationError(1002, str(error)) from None
        except UnicodeDecodeError as error:
            raise ViolationError(1007, _utf8_fault(error)) from None
        # It may come amid the fragments of a message, as any control frame (5.4).
        if self._state == _OPEN:
            self._out += _close_frame(data)
        self._end()

    def _join(self, first: int, data: bytes, messages: list[str | bytes]) -> None:
        if self._parts is None:
            self._parts = []
            self._is_text = first & 0x0F == _TEXT
            self._is_compressed = bool(first & _RSV1)
        self._fragments += 1
        if self._fragments > self._limits.max_fragments:
            raise ViolationError(
                1008, f"more than {self._limits.max_fragments} fragments"
            )
        self._parts.append(data)
        self._size += len(data)
        if first & _FIN:
            self._finish(b"".join(self._parts), messages)

    def _finish(self, data: bytes, messages: list[str | bytes]) -> None:
        self._parts = None
        self._size = self._fragments = 0
        if self._is_compressed:
            data = _inflate(data, self._limits.max_message)
        if not self._is_text:
            messages.append(data)
            return
        try:
            messages.append(data.decode())
        except UnicodeDecodeError as error:
            raise ViolationError(1007, _utf8_fault(error)) from None


def _check_first(first: int, second: int) -> None:
    if first & 0x0F not in _OPCODES:
        raise ViolationError(1002, f"invalid opcode {first & 0x0F}")
    if not second & _MASKED:
        raise ViolationError(1002, "frame is not masked")
    if first & 0x0F >= _CLOSE and not first & _FIN:
        raise ViolationError(1002, "fragmented control frame")


def _unmask(buf: bytes, body: int, end: int) -> bytes:
    """The frame's bytes; four of mask come first. One XOR of two long integers."""
    mask, data = buf[body : body + 4], buf[body + 4 : end]
    size = len(data)
    stream = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")
    return mixed.to_bytes(size, "little")


def _close_frame(body: bytes) -> bytes:
    return struct.pack("!BB", _FIN | _CLOSE, len(body)) + body


def _inflate(data: bytes, limit: int) -> bytes:
    """A compressed message, never more of it than the limit (WS-3)."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        text = inflater.decompress(data + _DEFLATE_TAIL, limit + 1)
    except zlib.error as error:
        raise ViolationError(1002, f"compressed message: {error}") from None
    if len(text) > limit:
        raise ViolationError(1009, f"message of over {limit} bytes, inflated")
    return text


def _utf8_fault(error: UnicodeDecodeError) -> str:
    return f"{error.reason} at position {error.start}"
