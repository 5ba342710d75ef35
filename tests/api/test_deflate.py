from __future__ import annotations

import json

import pytest
from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.frames import Frame
from websockets.protocol import Protocol, Side

from praxis_fast.api.deflate import SharedDeflateFactory, deflated_pack
from praxis_fast.api.frames import text_frame


def read(frames: bytes) -> list[bytes]:
    """What a client reads that has agreed to keep no context."""
    client = Protocol(Side.CLIENT)
    client.extensions = [PerMessageDeflate(True, True, 15, 15)]
    client.receive_data(frames)
    return [bytes(f.data) for f in client.events_received() if isinstance(f, Frame)]


@pytest.mark.parametrize("size", [1, 20, 1000, 100_000])
def test_ws_3_client_reads_each_compressed_event_on_its_own(size: int) -> None:
    payload = json.dumps(["event"] * size).encode()
    frame = deflated_pack(payload, 1)
    assert read(frame + frame) == [payload, payload]
    assert len(frame) < len(payload) or frame == text_frame(payload)


def test_events_that_do_not_shrink_are_sent_as_they_are() -> None:
    assert deflated_pack(b"{}", 1) == text_frame(b"{}")


@pytest.mark.parametrize(
    "offer",
    [
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(client_max_window_bits=True),
        ClientPerMessageDeflateFactory(server_max_window_bits=12),
    ],
)
def test_ws_3_no_context_is_kept_whatever_the_client_offers(
    offer: ClientPerMessageDeflateFactory,
) -> None:
    answer, extension = SharedDeflateFactory().process_request_params(
        offer.get_request_params(), []
    )
    assert ("server_no_context_takeover", None) in answer
    assert ("client_no_context_takeover", None) in answer
    assert extension.name == "permessage-deflate"
    assert offer.process_response_params(answer, [])


def test_ws_3_smaller_window_than_the_shared_frame_s_is_declined() -> None:
    offer = ClientPerMessageDeflateFactory(server_max_window_bits=11)
    with pytest.raises(NegotiationError, match="bits of 11, at least 12"):
        SharedDeflateFactory().process_request_params(offer.get_request_params(), [])
