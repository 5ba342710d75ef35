"""WebSocket frames as a server sends them (RFC 6455, 5.2): whole and unmasked."""

from __future__ import annotations

import struct

_TEXT = 0x81
# RSV1: compressed (RFC 7692, 6).
_COMPRESSED_TEXT = 0xC1
_PING = b"\x89\x00"


def text_frame(payload: bytes) -> bytes:
    """One text message in one frame; `payload` is UTF-8."""
    return _frame(_TEXT, payload)


def compressed_text_frame(data: bytes) -> bytes:
    """One text message in one frame; `data` is deflated UTF-8."""
    return _frame(_COMPRESSED_TEXT, data)


def ping_frame() -> bytes:
    """A heartbeat; it needs no payload, any sign of life is an answer."""
    return _PING


def _frame(first: int, body: bytes) -> bytes:
    size = len(body)
    if size < 126:
        return bytes((first, size)) + body
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + body
    return struct.pack("!BBQ", first, 127, size) + body
