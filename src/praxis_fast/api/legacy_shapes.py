"""The messages upstream's own servers send, for clients that read nothing else.

    praxis        {"type", "payload", "id"}; the payload is the event's data
    eventStream   the front end's message types with camelCase payloads; an event that
                  has none of its own is `eventStream` with its data alone
    a2a-acp       one flat object: `event`, `task_id`, the data's keys

Names that an event's data has in another spelling are filled from that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from praxis_fast.api.shapes import Shape
    from praxis_fast.events.event import Event

# By front-end type, the keys of its payload.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "dslProgress": ("stage", "message", "details"),
    "dslResult": (
        *("success", "command", "matchedAgents", "requiredMCPTools"),
        *("workflowSuggestion", "processTime"),
    ),
    "workflowStart": (
        *("workflowId", "executionId", "nodes", "edges", "metadata", "startTime"),
    ),
    "workflowProgress": (
        *("workflowId", "executionId", "nodeId", "status", "progress", "message"),
        "timestamp",
    ),
    "workflowComplete": (
        *("workflowId", "executionId", "message", "results", "duration", "timestamp"),
    ),
    "workflowError": ("workflowId", "executionId", "nodeId", "error", "timestamp"),
    "nodeStatusUpdate": ("workflowId", "nodeId", "status", "timestamp"),
    "workflowLog": ("workflowId", "level", "message", "source", "nodeId"),
    "tool_result": ("toolName", "status", "result", "error", "metadata"),
}

_MESSAGES: Mapping[str, str] = {
    "dsl.command_progress": "dslProgress",
    "dsl.command_completed": "dslResult",
    "task.started": "workflowStart",
    "workflow.started": "workflowStart",
    "task.progress": "workflowProgress",
    "workflow.progress": "workflowProgress",
    "task.completed": "workflowComplete",
    "workflow.completed": "workflowComplete",
    "task.failed": "workflowError",
    "workflow.node_status_update": "nodeStatusUpdate",
    "log.entry": "workflowLog",
    "log.stream": "workflowLog",
    "tool.executed": "tool_result",
    "tool.failed": "tool_result",
    "p2p.tool_response": "tool_result",
}

# Where a key's value is found when the data does not have it by that name.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "workflowId": ("workflow_id",),
    "executionId": ("execution_id", "context_id"),
    "nodeId": ("node_id",),
    "startTime": ("start_time", "timestamp"),
    "matchedAgents": ("matched_agents",),
    "requiredMCPTools": ("required_mcp_tools",),
    "workflowSuggestion": ("workflow_suggestion",),
    "processTime": ("process_time", "duration"),
    "results": ("result",),
    "duration": ("executionTime", "execution_time"),
    "error": ("error_details",),
    "toolName": ("tool_name", "tool", "tool_id"),
    "status": ("new_state",),
    "result": ("tool_output",),
}

# Where no event has it; a front end goes through lists without looking.
_DEFAULTS: Mapping[str, Any] = {
    "stage": "analyzing",
    "level": "info",
    "details": {},
    "metadata": {},
    "nodes": [],
    "edges": [],
    "matchedAgents": [],
    "requiredMCPTools": [],
}

# a2a-acp: by type, the name there, and the state the task has then.
_CHANGES: Mapping[str, tuple[str, str | None]] = {
    "task.created": ("task_created", "submitted"),
    "task.started": ("task_status_change", "working"),
    "task.progress": ("task_status_change", None),
    "task.completed": ("task_status_change", "completed"),
    "task.failed": ("task_status_change", "failed"),
    "task.cancelled": ("task_status_change", "cancelled"),
}
_TOOLS: Mapping[str, str] = {
    "tool.starting": "tool_started",
    "tool.completed": "tool_completed",
    "tool.failed": "tool_failed",
}


def praxis_shape(event: Event) -> dict[str, Any]:
    """The event under its own name, with data and id and nothing else."""
    return {"type": event.type, "payload": event.data, "id": event.id}


def event_stream_shape(event: Event) -> dict[str, Any]:
    """The front end's message; ids, times and correlations are kept."""
    kind = _MESSAGES.get(event.type, "eventStream")
    message = {
        "type": kind,
        "payload": _payload(kind, event) if kind in _KEYS else event.data,
        "id": event.id,
        "timestamp": event.time,
    }
    if event.correlation_id is not None:
        message["correlation_id"] = event.correlation_id
    return message


