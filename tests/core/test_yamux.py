"""The yamux session by the book: what it sends, what it makes of what it receives.

Rules from the libp2p specifications, yamux/README.md, and from how js-libp2p,
py-libp2p, go-yamux and rust-yamux behave.
"""

from __future__ import annotations

import inspect
import random
import sys
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.errors import (
    ResourceLimitError,
    StreamResetError,
    UsageError,
    YamuxError,
)
from praxis_fast.limits import MuxerLimits
from tests.conftest import has_core, load_backend
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
    frames,
    go_away,
    merged,
    ping,
    sent,
    window,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BODY = 4 * 65_519 - 12
# Enough for two full frames, with the window that a stream starts with.
MORE = 2 * MAX_BODY


def make(backend: Any, *, client: bool = False, **options: Any) -> Any:
    """A session whose first ping is sent and answered."""
    session = backend.YamuxSession(client=client, **options)
    (first,) = sent(session)
    session.receive_data(ping(first.length, ACK))
    return session


def with_stream(backend: Any, **options: Any) -> Any:
    """A server session with the peer's stream 1 open, acknowledged and accepted."""
    session = make(backend, **options)
    session.receive_data(window(1, flags=SYN))
    session.accept_stream(1)
    assert sent(session) == [Frame(WINDOW, ACK, 1, 0)]
    return session


# -- the wire --------------------------------------------------------------------------


def test_constants_are_those_of_the_specification(backend: Any) -> None:
    session = backend.YamuxSession(client=True)
    stream_id = session.open_stream()
    session.send_data(stream_id, b"hi")
    session.close_stream(stream_id)
    session.go_away()
    assert session.data_to_send() == bytes.fromhex(
        "00 02 0001 00000000 00000001"  # ping
        "00 01 0001 00000001 00000000"  # open
        "00 00 0000 00000001 00000002 6869"  # data
        "00 01 0004 00000001 00000000"  # end
        "00 03 0000 00000000 00000000"  # go away
    )


def test_ids_are_odd_for_the_client_and_even_for_the_server(backend: Any) -> None:
    client = backend.YamuxSession(client=True)
    server = backend.YamuxSession(client=False)
    assert [client.open_stream() for _ in range(3)] == [1, 3, 5]
    assert [server.open_stream() for _ in range(3)] == [2, 4, 6]


def test_ack_goes_alone_and_first_when_the_peer_opens(backend: Any) -> None:
    session = make(backend)
    events = session.receive_data(data(1, b"hello", SYN))
    assert events == [backend.StreamOpened(1), backend.DataReceived(1, b"hello")]
    session.send_data(1, b"welcome")
    session.close_stream(1)
    assert sent(session) == [
        Frame(WINDOW, ACK, 1, 0),
        Frame(DATA, 0, 1, 7, b"welcome"),
        Frame(WINDOW, FIN, 1, 0),
    ]


def test_reset_says_so_once_and_drops_what_was_queued(backend: Any) -> None:
    session = with_stream(backend)
    session.send_data(1, b"never")
    session.reset_stream(1)
    session.reset_stream(1)
    assert sent(session) == [Frame(WINDOW, RST, 1, 0)]
    assert session.num_streams == 0


def test_reset_sends_nothing_when_the_open_was_never_sent(backend: Any) -> None:
    session = make(backend, client=True)
    session.reset_stream(session.open_stream())
    assert sent(session) == []
    assert session.open_stream() == 3


def test_small_writes_of_one_turn_leave_as_one_frame(backend: Any) -> None:
    session = with_stream(backend)
    for piece in (b"a", bytearray(b"b"), memoryview(b"xcx")[1:2]):
        assert session.send_data(1, piece) == 1
    assert sent(session) == [Frame(DATA, 0, 1, 3, b"abc")]


