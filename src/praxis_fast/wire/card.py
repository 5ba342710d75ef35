"""The card of `/praxis/card/1.0.0`: who an agent is and which tools it has.

One shape serves both Praxis SDKs: every key in the style of each (`peerId` of Go,
`peer_id` of Python), types as Go's strict decoder wants them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from praxis_fast.errors import AddressError, MessageError
from praxis_fast.limits import CardLimits
from praxis_fast.wire.peer_id import PeerID

# A JSON Schema of a tool counts towards the card's size, not towards this.
MAX_PARAMETERS: Final = 128
MAX_CAPABILITIES: Final = 256

# Unix seconds far beyond any clock, and exact in a float.
MAX_TIMESTAMP: Final = 2**53

# Everything a text is shown with may stumble over; line ends and tabs are none of it.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class ToolParameter:
    """One parameter, as much as a card without JSON Schema tells."""

    name: str
    type: str = "string"
    """string, boolean, number, integer, object or array."""
    description: str = ""
    required: bool = False

    def to_message(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "description": self.description,
            "required": self.required,
        }


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool that peers may call."""

    name: str
    description: str = ""
    parameters: tuple[ToolParameter, ...] = ()
    input_schema: dict[str, Any] | None = None
    """JSON Schema of the arguments, where the agent tells one."""

    def to_message(self) -> dict[str, Any]:
        message: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "parameters": [parameter.to_message() for parameter in self.parameters],
        }
        if self.input_schema is not None:
            message["inputSchema"] = self.input_schema
        return message


@dataclass(frozen=True, slots=True)
class Card:
    """An agent's card; `timestamp` is in unix seconds."""

    name: str
    version: str
    peer_id: PeerID
    capabilities: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    timestamp: int = 0
    description: str = ""

    def to_message(self) -> dict[str, Any]:
        """The card as it is sent."""
        return {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "peerId": self.peer_id,
            "peer_id": self.peer_id,
            "capabilities": list(self.capabilities),
            "tools": [tool.to_message() for tool in self.tools],
            "timestamp": self.timestamp,
        }

    @classmethod
    def from_message(
        cls,
        message: Any,
        *,
        peer_id: PeerID,
        now: float,
        limits: CardLimits | None = None,
    ) -> Card:
        """A peer's card; MessageError for a wrong shape, limit or owner (CARD-1..3).

        `peer_id` is the id the connection has proven, `now` unix seconds.
        """
        limits = limits or CardLimits()
        if not isinstance(message, dict):
            raise MessageError(f"card is {_kind(message)}, not an object")
        _check_owner(message, peer_id)
        reader = _Reader(limits)
        return cls(
            name=reader.name(message, "name", "card"),
            version=reader.text(message, "version", limits.max_name),
            peer_id=peer_id,
            capabilities=_capabilities(message, reader),
            tools=reader.tools(message),
            timestamp=_timestamp(message, now, limits),
            description=reader.text(message, "description", limits.max_description),
        )

    def is_skewed(self, now: float, limits: CardLimits) -> bool:
        """Whether the card's clock differs from ours more than is usual (CARD-2)."""
        return abs(self.timestamp - now) > limits.skew_warn


