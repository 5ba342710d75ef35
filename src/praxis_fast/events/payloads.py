"""What the events of this package carry: every key a client of upstream may read.

The keys of its parts stand side by side (`id` and `peer_id`, `addresses` and
`address`, epoch floats and ISO 8601 texts), so that each client finds its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from praxis_fast.events.event import utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def _text(seconds: float | None) -> str | None:
    return None if seconds is None else utc_text(seconds)


def peer_payload(
    peer_id: str,
    addresses: Sequence[str] = (),
    *,
    found_at: float,
    last_seen: float | None = None,
    connected_at: float | None = None,
    disconnected_at: float | None = None,
    is_connected: bool = False,
    card: Mapping[str, Any] | None = None,
    connection_attempts: int = 0,
    last_connection_attempt: float | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """A peer as `p2p.peer_*` and `agent.*` tell it; times are epoch seconds."""
    seen = found_at if last_seen is None else last_seen
    agent_card = None if card is None else dict(card)
    capabilities = list(agent_card.get("capabilities") or ()) if agent_card else []
    payload: dict[str, Any] = {
        "id": str(peer_id),
        "peer_id": str(peer_id),
        "addresses": [str(address) for address in addresses],
        "address": [str(address) for address in addresses],
        "capabilities": capabilities,
        "is_connected": is_connected,
        "found_at": found_at,
        "last_seen": seen,
        "discovered_at": utc_text(found_at),
        "connected_at": _text(connected_at),
        "disconnected_at": _text(disconnected_at),
        "connection_attempts": connection_attempts,
        "last_connection_attempt": last_connection_attempt,
        "agent_card": agent_card,
        "metadata": {
            "agent_card": agent_card,
            "discovered_at": utc_text(found_at),
            "last_seen": utc_text(seen),
            "is_connected": is_connected,
        },
    }
    if reason is not None:
        payload["reason"] = reason
    return payload


def card_payload(peer_id: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """A card that came from a peer: `p2p.card_exchange`."""
    return {
        "id": str(peer_id),
        "peer_id": str(peer_id),
        "card": dict(card),
        "tools_count": len(card.get("tools") or ()),
        "exchange_type": "full_exchange",
    }


def tool_request_payload(
    peer_id: str | None,
    tool: str,
    arguments: Mapping[str, Any] | None,
    request_id: str,
    *,
    direction: str,
) -> dict[str, Any]:
    """A tool call going "out" to a peer or coming "in" from one."""
    return {
        "peer_id": None if peer_id is None else str(peer_id),
        "tool": tool,
        "tool_name": tool,
        "arguments": dict(arguments or {}),
        "request_id": request_id,
        "direction": direction,
    }


def tool_response_payload(
    peer_id: str | None,
    tool: str,
    request_id: str,
    *,
    direction: str,
    result: Any = None,
    error: Mapping[str, Any] | None = None,
    duration: float | None = None,
) -> dict[str, Any]:
    """The answer to a tool call; the front end's `toolName` and `status` included."""
    return {
        "peer_id": None if peer_id is None else str(peer_id),
        "tool": tool,
        "tool_name": tool,
        "toolName": tool,
        "request_id": request_id,
        "direction": direction,
        "success": error is None,
        "status": "completed" if error is None else "failed",
        "result": result,
        "error": None if error is None else dict(error),
        "duration": duration,
    }


def error_payload(
    message: str,
    *,
    component: str,
    error_code: str,
    severity: str = "error",
    diagnostic_data: Mapping[str, Any] | None = None,
    stack_trace: str | None = None,
) -> dict[str, Any]:
    """A fault: `system.error`; severity is critical, error, warning or info."""
    return {
        "severity": severity,
        "message": message,
        "error_code": error_code,
        "component": component,
        "diagnostic_data": dict(diagnostic_data or {}),
        "stack_trace": stack_trace,
    }


def gap_payload(first: int, last: int, dropped: int) -> dict[str, int]:
    """Events a subscriber did not get: `dropped` of its own between two numbers."""
    return {"from": first, "to": last, "dropped": dropped}
