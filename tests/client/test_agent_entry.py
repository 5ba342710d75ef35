"""What an event makes of an agent."""

from __future__ import annotations

from typing import Any

import pytest

from praxis_fast.client import AgentEntry, AgentStatus, StreamedEvent
from praxis_fast.client.agent_entry import entry_after, peer_of

CARD = {"name": "calc", "capabilities": ["tools", 1], "tools": [{"name": "add"}, 7, {}]}


def event(name: str, payload: Any) -> StreamedEvent:
    message = {"type": name, "payload": payload, "epoch": "e", "seq": 1}
    return StreamedEvent(message)


def entry(**fields: Any) -> AgentEntry:
    return AgentEntry("P", **{"status": AgentStatus.CONNECTED, **fields})


@pytest.mark.parametrize(
    ("name", "payload", "status"),
    [
        ("agent.discovered", {}, "discovered"),
        ("agent.discovered", {"is_connected": True}, "connected"),
        ("agent.discovered", {"disconnected_at": "t"}, "disconnected"),
        ("agent.connected", {}, "connected"),
        ("agent.disconnected", {}, "disconnected"),
        ("agent.updated", {}, "discovered"),
        ("agent.updated", {"is_connected": True}, "connected"),
    ],
)
def test_the_status_follows_type_and_payload(
    name: str, payload: dict[str, Any], status: str
) -> None:
    after = entry_after(event(name, {"id": "P", **payload}), None)
    assert after is not None
    assert (after.peer_id, after.status) == ("P", status)
    assert after.is_connected == (status == "connected")


def test_an_update_keeps_what_it_does_not_tell() -> None:
    old = entry(addresses=("a",), card=CARD, last_seen=5.0)
    after = entry_after(event("agent.updated", {"peer_id": "P", "last_seen": 3}), old)
    assert after == old
    after = entry_after(event("agent.updated", {"peer_id": "P", "last_seen": 7}), old)
    assert after is not None
    assert after.last_seen == 7.0


def test_a_card_tells_name_capabilities_and_tools() -> None:
    bare = entry()
    assert (bare.name, bare.capabilities, bare.tools) == (None, (), ())
    after = entry_after(event("p2p.card_exchange", {"id": "P", "card": CARD}), bare)
    assert after is not None
    assert (after.name, after.capabilities) == ("calc", ("tools",))
    assert after.tools == ("add",)
    assert entry(card={"name": 1, "tools": {}}).name is None


def test_a_card_of_a_stranger_is_nobody() -> None:
    told = event("p2p.card_exchange", {"id": "P", "card": CARD})
    assert entry_after(told, None) is None


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"id": 5}])
def test_an_event_without_an_agent_changes_nothing(payload: Any) -> None:
    for name in ("agent.connected", "p2p.card_exchange", "x"):
        old = entry()
        assert entry_after(event(name, payload), old) is old
        assert peer_of(event(name, payload)) is None


def test_odd_values_are_left_out() -> None:
    payload = {"id": "P", "addresses": ["a", 1], "last_seen": True, "agent_card": "x"}
    after = entry_after(event("agent.connected", payload), None)
    assert after is not None
    assert (after.addresses, after.last_seen, after.card) == (("a",), None, None)
