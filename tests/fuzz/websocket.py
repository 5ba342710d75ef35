"""WebSocket frames of a client: never an exception, the same for every cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from websockets.frames import Close, Frame, Opcode

from praxis_fast.api.inbound import Inbound
from praxis_fast.limits import WebSocketLimits
from tests.fuzz.target import ParserTarget, same_for_every_cut

LIMITS = WebSocketLimits(max_message=300, max_fragments=3, control_rate=4.0)


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, data, fin).serialize(mask=True))


class WebSocket(ParserTarget):
    """The bytes behind the handshake."""

    name = "websocket"
    tokens = (
        *(
            b"\x81\x80\0\0\0\0",
            b"\x88\x80\0\0\0\0",
            b"\x89\x80\0\0\0\0",
            b"\x8a",
            b"\xc1",
        ),
        *(
            b"\x80\x80\0\0\0\0",
            b"\xfe\x01\x2c",
            b"\xff\0\0\0\0\0\x01\0\0",
            b"\x01",
            b"\xfe",
        ),
    )

    def seeds(self) -> Sequence[bytes]:
        text = frame(Opcode.TEXT, '{"type": "é"}'.encode())
        start = frame(Opcode.TEXT, b"tw\xc3", fin=False)
        ping, end = frame(Opcode.PING, b"p"), frame(Opcode.CONT, b"\xb6")
        close = frame(Opcode.CLOSE, Close(1000, "bye").serialize())
        long = frame(Opcode.BINARY, bytes(200))
        return [text + close, start + ping + end + text, long + text, ping * 5, close]

    def check(self, data: bytes) -> None:
        same_for_every_cut(converse, data)


def converse(chunks: list[bytes]) -> Any:
    """All messages, all that is sent back, and how it stands in the end."""
    inbound = Inbound(LIMITS)
    messages: list[str | bytes] = []
    for chunk in chunks:
        messages += inbound.receive_data(chunk)
    state = inbound.is_open, inbound.wants_end
    inbound.receive_eof()
    return messages, inbound.data_to_send(), state, inbound.is_open
