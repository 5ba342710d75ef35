from __future__ import annotations

import json
from typing import Any

from praxis_fast.api.shapes import aliased_shape, event_frame, gap_frame, plain_shape
from praxis_fast.events.event import Event

EVENT = Event("task.started", {"a": 1}, task_id="t1", epoch="e", seq=7)


def payload_of(frame: bytes) -> Any:
    """The JSON in a frame shorter than 64 KiB."""
    return json.loads(frame[2:] if frame[1] < 126 else frame[4:])


def test_plain_shape_is_the_message() -> None:
    frame = event_frame(EVENT, plain_shape, 1000)
    assert payload_of(frame) == EVENT.to_message()


def test_aliased_shape_adds_event_task_and_data() -> None:
    message = payload_of(event_frame(EVENT, aliased_shape, 1000))
    added = {"event": "task.started", "task_id": "t1", "data": {"a": 1}}
    assert message == EVENT.to_message() | added


def test_gap_frame_is_the_contract_s() -> None:
    assert payload_of(gap_frame(3, 9, 4, epoch="e1")) == {
        "type": "gap",
        "payload": {"from": 3, "to": 9, "dropped": 4, "epoch": "e1"},
    }


def test_event_frame_says_a_gap_when_the_event_has_no_json_form() -> None:
    event = Event("x", {"a": object()}, epoch="e", seq=7)
    payload = payload_of(event_frame(event, plain_shape, 1000))["payload"]
    assert (payload["from"], payload["to"], payload["dropped"]) == (7, 7, 1)
    assert payload["epoch"] == "e"
    assert "not JSON serializable: object" in payload["reason"]


def test_event_frame_says_a_gap_when_the_event_is_over_the_limit() -> None:
    event = Event("x", {"a": "y" * 1000}, seq=7)
    payload = payload_of(event_frame(event, plain_shape, 1000))["payload"]
    assert payload["reason"].endswith("bytes, limit 1000")
