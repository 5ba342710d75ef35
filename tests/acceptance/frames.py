"""What a server of ours says over a WebSocket, read without any library for it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

TEXT, COMPRESSED, CLOSE = 0x81, 0xC1, 0x88


class Payload(msgspec.Struct):
    """What is looked at of an event, or of what stands between events."""

    n: int = 0
    reason: str = ""
    since: str = ""
    seq: int = 0
    first: int = msgspec.field(name="from", default=0)
    last: int = msgspec.field(name="to", default=0)
    dropped: int = 0


class Message(msgspec.Struct):
    """The same of a message."""

    type: str
    payload: Payload = msgspec.field(default_factory=Payload)
    seq: int = 0
    epoch: str = ""


decode = msgspec.json.Decoder(Message).decode


class Frames:
    """Cuts a stream into the first bytes and the bodies of its frames."""

    def __init__(self) -> None:
        self._rest = b""

    def receive_data(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """To be taken to the end, or the rest is lost."""
        data, pos = self._rest + data, 0
        while pos + 4 <= len(data):
            size, begin = data[pos + 1], pos + 2
            if size == 126:
                size, begin = int.from_bytes(data[pos + 2 : pos + 4], "big"), pos + 4
            assert size < 65536, "a longer frame than any here"
            if begin + size > len(data):
                break
            yield data[pos], data[begin : begin + size]
            pos = begin + size
        self._rest = data[pos:]
