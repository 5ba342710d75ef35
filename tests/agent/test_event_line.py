"""An event as one line."""

from __future__ import annotations

from typing import Any

import pytest

from praxis_fast.agent.event_line import MAX_VALUE, event_line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            {
                "type": "p2p.peer_connected",
                "timestamp": "2026-01-02T03:04:05.678Z",
                "payload": {
                    "id": "x",
                    "addresses": ["/a", "/b"],
                    "agent_card": {"name": "bob"},
                    "reason": None,
                },
            },
            "03:04:05.678  p2p.peer_connected       name=bob  addresses=['/a']",
        ),
        ({"type": "gap"}, "------------  gap"),
        (
            {"type": "x", "payload": {"message": "a\x1b[2Jb\n"}},
            "------------  x                        message=a\\x1b[2Jb\\n",
        ),
    ],
)
def test_the_main_values_are_shown(message: dict[str, Any], line: str) -> None:
    assert event_line(message) == line


def test_a_long_value_is_cut() -> None:
    line = event_line({"type": "x", "payload": {"result": "y" * 1000}})
    assert line.endswith("y" * MAX_VALUE + "…")
