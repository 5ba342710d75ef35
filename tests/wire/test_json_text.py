"""JSON texts: the same values as the standard library, and the limits of JSON-3..7."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import MessageError
from praxis_fast.limits import JSONLimits
from praxis_fast.wire.json_text import decode_json, encode_json

LIMITS = JSONLimits()

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


def count(value: object) -> int:
    """Values in a value, itself included."""
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    if isinstance(value, dict):
        return 1 + sum(map(count, value.values()))
    return 1


def depth(value: object) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 0


@given(VALUES)
def test_value_comes_back(value: object) -> None:
    assert decode_json(encode_json(value)) == value
    assert decode_json(memoryview(encode_json(value))) == value


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_text_is_read_as_the_standard_library_reads_it(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert decode_json(text) == json.loads(text)


@given(VALUES, st.integers(1, 12), st.integers(1, 30), st.sampled_from([None, 1]))
def test_json_3_7_depth_and_values_are_counted_exactly(
    value: object, max_depth: int, max_values: int, indent: int | None
) -> None:
    text = json.dumps(value, indent=indent).encode()
    limits = JSONLimits(max_depth=max_depth, max_values=max_values)
    # No text is shorter than its values: the first, quick look must not hide any.
    if depth(value) <= max_depth and count(value) <= max_values:
        assert decode_json(text, limits) == value
    else:
        with pytest.raises(MessageError, match="limit"):
            decode_json(text, limits)


@given(st.text('"\\[]{},:a', max_size=30), st.integers(1, 3))
def test_json_3_strings_full_of_brackets_do_not_count(text: str, deep: int) -> None:
    value: object = text
    for _ in range(deep):
        value = [value, text]
    limits = JSONLimits(max_depth=deep, max_values=2 * deep + 1)
    assert decode_json(json.dumps(value).encode(), limits) == value


@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_json_3_deep_nesting_is_an_error_without_recursion(pair: str) -> None:
    opener = b"[" if pair == "[]" else b'{"a":'
    end = b"1" if pair == "{}" else b""
    closer = pair[1:].encode()
    decode_json(opener * 128 + end + closer * 128)
    for deep in (129, 1000, 90_000):
        with pytest.raises(MessageError, match="deeper than the limit 128"):
            decode_json(opener * deep + end + closer * deep)


@pytest.mark.parametrize(
    "text", [b"[" * 500_000, b'{"a":' * 100_000, b"[" * 2000 + b"1" * 30]
)
def test_json_3_unclosed_nesting_is_an_error_without_recursion(text: bytes) -> None:
    with pytest.raises(MessageError):
        decode_json(text)


def test_json_3_depth_at_the_highest_setting_is_no_recursion() -> None:
    limits = JSONLimits(max_depth=1024)
    for inner in (b"1", b"1" * 30, b'"\\ud800"'):
        try:
            decode_json(b"[" * 1024 + inner + b"]" * 1024, limits)
        except MessageError as error:
            assert "nested too deeply" in str(error)  # noqa: PT017


def test_json_7_very_many_values_are_refused() -> None:
    many = b"[" + b"0," * 99_998 + b"0]"
    assert len(decode_json(many)) == 99_999
    with pytest.raises(MessageError, match="100001 values, limit 100000"):
        decode_json(b"[" + b"0," * 99_999 + b"0]")
    with pytest.raises(MessageError, match="100001 values, limit 100000"):
        decode_json(b"[" + b"{}," * 99_999 + b"[]]")
    commas = json.dumps(["," * 200_000]).encode()
    assert decode_json(commas) == ["," * 200_000]


def test_json_4_last_of_duplicate_keys_wins() -> None:
    assert decode_json(b'{"a":1,"a":2}') == {"a": 2}
    assert decode_json(b'{"a":1,"a":%s}' % (b"9" * 30)) == {"a": int("9" * 30)}


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"peerId":1,"PEERID":2}',
        b'[{"x":{"Key":1,"kEY":2}}]',
        '{"kelvin":1,"\u212aelvin":2}'.encode(),  # Go takes these two for one, too.
        b'{"\\ud800":1,"\\udfff":2}',
    ],
)
def test_json_5_keys_differing_by_case_are_refused_when_strict(text: bytes) -> None:
    decode_json(text)
    with pytest.raises(MessageError, match="differ by case at most"):
        decode_json(text, strict_keys=True)


@given(VALUES)
def test_json_5_strict_reading_gives_the_same_value_or_refuses(value: object) -> None:
    text = encode_json(value)
    try:
        assert decode_json(text, strict_keys=True) == value
    except MessageError as error:
        assert "differ by case" in str(error)  # noqa: PT017


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\xaf"',
        b"\xef\xbb\xbf1",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[NaN]",
        b"01",
        b"-01",
        b"[1,]",
        b'{"a":1,}',
        b"1 2",
        b"[1}",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"'a'",
        b'"\x01"',
        b'"\\x"',
        b'"\\ud800',
        b"tru",
        b"{1:2}",
        b"[1]x",
        b"\x00",
        b"/**/1",
        b"[" + b"1" * 30 + b",]",
        b"\x0c1",
    ],
)
def test_json_6a_malformed_text_is_refused(text: bytes, strict: bool) -> None:
    with pytest.raises(MessageError, match="malformed json"):
        decode_json(text, strict_keys=strict)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'"\\ud800"', "\ufffd"),
        (b'"a\\uDFFFb"', "a\ufffdb"),
        (b'"\\ud800\\ud800"', "\ufffd\ufffd"),
        (b'"\\ude00\\ud83d"', "\ufffd\ufffd"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'["\\ud800",{"\\udc00":1}]', ["\ufffd", {"\ufffd": 1}]),
        (b'"\\\\ud800"', "\\ud800"),
    ],
)
def test_json_6b_lone_surrogate_is_replaced(text, expected, strict: bool) -> None:
    assert decode_json(text, strict_keys=strict) == expected


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "number",
    [
        2**53 + 1,
        2**63 - 1,
        2**63,
        2**64 - 1,
        2**64,
        2**64 + 1,
        10**19 - 1,
        10**20 - 1,
        -(2**63),
        -(2**63) - 1,
        -(10**19) + 1,
        10**399,
        -(10**399),
    ],
)
def test_json_6b_huge_integer_is_exact(number: int, strict: bool) -> None:
    for text in (b"%d", b"[%d]", b'{"a":%d}', b"[1,%d]", b" %d", b"[1,\n%d]"):
        value = decode_json(text % number, strict_keys=strict)
        while not isinstance(value, int):
            value = list(value.values() if isinstance(value, dict) else value)[-1]
        assert value == number
    assert decode_json(encode_json([number])) == [number]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        b"1e309",
        b"-1e309",
        b"[1E+400]",
        b"1" + b"0" * 300 + b"e9",
        b"1" + b"0" * 300 + b"e99",
        b"1" + b"0" * 320 + b".5",
        b"1e99999999999999999999",
        b"9" * 401,
        b"0." + b"1" * 400,
        b"1e" + b"0" * 400 + b"1",
        b"1e-" + b"0" * 400 + b"1",
    ],
)
def test_json_6b_number_nothing_can_hold_is_refused(text: bytes, strict: bool) -> None:
    with pytest.raises(MessageError):
        decode_json(text, strict_keys=strict)


def test_json_6b_digits_are_told_with_the_limit() -> None:
    with pytest.raises(MessageError, match="number of 401 digits, limit 400"):
        decode_json(b"-" + b"9" * 401)


def test_json_6b_no_number_is_ever_infinite() -> None:
    rng = random.Random(6)
    for _ in range(3000):
        digits = rng.choices("123456789", k=rng.choice([1, 18, 19, 20, 300, 310]))
        text = "".join(digits)
        text += rng.choice(["", ".5", "." + "7" * rng.choice([17, 39, 41])])
        text += rng.choice(["", "e5", "e99", "E+290", "e308", "e-320", "e0010"])
        try:
            value = decode_json(f"[{text}]".encode())[0]
        except MessageError:
            continue
        assert isinstance(value, int) or math.isfinite(value)
        assert value == json.loads(text)


def test_json_2_text_over_the_frame_limit_is_refused() -> None:
    with pytest.raises(MessageError, match="text of 11 bytes, limit 10"):
        decode_json(b'"aaaaaaaaa"', JSONLimits(max_frame=10))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), b"null"),
        ([float("inf"), 2**70], b"[null,1180591620717411303424]"),
        ("\ud800é", '"\ufffdé"'.encode()),
        ({"\udc00": "\ud83d"}, '{"\ufffd":"\ufffd"}'.encode()),
        ((1, 2), b"[1,2]"),
        ((1, 2**64), b"[1,18446744073709551616]"),
    ],
)
def test_encoding_takes_what_has_a_text(value: object, text: bytes) -> None:
    assert encode_json(value) == text


def test_encoding_refuses_what_has_none() -> None:
    loop: list[object] = []
    loop.append(loop)
    for value in ({1: 2}, {1: 2**70}, object(), b"bytes", {1, 2}, loop, [2**70, {3}]):
        with pytest.raises(MessageError, match="no json text"):
            encode_json(value)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_text_or_refused(data: bytes) -> None:
    try:
        value = decode_json(data)
    except MessageError:
        return
    assert value == json.loads(data) or "\\u" in data.decode()