def test_full_data_frames_fill_four_noise_messages(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(window(1, MORE))
    body = bytes(range(256)) * 2200
    assert session.send_data(1, body) == len(body)
    found = sent(session)
    assert [frame.length for frame in found] == [MAX_BODY, MAX_BODY, 39_072]
    assert b"".join(frame.body for frame in found) == body
    assert MAX_BODY + 12 + 4 * 16 == 4 * 65_535


def test_a_full_data_frame_fits_the_window_a_stream_starts_with(backend: Any) -> None:
    session = with_stream(backend)
    assert session.send_window(1) >= MAX_BODY


def test_writes_are_cut_anywhere_into_full_frames(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(window(1, MORE))
    body = b"".join(bytes([number % 251]) * 30_000 for number in range(20))
    for start in range(0, len(body), 30_000):
        session.send_data(1, body[start : start + 30_000])
    found = sent(session)
    assert [frame.length for frame in found[:-1]] == [MAX_BODY, MAX_BODY]
    assert b"".join(frame.body for frame in found) == body


def test_what_was_given_may_change_after_send_data(backend: Any) -> None:
    session = with_stream(backend)
    buf = bytearray(b"before")
    session.send_data(1, buf)
    buf[:] = b"after!"
    assert sent(session) == [Frame(DATA, 0, 1, 6, b"before")]


def test_slices_of_bytes_are_kept_and_not_copied(backend: Any) -> None:
    session = with_stream(backend)
    body = bytes(range(200))
    held = sys.getrefcount(body)
    with memoryview(body) as whole:
        assert session.send_data(1, whole[10:20]) == 10
    assert sys.getrefcount(body) == held + 1
    assert sent(session) == [Frame(DATA, 0, 1, 10, body[10:20])]
    assert sys.getrefcount(body) == held


@pytest.mark.parametrize(
    "given",
    [
        memoryview(array("I", [1, 2, 3])),
        memoryview(bytearray(12)).cast("B", (3, 4)),
        memoryview(bytes(12)).cast("H"),
        array("d", [0.5]),
    ],
)
def test_any_flat_buffer_is_taken_as_its_bytes(backend: Any, given: Any) -> None:
    raw = memoryview(given).tobytes()
    session = with_stream(backend)
    assert session.send_data(1, given) == len(raw)
    assert sent(session) == [Frame(DATA, 0, 1, len(raw), raw)]
    packed = array("B", ping(5))
    assert session.receive_data(packed) == [backend.PingReceived(5)]


def test_buffers_that_are_gone_or_not_flat_are_refused(backend: Any) -> None:
    session = with_stream(backend)
    gone = memoryview(bytes(5))
    gone.release()
    for method in (session.receive_data, lambda data: session.send_data(1, data)):
        with pytest.raises(ValueError, match="released"):
            method(gone)
        with pytest.raises(TypeError, match="C-contiguous"):
            method(memoryview(bytes(6))[::2])
    assert session.pending_out == 0


def test_streams_take_turns_when_all_have_data(backend: Any) -> None:
    session = make(backend, client=True)
    ids = [session.open_stream() for _ in range(3)]
    for stream_id in ids:
        session.receive_data(window(stream_id, MORE))
        session.send_data(stream_id, bytes(2 * MAX_BODY))
    order = [frame.stream_id for frame in sent(session) if frame.kind == DATA]
    assert order == [*ids, *ids]


def test_streams_keep_their_turns_when_a_flush_is_bounded(backend: Any) -> None:
    session = make(backend, client=True)
    ids = [session.open_stream() for _ in range(3)]
    for stream_id in ids:
        session.receive_data(window(stream_id, MORE))
        session.send_data(stream_id, bytes(2 * MAX_BODY))
    order = []
    while session.pending_out:
        before = session.pending_out
        raw = session.data_to_send(1)
        assert before - session.pending_out == len(raw)
        order += [frame.stream_id for frame in frames(raw) if frame.kind == DATA]
    assert order == [*ids, *ids]


def test_a_bounded_flush_leaves_frames_of_no_stream_for_later_too(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(b"".join(ping(value) for value in range(1, 4)))
    session.receive_data(b"".join(window(3 + 2 * n, flags=SYN) for n in range(3)))
    session.data_to_send(40)
    for n in range(3):
        session.reset_stream(3 + 2 * n)
    session.receive_data(ping(4))
    session.ping(20.0)
    session.go_away()
    flushes = []
    while session.pending_out:
        before = session.pending_out
        raw = session.data_to_send(24)
        assert before - session.pending_out == len(raw)
        flushes.append([(frame.kind, frame.flags) for frame in frames(raw)])
    assert flushes == [
        [(PING, ACK), (PING, SYN)],
        [(WINDOW, RST), (WINDOW, RST)],
        [(WINDOW, RST), (GO_AWAY, 0)],
    ]


@pytest.mark.parametrize(
    "end",
    [
        lambda session: session.reset_stream(1),
        lambda session: session.receive_eof(),
        lambda session: session.go_away(1),
        lambda session: session.receive_data(window(1, flags=RST)),
        lambda session: session.data_to_send(),
    ],
)
def test_queued_bytes_are_let_go_when_they_are_of_no_more_use(
    backend: Any, end: Callable[[Any], object]
) -> None:
    session = with_stream(backend)
    pieces = [bytes([number]) * 100 for number in range(20)]
    held = [sys.getrefcount(piece) for piece in pieces]
    assert [session.send_data(1, piece) for piece in pieces] == [100] * 20
    end(session)
    assert [sys.getrefcount(piece) for piece in pieces] == held


def test_queued_bytes_are_let_go_with_the_session(backend: Any) -> None:
    session = with_stream(backend)
    body = bytes(100)
    held = sys.getrefcount(body)
    session.send_data(1, body)
    del session
    assert sys.getrefcount(body) == held


def test_received_slices_keep_their_message_and_let_it_go(backend: Any) -> None:
    session = with_stream(backend)
    raw = data(1, bytes(1000))
    held = sys.getrefcount(raw)
    events = session.receive_data(raw)
    assert sys.getrefcount(raw) > held
    session.receive_eof()
    assert bytes(events[0].data) == bytes(1000)
    events.clear()
    assert sys.getrefcount(raw) == held


def test_go_away_waits_behind_queued_data(backend: Any) -> None:
    session = with_stream(backend)
    session.go_away()
    assert session.send_data(1, bytes(MAX_BODY + 1)) == MAX_BODY + 1
    kinds = []
    while session.pending_out:
        kinds += [frame.kind for frame in frames(session.data_to_send(1))]
    assert kinds == [DATA, DATA, GO_AWAY]


# -- frames in -------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [7, 100, 65_519])
def test_frames_of_very_many_streams_find_their_streams(backend: Any, cut: int) -> None:
    count = 1500
    limits = MuxerLimits(max_streams=count, max_backlog=count)
    session = make(backend, limits=limits)
    ids = [2 * number + 1 for number in range(count)]
    session.receive_data(b"".join(window(one, flags=SYN) for one in ids))
    random.Random(cut).shuffle(ids)
    raw = b"".join(
        data(one, b"%d" % one) + window(one, 1) + data(2 * count + one, b"late")
        for one in ids
    )
    found: dict[int, bytes] = dict.fromkeys(ids, b"")
    for start in range(0, len(raw), cut):
        for event in session.receive_data(raw[start : start + cut]):
            if isinstance(event, backend.DataReceived):
                found[event.stream_id] += bytes(event.data)
    assert found == {one: b"%d" % one for one in ids}
    assert session.dropped_frames == count


@pytest.mark.parametrize(
    ("opening", "rest"),
    [
        (window(1, flags=SYN), []),
        (data(1, flags=SYN), []),
        (data(1, b"x", SYN), [("DataReceived", 1, b"x")]),
        (window(1, 77, SYN), [("WindowOpened", 1, INITIAL_WINDOW + 77)]),
        (window(1, flags=SYN | FIN), [("StreamClosed", 1)]),
        (
            data(1, b"x", SYN | FIN),
            [("DataReceived", 1, b"x"), ("StreamClosed", 1)],
        ),
    ],
)
def test_every_way_to_open_is_taken(
    backend: Any, opening: bytes, rest: list[Any]
) -> None:
    session = make(backend)
    assert merged(session.receive_data(opening)) == [("StreamOpened", 1), *rest]
    assert sent(session) == [Frame(WINDOW, ACK, 1, 0)]


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        (data(1, b"last", FIN), [("DataReceived", 1, b"last"), ("StreamClosed", 1)]),
        (data(1, b"", FIN), [("StreamClosed", 1)]),
        (window(1, 5, FIN), [("WindowOpened", 1, 262_149), ("StreamClosed", 1)]),
        (data(1, b"gone", RST), [("StreamReset", 1)]),
        (window(1, 0x1234, RST), [("StreamReset", 1)]),
        (data(1, b"both", ACK), [("DataReceived", 1, b"both")]),
    ],
)
def test_fin_and_rst_are_taken_on_any_frame(
    backend: Any,
    chunkings: Callable[[bytes], list[list[bytes]]],
    frame: bytes,
    events: list[Any],
) -> None:
    for chunks in chunkings(frame + ping(9)):
        session = with_stream(backend)
        found = [event for chunk in chunks for event in session.receive_data(chunk)]
        assert merged(found) == [*events, ("PingReceived", 9)]


def test_a_body_is_handed_over_in_pieces_as_it_arrives(backend: Any) -> None:
    session = with_stream(backend)
    raw = data(1, b"0123456789", FIN)
    assert session.receive_data(raw[:11]) == []
    assert session.receive_data(raw[11:14]) == [backend.DataReceived(1, b"01")]
    assert session.receive_data(raw[14:20]) == [backend.DataReceived(1, b"234567")]
    assert session.receive_data(raw[20:]) == [
        backend.DataReceived(1, b"89"),
        backend.StreamClosed(1),
    ]


@pytest.mark.parametrize("size", [1, 255, 256, 1024, 60_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_data_stays_valid_when_the_input_is_reused(
    backend: Any, kind: Any, size: int
) -> None:
    body = bytes(number % 255 for number in range(size))
    raw = bytearray(data(1, body))
    session = with_stream(backend)
    (event,) = session.receive_data(kind(bytes(raw) if kind is bytes else raw))
    if kind is not bytes:
        raw[:] = bytes(len(raw))
    assert bytes(event.data) == body
    assert len(event.data) == size
    assert bytes(memoryview(event.data)[1:3]) == body[1:3]
    assert bytes(event.data[1:]) == body[1:]
    assert event.data[0] == body[0]
    assert b"".join([event.data, b"!"]) == body + b"!"
    assert event.data == body
    assert memoryview(event.data).readonly


def test_long_data_of_a_reused_buffer_comes_in_pieces(backend: Any) -> None:
    session = with_stream(backend)
    body = bytes(number % 255 for number in range(150_000))
    events = session.receive_data(bytearray(data(1, body)))
    assert [len(event.data) for event in events] == [65536, 65536, 18928]
    assert b"".join(event.data for event in events) == body
    assert all(type(event.data) is bytes for event in events)
    (event,) = session.receive_data(data(1, body[:100_000]))
    assert event.data == body[:100_000]


def test_input_must_be_a_buffer(backend: Any) -> None:
    session = with_stream(backend)
    for junk in (5, "text", None):
        with pytest.raises(TypeError, match="bytes-like"):
            session.receive_data(junk)
        with pytest.raises(TypeError, match="bytes-like"):
            session.send_data(1, junk)
    assert not session.is_closed


def test_mux_6_frames_for_a_stream_that_is_gone_are_dropped(backend: Any) -> None:
    session = with_stream(backend)
    session.reset_stream(1)
    late = data(1, b"x" * 1000) + window(1, 5) + window(1, flags=FIN) + data(1)
    assert session.receive_data(late + window(3, flags=SYN)) == [
        backend.StreamOpened(3)
    ]
    assert session.dropped_frames == 4


def test_a_body_under_way_is_skipped_when_its_stream_is_reset(backend: Any) -> None:
    session = with_stream(backend)
    raw = data(1, b"0123456789", FIN)
    session.receive_data(raw[:15])
    session.reset_stream(1)
    assert session.unread == 0
    assert session.receive_data(raw[15:] + ping(3)) == [backend.PingReceived(3)]


def test_ping_is_answered_once_with_ack_and_its_value(backend: Any) -> None:
    session = make(backend)
    assert session.receive_data(ping(0xFFFFFFFF)) == [backend.PingReceived(0xFFFFFFFF)]
    assert sent(session) == [Frame(PING, ACK, 0, 0xFFFFFFFF)]
    assert sent(session) == []


def test_pongs_nobody_asked_for_are_ignored(backend: Any) -> None:
    session = make(backend)
    assert session.receive_data(ping(1, ACK) + ping(7, ACK) + ping(0, 0)) == []
    assert sent(session) == []


@pytest.mark.parametrize("code", [0, 1, 2, 0x1005])
def test_go_away_lets_open_streams_finish_and_refuses_new_ones(
    backend: Any, code: int
) -> None:
    session = with_stream(backend)
    assert session.receive_data(go_away(code)) == [backend.GoAway(code)]
    assert not session.can_open
    with pytest.raises(ResourceLimitError, match="session is going away"):
        session.open_stream()
    assert session.send_data(1, b"still") == 5
    assert session.receive_data(data(1, b"here")) == [backend.DataReceived(1, b"here")]


def test_our_go_away_refuses_the_peers_new_streams(backend: Any) -> None:
    session = with_stream(backend)
    session.go_away()
    session.go_away()
    assert sent(session) == [Frame(GO_AWAY, 0, 0, 0)]
    assert session.receive_data(data(3, b"late", SYN) + data(1, b"ok")) == [
        backend.DataReceived(1, b"ok")
    ]
    assert sent(session) == [Frame(WINDOW, RST, 3, 0)]
    assert not session.is_closed
    with pytest.raises(ResourceLimitError, match="session is going away"):
        session.open_stream()


def test_go_away_with_a_code_is_the_end(backend: Any) -> None:
    session = with_stream(backend)
    session.send_data(1, b"never")
    session.go_away(2)
    assert session.is_closed
    assert sent(session) == [Frame(GO_AWAY, 0, 0, 2)]
    assert session.receive_data(ping(1)) == []
    assert session.on_deadline(99.0) == []
    assert session.next_deadline() is None
    assert session.receive_eof() == [backend.StreamReset(1)]
    with pytest.raises(UsageError, match="go-away code -1, limit 4294967295"):
        make(backend).go_away(-1)


# -- half-close, end -------------------------------------------------------------------


def test_a_stream_is_gone_when_both_sides_closed_and_all_is_read(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(data(1, b"0123456789", FIN))
    session.close_stream(1)
    sent(session)
    assert session.num_streams == 1
    session.consume(1, 4)
    assert session.num_streams == 1
    session.consume(1, 6)
    assert (session.num_streams, session.unread) == (0, 0)
    session.consume(1, 6)  # too late is harmless
    session.close_stream(1)


def test_giving_up_unread_bytes_of_a_closed_stream_sends_nothing(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(data(1, b"0123456789", FIN))
    session.close_stream(1)
    sent(session)
    session.reset_stream(1)
    assert sent(session) == []
    assert (session.num_streams, session.unread) == (0, 0)


def test_half_closed_streams_still_carry_the_other_direction(backend: Any) -> None:
    session = with_stream(backend)
    session.close_stream(1)
    sent(session)
    assert session.receive_data(data(1, b"more")) == [backend.DataReceived(1, b"more")]
    with pytest.raises(UsageError, match="stream 1 is closed for writing"):
        session.send_data(1, b"no")
    assert session.send_window(1) == 0
    assert session.receive_data(window(1, 9)) == []
    session = with_stream(backend)
    session.receive_data(window(1, flags=FIN))
    assert session.send_data(1, b"yes") == 3


def test_eof_resets_what_is_open_and_leaves_what_has_ended(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(
        data(3, b"x", SYN | FIN) + window(5, flags=SYN) + window(7, flags=SYN)
    )
    session.close_stream(3)
    sent(session)
    assert session.receive_eof() == [
        backend.StreamReset(1),
        backend.StreamReset(5),
        backend.StreamReset(7),
    ]
    assert session.receive_eof() == []
    assert session.is_closed
    assert (session.num_streams, session.unread, session.pending_out) == (0, 0, 0)
    with pytest.raises(StreamResetError, match="stream 1 is gone"):
        session.send_data(1, b"x")
    with pytest.raises(ResourceLimitError, match="session is closed"):
        session.open_stream()


# -- windows ---------------------------------------------------------------------------


def test_sending_stops_at_the_window_and_goes_on_when_it_opens(backend: Any) -> None:
    session = with_stream(backend)
    assert session.send_window(1) == INITIAL_WINDOW
    assert session.send_data(1, bytes(300_000)) == INITIAL_WINDOW
    assert session.send_data(1, b"x") == 0
    assert session.receive_data(window(1, 10)) == [backend.WindowOpened(1, 10)]
    assert session.send_data(1, bytes(300_000)) == 10
    assert session.send_window(1) == 0


def test_window_updates_are_batched_until_half_the_window_is_due(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(data(1, bytes(INITIAL_WINDOW)))
    for _ in range(127):
        session.consume(1, 1024)
    assert sent(session) == []
    session.consume(1, 1024)
    assert sent(session) == [Frame(WINDOW, 0, 1, 131_072)]
    session.consume(1, 65_536)
    session.consume(1, 65_536)
    assert sent(session) == [Frame(WINDOW, 0, 1, 131_072)]


def test_updates_of_one_turn_are_one_frame(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(data(1, bytes(INITIAL_WINDOW)))
    session.consume(1, 131_072)
    session.consume(1, 131_072)
    assert sent(session) == [Frame(WINDOW, 0, 1, INITIAL_WINDOW)]


def test_consuming_more_than_was_received_is_refused(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(data(1, b"abc"))
    for size in (4, -1):
        message = f"consumed {size} bytes of stream 1, 3 are unread"
        with pytest.raises(UsageError, match=message):
            session.consume(1, size)


def fill(session: Any, size: int, now: float) -> int:
    """Use a window up, read it all, and say what the peer was given."""
    for start in range(0, size, 65_536):
        session.receive_data(data(1, bytes(min(65_536, size - start))), now)
    session.consume(1, size)
    return sum(frame.length for frame in sent(session) if frame.kind == WINDOW)


def tuned(backend: Any, **options: Any) -> Any:
    """A session with stream 1 and a measured round trip of 1 s."""
    session = backend.YamuxSession(client=False, **options)
    (first,) = sent(session)
    session.receive_data(ping(first.length, ACK), 1.0)
    session.receive_data(window(1, flags=SYN), 1.0)
    sent(session)
    return session


def test_a_window_doubles_when_used_up_within_four_round_trips(backend: Any) -> None:
    session = tuned(backend)
    size, now = INITIAL_WINDOW, 1.0
    for expected in [2**19, 2**20, 2**21, 2**22, 2**23, 2**24, 2**24]:
        now += 3.9
        assert size + fill(session, size, now) == expected + size
        size = expected


def test_a_window_stays_when_it_was_used_up_slowly(backend: Any) -> None:
    session = tuned(backend)
    assert fill(session, INITIAL_WINDOW, 5.0) == INITIAL_WINDOW
    assert fill(session, INITIAL_WINDOW, 8.9) == 2 * INITIAL_WINDOW


def test_a_window_stays_when_the_round_trip_is_not_known(backend: Any) -> None:
    session = backend.YamuxSession(client=False)
    session.receive_data(window(1, flags=SYN))
    sent(session)
    assert fill(session, INITIAL_WINDOW, 0.1) == INITIAL_WINDOW


def test_windows_grow_no_further_than_half_of_what_may_be_unread(backend: Any) -> None:
    session = tuned(backend, limits=MuxerLimits(max_unread=1024 * 1024))
    assert fill(session, INITIAL_WINDOW, 1.1) == 2 * INITIAL_WINDOW
    assert fill(session, 2 * INITIAL_WINDOW, 1.2) == 2 * INITIAL_WINDOW


# -- back-pressure ---------------------------------------------------------------------


def test_the_outbound_bound_stops_writers_and_room_wakes_them(backend: Any) -> None:
    session = with_stream(backend, limits=MuxerLimits(max_outbound=100_000))
    session.receive_data(window(3, flags=SYN))
    assert session.send_data(1, bytes(80_000)) == 80_000
    assert session.send_data(3, bytes(80_000)) == 20_000
    assert session.send_data(1, b"x") == 0
    assert session.next_deadline() > 0.0
    session.data_to_send(30_000)
    assert session.next_deadline() == 0.0
    assert session.on_deadline(0.0) == [
        backend.WindowOpened(3, INITIAL_WINDOW - 20_000),
        backend.WindowOpened(1, INITIAL_WINDOW - 80_000),
    ]
    assert session.next_deadline() > 0.0


def test_room_does_not_wake_who_closed_or_has_no_window(backend: Any) -> None:
    session = with_stream(backend, limits=MuxerLimits(max_outbound=INITIAL_WINDOW))
    session.receive_data(window(3, flags=SYN) + window(5, flags=SYN))
    assert session.send_data(1, bytes(300_000)) == INITIAL_WINDOW
    for stream_id in (3, 5):
        assert session.send_data(stream_id, b"x") == 0
    session.close_stream(3)
    session.reset_stream(5)
    session.data_to_send()
    assert session.receive_data(b"") == []


def test_waking_comes_with_the_next_data_too(backend: Any) -> None:
    session = with_stream(backend, limits=MuxerLimits(max_outbound=10))
    assert session.send_data(1, bytes(11)) == 10
    session.data_to_send()
    assert session.receive_data(ping(1)) == [
        backend.WindowOpened(1, INITIAL_WINDOW - 10),
        backend.PingReceived(1),
    ]


# -- time ------------------------------------------------------------------------------


def test_each_side_pings_at_once_and_then_every_interval(backend: Any) -> None:
    session = backend.YamuxSession(client=True, now=100.0)
    assert sent(session) == [Frame(PING, SYN, 0, 1)]
    assert session.next_deadline() == 145.0
    assert session.receive_data(ping(1, ACK), 100.25) == [backend.PongReceived(0.25)]
    assert session.rtt == 0.25
    assert session.next_deadline() == 115.0
    assert session.on_deadline(114.9) == []
    assert sent(session) == []
    assert session.on_deadline(115.0) == []
    assert sent(session) == [Frame(PING, SYN, 0, 2)]


def test_ping_joins_the_one_under_way(backend: Any) -> None:
    session = backend.YamuxSession(client=True)
    assert session.ping(1.0) == 1
    assert sent(session) == [Frame(PING, SYN, 0, 1)]
    session.receive_data(ping(1, ACK), 2.0)
    assert session.ping(3.0) == 2
    assert sent(session) == [Frame(PING, SYN, 0, 2)]


def test_con_4_a_silent_peer_is_dead_after_45_s(backend: Any) -> None:
    session = with_stream(backend)
    session.receive_data(data(1, b"x"), 10.0)
    session.on_deadline(15.0)
    assert sent(session) == [Frame(PING, SYN, 0, 2)]
    assert session.next_deadline() == 55.0
    session.on_deadline(54.9)
    with pytest.raises(YamuxError, match=r"nothing heard for 45\.0 seconds") as caught:
        session.on_deadline(55.0)
    assert caught.value.code == 2
    assert sent(session) == [Frame(GO_AWAY, 0, 0, 2)]
    assert session.is_closed
    assert session.receive_eof() == [backend.StreamReset(1)]


def test_con_4_a_peer_that_sends_anything_is_alive(backend: Any) -> None:
    session = with_stream(backend)
    for now in range(15, 200, 15):
        session.receive_data(data(1, b"x"), float(now))
        session.on_deadline(float(now))
    assert not session.is_closed


def test_mux_6_half_closed_streams_end_after_five_silent_minutes(backend: Any) -> None:
    session = with_stream(backend, dead_after=10_000.0, ping_interval=10_000.0)
    session.receive_data(window(3, flags=SYN), 5.0)
    for stream_id in (1, 3):
        session.close_stream(stream_id)
    sent(session)
    assert session.next_deadline() == 305.0
    session.receive_data(data(1, b"still here"), 200.0)
    assert session.on_deadline(305.0) == [backend.StreamReset(3)]
    assert sent(session) == [Frame(WINDOW, RST, 3, 0)]
    assert session.next_deadline() == 500.0
    session.receive_data(window(1, flags=FIN), 400.0)
    assert session.on_deadline(500.0) == []


def test_the_clock_never_goes_back(backend: Any) -> None:
    session = backend.YamuxSession(client=True, now=50.0)
    session.receive_data(ping(9), 40.0)
    assert session.next_deadline() == 95.0


# -- opening ---------------------------------------------------------------------------


def test_opening_waits_for_acknowledgements(backend: Any) -> None:
    session = make(backend, client=True)
    ids = [session.open_stream() for _ in range(256)]
    assert not session.can_open
    message = "256 streams not yet acknowledged, limit 256"
    with pytest.raises(ResourceLimitError, match=message):
        session.open_stream()
    sent(session)
    session.receive_data(window(ids[0], flags=ACK) + window(ids[0], flags=ACK))
    assert session.can_open
    session.open_stream()
    assert not session.can_open
    session.receive_data(data(ids[1], b"x", ACK) + window(ids[2], flags=RST))
    assert [session.open_stream() for _ in range(2)] == [515, 517]


def test_opening_stops_at_the_limit_of_open_streams(backend: Any) -> None:
    session = make(backend, client=True, limits=MuxerLimits(max_streams=2))
    ids = [session.open_stream() for _ in range(2)]
    with pytest.raises(ResourceLimitError, match="2 streams open, limit 2"):
        session.open_stream()
    session.reset_stream(ids[0])
    session.open_stream()


# -- events, errors --------------------------------------------------------------------

EVENTS = [
    ("StreamOpened", {"stream_id": 1}),
    ("DataReceived", {"stream_id": 1, "data": b"ab"}),
    ("StreamClosed", {"stream_id": 1}),
    ("StreamReset", {"stream_id": 1}),
    ("WindowOpened", {"stream_id": 1, "size": 2}),
    ("PingReceived", {"value": 1}),
    ("PongReceived", {"rtt": 0.5}),
    ("GoAway", {"code": 1}),
]


@pytest.mark.parametrize(("name", "fields"), EVENTS)
def test_events_are_values(backend: Any, name: str, fields: dict[str, Any]) -> None:
    kind = getattr(backend, name)
    event = kind(**fields)
    assert kind.__match_args__ == tuple(fields)
    assert event == kind(*fields.values())
    assert hash(event) == hash(kind(*fields.values()))
    assert event != kind(*[value * 2 for value in fields.values()])
    assert event != tuple(fields.values())
    for other, values in EVENTS:
        if other != name:
            assert event != getattr(backend, other)(**values)
    with pytest.raises(AttributeError):
        setattr(event, next(iter(fields)), 5)
    with pytest.raises(TypeError):
        kind()


def test_events_show_no_data(backend: Any) -> None:
    assert repr(backend.DataReceived(7, b"secret")) == (
        "DataReceived(stream_id=7, data=<6 bytes>)"
    )
    assert repr(backend.WindowOpened(7, 9)) == "WindowOpened(stream_id=7, size=9)"
    assert repr(backend.PongReceived(0.5)) == "PongReceived(rtt=0.5)"


def test_events_match_by_position(backend: Any) -> None:
    match backend.WindowOpened(3, 4):
        case backend.WindowOpened(stream_id, size):
            assert (stream_id, size) == (3, 4)


def test_an_error_keeps_what_came_before_it_and_kills_the_session(backend: Any) -> None:
    session = with_stream(backend)
    session.send_data(1, b"queued")
    bad = Frame(9, 0, 0, 0).encode()
    with pytest.raises(YamuxError, match="frame of type 9, limit 3") as caught:
        session.receive_data(data(1, b"before") + bad + data(1, b"after"))
    assert caught.value.events == [backend.DataReceived(1, b"before")]
    assert caught.value.code == 1
    assert session.is_closed
    assert sent(session) == [Frame(GO_AWAY, 0, 0, 1)]
    assert sent(session) == []
    with pytest.raises(YamuxError, match="frame of type 9, limit 3") as again:
        session.receive_data(b"more")
    assert again.value.events == []
    assert session.receive_eof() == [backend.StreamReset(1)]


def test_options_are_by_name_only(backend: Any) -> None:
    with pytest.raises(TypeError):
        backend.YamuxSession()
    with pytest.raises(TypeError):
        backend.YamuxSession(True)
    with pytest.raises(TypeError):
        backend.YamuxSession(client=True, typo=1)


@pytest.mark.skipif(not has_core(), reason="the compiled core is not built")
def test_twins_have_the_same_names_and_manual() -> None:
    plain, compiled = (load_backend(name) for name in ("pure", "core"))
    for name, kind in vars(plain).items():
        if not inspect.isclass(kind) or not kind.__module__.endswith(
            ("yamux", "yamux_events")
        ):
            continue
        twin = getattr(compiled, name)
        public = {key for key in vars(kind) if not key.startswith("_")}
        assert public == {key for key in vars(twin) if not key.startswith("_")}
        assert inspect.getdoc(kind) == inspect.getdoc(twin)
        for key in public:
            assert inspect.getdoc(getattr(kind, key)) == inspect.getdoc(
                getattr(twin, key)
            )
