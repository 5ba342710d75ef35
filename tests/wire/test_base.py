"""Base58, base36, base32: against vectors, an outside implementation and each other."""

from __future__ import annotations

import base64

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import AddressError
from praxis_fast.wire.base import (
    MAX_TEXT,
    decode_base32,
    decode_base36,
    decode_base58,
    encode_base32,
    encode_base36,
    encode_base58,
)

# draft-msporny-base58, "Test Vectors".
BASE58_VECTORS = [
    (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
    (
        b"The quick brown fox jumps over the lazy dog.",
        "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
    ),
    (bytes.fromhex("0000287fb4cd"), "11233QC4"),
]

# RFC 4648 §10, lower case and without padding.
BASE32_VECTORS = [
    (b"", ""),
    (b"f", "my"),
    (b"fo", "mzxq"),
    (b"foo", "mzxw6"),
    (b"foob", "mzxw6yq"),
    (b"fooba", "mzxw6ytb"),
    (b"foobar", "mzxw6ytboi"),
]


@pytest.mark.parametrize(("data", "text"), BASE58_VECTORS)
def test_base58_matches_the_published_vectors(data: bytes, text: str) -> None:
    assert encode_base58(data) == text
    assert decode_base58(text) == data


@pytest.mark.parametrize(("data", "text"), BASE32_VECTORS)
def test_base32_matches_the_published_vectors(data: bytes, text: str) -> None:
    assert encode_base32(data) == text
    assert decode_base32(text) == data


def test_base36_matches_the_multibase_vector() -> None:
    # multiformats/multibase, tests/basic.csv and tests/two_leading_zeros.csv.
    assert encode_base36(b"yes mani !") == "2lcpzo5yikidynfl"
    assert encode_base36(b"\0\0yes mani !") == "002lcpzo5yikidynfl"


@given(st.binary(max_size=80))
def test_base58_agrees_with_an_outside_implementation(data: bytes) -> None:
    assert encode_base58(data) == base58.b58encode(data).decode()
    assert decode_base58(encode_base58(data)) == data


@given(st.binary(max_size=80))
def test_base32_agrees_with_the_standard_library(data: bytes) -> None:
    expected = base64.b32encode(data).decode().rstrip("=").lower()
    assert encode_base32(data) == expected
    assert decode_base32(expected) == data


@given(st.binary(max_size=80))
def test_base36_gives_back_what_it_encoded(data: bytes) -> None:
    assert decode_base36(encode_base36(data)) == data


@given(st.text("abcdefghijklmnopqrstuvwxyz234567", max_size=40))
def test_base32_text_is_refused_unless_it_is_the_only_one(text: str) -> None:
    try:
        data = decode_base32(text)
    except AddressError:
        return
    assert encode_base32(data) == text


@pytest.mark.parametrize("text", ["0", "O", "I", "l", " ", "é", "1\n"])
def test_base58_refuses_foreign_characters(text: str) -> None:
    with pytest.raises(AddressError, match="is not base58"):
        decode_base58(text)


@pytest.mark.parametrize("text", ["A", "1", "8", "=", "ab ="])
def test_base32_refuses_foreign_characters(text: str) -> None:
    with pytest.raises(AddressError, match="is not base32"):
        decode_base32(text)


@pytest.mark.parametrize("text", ["a", "abc", "abcdef", "mz", "7777777"])
def test_base32_refuses_stray_bits(text: str) -> None:
    with pytest.raises(AddressError, match="stray bits"):
        decode_base32(text)


@pytest.mark.parametrize("decode", [decode_base58, decode_base36, decode_base32])
def test_text_longer_than_the_limit_is_refused(decode) -> None:
    with pytest.raises(AddressError, match=f"1025 characters, limit {MAX_TEXT}"):
        decode("a" * (MAX_TEXT + 1))
