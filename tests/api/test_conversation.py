from __future__ import annotations

import json
from typing import Any

import pytest

from praxis_fast.api.conversation import (
    EVERYTHING,
    Action,
    Conversation,
    Reply,
    Snapshot,
    Subscribe,
)
from praxis_fast.events.types import CATALOGUE, DEFAULT_TYPES

NOW = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def talk() -> Conversation:
    return Conversation(now=lambda: NOW, known=lambda: {"my.type"})


def tell(
    talk: Conversation, kind: str, payload: Any = None, **more: Any
) -> list[Action]:
    return talk.receive_message(json.dumps({"type": kind, "payload": payload, **more}))


def message(action: Action) -> dict[str, Any]:
    assert isinstance(action, Reply)
    return action.message


def names(*values: object) -> dict[str, Any]:
    return {"event_types": list(values)}


def test_subscribe_replaces_the_default_first_and_adds_later(
    talk: Conversation,
) -> None:
    assert talk.types == DEFAULT_TYPES
    change, reply = tell(talk, "SUBSCRIBE_EVENTS", names("task.started", "log.entry"))
    assert change == Subscribe(frozenset({"task.started", "log.entry"}))
    assert message(reply) == {
        "type": "chatMessage",
        "payload": {
            "content": "Subscribed to 2 event types",
            "sender": "system",
            "type": "system",
            "event_types": ["task.started", "log.entry"],
            "rejected": [],
        },
    }
    change, _ = tell(talk, "SUBSCRIBE_EVENTS", names("p2p.*"))
    assert change == Subscribe(frozenset({"task.started", "log.entry", "p2p.*"}))


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("TASK_STARTED", {"task.started"}),
        ("workflowStart", {"task.started", "workflow.started"}),
        ("my.type", {"my.type"}),
        ("task.*", {"task.*"}),
        ("chatMessage", set()),
    ],
)
def test_subscribe_takes_every_vocabulary(
    talk: Conversation, name: str, types: set[str]
) -> None:
    change, reply = tell(talk, "SUBSCRIBE_EVENTS", names(name))
    assert change == Subscribe(frozenset(types))
    assert message(reply)["payload"]["content"] == "Subscribed to 1 event types"


def test_subscribe_keeps_the_right_names_and_lists_the_wrong_ones(
    talk: Conversation,
) -> None:
    actions = tell(
        talk, "SUBSCRIBE_EVENTS", names("task.started", "no.such", 7), id="r1"
    )
    change, reply, error = actions
    assert change == Subscribe(frozenset({"task.started"}))
    assert message(reply)["payload"]["rejected"] == ["no.such", "7"]
    assert message(error) == {
        "type": "error",
        "payload": {
            "message": "Invalid event types: no.such, 7",
            "code": "WEBSOCKET_ERROR",
            "timestamp": NOW,
            "rejected": ["no.such", "7"],
        },
        "correlation_id": "r1",
    }


def test_subscribe_changes_nothing_when_every_name_is_wrong(talk: Conversation) -> None:
    (error,) = tell(talk, "SUBSCRIBE_EVENTS", names("no.such"))
    assert message(error)["type"] == "error"
    assert talk.types == DEFAULT_TYPES


def test_subscribe_to_an_empty_list_gives_nothing(talk: Conversation) -> None:
    change, reply = tell(talk, "SUBSCRIBE_EVENTS", names())
    assert change == Subscribe(frozenset())
    assert message(reply)["payload"]["content"] == "Subscribed to 0 event types"


def test_subscribe_to_a_star_gives_everything(talk: Conversation) -> None:
    change, _ = tell(talk, "SUBSCRIBE_EVENTS", names("*"))
    assert change == Subscribe(None)


def test_subscribe_sends_the_snapshot_after_the_answer(talk: Conversation) -> None:
    payload = names("p2p.*") | {"snapshot": True}
    actions = tell(talk, "SUBSCRIBE_EVENTS", payload)
    assert [type(action) for action in actions] == [Subscribe, Reply, Snapshot]
    assert tell(talk, "SUBSCRIBE_EVENTS", {"snapshot": True}) == [Snapshot()]


@pytest.mark.parametrize(
    "payload",
    [None, {}, [], {"event_types": 5}, {"event_types": {"a": 1}}, "p2p.*"],
)
def test_subscribe_refuses_a_payload_without_a_list(
    talk: Conversation, payload: object
) -> None:
    (error,) = tell(talk, "SUBSCRIBE_EVENTS", payload)
    assert "a list of names" in message(error)["payload"]["message"]


