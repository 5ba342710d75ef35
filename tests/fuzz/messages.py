"""JSON texts and what is made of them: cards, tool requests and replies."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from praxis_fast.errors import MessageError
from praxis_fast.limits import JSONLimits
from praxis_fast.wire.card import Card, ToolParameter, ToolSpec
from praxis_fast.wire.envelope import ToolReply, ToolRequest
from praxis_fast.wire.json_text import decode_json, encode_json
from tests.fuzz.identity import PEERS
from tests.fuzz.target import ParserTarget, Target, attempt

NOW = 1_700_000_000.0
TIGHT = JSONLimits(max_depth=6, max_values=40, max_digits=25)
WORDS = (
    *(b'"', b"\\", b"\\u", b"\\ud800", b"\\udc00", b"{", b"}", b"[", b"]", b",", b":"),
    *(b"null", b"true", b"false", b"NaN", b"-", b"0", b"1e999", b"1E-5", b".5", b"{}"),
    *(
        b"9" * 30,
        b"-0.0",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\xff",
        b" ",
        b"\n",
        b"[]",
    ),
    *(
        b'"a":',
        b'"A":',
        b"[[[[[[[",
        b"]]]]]]]",
        b"9007199254740993",
        b"1" * 19,
        b"\x00",
    ),
)


class JSONText(ParserTarget):
    """JSON texts, against the standard library and there and back."""

    name = "json-text"
    tokens = WORDS

    def seeds(self) -> Sequence[bytes]:
        values = [
            {"a": [1, -2.5, 1e300, True, None], "b": {"c": "t\u00e9xt \U0001f600"}},
            [[[["deep"]]], {"A": {"a": 1}}, 2**63, -(2**63), 2**64, 10**40],
            ["\ud800", '\x00\x1f"\\/\b', "", {}],
        ]
        return [json.dumps(value).encode() for value in values] + [
            json.dumps(value, ensure_ascii=False).encode() for value in values[:2]
        ]

    def check(self, data: bytes) -> None:
        value = attempt(MessageError, decode_json, data)
        check_library(data, value)
        if not isinstance(value, MessageError):
            assert decode_json(encode_json(value)) == value
            strict = attempt(MessageError, lambda: decode_json(data, strict_keys=True))
            assert isinstance(strict, MessageError) or strict == value
        tight = attempt(MessageError, decode_json, data, TIGHT)
        assert isinstance(tight, MessageError) or tight == value


def check_library(data: bytes, value: Any) -> None:
    """What the library refuses is refused; what both take is equal."""
    try:
        expected = json.loads(data.decode(), parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        assert isinstance(value, MessageError), f"{value!r} for what is no json"
        return
    if isinstance(value, MessageError):
        assert not str(value).startswith("malformed"), f"{value} for {expected!r}"
    elif b"\\u" not in data:
        assert value == expected
        assert all(map(math.isfinite, floats(value)))


def refuse(name: str) -> Any:
    raise ValueError(name)


def finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else refuse(digits)


def floats(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in floats(item)]
    return [value] if isinstance(value, float) else []


class CardMessage(ParserTarget):
    """Cards as JSON texts; what was read says the same when it is sent on."""

    name = "card"
    tokens = (
        *WORDS,
        *(
            b'"peerId":',
            b'"tools":',
            b'"parameters":',
            b'"required":',
            b'"inputSchema":',
        ),
        *(b'"capabilities":{"x":true}', b'"timestamp":', b'"name":""', b"\\u0085"),
    )

    def seeds(self) -> Sequence[bytes]:
        tools = (
            ToolSpec("add", "adds", (ToolParameter("a", "number", "first", True),)),
            ToolSpec("echo", input_schema={"type": "object", "properties": {}}),
        )
        card = Card("ann", "1.0", PEERS[1], ("mcp",), tools, int(NOW), "text\nmore")
        other = {"name": "bob", "tools": [{"name": "x", "parameters": {"a": {}}}]}
        messages = [card.to_message(), other, {**other, "capabilities": {"s": True}}]
        return [json.dumps(message).encode() for message in messages]

    def check(self, data: bytes) -> None:
        card = attempt(MessageError, read_card, data)
        if isinstance(card, Card):
            assert card.peer_id == PEERS[1]
            assert read_card(encode_json(card.to_message())) == card


def read_card(text: bytes) -> Card:
    message = decode_json(text, strict_keys=True)
    return Card.from_message(message, peer_id=PEERS[1], now=NOW)


class Envelope(ParserTarget):
    """Tool requests and replies as JSON texts."""

    name = "envelope"
    tokens = (
        *WORDS,
        *(b'"id":', b'"tool":', b'"arguments":', b'"args":{},"params":{}', b'"error":'),
        *(
            b'"result":',
            b'"content":',
            b'"isError":true',
            b'"success":false',
            b'"code":',
        ),
        *(b'"status":"error"', b'"structuredContent":', b'"message":', b'"text":'),
    )

    def seeds(self) -> Sequence[bytes]:
        messages = [
            ToolRequest("1", "add", {"a": 1, "b": [2]}, int(NOW)).to_message(),
            {"name": "add", "arguments": {"args": {}, "params": {"a": 1}}},
            ToolReply("1", {"sum": 3}).to_message(),
            ToolReply("2", None, {"code": -32601, "message": "no"}).to_message(),
            {"id": 4, "result": {"status": "error", "error": "bad"}},
            {"id": 5, "error": "text", "success": False},
        ]
        return [json.dumps(message).encode() for message in messages]

    def check(self, data: bytes) -> None:
        message = attempt(MessageError, decode_json, data)
        if isinstance(message, MessageError):
            return
        request = attempt(MessageError, ToolRequest.from_message, message)
        if isinstance(request, ToolRequest):
            again = decode_json(encode_json(request.to_message()))
            assert ToolRequest.from_message(again) == request
        reply = attempt(MessageError, ToolReply.from_message, message)
        if isinstance(reply, ToolReply):
            again = decode_json(encode_json(reply.to_message()))
            assert (ToolReply.from_message(again).error is None) == (
                reply.error is None
            )


MESSAGES: tuple[type[Target], ...] = (JSONText, CardMessage, Envelope)
