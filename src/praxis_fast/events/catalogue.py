"""The catalogue: every event type, what it carries, how urgent it is and who emits it.

`docs/events.md` and `GET /events/schema` are made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from praxis_fast.events import payload_types as payloads
from praxis_fast.events.priority import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Row: TypeAlias = "tuple[str, Any, Priority, str]"

LOW, NORMAL, HIGH, CRITICAL = Priority

_AGENT: tuple[Row, ...] = (
    ("agent.starting", payloads.AgentPayload, NORMAL, "The agent begins to start."),
    ("agent.started", payloads.AgentPayload, NORMAL, "Its listeners are bound."),
    ("agent.stopping", payloads.AgentPayload, NORMAL, "It begins to drain."),
    ("agent.stopped", payloads.AgentPayload, NORMAL, "Nothing of it runs any more."),
    ("agent.error", payloads.AgentPayload, HIGH, "It could not start."),
    ("agent.discovered", payloads.PeerPayload, NORMAL, "A new peer was heard of."),
    ("agent.connected", payloads.PeerPayload, NORMAL, "A peer is connected."),
    ("agent.disconnected", payloads.PeerPayload, NORMAL, "A peer is gone."),
    ("agent.updated", payloads.PeerPayload, NORMAL, "A peer's card changed."),
    ("p2p.peer_discovered", payloads.PeerPayload, NORMAL, "As agent.discovered."),
    ("p2p.peer_connected", payloads.PeerPayload, NORMAL, "As agent.connected."),
    ("p2p.peer_disconnected", payloads.PeerPayload, NORMAL, "As agent.disconnected."),
    ("p2p.card_exchange", payloads.CardPayload, NORMAL, "A peer sent its card."),
    ("p2p.tool_request", payloads.ToolRequestPayload, NORMAL, "A tool is asked for."),
    ("p2p.tool_response", payloads.ToolResponsePayload, NORMAL, "It was answered."),
    ("tool.starting", payloads.ToolPayload, LOW, "A tool of ours begins."),
    ("tool.executed", payloads.ToolPayload, NORMAL, "It ended, well or not."),
    ("tool.completed", payloads.ToolPayload, NORMAL, "It ended well."),
    ("tool.failed", payloads.ToolPayload, HIGH, "It ended with an error."),
    ("authentication", payloads.AuthenticationPayload, HIGH, "A login failed."),
    ("security_audit", payloads.SecurityPayload, HIGH, "Security is concerned."),
    ("service.status", payloads.ServicePayload, NORMAL, "How a service does."),
)
_BUS: tuple[Row, ...] = (
    ("system.error", payloads.ErrorPayload, HIGH, "Something failed inside."),
)
_APPLICATION: tuple[Row, ...] = (
    ("p2p.request_card", payloads.PeerRequestPayload, NORMAL, "A card is wanted."),
    ("p2p.mcp_request", payloads.PeerRequestPayload, NORMAL, "An MCP call to a peer."),
    ("task.created", payloads.TaskPayload, NORMAL, "A task exists."),
    ("task.started", payloads.TaskPayload, NORMAL, "It runs."),
    ("task.progress", payloads.TaskPayload, LOW, "It moved on."),
    ("task.completed", payloads.TaskPayload, NORMAL, "It ended well."),
    ("task.failed", payloads.TaskPayload, HIGH, "It ended with an error."),
    ("task.cancelled", payloads.TaskPayload, NORMAL, "It was cancelled."),
    ("dsl.command_received", payloads.DSLPayload, NORMAL, "A command came."),
    ("dsl.command_progress", payloads.DSLPayload, LOW, "It is worked on."),
    ("dsl.command_completed", payloads.DSLPayload, NORMAL, "It is answered."),
    ("workflow.started", payloads.WorkflowPayload, NORMAL, "A workflow runs."),
    ("workflow.progress", payloads.WorkflowPayload, LOW, "It moved on."),
    ("workflow.completed", payloads.WorkflowPayload, NORMAL, "It ended."),
    ("workflow.node_status_update", payloads.WorkflowPayload, LOW, "A node changed."),
    ("ws.client_connected", payloads.ConnectionPayload, LOW, "A client came."),
    ("ws.client_disconnected", payloads.ConnectionPayload, LOW, "A client left."),
    ("ws.message_received", payloads.ConnectionPayload, LOW, "A client said this."),
    ("ws.message_sent", payloads.ConnectionPayload, LOW, "A client was told this."),
    ("log.entry", payloads.LogPayload, LOW, "A log record."),
    ("log.stream", payloads.LogPayload, LOW, "A piece of running output."),
    ("system.shutdown", payloads.ShutdownPayload, CRITICAL, "The system goes down."),
    ("config.changed", payloads.ConfigPayload, NORMAL, "A setting changed."),
    ("mcp.tool_registered", payloads.MCPToolPayload, NORMAL, "A tool came."),
    ("mcp.tool_unregistered", payloads.MCPToolPayload, NORMAL, "A tool went."),
    (
        "mcp.external_server_connected",
        *(payloads.MCPServerPayload, NORMAL, "An MCP server came."),
    ),
    (
        "mcp.external_server_disconnected",
        *(payloads.MCPServerPayload, NORMAL, "An MCP server went."),
    ),
    ("tool_execution_start", payloads.ToolExecutionPayload, LOW, "A tool begins."),
    ("tool_execution_complete", payloads.ToolExecutionPayload, NORMAL, "It ended."),
    ("tool_execution_error", payloads.ToolExecutionPayload, HIGH, "It failed."),
    ("status_change", payloads.StatusChangePayload, NORMAL, "A task's state changed."),
    ("message", payloads.MessagePayload, NORMAL, "A task has a new message."),
    ("input_required", payloads.InputPayload, HIGH, "A task waits for its user."),
    ("artifact", payloads.ArtifactPayload, NORMAL, "A task made something."),
    ("tool_execution", payloads.ToolExecutionPayload, NORMAL, "A tool of a task."),
    ("task_created", payloads.StatusChangePayload, NORMAL, "A task exists."),
    ("task_status_change", payloads.StatusChangePayload, NORMAL, "As status_change."),
    ("task_message", payloads.MessagePayload, NORMAL, "As message."),
    ("task_artifact", payloads.ArtifactPayload, NORMAL, "As artifact."),
    ("task_input_required", payloads.InputPayload, HIGH, "As input_required."),
    ("task_governor_followup", payloads.GovernorPayload, NORMAL, "A governor asks."),
    ("task_feedback_required", payloads.InputPayload, HIGH, "Feedback is wanted."),
    ("task_completed", payloads.StatusChangePayload, NORMAL, "A task ended well."),
    ("task_failed", payloads.StatusChangePayload, HIGH, "A task failed."),
    ("tool_started", payloads.ToolExecutionPayload, LOW, "A tool begins."),
    ("tool_completed", payloads.ToolExecutionPayload, NORMAL, "It ended well."),
    ("tool_failed", payloads.ToolExecutionPayload, HIGH, "It failed."),
    ("tool_cancelled", payloads.ToolExecutionPayload, NORMAL, "It was cancelled."),
    (
        "tool_confirmation_required",
        *(payloads.ToolExecutionPayload, HIGH, "A tool wants to be allowed."),
    ),
)
_STREAM: tuple[Row, ...] = (
    ("gap", payloads.GapPayload, HIGH, "Events this subscriber did not get."),
    ("resumed", payloads.ResumedPayload, NORMAL, "The exact continuation follows."),
    ("reset", payloads.ResetPayload, HIGH, "There is no exact continuation."),
    ("heartbeat", payloads.PositionPayload, LOW, "Nothing is left out up to here."),
    ("closing", payloads.ClosingPayload, HIGH, "The stream ends here."),
)


@dataclass(frozen=True, slots=True)
class EventKind:
    """One line of the catalogue."""

    name: str
    """The value on the wire, `p2p.peer_connected`."""
    member: str
    """The upper-case name, `P2P_PEER_CONNECTED`."""
    emitter: str
    """agent, bus, stream (to one subscriber), or application: users' code."""
    payload: Any
    """The type of `data`, one of `payload_types`."""
    priority: Priority
    """What an event of this type has unless its publisher says otherwise."""
    about: str
    """When it happens, one sentence."""


def _kinds(emitter: str, rows: tuple[Row, ...]) -> Iterator[tuple[str, EventKind]]:
    for name, payload, priority, about in rows:
        member = name.replace(".", "_").upper()
        yield name, EventKind(name, member, emitter, payload, priority, about)


CATALOGUE: Mapping[str, EventKind] = {
    **dict(_kinds("agent", _AGENT)),
    **dict(_kinds("bus", _BUS)),
    **dict(_kinds("application", _APPLICATION)),
}

# Said to one subscriber about its own stream; nobody may publish them.
STREAM_KINDS: Mapping[str, EventKind] = dict(_kinds("stream", _STREAM))

PRIORITIES: Mapping[str, Priority] = {
    kind.name: kind.priority
    for kind in CATALOGUE.values()
    if kind.priority is not NORMAL
}
"""The types that are not normal by default; what publishing looks at."""