def test_subscribe_refuses_more_types_than_the_limit() -> None:
    talk = Conversation(max_filters=3)
    (error,) = tell(talk, "SUBSCRIBE_EVENTS", names(*"a*", "b*", "c*", "d*"))
    assert "limit 3" in message(error)["payload"]["message"]
    tell(talk, "SUBSCRIBE_EVENTS", names("a*", "b*", "c*"))
    (error,) = tell(talk, "SUBSCRIBE_EVENTS", names("d*"))
    assert message(error)["payload"]["message"] == (
        "subscription of 4 event types, limit 3"
    )
    assert talk.types == {"a*", "b*", "c*"}


def test_unsubscribe_takes_names_out(talk: Conversation) -> None:
    tell(talk, "SUBSCRIBE_EVENTS", names("task.started", "task.failed"))
    change, reply = tell(talk, "UNSUBSCRIBE_EVENTS", names("task.started"))
    assert change == Subscribe(frozenset({"task.failed"}))
    assert message(reply)["payload"]["content"] == "Unsubscribed from 1 event types"


def test_unsubscribe_from_the_last_one_gives_nothing(talk: Conversation) -> None:
    tell(talk, "SUBSCRIBE_EVENTS", names("task.started"))
    change, _ = tell(talk, "UNSUBSCRIBE_EVENTS", names("task.started"))
    assert change == Subscribe(frozenset())


def test_unsubscribe_by_glob_takes_what_fits(talk: Conversation) -> None:
    tell(talk, "SUBSCRIBE_EVENTS", names("task.started", "task.*", "log.entry"))
    change, _ = tell(talk, "UNSUBSCRIBE_EVENTS", names("task.*"))
    assert change == Subscribe(frozenset({"log.entry"}))


def test_unsubscribe_from_a_part_of_a_glob_keeps_the_rest(talk: Conversation) -> None:
    tell(talk, "SUBSCRIBE_EVENTS", names("dsl.*"))
    change, _ = tell(talk, "UNSUBSCRIBE_EVENTS", names("dsl.command_progress"))
    rest = {"dsl.command_received", "dsl.command_completed"}
    assert change == Subscribe(frozenset(rest))


def test_unsubscribe_works_on_the_default_and_on_everything() -> None:
    talk = Conversation()
    change, _ = tell(talk, "UNSUBSCRIBE_EVENTS", names("p2p.card_exchange"))
    assert isinstance(change, Subscribe)
    assert change.types is not None
    assert {"p2p.peer_connected", "agent.*", "task.started"} <= change.types
    assert not {"p2p.card_exchange", "p2p.*"} & change.types
    talk = Conversation(types=EVERYTHING)
    change, _ = tell(talk, "UNSUBSCRIBE_EVENTS", names("log.entry"))
    assert change == Subscribe(frozenset(CATALOGUE.keys() - {"log.entry"}))


def test_unsubscribe_refuses_when_the_rest_is_over_the_limit() -> None:
    talk = Conversation(types=EVERYTHING, max_filters=3)
    (error,) = tell(talk, "UNSUBSCRIBE_EVENTS", names("log.entry"))
    assert message(error)["payload"]["message"].endswith("event types, limit 3")
    assert talk.types is None


def test_unsubscribe_lists_wrong_names(talk: Conversation) -> None:
    (error,) = tell(talk, "UNSUBSCRIBE_EVENTS", names("no.such"))
    assert message(error)["payload"]["rejected"] == ["no.such"]


@pytest.mark.parametrize(("kind", "answer"), [("PING", "PONG"), ("ping", "pong")])
def test_ping_is_answered_with_the_request_s_id(
    talk: Conversation, kind: str, answer: str
) -> None:
    (reply,) = tell(talk, kind, {"any": 1}, id="r1")
    assert message(reply) == {
        "type": answer,
        "payload": {"timestamp": NOW},
        "correlation_id": "r1",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Invalid JSON format"),
        ("[]", "a message is an object"),
        ("5", "a message is an object"),
        ("{}", "a message is an object"),
        ('{"type":5}', "a message is an object"),
        ("[" * 5000, "Invalid JSON format"),
        ("[" * 200 + "]" * 200, "Invalid JSON format: json nested deeper than"),
        ('{"type":"PING","type":NaN}', "Invalid JSON format"),
        (b"{}", "binary messages are not understood"),
    ],
)
def test_malformed_message_is_answered_with_an_error(
    talk: Conversation, text: str | bytes, told: str
) -> None:
    (error,) = talk.receive_message(text)
    payload = message(error)["payload"]
    assert payload["code"] == "WEBSOCKET_ERROR"
    assert payload["message"].startswith(told)
    assert payload["timestamp"] == NOW


@pytest.mark.parametrize("kind", ["CHAT_MESSAGE", "DSL_COMMAND", "x" * 1000])
def test_other_types_are_answered_with_an_error(talk: Conversation, kind: str) -> None:
    (error,) = tell(talk, kind, {"content": "hi"}, id=5)
    assert message(error)["payload"]["code"] == "UNSUPPORTED"
    assert len(message(error)["payload"]["message"]) < 200
    assert message(error)["correlation_id"] == 5
