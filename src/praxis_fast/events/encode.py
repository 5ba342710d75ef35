"""JSON as streams and files hold it: orjson, plus the few types users have."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import orjson

from praxis_fast.errors import MessageError
from praxis_fast.wire.json_text import encode_json


def encode(value: Any) -> bytes:
    """The value as UTF-8 JSON; raises TypeError for what has no JSON form."""
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        return _encode_rare(value)


def _encode_rare(value: Any) -> bytes:
    """What makes every encoding slower: keys that are no text, integers beyond 64 bits
    and lone surrogates (peers may send both)."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        try:
            return encode_json(value)
        except MessageError:
            raise error from None


def _plain(value: Any) -> Any:
    if isinstance(value, Set):
        return sorted(value, key=str)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
