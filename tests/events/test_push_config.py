from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from praxis_fast.errors import UsageError
from praxis_fast.events.webhooks.push_config import TOKEN_HEADER, push_id, push_webhook
from tests.events.receivers import SECRET, URL, Rig, event, eventually

CONFIG = {
    "id": "c1",
    "url": URL,
    "token": "of the client",
    "authentication": {"schemes": ["Mutual", "bearer"], "credentials": "abc"},
}
FLAT = {
    **CONFIG,
    "taskId": "t1",
    "authentication": {"scheme": "Bearer", "credentials": "abc"},
}


@pytest.mark.parametrize(
    "params",
    [
        {"taskId": "t1", "pushNotificationConfig": CONFIG},
        {"taskId": "t1", "config": CONFIG},
        FLAT,
    ],
)
def test_every_spelling_becomes_the_same_webhook(params: dict[str, Any]) -> None:
    assert push_webhook(params) == {
        "id": push_id("t1", "c1"),
        "url": URL,
        "tasks": ["t1"],
        "description": "a2a push configuration",
        "headers": {TOKEN_HEADER: "of the client", "Authorization": "Bearer abc"},
    }


def test_filters_are_handed_on_and_all_else_may_be_absent() -> None:
    asked = {"enabledEvents": ["message"], "disabledEvents": [], "minPriority": "high"}
    webhook = push_webhook({"taskId": "t1", "config": {"url": URL, **asked}})
    assert webhook["id"] == push_id("t1", "t1")
    assert {name: webhook[name] for name in asked} == asked
    assert "headers" not in webhook


def test_same_id_of_two_tasks_is_two_webhooks() -> None:
    assert push_id("t1", "c") != push_id("t2", "c")
    assert push_id("a:1", "b") != push_id("a", "1:b")
    assert push_id("ä" * 10_000, "\ud800").startswith("push-")


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"taskId": "t1"}, "url is not a text"),
        ({"url": URL}, "taskId is not a text"),
        ({"taskId": "t1", "config": [1]}, "is not an object"),
        ({**FLAT, "token": 1}, "token is not a text"),
        ({**FLAT, "authentication": "x"}, "authentication is not an object"),
        (
            {**FLAT, "authentication": {"schemes": ["x"], "credentials": "y"}},
            "no scheme out of Bearer, Basic, Digest",
        ),
        (
            {**FLAT, "authentication": {"schemes": "x", "credentials": "y"}},
            "schemes are not a list",
        ),
    ],
)
def test_bad_configuration_is_refused_in_words(
    params: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        push_webhook(params)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    for outbox in made.outboxes:
        await outbox.close()


async def test_outbox_takes_it_and_sends_its_task_only(rig: Rig) -> None:
    outbox = await rig.open()
    endpoint = await outbox.register({**push_webhook(FLAT), "secret": SECRET})
    assert (endpoint.id, endpoint.tasks) == (push_id("t1", "c1"), frozenset({"t1"}))
    assert "abc" not in repr(endpoint)
    for task in ("t1", "t2", None):
        outbox.sink(event(task=task))
    await eventually(lambda: rig.receiver.requests)
    ((_, headers, message),) = rig.receiver.requests
    assert message["task_id"] == "t1"
    assert headers[TOKEN_HEADER] == "of the client"
    assert headers["Authorization"] == "Bearer abc"
