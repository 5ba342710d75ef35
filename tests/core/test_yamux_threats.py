"""What a hostile peer can do to a session: the muxer rows of the threat table."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.errors import YamuxError
from praxis_fast.limits import MuxerLimits
from tests.core.test_yamux import make, with_stream
from tests.core.yamux_wire import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    INITIAL_WINDOW,
    PING,
    RST,
    SYN,
    WINDOW,
    Frame,
    data,
    ping,
    sent,
    window,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(session: Any, *chunks: bytes, now: float = 0.0) -> YamuxError:
    """The error the bytes end the session with; the goodbye is checked too."""
    with pytest.raises(YamuxError) as caught:  # noqa: PT012
        for chunk in chunks:
            assert session.receive_data(chunk, now) == []
    assert session.is_closed
    assert sent(session) == [Frame(GO_AWAY, 0, 0, caught.value.code)]
    return caught.value


# -- MUX-1, MUX-2: lengths -------------------------------------------------------------


@pytest.mark.parametrize("length", [262_145, 2**24, 2**24 + 1, 0xFFFFFFFF])
def test_mux_1_2_data_over_the_window_is_refused_by_its_header(
    backend: Any, chunkings: Callable[[bytes], list[list[bytes]]], length: int
) -> None:
    for chunks in chunkings(Frame(DATA, 0, 1, length).encode()):
        session = with_stream(backend)
        error = refused(session, *chunks)
        assert str(error) == f"frame of {length} bytes on stream 1, limit 262144"
        assert (error.code, error.events, session.unread) == (1, [], 0)


def test_mux_1_2_the_window_counts_what_came_before(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(data(1, bytes(262_000)))
    session.consume(1, 100)  # too little to be told
    error = refused(session, data(1, bytes(145)))
    assert str(error) == "frame of 145 bytes on stream 1, limit 144"


@pytest.mark.parametrize("length", [262_145, 0xFFFFFFFF])
def test_mux_1_2_no_stream_is_made_for_an_open_over_the_window(
    backend: Any, length: int
) -> None:
    session = make(backend)
    error = refused(session, Frame(DATA, SYN, 1, length).encode())
    assert str(error) == f"frame of {length} bytes on stream 1, limit 262144"
    assert (error.events, session.num_streams) == ([], 0)


def test_mux_1_2_the_whole_window_in_one_frame_is_taken(backend: Any) -> None:
    session = make(backend)
    session.receive_data(data(1, bytes(INITIAL_WINDOW), SYN))
    assert session.unread == INITIAL_WINDOW


def test_mux_1_2_a_body_nobody_waits_for_has_a_limit_too(backend: Any) -> None:
    session = make(backend)
    assert session.receive_data(Frame(DATA, 0, 9, 2**24).encode()) == []
    assert session.receive_data(bytes(2**24) + ping(1)) == [backend.PingReceived(1)]
    error = refused(session, Frame(DATA, 0, 9, 2**24 + 1).encode())
    assert str(error) == "frame of 16777217 bytes on stream 9, limit 16777216"


def test_mux_1_2_nothing_is_set_aside_for_a_body(backend: Any) -> None:
    session = make(backend)
    pieces = [Frame(DATA, SYN, 1, INITIAL_WINDOW).encode(), *[b"x"] * 100]
    found = [event for piece in pieces for event in session.receive_data(piece)]
    assert found == [
        backend.StreamOpened(1),
        *[backend.DataReceived(1, b"x")] * 100,
    ]


# -- MUX-3: windows, unknown streams, storms -------------------------------------------


def test_mux_3_window_credit_may_not_pass_32_bits(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(window(1, 0xFFFFFFFF - INITIAL_WINDOW))
    assert session.send_window(1) == 0xFFFFFFFF
    error = refused(session, window(1, 1))
    assert str(error) == "window of 4294967296 bytes on stream 1, limit 4294967295"
    session = make(backend)
    refused(session, window(1, 0xFFFFFFFF, SYN))


def test_mux_3_frames_for_unknown_streams_are_ignored_and_counted(
    backend: Any,
) -> None:
    session = make(backend)
    unknown = data(5, b"x") + window(5, 9) + window(6, flags=RST) + data(2, b"", FIN)
    assert session.receive_data(unknown) == []
    assert session.dropped_frames == 4
    assert sent(session) == []


@pytest.mark.parametrize(
    "frame",
    [
        window(1),
        window(1, 1),
        window(1, flags=ACK),
        data(1),
        data(99),
        window(99, 1),
        window(99, flags=RST),
        ping(5, ACK),
        struct.pack(">BBHII", 0, GO_AWAY, 0, 0, 0),
    ],
)
def test_mux_3_a_storm_of_control_frames_ends_the_session(
    backend: Any, frame: bytes
) -> None:
    session = with_stream(backend)
    session.receive_data(frame * 5000)
    session.receive_data(frame * 1000, 1.0)
    error = refused(session, frame, now=1.0)
    assert str(error) == "more than 1000.0 control frames a second"


def test_mux_3_a_steady_stream_of_control_frames_is_fine(backend: Any) -> None:
    session = with_stream(backend)
    for second in range(1, 100):
        session.receive_data(window(1, 1) * 1000, float(second))


def test_mux_3_window_updates_for_our_data_are_no_storm(backend: Any) -> None:
    session = with_stream(backend)
    for _ in range(20_000):
        assert session.send_data(1, b"eight bytes") == 11
        session.data_to_send()
        session.receive_data(window(1, 1) * 7 + window(1, 4))


def test_mux_3_credit_of_a_large_frame_may_come_back_in_many_pieces(
    backend: Any,
) -> None:
    session = with_stream(backend)
    for _ in range(400):
        assert session.send_data(1, bytes(200_000)) == 200_000
        assert len(sent(session)) == 1
        session.receive_data(window(1, 6250) * 32)
    error = refused(session, window(1, 1) * 5001)
    assert str(error) == "more than 1000.0 control frames a second"


def test_mux_3_opening_and_ending_streams_is_no_storm(backend: Any) -> None:
    session = make(backend)
    for stream_id in range(1, 40_001, 2):
        session.receive_data(data(stream_id, b"x", SYN) + window(stream_id, flags=FIN))
        session.accept_stream(stream_id)
        session.consume(stream_id, 1)
        session.close_stream(stream_id)
        session.data_to_send()
        assert session.num_streams == 0


def test_mux_3_late_frames_of_streams_we_reset_are_no_storm(backend: Any) -> None:
    session = make(backend)
    for stream_id in range(1, 20_001, 2):
        session.receive_data(window(stream_id, flags=SYN))
        session.reset_stream(stream_id)
        session.data_to_send()
        session.receive_data(window(stream_id, flags=FIN))


# -- MUX-4: outbound queues ------------------------------------------------------------


def test_mux_4_pings_of_a_peer_that_never_reads_end_the_session(backend: Any) -> None:
    session = make(backend)
    session.receive_data(b"".join(ping(value) for value in range(32)))
    error = refused(session, ping(32))
    assert str(error) == "32 pongs waiting, limit 32"


def test_mux_4_pongs_that_leave_make_room(backend: Any) -> None:
    session = make(backend)
    for value in range(1000):
        session.receive_data(ping(value))
        assert sent(session) == [Frame(PING, ACK, 0, value)]


def test_mux_4_waiting_resets_are_bounded(backend: Any) -> None:
    session = make(backend, limits=MuxerLimits(max_backlog=1))
    session.receive_data(window(1, flags=SYN))
    for stream_id in range(3, 3 + 2 * 1024, 2):
        session.receive_data(window(stream_id, flags=SYN))
    assert session.pending_out == 1025 * 12
    error = refused(session, window(9999, flags=SYN))
    assert str(error) == "1024 control frames waiting, limit 1024"


def test_mux_4_queued_data_is_bounded(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(window(1, 2**31))
    assert session.send_data(1, bytes(5 * 1024 * 1024)) == 4 * 1024 * 1024
    assert session.send_data(1, b"x") == 0


def test_mux_4_acknowledgements_of_streams_that_are_gone_are_forgotten(
    backend: Any,
) -> None:
    session = make(backend)
    for stream_id in range(1, 2000, 2):
        session.receive_data(
            window(stream_id, flags=SYN) + window(stream_id, flags=RST)
        )
    assert session.pending_out == 0


# -- MUX-5: opens and resets -----------------------------------------------------------


def test_mux_5_streams_above_the_limit_are_reset(backend: Any) -> None:
    session = make(backend)
    for stream_id in range(1, 2001, 2):
        session.receive_data(window(stream_id, flags=SYN))
        session.accept_stream(stream_id)
    session.data_to_send()
    assert session.receive_data(data(2001, b"refused", SYN) + ping(1)) == [
        backend.PingReceived(1)
    ]
    assert sent(session)[1:] == [Frame(WINDOW, RST, 2001, 0)]
    assert session.num_streams == 1000
    session.receive_data(window(1, flags=RST))
    assert session.receive_data(window(2003, flags=SYN)) == [backend.StreamOpened(2003)]


def test_mux_5_streams_nobody_accepts_are_reset_above_256(backend: Any) -> None:
    session = make(backend)
    for stream_id in range(1, 513, 2):
        session.receive_data(window(stream_id, flags=SYN))
    assert session.receive_data(window(513, flags=SYN)) == []
    session.accept_stream(1)
    session.accept_stream(1)
    assert session.receive_data(window(515, flags=SYN)) == [backend.StreamOpened(515)]
    assert session.receive_data(window(517, flags=SYN)) == []
    session.reset_stream(3)
    assert session.receive_data(window(519, flags=SYN)) == [backend.StreamOpened(519)]


def test_mux_5_a_flood_of_refused_opens_ends_the_session(backend: Any) -> None:
    session = make(backend, limits=MuxerLimits(max_streams=1))
    session.receive_data(window(1, flags=SYN))
    for stream_id in range(3, 10_003, 2):
        session.receive_data(window(stream_id, flags=SYN))
        session.data_to_send()
    error = refused(session, window(10_003, flags=SYN))
    assert str(error) == "more than 1000.0 control frames a second"


def test_mux_5_opening_and_resetting_over_and_over_ends_the_session(
    backend: Any,
) -> None:
    session = make(backend)

    def churn(first: int, count: int) -> bytes:
        return b"".join(
            window(stream_id, flags=SYN) + window(stream_id, flags=RST)
            for stream_id in range(first, first + 2 * count, 2)
        )

    session.receive_data(churn(1, 1000))
    session.receive_data(churn(2001, 200), 1.0)
    error = refused(session, churn(2401, 1), now=1.0)
    assert str(error) == "more than 200.0 resets a second"
    assert error.events == [backend.StreamOpened(2401)]


def test_mux_5_resets_of_our_own_streams_are_bounded_by_our_opens(
    backend: Any,
) -> None:
    session = make(backend, client=True)
    for _ in range(3000):
        session.receive_data(window(session.open_stream(), flags=RST))
    assert not session.is_closed


# -- MUX-6, MUX-9, MUX-10: rules -------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "stream_id"), [(True, 1), (True, 77), (False, 2), (False, 0x80000000)]
)
def test_mux_6_ids_of_the_wrong_parity_are_refused(
    backend: Any, client: bool, stream_id: int
) -> None:
    session = make(backend, client=client)
    error = refused(session, window(stream_id, flags=SYN))
    assert str(error) == f"stream {stream_id} opened with an id of ours"


def test_mux_6_an_open_stream_cannot_be_opened_again(backend: Any) -> None:
    error = refused(with_stream(backend), data(1, b"x", SYN))
    assert str(error) == "stream 1 opened twice"


def test_mux_6_an_id_cannot_be_used_again(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(window(1, flags=RST))
    assert str(refused(session, window(1, flags=SYN))) == "stream id 1 used twice"


def test_mux_6_opens_may_overtake_one_another(backend: Any) -> None:
    session = make(backend)
    for stream_id in (7, 3, 1, 5, 9):
        assert session.receive_data(window(stream_id, flags=SYN)) == [
            backend.StreamOpened(stream_id)
        ]
    session.receive_data(window(3, flags=RST))
    assert str(refused(session, window(3, flags=SYN))) == "stream id 3 used twice"


def test_mux_6_ids_left_far_behind_count_as_used(backend: Any) -> None:
    session = make(backend)
    session.receive_data(window(0xFFFFFFFF, flags=SYN))
    near, far = 0xFFFFFFFF - 2 * 256, 0xFFFFFFFF - 2 * 257
    assert session.receive_data(window(near, flags=SYN)) == [backend.StreamOpened(near)]
    error = refused(session, window(far, flags=SYN))
    assert str(error) == f"stream id {far} used twice"


@pytest.mark.parametrize(
    "ending", [window(1, flags=FIN), data(1, b"bye", FIN), data(1, b"", FIN)]
)
def test_mux_9_data_after_fin_is_refused(backend: Any, ending: bytes) -> None:
    session = with_stream(backend)
    session.receive_data(ending)
    assert str(refused(session, data(1, b"x"))) == "data on stream 1 after its end"


def test_mux_9_what_is_no_data_may_follow_fin(backend: Any) -> None:
    session = with_stream(backend)
    assert session.receive_data(window(1, flags=FIN) * 3 + window(1, 9)) == [
        backend.StreamClosed(1),
        backend.WindowOpened(1, INITIAL_WINDOW + 9),
    ]
    assert session.receive_data(window(1, flags=RST)) == [backend.StreamReset(1)]


def test_mux_9_data_after_rst_is_dropped(backend: Any) -> None:
    session = with_stream(backend)
    late = window(1, flags=RST) + data(1, b"x" * 500) + window(1, flags=RST)
    assert session.receive_data(late) == [backend.StreamReset(1)]
    assert session.dropped_frames == 2


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (Frame(DATA, 0, 1, 0).encode(version=1), "frame of version 1, expected 0"),
        (Frame(PING, SYN, 0, 0).encode(version=255), "frame of version 255, expected"),
        (Frame(4, 0, 0, 0).encode(), "frame of type 4, limit 3"),
        (Frame(255, 0, 0, 0).encode(), "frame of type 255, limit 3"),
        (Frame(DATA, 16, 1, 0).encode(), "frame with flags 16, limit 15"),
        (Frame(WINDOW, 0xFFFF, 1, 0).encode(), "frame with flags 65535, limit 15"),
        (Frame(DATA, 0, 0, 0).encode(), "frame of type 0 on stream 0"),
        (Frame(WINDOW, SYN, 0, 0).encode(), "frame of type 1 on stream 0"),
        (Frame(PING, SYN, 1, 0).encode(), "frame of type 2 on stream 1"),
        (Frame(GO_AWAY, 0, 1, 0).encode(), "frame of type 3 on stream 1"),
    ],
)
def test_mux_10_malformed_headers_are_refused(
    backend: Any,
    chunkings: Callable[[bytes], list[list[bytes]]],
    raw: bytes,
    message: str,
) -> None:
    for chunks in chunkings(raw):
        session = with_stream(backend)
        assert str(refused(session, *chunks)).startswith(message)


# -- MUX-7, MUX-8: streams that nobody reads -------------------------------------------


def test_mux_7_8_an_unread_stream_stalls_alone(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(data(1, bytes(INITIAL_WINDOW)))
    for stream_id in range(3, 203, 2):
        events = session.receive_data(data(stream_id, b"x" * 1000, SYN))
        assert bytes(events[1].data) == b"x" * 1000
        session.consume(stream_id, 1000)
    assert [frame for frame in sent(session) if frame.stream_id == 1] == []


def test_mux_7_8_the_least_read_stream_is_reset_above_32_mib(backend: Any) -> None:
    session = make(backend)
    full = bytes(INITIAL_WINDOW)
    session.receive_data(data(1, full[:1000], SYN))
    for stream_id in range(3, 3 + 2 * 127, 2):
        session.receive_data(data(stream_id, full, SYN))
    session.data_to_send()
    assert session.unread == 127 * INITIAL_WINDOW + 1000
    events = session.receive_data(data(257, full, SYN))
    assert events[:2] == [backend.StreamOpened(257), backend.StreamReset(3)]
    assert [type(event) for event in events[2:]] == [backend.DataReceived]
    assert sent(session) == [Frame(WINDOW, RST, 3, 0), Frame(WINDOW, ACK, 257, 0)]
    assert session.unread == 127 * INITIAL_WINDOW + 1000


def test_mux_7_8_the_stream_that_went_too_far_may_be_the_one(backend: Any) -> None:
    session = with_stream(backend, limits=MuxerLimits(max_unread=1000))
    assert session.receive_data(data(1, bytes(1001)) + ping(4)) == [
        backend.StreamReset(1),
        backend.PingReceived(4),
    ]
    assert session.unread == 0


def test_mux_7_8_unread_pieces_do_not_pin_the_messages_they_came_in(
    backend: Any,
) -> None:
    session = with_stream(backend)
    short = data(1, b"x" * 255)
    raw = short + Frame(DATA, 0, 99, 60_000).encode() + bytes(60_000)
    held = sys.getrefcount(raw)
    kept = session.receive_data(raw)
    assert sys.getrefcount(raw) == held
    session.receive_data(data(3, bytes(INITIAL_WINDOW), SYN))
    raw = data(1, b"x" * 16_383)
    held = sys.getrefcount(raw)
    kept += session.receive_data(raw)
    assert sys.getrefcount(raw) == held
    assert [len(event.data) for event in kept] == [255, 16_383]