class _Reader:
    """Reads the parts of a card within its limits."""

    __slots__ = ("_limits",)

    def __init__(self, limits: CardLimits) -> None:
        self._limits = limits

    def text(self, message: dict[str, Any], key: str, limit: int) -> str:
        """A text that may be missing or null."""
        value = message.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise MessageError(f"{key} is {_kind(value)}, not a text")
        size = len(value.encode(errors="replace"))
        if size > limit:
            raise MessageError(f"{key} of {size} bytes, limit {limit}")
        if _CONTROLS.search(value):
            raise MessageError(f"{key} has control characters")
        return value

    def name(self, message: dict[str, Any], key: str, what: str) -> str:
        name = self.text(message, key, self._limits.max_name)
        if not name:
            raise MessageError(f"{what} without a {key}")
        if not name.isprintable() or name != name.strip():
            raise MessageError(f"{what} whose {key} is not one printable line")
        return name

    def tools(self, message: dict[str, Any]) -> tuple[ToolSpec, ...]:
        entries = _list(message, "tools", self._limits.max_tools)
        tools = tuple(self._tool(entry) for entry in entries)
        names = {tool.name for tool in tools}
        if len(names) < len(tools):
            raise MessageError("two tools of the same name in one card")
        return tools

    def _tool(self, entry: Any) -> ToolSpec:
        if not isinstance(entry, dict):
            raise MessageError(f"tool is {_kind(entry)}, not an object")
        told = entry.get("parameters")
        schema = entry.get("inputSchema", entry.get("input_schema"))
        if schema is None and isinstance(told, dict):
            # The Python SDK tells JSON Schema where Go tells a list.
            schema, told = told, None
        if schema is not None and not isinstance(schema, dict):
            raise MessageError(f"inputSchema is {_kind(schema)}, not an object")
        return ToolSpec(
            name=self.name(entry, "name", "tool"),
            description=self.text(entry, "description", self._limits.max_description),
            parameters=self._parameters(told),
            input_schema=schema,
        )

    def _parameters(self, told: Any) -> tuple[ToolParameter, ...]:
        entries = _list({"parameters": told}, "parameters", MAX_PARAMETERS)
        return tuple(self._parameter(entry) for entry in entries)

    def _parameter(self, entry: Any) -> ToolParameter:
        if not isinstance(entry, dict):
            raise MessageError(f"parameter is {_kind(entry)}, not an object")
        required = entry.get("required", False)
        return ToolParameter(
            name=self.name(entry, "name", "parameter"),
            type=self.text(entry, "type", self._limits.max_name) or "string",
            description=self.text(entry, "description", self._limits.max_description),
            # The Go SDK's configuration writes the word.
            required=required is True or required == "true",
        )


def _check_owner(message: dict[str, Any], peer_id: PeerID) -> None:
    """A card is the connection's own peer's, in whichever style it says so."""
    for key in ("peerId", "peer_id"):
        told = message.get(key)
        if told is None or told == "":
            continue
        try:
            owner = PeerID.parse(told) if isinstance(told, str) else None
        except AddressError:
            owner = None
        if owner != peer_id:
            raise MessageError(
                f"card of {str(told)[:64]!r} on the connection of {peer_id}"
            )


def _capabilities(message: dict[str, Any], reader: _Reader) -> tuple[str, ...]:
    told = message.get("capabilities")
    if isinstance(told, dict):
        # An A2A card: what it can do are the keys that are true.
        told = [key for key, value in told.items() if value is True]
    entries = _list({"capabilities": told}, "capabilities", MAX_CAPABILITIES)
    return tuple(
        reader.name({"capability": entry}, "capability", "card") for entry in entries
    )


def _timestamp(message: dict[str, Any], now: float, limits: CardLimits) -> int:
    """Only a card from the future is refused.

    The Go SDK stamps its card once, when the agent starts: an old one is no replay, and
    nobody but the peer itself could have sent it here.
    """
    told = message.get("timestamp")
    if told is None or told == 0:
        return int(now)
    if isinstance(told, bool) or not isinstance(told, (int, float)):
        raise MessageError(f"timestamp is {_kind(told)}, not a number")
    if not 0 < told < MAX_TIMESTAMP:
        raise MessageError(f"timestamp is not between 0 and {MAX_TIMESTAMP}")
    if told - now > limits.skew_reject:
        raise MessageError(
            f"card is {told - now:.0f} s ahead of us, limit {limits.skew_reject:.0f}"
        )
    return int(told)


def _list(message: dict[str, Any], key: str, limit: int) -> list[Any]:
    """A list that may be missing or null."""
    value = message.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise MessageError(f"{key} is {_kind(value)}, not a list")
    if len(value) > limit:
        raise MessageError(f"{len(value)} {key}, limit {limit}")
    return value


def _kind(value: Any) -> str:
    """The JSON word for a value's type."""
    words = {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}
    if value is None:
        return "null"
    return words.get(type(value), "a number")