def acp_shape(event: Event) -> dict[str, Any]:
    """One flat object; what is ours has upstream's name and states."""
    data = data_of(event)
    told = _told_of_task(event, data) or _told_of_tool(event, data)
    task_id = event.task_id or data.get("task_id")
    message = {"event": event.type, "task_id": task_id} | told
    for key, value in data.items():
        message.setdefault(key, value)
    message.setdefault("timestamp", event.time)
    message.setdefault("development_tool_metadata", None)
    return message


SHAPES: Mapping[str, Shape] = {
    "praxis": praxis_shape,
    "eventStream": event_stream_shape,
    "a2a-acp": acp_shape,
}


def shape_of(query: Mapping[str, Sequence[str]]) -> str | None:
    """The shape a query asks for by name; UsageError when nobody knows it."""
    asked = query.get("shape", [""])[-1]
    if not asked:
        return None
    if asked not in SHAPES:
        raise UsageError(f"shape {asked[:32]!r} is not one of {', '.join(SHAPES)}")
    return asked


def data_of(event: Event) -> dict[str, Any]:
    """An event's data; what the journal has encoded is decoded again."""
    data: Any = event.data
    if isinstance(data, orjson.Fragment):
        # The standard library keeps integers exact that orjson would round.
        data = json.loads(orjson.dumps(data))
    return data if isinstance(data, dict) else {}


def _payload(kind: str, event: Event) -> dict[str, Any]:
    data = data_of(event)
    spare: dict[str, Callable[[], Any]] = {
        "workflowId": lambda: event.task_id or "",
        "executionId": lambda: "",
        "nodeId": lambda: "",
        "message": lambda: "",
        "timestamp": lambda: event.time,
        "startTime": lambda: event.time,
        "source": lambda: event.source,
        "success": lambda: data.get("error") is None,
        "status": lambda: _status(event, data),
    }
    payload: dict[str, Any] = {}
    for key in _KEYS[kind]:
        names = (key, *_SPELLINGS.get(key, ()))
        found = next((data[name] for name in names if data.get(name) is not None), None)
        if found is None:
            found = spare[key]() if key in spare else _DEFAULTS.get(key)
        payload[key] = found
    return payload


def _status(event: Event, data: Mapping[str, Any]) -> str:
    if event.type in ("task.progress", "workflow.progress"):
        return "running"
    has_failed = event.type == "tool.failed" or data.get("success") is False
    return "failed" if has_failed else "completed"


def _told_of_task(event: Event, data: Mapping[str, Any]) -> dict[str, Any]:
    if event.type not in _CHANGES:
        return {}
    name, state = _CHANGES[event.type]
    told: dict[str, Any] = {
        "event": name,
        "old_state": data.get("old_state"),
        "new_state": data.get("new_state") or state or data.get("status") or "working",
        "message": data.get("message"),
    }
    if name == "task_created":
        told |= {"agent_name": event.source, "creation_event": True}
        told["context_id"] = data.get("context_id")
    error = data.get("error") or data.get("error_details")
    return told if error is None else told | {"error": error}


def _told_of_tool(event: Event, data: Mapping[str, Any]) -> dict[str, Any]:
    if event.type not in _TOOLS:
        return {}
    told: dict[str, Any] = {
        "event": _TOOLS[event.type],
        "tool_id": data.get("tool_id") or data.get("tool_name"),
        "session_id": data.get("session_id") or data.get("request_id"),
    }
    if event.type == "tool.starting":
        return told | {"parameters": data.get("parameters") or data.get("arguments")}
    told["success"] = event.type == "tool.completed"
    told["execution_time"] = data.get("execution_time", data.get("duration"))
    return told
