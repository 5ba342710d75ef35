"""JSON texts of strangers: decoded strictly, within limits (JSON-3 to JSON-7).

RFC 8259 without its leeway: UTF-8 only, no byte order mark, no NaN, no leading zero, no
trailing comma. Integers are exact, floats finite; a lone surrogate escape becomes
U+FFFD; of duplicate keys the last wins, unless keys are strict.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import orjson

from praxis_fast.errors import MessageError
from praxis_fast.limits import JSONLimits

# Escapes in reading order: a surrogate pair, a lone surrogate, any other escape.
_ESCAPE = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",
    re.DOTALL,
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def decode_json(
    text: bytes, limits: JSONLimits | None = None, *, strict_keys: bool = False
) -> Any:
    """The value of one text; MessageError when it is not one or over a limit.

    With `strict_keys`, an object with a key twice, or with keys that differ only in
    case, is refused (JSON-5).
    """
    limits = limits or JSONLimits()
    if len(text) > limits.max_frame:
        raise MessageError(f"text of {len(text)} bytes, limit {limits.max_frame}")
    _check_depth(text, limits.max_depth)
    _check_digits(text, limits.max_digits)
    if _SURROGATE.search(text):
        text = _ESCAPE.sub(_mend_surrogate, text)
    value = _decode(text)
    _check_values(text, value, limits.max_values)
    if strict_keys:
        json.loads(text, object_pairs_hook=_check_keys)
    return value


def encode_json(value: Any) -> bytes:
    """One compact text; MessageError for what JSON cannot say."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        # orjson knows no integers beyond 64 bits, msgspec does.
        try:
            return msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError):
            raise MessageError(f"cannot be said in JSON: {error}") from error


def _decode(text: bytes) -> Any:
    try:
        # msgspec and not orjson: it keeps integers beyond 64 bits exact.
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        # Their texts may quote the input; the first line is enough.
        raise MessageError(f"not JSON: {str(error)[:200]}") from error


def _mend_surrogate(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match.group(2) else match.group()


def _check_depth(text: bytes, limit: int) -> None:
    """Count exactly only where the number of openers allows it to go wrong."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        if depth > limit:
            raise MessageError(f"nested deeper than {limit}")


def _check_digits(text: bytes, limit: int) -> None:
    if len(text) <= limit:
        return
    if re.search(rb"[0-9]{%d}" % (limit + 1), _STRING.sub(b"", text)):
        raise MessageError(f"number of more than {limit} digits")


def _check_values(text: bytes, value: Any, limit: int) -> None:
    """Count exactly only where the number of commas and openers asks for it."""
    if text.count(b",") + text.count(b"[") + text.count(b"{") < limit:
        return
    count = 0
    pending = [value]
    while pending:
        item = pending.pop()
        count += 1
        if count > limit:
            raise MessageError(f"more than {limit} values in one text")
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        folded = key.casefold()
        if folded in seen:
            raise MessageError(f"key {key[:64]!r} twice in one object")
        seen.add(folded)
