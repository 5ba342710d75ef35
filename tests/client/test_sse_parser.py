"""Server-Sent Events out of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praxis_fast.client.sse_parser import Frame, SSEParser
from praxis_fast.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM = (
    b"retry: 2000\nid: e-1\n\n"
    b"id: e-2\r\ndata: one\r\ndata:two\r\n\r\n"
    b": heartbeat\nid: e-3\n\n"
    b"data: \xc3\xa9\rx\nevent: more\nunknown\n\n"
    b"id: with\0zero\ndata\n\n"
    b"data: not ended\n"
)
FRAMES = [
    Frame("e-1"),
    Frame("e-2", "one\ntwo"),
    Frame("e-3"),
    Frame(None, "\N{LATIN SMALL LETTER E WITH ACUTE}\rx"),
    Frame(None, ""),
]


def test_frames_come_out_however_the_bytes_are_cut(
    chunkings: Callable[[bytes], list[list[bytes]]],
) -> None:
    for pieces in chunkings(STREAM):
        parser = SSEParser()
        assert [f for piece in pieces for f in parser.receive_data(piece)] == FRAMES


@pytest.mark.parametrize(
    "data", [b"data: " + b"x" * 20, b"data: 12345\n" * 3, b"x" * 21]
)
def test_a_frame_is_bounded(data: bytes) -> None:
    parser = SSEParser(max_frame=20)
    with pytest.raises(ProtocolError, match="bytes, limit 20"):
        parser.receive_data(data)


def test_the_bound_is_for_each_frame() -> None:
    parser = SSEParser(max_frame=20)
    assert len(parser.receive_data(b"data: 1234567890\n\n" * 9)) == 9
