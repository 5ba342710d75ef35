"""Varints and fields: round trips, and every way a message can be malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import ProtobufError
from praxis_fast.wire.protobuf import (
    Field,
    as_bytes,
    as_number,
    as_text,
    decode_uvarint,
    decode_varint,
    encode_bytes,
    encode_number,
    encode_varint,
    read_fields,
)

# multiformats/unsigned-varint README, "Examples".
UVARINT_VECTORS = [
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (255, "ff01"),
    (300, "ac02"),
    (16384, "808001"),
]


@pytest.mark.parametrize(("value", "encoded"), UVARINT_VECTORS)
def test_varint_matches_the_published_examples(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded
    assert decode_uvarint(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_varint_comes_back_from_any_place(value: int, a: bytes, b: bytes) -> None:
    data = a + encode_varint(value) + b
    assert decode_varint(data, len(a)) == (value, len(data) - len(b))


@pytest.mark.parametrize("value", [-1, 2**64])
def test_varint_refuses_a_number_out_of_range(value: int) -> None:
    with pytest.raises(ProtobufError, match="does not fit 64 bits"):
        encode_varint(value)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "ends inside a varint"),
        (b"\x80", "ends inside a varint"),
        (b"\xff" * 10 + b"\x01", "more than 10 bytes"),
        (b"\xff" * 9 + b"\x02", "more than 64 bits"),
    ],
)
def test_malformed_varint_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(ProtobufError, match=match):
        decode_varint(data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x81\x00", "shortest form"),
        (b"\x80\x00", "shortest form"),
        (b"\xff" * 9 + b"\x01", "more than 9 bytes"),
    ],
)
def test_uvarint_refuses_what_a_varint_may_be(data: bytes, match: str) -> None:
    decode_varint(data)
    with pytest.raises(ProtobufError, match=match):
        decode_uvarint(data)


FIELDS = st.lists(
    st.tuples(
        st.integers(1, 2**29 - 1),
        st.integers(0, 2**64 - 1) | st.binary(max_size=200),
    ),
    max_size=8,
)


def encode(fields: list[tuple[int, int | bytes]]) -> bytes:
    return b"".join(
        encode_number(number, value)
        if isinstance(value, int)
        else encode_bytes(number, value)
        for number, value in fields
    )


@given(FIELDS)
def test_fields_come_back_in_order(fields: list[tuple[int, int | bytes]]) -> None:
    assert list(read_fields(encode(fields))) == fields


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        list(read_fields(data))
    except ProtobufError:
        pass


def test_fixed_size_fields_are_passed_over() -> None:
    data = b"\x09" + bytes(8) + b"\x15" + bytes(4) + encode_number(3, 7)
    assert [field.number for field in read_fields(data)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x0b", "wire type 3"),
        (b"\x0c", "wire type 4"),
        (b"\x0e", "wire type 6"),
        (b"\x0f", "wire type 7"),
        (b"\x00\x00", "field number 0"),
        (encode_varint(1 << 32), "out of range"),
        (b"\x0a\x05abcd", "5 bytes, 4 left"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "left"),
        (b"\x09\x00", "8 bytes, 1 left"),
        (b"\x0a", "ends inside a varint"),
    ],
)
def test_malformed_message_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(ProtobufError, match=match):
        list(read_fields(data))


def test_field_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ProtobufError, match="holds a number"):
        as_bytes(Field(1, 5))
    with pytest.raises(ProtobufError, match="holds bytes"):
        as_number(Field(1, b"5"))
    with pytest.raises(ProtobufError, match="not UTF-8"):
        as_text(Field(1, b"\xff"))
    assert as_text(Field(1, "é".encode())) == "é"
