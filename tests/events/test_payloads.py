from __future__ import annotations

from praxis_fast.events.payloads import (
    card_payload,
    error_payload,
    gap_payload,
    peer_payload,
    tool_request_payload,
    tool_response_payload,
)

CARD = {"name": "n", "capabilities": ["tools"], "tools": [{"name": "t"}]}


def test_peer_payload_has_every_key_of_reference_and_seeds() -> None:
    payload = peer_payload(
        "p1",
        ["/ip4/10.0.0.5/tcp/9000"],
        found_at=1_760_000_000.1,
        last_seen=1_760_000_001.0,
        connected_at=1_760_000_002.0,
        is_connected=True,
        card=CARD,
        reason="why",
    )
    assert payload["id"] == payload["peer_id"] == "p1"
    assert payload["addresses"] == payload["address"] == ["/ip4/10.0.0.5/tcp/9000"]
    assert payload["capabilities"] == ["tools"]
    assert payload["found_at"] == 1_760_000_000.1
    assert payload["discovered_at"] == "2025-10-09T08:53:20.100Z"
    assert payload["connected_at"] == "2025-10-09T08:53:22.000Z"
    assert payload["disconnected_at"] is None
    assert payload["reason"] == "why"
    assert payload["metadata"] == {
        "agent_card": CARD,
        "discovered_at": "2025-10-09T08:53:20.100Z",
        "last_seen": "2025-10-09T08:53:21.000Z",
        "is_connected": True,
    }


def test_peer_payload_needs_only_id_and_time_when_newly_found() -> None:
    payload = peer_payload("p1", found_at=0.0)
    assert payload["capabilities"] == []
    assert payload["agent_card"] is None
    assert payload["last_seen"] == 0.0
    assert "reason" not in payload


def test_card_payload_counts_tools() -> None:
    payload = card_payload("p1", CARD)
    assert payload["tools_count"] == 1
    assert payload["exchange_type"] == "full_exchange"
    assert payload["peer_id"] == "p1"


def test_tool_payloads_name_the_tool_in_each_vocabulary() -> None:
    asked = tool_request_payload("p1", "add", {"a": 1}, "r1", direction="out")
    assert (asked["tool"], asked["tool_name"]) == ("add", "add")
    assert asked["arguments"] == {"a": 1}
    done = tool_response_payload("p1", "add", "r1", direction="out", result=3)
    assert (done["toolName"], done["status"], done["result"]) == ("add", "completed", 3)
    assert done["success"] is True


def test_tool_response_payload_tells_failure_when_there_is_an_error() -> None:
    payload = tool_response_payload(
        None, "add", "r1", direction="in", error={"code": -32603, "message": "no"}
    )
    assert (payload["status"], payload["success"]) == ("failed", False)
    assert payload["error"] == {"code": -32603, "message": "no"}


def test_error_payload_has_the_reference_s_keys() -> None:
    assert error_payload("m", component="c", error_code="E").keys() == {
        *("severity", "message", "error_code", "component", "diagnostic_data"),
        "stack_trace",
    }


def test_gap_payload_is_the_contract_s() -> None:
    assert gap_payload(3, 5, 2) == {"from": 3, "to": 5, "dropped": 2}
