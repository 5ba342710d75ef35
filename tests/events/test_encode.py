from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType

import pytest

from praxis_fast.events.encode import encode


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        ({1: "x"}, '{"1":"x"}'),
        ({"b", "a"}, '["a","b"]'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00+00:00"'),
        ({"a": {2: frozenset({"x"})}}, '{"a":{"2":["x"]}}'),
        (float("nan"), "null"),
        ({"a": 2**70}, '{"a":1180591620717411303424}'),
        ({"a": "\ud800"}, '{"a":"\ufffd"}'),
    ],
)
def test_encode_gives_json(value: object, text: str) -> None:
    assert encode(value).decode() == text


@pytest.mark.parametrize("value", [object(), b"x", {"a": object()}])
def test_encode_refuses_what_has_no_json_form(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)
