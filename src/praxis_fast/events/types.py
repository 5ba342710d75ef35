"""Names of event types: those from outside, and the types they stand for."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from praxis_fast.events.catalogue import CATALOGUE, STREAM_KINDS, EventKind
from praxis_fast.events.filter import is_glob

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

__all__ = [
    "AGENT_TWINS",
    "CATALOGUE",
    "DEFAULT_TYPES",
    "FRONT_END_NAMES",
    "MEMBERS",
    "RESERVED",
    "EventKind",
    "expand",
    "is_type_name",
    "resolve",
]

RESERVED = frozenset(STREAM_KINDS)
"""Said to one subscriber about its own stream; nobody may publish them."""

MAX_TYPE_NAME = 128

# The one irregular member name of the reference's enumeration.
_IRREGULAR: Mapping[str, str] = {"NODE_STATUS_UPDATE": "workflow.node_status_update"}

FRONT_END_NAMES: Mapping[str, tuple[str, ...]] = {
    "dslProgress": ("dsl.command_progress",),
    "dslResult": ("dsl.command_completed",),
    "workflowStart": ("task.started", "workflow.started"),
    "workflowProgress": ("task.progress", "workflow.progress"),
    "workflowComplete": ("task.completed", "workflow.completed"),
    "workflowError": ("task.failed",),
    "nodeStatusUpdate": ("workflow.node_status_update",),
    "workflowLog": ("log.entry", "log.stream"),
    "tool_result": ("tool.executed", "tool.failed", "p2p.tool_response"),
    "eventStream": (
        *("p2p.*", "agent.*", "system.*", "ws.*"),
        *("task.created", "task.cancelled"),
    ),
    "taskCreated": ("task.created",),
    "taskStatusUpdate": ("task.progress",),
    "artifactAdded": ("task.progress",),
    # Sent as an answer to its client only; asking for it is right and adds nothing.
    "chatMessage": (),
}

DEFAULT_TYPES = frozenset(
    {
        *("dsl.command_progress", "dsl.command_completed"),
        *("task.started", "task.progress", "task.completed", "task.failed"),
        *("workflow.started", "workflow.progress", "workflow.completed"),
        *("workflow.node_status_update", "log.entry", "log.stream"),
        *("tool.executed", "tool.failed", "p2p.tool_response"),
        *("p2p.*", "agent.*"),
    }
)
"""What a `/ws*` client gets until it subscribes."""

AGENT_TWINS: Mapping[str, str] = {
    "p2p.peer_discovered": "agent.discovered",
    "p2p.peer_connected": "agent.connected",
    "p2p.peer_disconnected": "agent.disconnected",
}
"""Upstream's name for the same change of a peer; `agent.updated` tells a new card."""


# A dotted name wins over an older one with the same upper-case form (`task.created`
# over `task_created`).
MEMBERS: Mapping[str, str] = {
    kind.member: kind.name
    for kind in sorted(CATALOGUE.values(), key=lambda kind: "." in kind.name)
} | dict(_IRREGULAR)


def is_type_name(name: object) -> bool:
    """Whether an event may have this type: short, printable, no blanks, no glob."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_TYPE_NAME
        and name.isprintable()
        and " " not in name
        and not is_glob(name)
    )


def resolve(
    names: Iterable[object], known: Set[str] = frozenset()
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The types that names from outside stand for, and the names that stand for none.

    A name is a value, an upper-case name, a front-end name, a glob, or one of the
    `known` types of users' code. Globs are right as long as they are short.
    """
    accepted: dict[str, tuple[str, ...]] = {}
    rejected: list[str] = []
    for name in names:
        types = _types_of(name, known)
        if types is None:
            rejected.append(_shown(name))
        else:
            accepted[str(name)] = types
    return accepted, rejected


def _types_of(name: object, known: Set[str]) -> tuple[str, ...] | None:
    if not isinstance(name, str) or len(name) > MAX_TYPE_NAME:
        return None
    if name in CATALOGUE or name in known or is_glob(name):
        return (name,)
    if name in MEMBERS:
        return (MEMBERS[name],)
    return FRONT_END_NAMES.get(name)


def _shown(name: object) -> str:
    """A wrong name as an error may show it."""
    text = name if isinstance(name, str) else repr(name)
    return text if len(text) <= MAX_TYPE_NAME else f"{text[: MAX_TYPE_NAME - 3]}..."


def expand(pattern: str, known: Set[str] = frozenset()) -> set[str]:
    """The types of the catalogue and the known ones that a glob stands for."""
    return {name for name in CATALOGUE.keys() | known if fnmatchcase(name, pattern)}
