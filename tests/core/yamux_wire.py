"""yamux frames written and read by hand, apart from the sessions under test."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

HEADER = struct.Struct(">BBHII")
DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8
INITIAL_WINDOW = 256 * 1024


class Frame(NamedTuple):
    """A frame as it is on the wire."""

    kind: int
    flags: int
    stream_id: int
    length: int
    body: bytes = b""

    def encode(self, version: int = 0) -> bytes:
        return HEADER.pack(version, *self[:4]) + self.body


def data(stream_id: int, body: bytes = b"", flags: int = 0) -> bytes:
    return Frame(DATA, flags, stream_id, len(body), body).encode()


def window(stream_id: int, delta: int = 0, flags: int = 0) -> bytes:
    return Frame(WINDOW, flags, stream_id, delta).encode()


def ping(value: int, flags: int = SYN) -> bytes:
    return Frame(PING, flags, 0, value).encode()


def go_away(code: int) -> bytes:
    return Frame(GO_AWAY, 0, 0, code).encode()


def frames(raw: bytes) -> list[Frame]:
    """All frames of whole output; a rest that is no frame fails."""
    found = []
    pos = 0
    while pos < len(raw):
        version, *fields = HEADER.unpack_from(raw, pos)
        assert version == 0
        pos += HEADER.size
        size = fields[3] if fields[0] == DATA else 0
        found.append(Frame(*fields, raw[pos : pos + size]))
        assert len(found[-1].body) == size
        pos += size
    return found


def sent(session: Any) -> list[Frame]:
    """What the session sends now; it must have announced the size."""
    size = session.pending_out
    raw = session.data_to_send()
    assert len(raw) == size
    assert session.pending_out == 0
    return frames(raw)


def merged(events: list[Any]) -> list[Any]:
    """Events as tuples, neighbouring pieces of one stream's data joined."""
    found: list[Any] = []
    for event in events:
        name = type(event).__name__
        fields = tuple(getattr(event, key) for key in event.__match_args__)
        if name == "DataReceived":
            stream_id, piece = fields
            if found and found[-1][:2] == (name, stream_id):
                found[-1] = (name, stream_id, found[-1][2] + bytes(piece))
                continue
            fields = (stream_id, bytes(piece))
        found.append((name, *fields))
    return found
