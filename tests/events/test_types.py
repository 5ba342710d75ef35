from __future__ import annotations

import pytest

from praxis_fast.events.types import (
    AGENT_TWINS,
    CATALOGUE,
    DEFAULT_TYPES,
    FRONT_END_NAMES,
    MEMBERS,
    expand,
    is_type_name,
    resolve,
)

# The Praxis Python SDK: the 36 values.
REFERENCE = [
    *("agent.starting", "agent.started", "agent.stopping", "agent.stopped"),
    *("agent.error", "p2p.peer_discovered", "p2p.peer_connected"),
    *("p2p.peer_disconnected", "p2p.card_exchange", "p2p.tool_request"),
    *("p2p.tool_response", "task.created", "task.started", "task.progress"),
    *("task.completed", "task.failed", "task.cancelled", "dsl.command_received"),
    *("dsl.command_progress", "dsl.command_completed", "workflow.started"),
    *("workflow.progress", "workflow.completed", "workflow.node_status_update"),
    *("tool.executed", "tool.starting", "tool.completed", "tool.failed"),
    *("ws.client_connected", "ws.client_disconnected", "ws.message_received"),
    *("ws.message_sent", "log.entry", "log.stream", "system.shutdown", "system.error"),
]
SEEDS = [
    *("agent.discovered", "agent.connected", "agent.disconnected", "agent.updated"),
    *("status_change", "message", "input_required", "artifact", "tool_execution"),
    *("authentication", "security_audit"),
]


def test_catalogue_has_every_name_of_reference_and_seeds() -> None:
    assert len(REFERENCE) == 36
    assert set(REFERENCE) | set(SEEDS) <= CATALOGUE.keys()
    assert all(is_type_name(name) for name in CATALOGUE)


@pytest.mark.parametrize("name", REFERENCE)
def test_resolve_accepts_value_and_member_name(name: str) -> None:
    member = name.replace(".", "_").upper()
    assert resolve([name, member]) == ({name: (name,), member: (name,)}, [])


def test_resolve_accepts_the_irregular_member() -> None:
    assert MEMBERS["NODE_STATUS_UPDATE"] == "workflow.node_status_update"


@pytest.mark.parametrize("name", FRONT_END_NAMES)
def test_resolve_accepts_front_end_names(name: str) -> None:
    accepted, rejected = resolve([name])
    assert not rejected
    patterns = accepted[name]
    assert all(pattern in CATALOGUE or expand(pattern) for pattern in patterns)


def test_resolve_accepts_globs_as_they_are() -> None:
    assert resolve(["p2p.*", "*"]) == ({"p2p.*": ("p2p.*",), "*": ("*",)}, [])


def test_resolve_lists_wrong_names_and_keeps_the_right_ones() -> None:
    accepted, rejected = resolve(["task.started", "no.such", 7, None, "x" * 500])
    assert accepted == {"task.started": ("task.started",)}
    assert rejected[:3] == ["no.such", "7", "None"]
    assert len(rejected[3]) == 128


def test_resolve_accepts_types_of_users_code_when_known() -> None:
    assert resolve(["my.type"]) == ({}, ["my.type"])
    assert resolve(["my.type"], {"my.type"}) == ({"my.type": ("my.type",)}, [])


def test_default_types_are_the_reference_s_15_and_two_globs() -> None:
    names = {name for name in DEFAULT_TYPES if "*" not in name}
    assert len(names) == 15
    assert names <= CATALOGUE.keys()
    assert DEFAULT_TYPES - names == {"p2p.*", "agent.*"}


def test_agent_twins_are_in_the_catalogue() -> None:
    assert CATALOGUE.keys() >= set(AGENT_TWINS) | set(AGENT_TWINS.values())


@pytest.mark.parametrize("name", ["", "a b", "a*", "x[1]", "a\n", "x" * 129, 5])
def test_is_type_name_refuses_what_would_confuse(name: object) -> None:
    assert not is_type_name(name)


def test_expand_knows_the_catalogue_and_users_types() -> None:
    assert expand("dsl.command_*", {"dsl.command_mine", "x"}) == {
        *("dsl.command_received", "dsl.command_progress", "dsl.command_completed"),
        "dsl.command_mine",
    }
