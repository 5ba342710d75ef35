"""What each event carries, as types: for the JSON Schema and docs/events.md.

No key is required of users' code (`total=False`); the events of this package carry what
`payloads.py` builds. Keys of both upstream projects stand side by side.
"""

from __future__ import annotations

from typing import Any, TypedDict


class AgentPayload(TypedDict, total=False):
    """The agent itself: starting, started, stopping, stopped, a failed start."""

    agent_name: str
    components: list[str]
    listen_addresses: list[str]
    peer_id: str
    config: dict[str, Any]
    error: str
    component: str


class PeerMetadata(TypedDict, total=False):
    """Upstream's inner part of a peer payload."""

    agent_card: dict[str, Any] | None
    discovered_at: str
    last_seen: str
    is_connected: bool


class PeerPayload(TypedDict, total=False):
    """A peer; numbers are epoch seconds, texts ISO 8601."""

    id: str
    peer_id: str
    addresses: list[str]
    address: list[str]
    capabilities: list[str]
    is_connected: bool
    found_at: float
    last_seen: float
    discovered_at: str
    connected_at: str | None
    disconnected_at: str | None
    connection_attempts: int
    last_connection_attempt: float | None
    agent_card: dict[str, Any] | None
    metadata: PeerMetadata
    reason: str


class CardPayload(TypedDict, total=False):
    """A card that a peer sent."""

    id: str
    peer_id: str
    card: dict[str, Any]
    tools_count: int
    exchange_type: str


class ToolRequestPayload(TypedDict, total=False):
    """A tool call going out to a peer or coming in from one."""

    peer_id: str | None
    tool: str
    tool_name: str
    arguments: dict[str, Any]
    request_id: str
    direction: str


class ToolResponsePayload(TypedDict, total=False):
    """The answer to such a call."""

    peer_id: str | None
    tool: str
    tool_name: str
    toolName: str
    request_id: str
    direction: str
    success: bool
    status: str
    result: Any
    error: dict[str, Any] | None
    duration: float | None


class PeerRequestPayload(TypedDict, total=False):
    """A wish about a peer, by users' code."""

    peer_id: str
    request_id: str
    method: str
    params: dict[str, Any]


class ToolPayload(TypedDict, total=False):
    """One of our own tools runs."""

    tool_name: str
    request_id: str
    engine: str
    success: bool
    duration: float
    error: dict[str, Any] | str | None


class TaskPayload(TypedDict, total=False):
    """A task; workflows published as tasks add their camelCase keys."""

    task_id: str
    context_id: str
    task: dict[str, Any]
    command: str
    method: str
    timeout: float
    status: str
    old_state: str
    new_state: str
    progress: float
    message: str
    artifact: dict[str, Any]
    result: Any
    results: Any
    error: str
    error_details: Any
    execution_method: str
    metadata: dict[str, Any]
    timestamp: str
    type: str


class DSLPayload(TypedDict, total=False):
    """A command of the DSL and how it goes."""

    method: str
    params: dict[str, Any]
    request_id: str
    command: str
    context: dict[str, Any]
    connection_id: str
    websocket_source: bool
    stage: str
    message: str
    details: dict[str, Any]
    tool: str
    arguments: dict[str, Any]
    success: bool
    result: Any
    error: str
    matchedAgents: list[Any]
    requiredMCPTools: list[Any]
    workflowSuggestion: Any
    processTime: float


class WorkflowPayload(TypedDict, total=False):
    """A workflow and its nodes."""

    workflow_id: str
    workflowId: str
    executionId: str
    connection_id: str
    nodes: list[Any]
    edges: list[Any]
    nodeId: str
    nodeName: str
    status: str
    progress: float
    executionTime: float
    message: str
    results: Any
    duration: float
    error: str | None
    startTime: str
    timestamp: str
    type: str


class ConnectionPayload(TypedDict, total=False):
    """A WebSocket client or one of its messages."""

    connection_id: str
    path: str
    direction: str
    message_type: str
    reason: str


class LogPayload(TypedDict, total=False):
    """A log record."""

    level: str
    message: str
    source: str
    logger: str
    workflowId: str
    nodeId: str
    tool: str
    path: str
    status: str


