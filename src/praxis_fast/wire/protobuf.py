"""Protocol Buffers, as much as libp2p needs: varints and length-delimited fields.

Reading yields every field in order. Unknown fields are the caller's to pass over; the
deprecated groups and all malformed input are a ProtobufError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from praxis_fast.errors import ProtobufError

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT = 0
FIXED64 = 1
BYTES = 2
FIXED32 = 5

# protobuf encoding: 64 bits in groups of 7.
MAX_VARINT = 10
# multiformats unsigned-varint: at most 63 bits, in their shortest form.
MAX_UVARINT = 9

_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


class Field(NamedTuple):
    """One field: its number and its value, an integer or the bytes."""

    number: int
    value: int | bytes


_SHORT = tuple(bytes((value,)) for value in range(128))


def encode_varint(value: int) -> bytes:
    """The shortest varint of an unsigned integer of at most 64 bits."""
    if 0 <= value < 128:
        return _SHORT[value]
    if value < 0 or value >> 64:
        raise ProtobufError(f"number {value} does not fit 64 bits")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes, pos: int = 0) -> tuple[int, int]:
    """A varint of at most 64 bits at `pos`, and the position behind it."""
    value = 0
    for count in range(MAX_VARINT):
        if pos >= len(data):
            raise ProtobufError("message ends inside a varint")
        byte = data[pos]
        pos += 1
        value |= (byte & 127) << 7 * count
        if byte < 128:
            if value >> 64:
                raise ProtobufError("varint of more than 64 bits")
            return value, pos
    raise ProtobufError(f"varint of more than {MAX_VARINT} bytes")


def decode_uvarint(data: bytes, pos: int = 0) -> tuple[int, int]:
    """A multiformats varint at `pos`: shortest form only, at most 63 bits."""
    value, end = decode_varint(data, pos)
    if end - pos > MAX_UVARINT:
        raise ProtobufError(f"varint of more than {MAX_UVARINT} bytes")
    if end - pos > 1 and data[end - 1] == 0:
        raise ProtobufError("varint is not in its shortest form")
    return value, end


def encode_number(number: int, value: int) -> bytes:
    """A field that holds an unsigned integer."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value)


def encode_bytes(number: int, value: bytes) -> bytes:
    """A field that holds bytes, a string or a message."""
    return encode_varint(number << 3 | BYTES) + encode_varint(len(value)) + value


def read_fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in order; all kinds, also the unknown ones."""
    pos = 0
    while pos < len(data):
        tag, pos = decode_varint(data, pos)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise ProtobufError(f"field number {number} out of range")
        if kind == VARINT:
            value, pos = decode_varint(data, pos)
            yield Field(number, value)
            continue
        if kind == BYTES:
            size, pos = decode_varint(data, pos)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ProtobufError(f"field {number} has the unknown wire type {kind}")
        if size > len(data) - pos:
            raise ProtobufError(
                f"field {number} of {size} bytes, {len(data) - pos} left"
            )
        # A fixed number stands for itself as bytes: nothing here uses one.
        yield Field(number, data[pos : pos + size])
        pos += size


def as_bytes(field: Field) -> bytes:
    """The bytes of a field that must hold some."""
    if isinstance(field.value, int):
        raise ProtobufError(f"field {field.number} holds a number, not bytes")
    return field.value


def as_number(field: Field) -> int:
    """The number of a field that must hold one."""
    if isinstance(field.value, bytes):
        raise ProtobufError(f"field {field.number} holds bytes, not a number")
    return field.value


def as_text(field: Field) -> str:
    """The text of a field that must hold UTF-8."""
    try:
        return as_bytes(field).decode()
    except UnicodeDecodeError as error:
        raise ProtobufError(f"field {field.number} is not UTF-8") from error
