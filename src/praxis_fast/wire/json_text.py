"""One JSON text between bytes and Python values, under the limits of JSON-3..7.

orjson does the work. It is right for all but a few texts; those are found by cheap
looks at the raw bytes and decoded by the standard library instead:

- long numbers: orjson rounds integers beyond 64 bits; here they are exact, and what
  fits neither an integer nor a float is refused;
- lone surrogates (`"\\ud800"`): orjson refuses them; here they become U+FFFD;
- strict keys: only the standard library hands over each pair.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

import orjson

from praxis_fast.errors import MessageError
from praxis_fast.limits import JSONLimits

# A number orjson may round or that may be over the limit on digits: 19 digits where an
# integer may stand, 40 behind a point, 4 in an exponent. It may also match inside a
# string, which only costs time. Asked only of a text that has 19 digits in a row.
_LONG_NUMBER: Final = re.compile(
    rb"(?:\A|[\[:,\s])-?"
    rb"(?:[0-9]{19}|[0-9]++(?:\.[0-9]*+)?(?:(?<=[0-9]{40})|[eE][+-]?[0-9]{4}))"
)
_DIGITS_TO_ZERO: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_RUN: Final = b"0" * 19
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE: Final = re.compile("[\ud800-\udfff]")

_BLANK: Final = b" \t\r\n"
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_BRACES_TO_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")


def decode_json(
    text: bytes | bytearray | memoryview,
    limits: JSONLimits | None = None,
    *,
    strict_keys: bool = False,
) -> Any:
    """The value of one JSON text; MessageError when it is malformed or over a limit.

    `strict_keys` refuses objects whose keys repeat or differ by case only.
    """
    limits = limits or JSONLimits()
    text = bytes(text)
    if len(text) > limits.max_frame:
        raise MessageError(f"text of {len(text)} bytes, limit {limits.max_frame}")
    _check_structure(text, limits)
    if strict_keys or _has_long_number(text):
        return _decode_slowly(text, limits, strict_keys=strict_keys)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if _SURROGATE.search(text):
            return _decode_slowly(text, limits, strict_keys=strict_keys)
        raise MessageError(f"malformed json: {error.msg}") from error


def encode_json(value: Any) -> bytes:
    """The compact JSON text of a value; MessageError when it has none.

    NaN and infinities become null, lone surrogates U+FFFD; integers stay exact.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        return _encode_slowly(value, error)


def _has_long_number(text: bytes) -> bool:
    # The first look takes a fraction of what the pattern does.
    return (
        _LONG_RUN in text.translate(_DIGITS_TO_ZERO)
        and _LONG_NUMBER.search(text) is not None
    )


def _check_structure(text: bytes, limits: JSONLimits) -> None:
    """Depth and number of values, before anything is built.

    Counting brackets and commas as they stand is enough for most texts; only one that
    might be over a limit has its strings taken out and is counted exactly.
    """
    openers = text.count(b"[") + text.count(b"{")
    may_be_many = (
        len(text) > limits.max_values
        and openers + text.count(b",") >= limits.max_values
    )
    if openers <= limits.max_depth and not may_be_many:
        return
    outline = _without_strings(text)
    if may_be_many:
        _check_values(outline.translate(None, _BLANK), limits.max_values)
    _check_depth(
        outline.translate(_BRACES_TO_BRACKETS, _ALL_BUT_BRACKETS), limits.max_depth
    )


def _without_strings(text: bytes) -> bytes:
    """The text with a 0 for each string; what is no JSON may come out wrong."""
    if b"\\" in text:
        # In this order: an odd number of backslashes escapes the quote behind them.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"0".join(text.split(b'"')[::2])


def _check_values(outline: bytes, limit: int) -> None:
    """Each comma parts two values, each container with something in it has one more."""
    openers = outline.count(b"[") + outline.count(b"{")
    empty = outline.count(b"[]") + outline.count(b"{}")
    values = 1 + outline.count(b",") + openers - empty
    if values > limit:
        raise MessageError(f"text of {values} values, limit {limit}")


def _check_depth(brackets: bytes, limit: int) -> None:
    """Take the innermost pairs away as often as the limit allows."""
    for _ in range(limit):
        size = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        if len(brackets) == size:
            return
    if b"[]" in brackets:
        raise MessageError(f"json nested deeper than the limit {limit}")


def _decode_slowly(text: bytes, limits: JSONLimits, *, strict_keys: bool) -> Any:
    try:
        decoder = json.JSONDecoder(
            parse_int=lambda digits: _integer(digits, limits.max_digits),
            parse_float=lambda digits: _float(digits, limits.max_digits),
            parse_constant=_refuse_constant,
            object_pairs_hook=_strict_object if strict_keys else None,
        )
        value = decoder.decode(text.decode())
        return _without_surrogates(value) if _SURROGATE.search(text) else value
    except UnicodeDecodeError as error:
        raise MessageError(f"malformed json: bad UTF-8, byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise MessageError(f"malformed json: {error.msg}, at {error.pos}") from error
    except RecursionError as error:
        raise MessageError("json nested too deeply") from error


def _integer(digits: str, limit: int) -> int:
    _check_digits(digits, limit)
    return int(digits)


def _float(digits: str, limit: int) -> float:
    _check_digits(digits, limit)
    number = float(digits)
    if math.isinf(number):
        raise MessageError(f"number {digits[:40]} is beyond a 64-bit float")
    return number


def _check_digits(number: str, limit: int) -> None:
    digits = sum(map(str.isdigit, number))
    if digits > limit:
        raise MessageError(f"number of {digits} digits, limit {limit}")


def _refuse_constant(name: str) -> NoReturn:
    raise MessageError(f"malformed json: {name} is not a number")


def _strict_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, str] = {}
    for key, _ in pairs:
        folded = _mended(key).casefold()
        if folded in found:
            raise MessageError(
                f"keys {found[folded][:64]!r} and {key[:64]!r} differ by case at most"
            )
        found[folded] = key
    return dict(pairs)


def _without_surrogates(value: Any) -> Any:
    """The value with U+FFFD for each lone surrogate, keys included."""
    if isinstance(value, str):
        return _mended(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _mended(text: str) -> str:
    return _LONE.sub("\ufffd", text)


def _encode_slowly(value: Any, reason: Exception) -> bytes:
    """For what orjson refuses: integers beyond 64 bits and lone surrogates."""
    try:
        text = json.dumps(
            _plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(f"value has no json text: {reason}") from error
    return _mended(text).encode()


def _plain(value: Any) -> Any:
    """The value as the standard library can write it the way orjson would."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a key is not a string")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