class ErrorPayload(TypedDict, total=False):
    """A fault; severity is critical, error, warning or info."""

    severity: str
    message: str
    error_code: str
    component: str
    diagnostic_data: dict[str, Any]
    stack_trace: str | None


class ShutdownPayload(TypedDict, total=False):
    """The system goes down."""

    reason: str
    timeout: float


class ConfigPayload(TypedDict, total=False):
    """A setting changed."""

    config_path: str
    old_value: Any
    new_value: Any
    changed_by: str
    change_reason: str


class ServicePayload(TypedDict, total=False):
    """How a service does; status is healthy, degraded or unhealthy."""

    service_name: str
    status: str
    health_check_results: dict[str, Any]
    metrics: dict[str, Any]


class MCPToolPayload(TypedDict, total=False):
    """A tool that came or went."""

    tool_name: str
    server_name: str
    description: str


class MCPServerPayload(TypedDict, total=False):
    """An outside MCP server that came or went."""

    server_name: str
    url: str
    tools: list[str]
    error: str


class StatusChangePayload(TypedDict, total=False):
    """The state of a task changed."""

    old_state: str | None
    new_state: str
    message: str
    error: str
    context_id: str
    agent_name: str
    creation_event: bool
    permission_option_id: str


class MessagePayload(TypedDict, total=False):
    """A message was added to a task."""

    message_role: str
    message_content: str
    message_type: str


class ArtifactPayload(TypedDict, total=False):
    """A task made a file or a data structure."""

    artifact_type: str
    artifact_name: str
    artifact_size: int
    detection_text: str


class InputPayload(TypedDict, total=False):
    """A task waits for its user."""

    prompt: str
    input_types: list[str]
    detection_method: str
    old_state: str
    new_state: str
    message: str
    summary: str
    options: list[Any]
    tool_call_id: str
    tool_call: dict[str, Any]
    policy_decision: dict[str, Any]
    governor_results: list[Any]


class GovernorPayload(TypedDict, total=False):
    """A governor asks once more."""

    governor_id: str
    prompt: str
    iteration: int


class ToolExecutionPayload(TypedDict, total=False):
    """A tool of a task runs; status is started, completed, failed or cancelled."""

    tool_id: str
    tool_name: str
    session_id: str
    status: str
    timestamp: str
    parameters: dict[str, Any]
    execution_context: str
    success: bool
    execution_time: float
    return_code: int
    output_length: int
    tool_output: str
    cached: bool
    error: str
    error_type: str
    mcp_error: Any
    diagnostics: Any
    error_details: Any
    retry_attempt: int
    will_retry: bool
    reason: str
    confirmation_message: str
    input_notification: dict[str, Any]


class AuthenticationPayload(TypedDict, total=False):
    """Somebody showed a credential; status is success or failure."""

    type: str
    status: str
    client_ip: str
    user_agent: str
    reason: str
    path: str
    suppressed: int


class SecurityPayload(TypedDict, total=False):
    """Something security is concerned about; severity is info, warning or high."""

    event_type: str
    user_id: str
    session_id: str
    peer_id: str
    tool_id: str
    severity: str
    message: str
    details: dict[str, Any]


GapPayload = TypedDict(
    "GapPayload",
    {"from": int, "to": int, "dropped": int, "epoch": str, "reason": str},
    total=False,
)
GapPayload.__doc__ = "Events a subscriber did not get: `dropped` of its own, from - to."

ResumedPayload = TypedDict(
    "ResumedPayload", {"from": int, "to": int, "epoch": str}, total=False
)
ResumedPayload.__doc__ = "What follows continues exactly at `from`."


class ResetPayload(TypedDict, total=False):
    """No exact continuation: evicted, future, epoch or malformed."""

    reason: str
    since: str
    epoch: str
    seq: int


class PositionPayload(TypedDict, total=False):
    """Where to go on later: a subscriber of rare events is told now and then."""

    since: str


class ClosingPayload(TypedDict, total=False):
    """The stream ends; go on elsewhere or later with `since`."""

    reason: str
    since: str
