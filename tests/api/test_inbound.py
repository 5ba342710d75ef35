from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from praxis_fast.api.inbound import Inbound
from praxis_fast.limits import WebSocketLimits

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

LIMITS = WebSocketLimits(max_message=1000, max_fragments=3, control_rate=5.0)


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return Frame(opcode, data, fin).serialize(mask=True)


def text(data: bytes) -> bytes:
    return frame(Opcode.TEXT, data)


def close_sent(inbound: Inbound) -> Close:
    """The close frame among what is to be sent."""
    data = inbound.data_to_send()
    assert data[0] == 0x88
    return Close.parse(data[2:])


STREAM = b"".join(
    [
        text(b"one"),
        frame(Opcode.TEXT, b"tw", fin=False),
        frame(Opcode.PING, b"p"),
        frame(Opcode.CONT, "ö".encode()),
        frame(Opcode.BINARY, b"\xff"),
        text(b""),
    ]
)


def test_messages_are_the_same_for_any_chunking(
    chunkings: Callable[[bytes], list[list[bytes]]],
) -> None:
    for chunks in chunkings(STREAM):
        inbound = Inbound(LIMITS)
        messages = [m for chunk in chunks for m in inbound.receive_data(chunk)]
        assert messages == ["one", "twö", b"\xff", ""]
        assert inbound.data_to_send() == b"\x8a\x01p"
        assert inbound.is_open


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x01x", 1002, id="not masked"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="RSV1 without an extension"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="reserved opcode"),
        pytest.param(b"\x80\x80\0\0\0\0", 1002, id="continuation of nothing"),
        pytest.param(
            b"\x01\x80\0\0\0\0" + text(b"x"), 1002, id="new message inside another"
        ),
        pytest.param(b"\x09\x80\0\0\0\0", 1002, id="fragmented ping"),
        pytest.param(b"\x89\xfe\x00\x7e" + bytes(130), 1002, id="long ping"),
        pytest.param(
            frame(Opcode.CLOSE, struct.pack("!H", 1005)), 1002, id="reserved code"
        ),
        pytest.param(text(b"\xff"), 1007, id="not UTF-8"),
        pytest.param(
            b"\x81\xfe\x03\xe9\0\0\0\0", 1009, id="judged before the body arrives"
        ),
        pytest.param(b"\x81" + b"\xff" * 9 + b"\0\0\0\0", 1009, id="no length"),
    ],
)
def test_ws_1_4_violations_end_with_the_right_code(data: bytes, code: int) -> None:
    inbound = Inbound(LIMITS)
    assert inbound.receive_data(data) == []
    assert not inbound.is_open
    assert inbound.wants_end
    assert close_sent(inbound).code == code


def test_ws_1_messages_before_the_violation_are_not_lost() -> None:
    inbound = Inbound(LIMITS)
    assert inbound.receive_data(text(b"a") + text(b"\xff") + text(b"b")) == ["a"]
    assert inbound.receive_data(text(b"c")) == []


@pytest.mark.parametrize(
    "behind",
    [b"\x81\x01x", frame(Opcode.CLOSE, b"\x03\xe8"), text(b"more")],
    ids=["a violation", "close", "text"],
)
def test_ws_4_the_first_violation_is_told_whatever_follows_it(behind: bytes) -> None:
    inbound = Inbound(LIMITS)
    assert inbound.receive_data(text(b"\xff") + behind) == []
    assert close_sent(inbound).code == 1007
    assert inbound.data_to_send() == b""
    assert inbound.wants_end


def test_only_one_close_frame_is_sent_when_the_client_closed_first() -> None:
    inbound = Inbound(LIMITS)
    inbound.receive_data(frame(Opcode.CLOSE, b"\x03\xe8"))
    assert close_sent(inbound).code == 1000
    inbound.fail(1008, "too late")
    assert inbound.data_to_send() == b""


def test_ws_5_too_many_fragments_are_refused() -> None:
    inbound = Inbound(LIMITS)
    data = frame(Opcode.TEXT, b"a", fin=False)
    data += 3 * frame(Opcode.CONT, b"b", fin=False)
    assert inbound.receive_data(data) == []
    assert close_sent(inbound) == Close(1008, "more than 3 fragments")


def test_ws_5_fragments_over_the_size_limit_are_refused() -> None:
    inbound = Inbound(LIMITS)
    data = frame(Opcode.TEXT, b"a" * 600, fin=False) + frame(Opcode.CONT, b"b" * 600)
    assert inbound.receive_data(data) == []
    assert close_sent(inbound).code == 1009


def test_ws_6_ping_flood_is_refused() -> None:
    inbound = Inbound(LIMITS)
    inbound.receive_data(5 * frame(Opcode.PING))
    assert inbound.is_open
    inbound.data_to_send()
    inbound.receive_data(frame(Opcode.PING), now=0.1)
    assert close_sent(inbound) == Close(1008, "more than 5 control frames a second")


def test_ws_6_steady_pings_are_answered() -> None:
    inbound = Inbound(LIMITS)
    for second in range(20):
        inbound.receive_data(5 * frame(Opcode.PING), now=float(second))
    assert inbound.is_open
    assert inbound.data_to_send() == 100 * b"\x8a\x00"


def test_close_of_the_client_is_echoed_and_ends_the_connection() -> None:
    inbound = Inbound(LIMITS)
    inbound.receive_data(frame(Opcode.CLOSE, struct.pack("!H", 1000)))
    assert not inbound.is_open
    assert inbound.wants_end
    assert close_sent(inbound).code == 1000


