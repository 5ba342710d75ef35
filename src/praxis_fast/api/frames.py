"""WebSocket frames as a server sends them (RFC 6455, 5.2): whole, unmasked, no RSV."""

from __future__ import annotations

import struct

_TEXT = 0x81
_PING = b"\x89\x00"


def text_frame(payload: bytes) -> bytes:
    """One text message in one frame; `payload` is UTF-8."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


def ping_frame() -> bytes:
    """A heartbeat; it needs no payload, any sign of life is an answer."""
    return _PING
