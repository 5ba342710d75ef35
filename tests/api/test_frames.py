from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from praxis_fast.api.frames import ping_frame, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_text_frame_is_what_a_client_reads(size: int) -> None:
    client = Protocol(Side.CLIENT)
    client.receive_data(text_frame(b"x" * size))
    (frame,) = client.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (
        *(Opcode.TEXT, True),
        b"x" * size,
    )


def test_ping_frame_is_what_a_client_answers() -> None:
    client = Protocol(Side.CLIENT)
    client.receive_data(ping_frame())
    (frame,) = client.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data)) == (Opcode.PING, b"")
