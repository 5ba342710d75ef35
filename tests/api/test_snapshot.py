from __future__ import annotations

from praxis_fast.api.snapshot import snapshot_events
from praxis_fast.events.bus import EventBus
from praxis_fast.events.payloads import peer_payload


def test_snapshot_tells_each_peer_in_both_vocabularies() -> None:
    bus = EventBus(source="s", epoch="e1")
    bus.publish("my.type")
    peers = [
        peer_payload("P1", found_at=1.0, is_connected=True),
        peer_payload("P2", found_at=1.0),
    ]
    events = list(snapshot_events(peers, bus))
    assert [(event.type, event.peer_id) for event in events] == [
        ("p2p.peer_discovered", "P1"),
        ("agent.discovered", "P1"),
        ("p2p.peer_connected", "P1"),
        ("agent.connected", "P1"),
        ("p2p.peer_discovered", "P2"),
        ("agent.discovered", "P2"),
    ]
    assert {(event.epoch, event.seq, event.source) for event in events} == {
        ("e1", 1, "s"),
    }
