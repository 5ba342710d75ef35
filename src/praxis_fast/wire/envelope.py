"""The messages of `/praxis/tool/1.0.0`: one request and one reply for each stream.

Both are supersets that either Praxis SDK understands, and either SDK's own shapes are
understood here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from praxis_fast.errors import MessageError
from praxis_fast.wire.json_text import encode_json

# JSON-RPC 2.0 §5.1, which the SDKs' error objects follow.
METHOD_NOT_FOUND: Final = -32601
INTERNAL_ERROR: Final = -32603

MAX_ID: Final = 256
MAX_NAME: Final = 256


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A call of one tool."""

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    timestamp: int = 0
    """Unix seconds."""

    def to_message(self) -> dict[str, Any]:
        """Go reads `name`, Python `tool`; `id` is a text and `timestamp` an integer."""
        return {
            "id": self.id,
            "name": self.name,
            "tool": self.name,
            "arguments": self.arguments,
            "timestamp": self.timestamp,
        }

    @classmethod
    def from_message(cls, message: Any) -> ToolRequest:
        """A request of either SDK; MessageError when it is none."""
        if not isinstance(message, dict):
            raise MessageError("tool request is not an object")
        name = _name(message)
        arguments = message.get("arguments")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise MessageError("arguments of a tool request are not an object")
        return cls(
            id=_id(message),
            name=name,
            # Only Go's planner wraps, and Go says `name` alone.
            arguments=arguments if "tool" in message else _unwrap(arguments),
            timestamp=_timestamp(message),
        )


@dataclass(frozen=True, slots=True)
class ToolReply:
    """What a tool answered, or `error` with `code` and `message`."""

    id: str
    result: Any = None
    error: dict[str, Any] | None = None

    def to_message(self) -> dict[str, Any]:
        """Go wants content parts and an error object, Python the key `success`."""
        if self.error is not None:
            text = str(self.error.get("message", ""))
            return {
                "id": self.id,
                "success": False,
                "error": self.error,
                # The Go SDK shows its caller nothing but the result.
                "result": {
                    "content": [{"type": "text", "text": text}],
                    "isError": True,
                },
            }
        return {
            "id": self.id,
            "success": True,
            "result": {
                "content": [{"type": "text", "text": _as_text(self.result)}],
                # MCP's key for a typed result, which is an object.
                "structuredContent": {"result": self.result},
                "isError": False,
            },
        }

    @classmethod
    def from_message(cls, message: Any) -> ToolReply:
        """A reply of either SDK; MessageError when it is none."""
        if not isinstance(message, dict):
            raise MessageError("tool reply is not an object")
        error = message.get("error")
        result = message.get("result")
        if error is None and message.get("success") is False:
            error = "the tool failed"
        if error is None:
            error = _hidden_error(result)
        if error is not None:
            return cls(id=_id(message), error=_as_error(error))
        if "result" not in message:
            raise MessageError("tool reply with neither result nor error")
        return cls(id=_id(message), result=_value(result))


def _name(message: dict[str, Any]) -> str:
    """The tool's name: `name` in Go, `tool` in Python, the same where both stand."""
    told = [message[key] for key in ("name", "tool") if message.get(key) is not None]
    if not told or not all(isinstance(name, str) and name for name in told):
        raise MessageError("tool request without a name")
    if told[0] != told[-1]:
        raise MessageError("tool request with two names")
    name: str = told[0]
    if len(name) > MAX_NAME:
        raise MessageError(f"tool name of {len(name)} characters, limit {MAX_NAME}")
    return name


def _timestamp(message: dict[str, Any]) -> int:
    """Whole seconds, 0 for what is no time; nothing here depends on it."""
    told = message.get("timestamp")
    if isinstance(told, bool) or not isinstance(told, (int, float)):
        return 0
    return int(told) if 0 <= told < 2**63 else 0


def _id(message: dict[str, Any]) -> str:
    """Any id as text: Go sends text, others integers or none."""
    told = message.get("id")
    text = "" if told is None else str(told)
    if isinstance(told, (dict, list)) or len(text) > MAX_ID:
        raise MessageError(f"id is not a text or number of at most {MAX_ID} characters")
    return text


def _unwrap(arguments: dict[str, Any]) -> dict[str, Any]:
    """Go's planner wraps arguments in args, params and secrets."""
    if not {"args", "params"} <= arguments.keys() <= {"args", "params", "secrets"}:
        return arguments
    parts = [arguments[key] or {} for key in ("params", "args")]
    if not all(isinstance(part, dict) for part in parts):
        return arguments
    return {**parts[0], **parts[1]}


def _hidden_error(result: Any) -> Any:
    """An error that stands inside the result, as both SDKs put it."""
    if not isinstance(result, dict):
        return None
    if result.get("isError") is True:
        return _text_of(result) or "the tool failed"
    if result.get("status") == "unknown_tool":
        return {"code": METHOD_NOT_FOUND, "message": str(result.get("error"))}
    if result.get("status") == "error" or result.get("success") is False:
        return result.get("error") or "the tool failed"
    return None


def _as_error(error: Any) -> dict[str, Any]:
    """Go's object and Python's text as one shape."""
    if not isinstance(error, dict):
        return {"code": INTERNAL_ERROR, "message": str(error)}
    code = error.get("code")
    is_code = isinstance(code, int) and not isinstance(code, bool)
    return {
        "code": code if is_code else INTERNAL_ERROR,
        "message": str(error.get("message", "the tool failed")),
    }


def _value(result: Any) -> Any:
    """The tool's own value out of whichever shape carries it."""
    if not isinstance(result, dict):
        return result
    structured = result.get("structuredContent")
    if isinstance(structured, dict) and structured.keys() == {"result"}:
        return structured["result"]
    if isinstance(result.get("content"), list):
        return _text_of(result)
    if result.get("success") is True and "result" in result:
        return result["result"]
    return result


def _text_of(result: dict[str, Any]) -> str:
    """The text parts of an MCP result, one after another."""
    parts = result.get("content")
    if not isinstance(parts, list):
        return ""
    return "\n".join(
        part["text"]
        for part in parts
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else encode_json(value).decode()
