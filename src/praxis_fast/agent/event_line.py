"""An event message as one line for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_VALUE = 100

# What tells most, in this order; the rest of a payload is for programs.
_KEYS = (
    "name",
    "peer_id",
    "direction",
    "tool_name",
    "arguments",
    "status",
    "result",
    "error",
    "tools_count",
    "reason",
    "message",
    "content",
    "listen_addresses",
    "addresses",
)


def event_line(message: Mapping[str, Any]) -> str:
    """Time, type, and the payload's main values."""
    stamp = str(message.get("timestamp") or "")
    clock = stamp[11:23] or "-" * 12
    payload = message.get("payload")
    told = describe(payload) if isinstance(payload, dict) else ""
    return f"{clock}  {message.get('type', '?'):<24} {told}".rstrip()


def describe(payload: Mapping[str, Any]) -> str:
    """The payload's main values, one line, control characters shown as such."""
    values = {key: payload[key] for key in _KEYS if payload.get(key) not in (None, "")}
    card = payload.get("card") or payload.get("agent_card")
    if isinstance(card, dict) and card.get("name"):
        values = {"name": card["name"], **values}
    if "addresses" in values and isinstance(values["addresses"], list):
        values["addresses"] = values["addresses"][:1]
    return "  ".join(f"{key}={_short(value)}" for key, value in values.items() if value)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:MAX_VALUE])
    return text if len(str(value)) <= MAX_VALUE else f"{text}…"
