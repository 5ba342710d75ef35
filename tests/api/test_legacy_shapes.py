"""Upstream's own messages, on request: each documented example word for word."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from praxis_fast.api.legacy_shapes import (
    SHAPES,
    acp_shape,
    event_stream_shape,
    praxis_shape,
    shape_of,
)
from praxis_fast.errors import UsageError
from praxis_fast.events.catalogue import CATALOGUE
from praxis_fast.events.encode import encode
from praxis_fast.events.event import Event
from praxis_fast.events.types import FRONT_END_NAMES
from praxis_fast.limits import Limits, WebSocketLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import Client, FakeAgent

    Connect = Callable[..., Any]

TIME = "2026-01-01T00:00:00.000Z"
PEER = {
    "id": "12D3..",
    "addresses": ["/ip4/10.0.0.5/tcp/9000"],
    "found_at": 1760000000.1,
    "last_seen": 1760000000.1,
    "is_connected": False,
}


def made(kind: str, data: dict[str, Any], **fields: Any) -> Event:
    return Event(kind, data, id="x1", time=TIME, epoch="e", seq=7, **fields)


def test_praxis_shape_is_type_payload_and_id() -> None:
    event = made("p2p.peer_discovered", PEER, correlation_id="c")
    expected = {"type": "p2p.peer_discovered", "payload": PEER, "id": "x1"}
    assert praxis_shape(event) == expected


def test_event_stream_shape_of_a_peer_is_its_data_alone() -> None:
    message = event_stream_shape(made("p2p.peer_discovered", PEER))
    assert message == {
        "type": "eventStream",
        "payload": PEER,
        "id": "x1",
        "timestamp": TIME,
    }


IDS = {"workflowId": "w", "executionId": "x"}


@pytest.mark.parametrize(
    ("kind", "data", "message_type", "payload"),
    [
        (
            "dsl.command_progress",
            {"message": "m", "details": {"command": "c"}},
            "dslProgress",
            {"stage": "analyzing", "message": "m", "details": {"command": "c"}},
        ),
        (
            "dsl.command_completed",
            {"success": True, "command": "c", "matchedAgents": ["a"]},
            "dslResult",
            {
                "success": True,
                "command": "c",
                "matchedAgents": ["a"],
                "requiredMCPTools": [],
                "workflowSuggestion": None,
                "processTime": None,
            },
        ),
        (
            "workflow.started",
            {"workflow_id": "w", "execution_id": "x", "nodes": [1], "edges": [2]},
            "workflowStart",
            IDS | {"nodes": [1], "edges": [2], "metadata": {}, "startTime": TIME},
        ),
        (
            "task.started",
            {"context_id": "x", "command": "c"},
            "workflowStart",
            {"workflowId": "t1", "executionId": "x", "nodes": [], "edges": []}
            | {"metadata": {}, "startTime": TIME},
        ),
        (
            "task.progress",
            IDS | {"nodeId": "n", "progress": 40, "message": "m", "timestamp": "t"},
            "workflowProgress",
            IDS
            | {"nodeId": "n", "status": "running", "progress": 40}
            | {"message": "m", "timestamp": "t"},
        ),
        (
            "workflow.completed",
            IDS | {"results": {"a": 1}, "duration": 1.5},
            "workflowComplete",
            IDS
            | {"message": "", "results": {"a": 1}, "duration": 1.5}
            | {"timestamp": TIME},
        ),
        (
            "task.completed",
            {"result": 3},
            "workflowComplete",
            {"workflowId": "t1", "executionId": "", "message": "", "results": 3}
            | {"duration": None, "timestamp": TIME},
        ),
        (
            "task.failed",
            {"error_details": "no", "node_id": "n"},
            "workflowError",
            {"workflowId": "t1", "executionId": "", "nodeId": "n", "error": "no"}
            | {"timestamp": TIME},
        ),
        (
            "workflow.node_status_update",
            IDS | {"nodeId": "n", "status": "completed", "executionTime": 1},
            "nodeStatusUpdate",
            {"workflowId": "w", "nodeId": "n", "status": "completed"}
            | {"timestamp": TIME},
        ),
        (
            "log.entry",
            {"message": "m", "level": "warning", "source": "s"},
            "workflowLog",
            {"workflowId": "t1", "level": "warning", "message": "m", "source": "s"}
            | {"nodeId": ""},
        ),
        (
            "tool.executed",
            {"tool_name": "add", "success": False, "error": "no"},
            "tool_result",
            {"toolName": "add", "status": "failed", "result": None, "error": "no"}
            | {"metadata": {}},
        ),
        (
            "p2p.tool_response",
            {"tool": "add", "result": 3},
            "tool_result",
            {"toolName": "add", "status": "completed", "result": 3, "error": None}
            | {"metadata": {}},
        ),
    ],
)
def test_event_stream_shape_has_the_front_end_s_keys(
    kind: str, data: dict[str, Any], message_type: str, payload: dict[str, Any]
) -> None:
    event = made(kind, data, task_id="t1", correlation_id="c")
    message = event_stream_shape(event)
    assert message.pop("payload") == payload
    assert message == {
        "type": message_type,
        "id": "x1",
        "timestamp": TIME,
        "correlation_id": "c",
    }


def test_event_stream_types_are_those_that_subscriptions_name() -> None:
    for kind in CATALOGUE:
        message_type = event_stream_shape(made(kind, {}))["type"]
        assert message_type in FRONT_END_NAMES
        named = FRONT_END_NAMES[message_type]
        assert message_type == "eventStream" or kind in named


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (
            "task_status_change",
            {"old_state": "submitted", "new_state": "working", "message": ".."},
            {"event": "task_status_change", "old_state": "submitted"}
            | {"new_state": "working", "message": ".."},
        ),
        (
            "task.created",
            {"context_id": "c1", "task": {}},
            {"event": "task_created", "old_state": None, "new_state": "submitted"}
            | {"context_id": "c1", "agent_name": "agent.a", "creation_event": True}
            | {"message": None, "task": {}},
        ),
        (
            "task.failed",
            {"old_state": "working", "error": "no"},
            {"event": "task_status_change", "old_state": "working"}
            | {"new_state": "failed", "message": None, "error": "no"},
        ),
        (
            "task_message",
            {"message_role": "agent", "message_content": "hi", "message_type": "x"},
            {"event": "task_message", "message_role": "agent"}
            | {"message_content": "hi", "message_type": "x"},
        ),
        (
            "tool.starting",
            {"tool_name": "add", "request_id": "r", "arguments": {"a": 1}},
            {"event": "tool_started", "tool_id": "add", "session_id": "r"}
            | {"parameters": {"a": 1}, "arguments": {"a": 1}}
            | {"tool_name": "add", "request_id": "r"},
        ),
        (
            "tool.failed",
            {"tool_name": "add", "duration": 0.5, "error": "no"},
            {"event": "tool_failed", "tool_id": "add", "session_id": None}
            | {"success": False, "execution_time": 0.5, "error": "no"}
            | {"tool_name": "add", "duration": 0.5},
        ),
        ("p2p.peer_connected", PEER, {"event": "p2p.peer_connected"} | PEER),
    ],
)
def test_acp_shape_is_one_flat_object(
    kind: str, data: dict[str, Any], expected: dict[str, Any]
) -> None:
    message = acp_shape(made(kind, data, task_id="t1", source="agent.a"))
    rest = {"task_id": "t1", "timestamp": TIME, "development_tool_metadata": None}
    assert message == expected | rest
    assert list(message)[:2] == ["event", "task_id"]


def test_acp_shape_keeps_what_the_data_says_of_itself() -> None:
    data = {"event": "other", "task_id": "t2", "timestamp": "then"}
    message = acp_shape(made("tool_started", data))
    told = (message["event"], message["task_id"], message["timestamp"])
    assert told == ("tool_started", "t2", "then")


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_take_data_that_is_encoded_already(name: str) -> None:
    data = {"tool_name": "add", "result": 2**70, "text": "\ud800"}
    for kind in CATALOGUE:
        raw = made(kind, data)
        fragment: Any = orjson.Fragment(encode(data))
        sealed = made(kind, fragment)
        assert json.loads(encode(SHAPES[name](sealed))) == json.loads(
            encode(SHAPES[name](raw))
        )


def test_shape_of_names_what_there_is() -> None:
    assert shape_of({}) is shape_of({"shape": [""]}) is None
    assert shape_of({"shape": ["praxis", "a2a-acp"]}) == "a2a-acp"
    with pytest.raises(UsageError, match="'raw' is not one of praxis, eventStream, a2"):
        shape_of({"shape": ["raw"]})


# over sockets


@pytest.mark.parametrize("path", ["/ws", "/ws/events", "/ws/workflow", "/events"])
@pytest.mark.parametrize("is_deflated", [False, True])
async def test_websocket_speaks_the_shape_asked_for(
    agent: FakeAgent,
    serve: Callable[..., Any],
    connect: Connect,
    path: str,
    is_deflated: bool,
) -> None:
    server = await serve(limits=Limits(websocket=WebSocketLimits(compression=True)))
    options = {} if is_deflated else {"compression": None}
    agent.bus.publish("task.started", {"n": 1}, task_id="t1")
    clients: dict[str, Client] = {
        name: await connect(f"{path}?shape={name}&since=e1-0", to=server, **options)
        for name in SHAPES
    }
    event = agent.bus.publish("task.failed", {"error": "no"}, task_id="t1")
    for name, client in clients.items():
        assert (await client.receive())["type"] == "resumed"
        await client.receive()
        assert await client.receive() == SHAPES[name](event)
    before = len(server.gateway.broadcast.channels)
    await connect(f"{path}?shape=praxis", to=server, **options)
    assert len(server.gateway.broadcast.channels) == before


async def test_websocket_is_closed_when_nobody_knows_the_shape(
    connect: Connect, server: HTTPServer
) -> None:
    client: Client = await connect("/events?shape=" + "é" * 200)
    code, reason = await client.close_code()
    assert (code, len(reason.encode()) <= 123) == (1008, True)
    client = await connect("/events?shape=raw")
    expected = "shape 'raw' is not one of praxis, eventStream, a2a-acp"
    assert await client.close_code() == (1008, expected)


@pytest.mark.parametrize("path", ["/events/stream", "/streaming/sse"])
async def test_sse_speaks_the_shape_asked_for(
    agent: FakeAgent, server: HTTPServer, path: str
) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}{path}?shape=raw") as refused:
            assert refused.status == 400
            assert "praxis, eventStream, a2a-acp" in await refused.text()
        for name, shape in SHAPES.items():
            event = agent.bus.publish("tool.failed", {"error": "no"}, task_id="t1")
            url = f"{server.url}{path}?shape={name}&since=e1-{event.seq - 1}"
            async with session.get(url) as response:
                async for line in response.content:
                    if line.startswith(b"data: ") and b'"no"' in line:
                        assert json.loads(line[6:]) == shape(event)
                        break


@pytest.mark.parametrize("name", ["task.started", "TASK_STARTED", "workflowStart"])
async def test_types_are_taken_in_three_vocabularies(
    agent: FakeAgent, server: HTTPServer, connect: Connect, name: str
) -> None:
    asked: Client = await connect(f"/events?types={name}")
    subscribed: Client = await connect("/ws")
    await subscribed.subscribe(name)
    agent.bus.publish("task.failed")
    event = agent.bus.publish("task.started")
    for client in (asked, subscribed):
        assert (await client.receive())["seq"] == event.seq