def test_close_amid_a_message_is_no_violation() -> None:
    inbound = Inbound(LIMITS)
    data = frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.CLOSE, b"\x03\xe8")
    assert inbound.receive_data(data) == []
    assert close_sent(inbound).code == 1000
    assert inbound.wants_end


def test_close_of_ours_ends_when_the_client_answers() -> None:
    inbound = Inbound(LIMITS)
    inbound.close(1001, "going away")
    inbound.close(1000, "again")
    assert close_sent(inbound) == Close(1001, "going away")
    assert not inbound.wants_end
    inbound.receive_data(frame(Opcode.CLOSE, struct.pack("!H", 1001)))
    assert inbound.wants_end


def test_end_of_the_stream_ends_the_connection() -> None:
    inbound = Inbound(LIMITS)
    inbound.receive_eof()
    assert not inbound.is_open


# compressed messages (RFC 7692)


def deflated(data: bytes, size: int | None = None) -> list[bytes]:
    """A compressed message, in fragments of at most this many bytes."""
    deflater = zlib.compressobj(wbits=-15)
    packed = (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    step = size or len(packed)
    parts = [packed[at : at + step] for at in range(0, len(packed), step)]
    last = len(parts) - 1
    rsv1 = 0x40
    return [
        raw_frame(0 if at else rsv1 | Opcode.TEXT, part, fin=at == last)
        for at, part in enumerate(parts)
    ]


def test_compressed_messages_are_inflated_each_on_its_own(
    chunkings: Callable[[bytes], list[list[bytes]]],
) -> None:
    message = b"event " * 20
    stream = b"".join([*deflated(message), text(b"plain"), *deflated(message, 10)])
    for chunks in chunkings(stream):
        inbound = Inbound(LIMITS, is_deflated=True)
        messages = [m for chunk in chunks for m in inbound.receive_data(chunk)]
        assert messages == [message.decode(), "plain", message.decode()]


def test_ws_3_compression_bomb_is_refused() -> None:
    inbound = Inbound(LIMITS, is_deflated=True)
    bomb = b"".join(deflated(bytes(500_000)))
    assert len(bomb) < LIMITS.max_message
    assert inbound.receive_data(bomb) == []
    assert close_sent(inbound) == Close(1009, "message of over 1000 bytes, inflated")


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1\x81\0\0\0\0\xff",  # no deflate stream
        b"\x01\x80\0\0\0\0\xc0\x80\0\0\0\0",  # RSV1 on a continuation
        b"\xc9\x80\0\0\0\0",  # compressed ping
    ],
)
def test_ws_1_4_wrong_compression_ends_the_connection(data: bytes) -> None:
    inbound = Inbound(LIMITS, is_deflated=True)
    assert inbound.receive_data(data) == []
    assert close_sent(inbound).code == 1002


# beside the `websockets` library


def oracle(stream: bytes) -> tuple[list[Any], int | None, bytes]:
    """Messages, close code sent and pongs, as the library has them."""
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=LIMITS.max_message)
    protocol.receive_data(stream)
    messages: list[Any] = []
    parts: list[bytes] = []
    kind = Opcode.TEXT
    for found in protocol.events_received():
        assert isinstance(found, Frame)
        if found.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            continue
        if found.opcode is not Opcode.CONT:
            parts, kind = [], found.opcode
        parts.append(bytes(found.data))
        if found.fin:
            data = b"".join(parts)
            messages.append(data.decode() if kind is Opcode.TEXT else data)
    sent = b"".join(protocol.data_to_send())
    code = protocol.close_sent.code if protocol.close_sent else None
    if "incomplete fragmented message" in str(protocol.parser_exc):
        # Stricter than RFC 6455, 5.4: any control frame may come amid fragments.
        assert protocol.close_rcvd is not None
        code = protocol.close_rcvd.code
    return messages, code, sent


def test_ws_1_4_same_verdict_as_the_library(seed: random.Random) -> None:
    limits = WebSocketLimits(
        max_message=LIMITS.max_message, max_fragments=1000, control_rate=1000.0
    )
    for _ in range(3000):
        stream = bytearray(b"".join(random_frame(seed) for _ in range(4)))
        if seed.random() < 0.5:
            # Headers only: bodies are masked, so that any change keeps them random.
            stream[0] ^= 1 << seed.randrange(8)
        try:
            messages, code, _ = oracle(bytes(stream))
        except UnicodeDecodeError:
            continue
        inbound = Inbound(limits)
        assert inbound.receive_data(bytes(stream)) == messages
        sent = inbound.data_to_send()
        assert inbound.is_open == (code is None)
        if code not in (None, 1005):
            # A control frame of 1,200 bytes is wrong in two ways.
            codes = {code, 1002} if code == 1009 else {code}
            assert Close.parse(sent[sent.rindex(b"\x88") + 2 :]).code in codes


def random_frame(rng: random.Random) -> bytes:
    opcode = rng.choice([*(Opcode.TEXT, Opcode.CONT, Opcode.BINARY) * 3, *Opcode])
    size = rng.choice([0, 1, 5, 125, 126, 300, 1200])
    if opcode in (Opcode.PING, Opcode.PONG):
        size = min(size, rng.choice([125, 130]))
    data = b"a" * size
    if opcode is Opcode.CLOSE:
        data = rng.choice(
            [b"", b"a", struct.pack("!H", rng.choice([1000, 1006, 3000]))]
        )
    fin = rng.random() < 0.7
    return raw_frame(opcode, data, fin=fin)


def raw_frame(first: int, data: bytes, *, fin: bool) -> bytes:
    """A masked frame that need not be allowed."""
    size = len(data)
    head = bytes([(0x80 if fin else 0) | first])
    head += bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0xFE, size)
    mask = b"\x01\x02\x03\x04"
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))
