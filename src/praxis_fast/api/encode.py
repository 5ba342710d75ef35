"""JSON as this layer sends it: orjson, plus the few types users put into events."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """The value as UTF-8 JSON; raises TypeError for what has no JSON form."""
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        # Keys that are no text are rare and make every encoding slower, so only now.
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, Set):
        return sorted(value, key=str)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
