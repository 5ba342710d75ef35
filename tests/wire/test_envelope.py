"""Tool messages: both SDKs' shapes in, one superset out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import MessageError
from praxis_fast.wire.envelope import (
    INTERNAL_ERROR,
    MAX_NAME,
    METHOD_NOT_FOUND,
    ToolReply,
    ToolRequest,
)
from praxis_fast.wire.json_text import decode_json, encode_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner)
    ),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text("abc", min_size=1, max_size=4), JSON, max_size=3)


def over_the_wire(message: dict[str, Any]) -> Any:
    return decode_json(encode_json(message), strict_keys=False)


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), ARGUMENTS)
def test_request_comes_back(id_: str, name: str, arguments: dict[str, Any]) -> None:
    request = ToolRequest(id_, name, arguments, 1_760_000_000)
    assert ToolRequest.from_message(request.to_message()) == request


def test_our_request_serves_both_sdks() -> None:
    # What serves both Praxis SDKs, "Superset request".
    assert ToolRequest("1", "echo", {}, 1_760_000_000).to_message() == {
        "id": "1",
        "name": "echo",
        "tool": "echo",
        "arguments": {},
        "timestamp": 1_760_000_000,
    }


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"id": "7", "name": "echo", "arguments": {"a": 1}, "timestamp": 5},
            ToolRequest("7", "echo", {"a": 1}, 5),
        ),
        ({"tool": "echo", "arguments": {"a": 1}}, ToolRequest("", "echo", {"a": 1})),
        ({"name": "echo"}, ToolRequest("", "echo")),
        ({"name": "echo", "arguments": None, "id": None}, ToolRequest("", "echo")),
        ({"name": None, "tool": "echo", "id": 7}, ToolRequest("7", "echo")),
        ({"name": "echo", "timestamp": 1.9}, ToolRequest("", "echo", {}, 1)),
        ({"name": "echo", "timestamp": "now"}, ToolRequest("", "echo")),
        ({"name": "echo", "timestamp": True}, ToolRequest("", "echo")),
        ({"name": "echo", "timestamp": float("inf")}, ToolRequest("", "echo")),
        ({"name": "echo", "timestamp": float("nan")}, ToolRequest("", "echo")),
        ({"name": "echo", "timestamp": 10**400}, ToolRequest("", "echo")),
    ],
)
def test_request_of_either_sdk_is_read(message, expected: ToolRequest) -> None:
    assert ToolRequest.from_message(message) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # The Go planner's payload: args, params and secrets, absent ones null.
        ({"args": {"a": 1}, "params": None, "secrets": None}, {"a": 1}),
        (
            {"args": {"a": 1}, "params": {"a": 2, "b": 3}, "secrets": {"k": "s"}},
            {"a": 1, "b": 3},
        ),
        ({"args": None, "params": {"b": 3}, "secrets": {}}, {"b": 3}),
        ({"args": {"a": 1}, "params": {}}, {"a": 1}),
        # Anything else may be what the tool itself calls its parameters.
        ({"args": {"a": 1}}, {"args": {"a": 1}}),
        ({"args": [1], "params": {}}, {"args": [1], "params": {}}),
        ({"args": {}, "params": {}, "x": 1}, {"args": {}, "params": {}, "x": 1}),
    ],
)
def test_wrapped_arguments_are_unwrapped(arguments, expected) -> None:
    request = ToolRequest.from_message({"name": "t", "arguments": arguments})
    assert request.arguments == expected


def test_arguments_of_our_own_requests_are_never_unwrapped() -> None:
    request = ToolRequest("1", "run", {"args": {"a": 1}, "params": {"b": 2}})
    assert ToolRequest.from_message(request.to_message()) == request


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (None, "not an object"),
        ([], "not an object"),
        ({}, "without a name"),
        ({"name": ""}, "without a name"),
        ({"name": 1}, "without a name"),
        ({"name": ["echo"], "tool": "echo"}, "without a name"),
        ({"name": "echo", "tool": "other"}, "two names"),
        ({"name": "n" * (MAX_NAME + 1)}, "257 characters, limit 256"),
        ({"name": "echo", "arguments": []}, "arguments .* not an object"),
        ({"name": "echo", "arguments": "x"}, "arguments .* not an object"),
        ({"name": "echo", "id": {}}, "id is not"),
        ({"name": "echo", "id": "i" * 257}, "at most 256"),
        ({"name": "echo", "id": 10**300}, "at most 256"),
    ],
)
def test_malformed_request_is_refused(message: Any, match: str) -> None:
    with pytest.raises(MessageError, match=match):
        ToolRequest.from_message(message)


@given(st.text(max_size=20), JSON)
def test_reply_comes_back_with_the_same_value(id_: str, value: Any) -> None:
    reply = ToolReply(id_, result=value)
    assert ToolReply.from_message(over_the_wire(reply.to_message())) == reply


def test_our_reply_serves_both_sdks() -> None:
    message = ToolReply("1", result={"sum": 3}).to_message()
    assert message["success"] is True
    assert message["result"]["isError"] is False
    assert message["result"]["content"] == [{"type": "text", "text": '{"sum":3}'}]
    assert ToolReply("1", result="hi").to_message()["result"]["content"] == [
        {"type": "text", "text": "hi"}
    ]


def test_our_failure_serves_both_sdks() -> None:
    error = {"code": -32602, "message": "no such thing"}
    message = ToolReply("1", error=error).to_message()
    assert message == {
        "id": "1",
        "success": False,
        "error": error,
        "result": {
            "content": [{"type": "text", "text": "no such thing"}],
            "isError": True,
        },
    }
    assert ToolReply.from_message(over_the_wire(message)) == ToolReply("1", error=error)


def content(*texts: str, is_error: bool = False) -> dict[str, Any]:
    parts = [{"type": "text", "text": text} for text in texts]
    return {"content": parts, "isError": is_error}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"id": "1", "result": content("hi")}, "hi"),
        ({"id": "1", "result": content("a", "b")}, "a\nb"),
        ({"id": "1", "result": {"status": "analyzed"}}, {"status": "analyzed"}),
        ({"id": "1", "result": None}, None),
        ({"id": "1", "result": [1]}, [1]),
        ({"id": "1", "error": None, "result": 0}, 0),
        ({"success": True, "result": {"success": True, "tool": "t", "result": 5}}, 5),
        ({"success": True, "result": {"any": "thing"}}, {"any": "thing"}),
        ({"success": True, "result": {"content": [{"type": "image"}]}}, ""),
    ],
)  # fmt: skip
def test_success_of_either_sdk_is_read(message, expected) -> None:
    reply = ToolReply.from_message(message)
    assert reply.error is None
    assert reply.result == expected


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ({"result": {"status": "error", "error": "bad"}}, INTERNAL_ERROR, "bad"),
        (
            {"result": {"status": "unknown_tool", "error": "Tool x not found"}},
            METHOD_NOT_FOUND,
            "Tool x not found",
        ),
        ({"result": content("oops", is_error=True)}, INTERNAL_ERROR, "oops"),
        ({"result": {"isError": True}}, INTERNAL_ERROR, "the tool failed"),
        ({"error": {"code": -32000, "message": "m"}}, -32000, "m"),
        ({"error": {"code": "x", "message": "m"}}, INTERNAL_ERROR, "m"),
        ({"error": {"code": True}}, INTERNAL_ERROR, "the tool failed"),
        ({"error": "text", "success": False}, INTERNAL_ERROR, "text"),
        ({"success": False}, INTERNAL_ERROR, "the tool failed"),
        (
            {"success": True, "result": {"success": False, "error": "inner"}},
            INTERNAL_ERROR,
            "inner",
        ),
    ],
)
def test_failure_of_either_sdk_is_read(message, code: int, text: str) -> None:
    reply = ToolReply.from_message({"id": "9"} | message)
    assert reply == ToolReply("9", error={"code": code, "message": text})


@pytest.mark.parametrize("message", [None, [], "x", {}, {"id": "1"}, {"success": True}])
def test_reply_that_says_nothing_is_refused(message: Any) -> None:
    with pytest.raises(MessageError):
        ToolReply.from_message(message)


@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "name", "tool", "arguments", "result", "error", "success"]
        ),
        JSON,
    )
)
def test_any_object_is_a_message_or_refused(message: dict[str, Any]) -> None:
    for kind in (ToolRequest, ToolReply):
        try:
            known = kind.from_message(message)
        except MessageError:
            continue
        assert kind.from_message(over_the_wire(known.to_message())) == known
