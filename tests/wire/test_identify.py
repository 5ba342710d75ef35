"""The identify message and the reader that joins its parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import IdentifyError
from praxis_fast.limits import IdentifyLimits
from praxis_fast.wire.identify import Identify, IdentifyReader
from praxis_fast.wire.protobuf import (
    encode_bytes,
    encode_number,
    encode_varint,
    read_fields,
)

LIMITS = IdentifyLimits()
FULL = Identify(
    protocol_version="ipfs/0.1.0",
    agent_version="praxis-fast/0.1.0",
    public_key=b"key",
    listen_addrs=(b"\x04\x7f\x00\x00\x01\x06\x0f\xa1", b"\x06\x00\x01"),
    observed_addr=b"\x04\x7f\x00\x00\x01\x06\x00\x01",
    protocols=("/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"),
    signed_peer_record=b"record",
)


def framed(message: bytes) -> bytes:
    return encode_varint(len(message)) + message


def read(chunks) -> Identify:
    reader = IdentifyReader()
    for chunk in chunks:
        reader.receive_data(chunk)
    return reader.receive_eof()


TEXTS = st.none() | st.text(max_size=20)
BLOBS = st.none() | st.binary(max_size=20)
MESSAGES = st.builds(
    Identify,
    TEXTS,
    TEXTS,
    BLOBS,
    st.lists(st.binary(max_size=20), max_size=5, unique=True).map(tuple),
    BLOBS,
    st.lists(st.text(max_size=20), max_size=5, unique=True).map(tuple),
    BLOBS,
)


@given(MESSAGES)
def test_message_comes_back(message: Identify) -> None:
    assert Identify.decode(message.encode()) == message


def test_field_numbers_are_those_of_the_specification() -> None:
    numbers = {value: number for number, value in read_fields(FULL.encode())}
    assert numbers[b"key"] == 1
    assert numbers[FULL.listen_addrs[0]] == 2
    assert numbers[b"/ipfs/id/1.0.0"] == 3
    assert numbers[FULL.observed_addr] == 4
    assert numbers[b"ipfs/0.1.0"] == 5
    assert numbers[b"praxis-fast/0.1.0"] == 6
    assert numbers[b"record"] == 8


def test_unknown_fields_are_passed_over() -> None:
    extra = encode_number(7, 1) + encode_bytes(900, b"x")
    assert Identify.decode(extra + FULL.encode() + extra) == FULL


def test_message_is_read_in_every_cut(chunkings) -> None:
    for chunks in chunkings(framed(FULL.encode())):
        assert read(chunks) == FULL


def test_messages_are_joined_in_every_cut(chunkings) -> None:
    first = replace(FULL, signed_peer_record=None, agent_version="old")
    second = Identify(agent_version="new", protocols=("/more",))
    for chunks in chunkings(framed(first.encode()) + framed(second.encode())):
        assert read(chunks) == replace(
            first, agent_version="new", protocols=(*FULL.protocols, "/more")
        )


def test_absent_fields_are_none_in_a_push() -> None:
    push = Identify.decode(Identify(protocols=("/a",)).encode())
    assert push == Identify(protocols=("/a",))
    assert push.public_key is None


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x81\x40", "message of 8193 bytes, limit 8192"),
        (b"\xff\xff\xff\xff", "length of more than 4 bytes"),
        (framed(b"") * 11, "more than 10 identify messages"),
        (b"\x00" * 10 + b"\x01", "more than 10 identify messages"),
    ],
)
def test_id_1_too_much_is_judged_by_its_length(chunkings, data, match) -> None:
    for chunks in chunkings(data):
        reader = IdentifyReader()
        with pytest.raises(IdentifyError, match=match):
            list(map(reader.receive_data, chunks))
        with pytest.raises(IdentifyError, match="over after"):
            reader.receive_data(b"")
        with pytest.raises(IdentifyError, match="over after"):
            reader.receive_eof()


def test_id_1_largest_messages_are_read() -> None:
    part = Identify(public_key=bytes(LIMITS.max_message - 3)).encode()
    assert len(part) == LIMITS.max_message
    assert read([framed(part) * LIMITS.max_messages]).public_key is not None


@pytest.mark.parametrize(("count", "is_good"), [(128, True), (129, False)])
def test_id_1_endless_protocols_are_refused(count: int, is_good: bool) -> None:
    data = Identify(protocols=tuple(f"/{n}" for n in range(count))).encode()
    if is_good:
        assert len(Identify.decode(data).protocols) == count
        return
    with pytest.raises(IdentifyError, match="more than 128 protocols"):
        Identify.decode(data)


@pytest.mark.parametrize(("count", "is_good"), [(500, True), (501, False)])
def test_id_1_endless_addresses_are_refused(count: int, is_good: bool) -> None:
    data = Identify(listen_addrs=tuple(b"%d" % n for n in range(count))).encode()
    if is_good:
        assert len(Identify.decode(data).listen_addrs) == count
        return
    with pytest.raises(IdentifyError, match="more than 500 addresses"):
        Identify.decode(data)


def test_repeated_entries_are_kept_once() -> None:
    data = encode_bytes(3, b"/a") * 1000 + encode_bytes(2, b"x") * 1000
    assert Identify.decode(data) == Identify(protocols=("/a",), listen_addrs=(b"x",))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "before any message"),
        (b"\x05", "1 bytes into a message"),
        (framed(FULL.encode())[:-1], "into a message"),
        (b"\x80", "1 bytes into a message"),
    ],
)
def test_end_of_data_in_the_wrong_place_is_an_error(data: bytes, match: str) -> None:
    with pytest.raises(IdentifyError, match=match):
        read([data])


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        encode_number(1, 1),
        encode_number(3, 1),
        encode_bytes(3, b"\xff"),
        encode_bytes(6, b"\xff"),
        b"\x0a\x05a",
    ],
)
def test_malformed_message_is_refused(data: bytes) -> None:
    with pytest.raises(IdentifyError, match="malformed identify message"):
        read([framed(data)])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = Identify.decode(data)
    except IdentifyError:
        return
    assert Identify.decode(message.encode()) == message


def test_id_1_long_text_is_refused() -> None:
    longest = "a" * 1024
    for number in (3, 5, 6):
        Identify.decode(encode_bytes(number, longest.encode()))
        with pytest.raises(IdentifyError, match="1025 characters, limit 1024"):
            Identify.decode(encode_bytes(number, longest.encode() + b"a"))
