"""The conversation about events, message by message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from praxis_fast.client import follower as module
from praxis_fast.client.follower import Follower
from praxis_fast.client.items import Gap, Item, Reset, Snapshot, StreamedEvent
from praxis_fast.errors import NetworkError, UsageError


def event(seq: int, epoch: str = "e", **more: Any) -> dict[str, Any]:
    return {"type": "x", "payload": seq, "epoch": epoch, "seq": seq, **more}


def gap(first: int, last: int, dropped: int = 1) -> dict[str, Any]:
    payload = {"from": first, "to": last, "dropped": dropped}
    return {"type": "gap", "payload": payload}


def reset(reason: str) -> dict[str, Any]:
    return {"type": "reset", "payload": {"reason": reason}}


RESUMED = {"type": "resumed", "payload": {"from": 1}}
PONG = {"type": "PONG", "payload": {}}


class Agent:
    """Plays the agent to one follower."""

    def __init__(self, *types: str, **options: Any) -> None:
        self.follower = Follower(types or ("x",), **options)
        self.requests: list[dict[str, Any]] = []

    def tell(self, *messages: dict[str, Any]) -> list[Item]:
        items = [i for m in messages for i in self.follower.receive_message(m)]
        self.listen()
        return items

    def listen(self) -> None:
        self.requests += map(json.loads, self.follower.messages_to_send())

    def connect(self) -> list[Item]:
        """A new connection up to the accepted subscription."""
        self.follower.begin()
        self.listen()
        return self.answer("chatMessage")

    def start(self) -> list[Item]:
        """The first connection to an agent that cannot resume."""
        return self.connect() + self.answer("error", code="UNSUPPORTED")

    def answer(self, kind: str, **payload: Any) -> list[Item]:
        """Answer the newest request."""
        asked = [r for r in self.requests if r["type"] != "PING"][-1]
        message = {"type": kind, "payload": payload, "correlation_id": asked["id"]}
        return self.tell(message)

    def asked(self) -> list[str]:
        kinds = [request["type"] for request in self.requests]
        self.requests.clear()
        return kinds


def numbers(items: list[Item]) -> list[Any]:
    return [i.seq if isinstance(i, StreamedEvent) else i for i in items]


def agent_at(seq: int, **options: Any) -> Agent:
    """An agent whose follower has seen an event and connects once more."""
    agent = Agent(**options)
    agent.start()
    agent.tell(event(seq))
    agent.asked()
    agent.connect()
    return agent


def agent_with_snapshot() -> Agent:
    """An agent whose follower has the present peers and connects once more."""
    agent = Agent(keeps_snapshot=True)
    agent.start()
    agent.answer("chatMessage")
    agent.tell(PONG, event(2))
    agent.asked()
    agent.connect()
    return agent


def test_events_before_the_subscription_are_not_ours() -> None:
    agent = Agent()
    agent.follower.begin()
    agent.listen()
    assert agent.tell(event(1), gap(2, 3), reset("r"), PONG) == []
    assert not agent.follower.is_following
    assert agent.answer("chatMessage") == []
    assert agent.tell(event(1)) == []
    assert not agent.follower.is_following
    assert numbers(agent.tell(reset("malformed"))) == [1]
    assert agent.follower.is_following
    assert numbers(agent.tell(event(2))) == [2]
    assert agent.follower.position == "e-2"


def test_an_event_comes_once() -> None:
    agent = Agent()
    agent.start()
    assert numbers(agent.tell(event(1), event(1), event(3), event(2))) == [1, 3]


def test_a_position_is_resumed() -> None:
    agent = agent_at(7)
    assert agent.requests[-1]["type"] == "RESUME"
    assert agent.requests[-1]["payload"] == {"since": "e-7"}
    # What comes before the answer comes again in the continuation.
    assert agent.tell(event(9), gap(10, 10)) == []
    assert not agent.follower.is_following
    assert numbers(agent.tell(RESUMED, event(7), event(8), event(9))) == [8, 9]
    assert agent.follower.is_following


def test_ws_9_a_reset_says_what_was_known() -> None:
    agent = agent_at(7)
    items = agent.tell(event(3, "f"), reset("evicted"), event(4, "f"))
    assert numbers(items) == [Reset("evicted", "e-7"), 3, 4]
    assert agent.follower.position == "f-4"


def test_an_agent_that_cannot_resume_is_a_reset() -> None:
    agent = agent_at(7)
    agent.tell(event(9))
    items = agent.answer("error", code="UNSUPPORTED", message="no")
    assert numbers(items) == [Reset(module.NO_RESUME, "e-7"), 9]
    agent = agent_at(7)
    items = agent.answer("error", code="X", message="no such thing")
    assert items == [Reset("no such thing", "e-7")]
    assert agent.follower.is_following


def test_without_a_position_there_is_nothing_to_resume() -> None:
    agent = Agent()
    agent.start()
    agent.connect()
    assert agent.requests[-1]["payload"] == {"since": module.START}
    items = agent.answer("error", code="UNSUPPORTED")
    assert items == [Reset(module.NO_RESUME)]


def test_the_first_reset_tells_the_position_and_is_no_news() -> None:
    agent = Agent()
    agent.connect()
    told = {"reason": "malformed", "epoch": "e-f", "seq": 7}
    assert agent.tell({"type": "reset", "payload": told}) == []
    assert agent.follower.position == "e-f-7"
    assert numbers(agent.tell(event(7, "e-f"), event(8, "e-f"))) == [8]


def test_a_given_position_is_resumed_at_first() -> None:
    agent = Agent(since="e-f-7")
    agent.connect()
    assert agent.requests[-1]["payload"] == {"since": "e-f-7"}
    assert numbers(agent.tell(RESUMED, event(7, "e-f"), event(8, "e-f"))) == [8]
    agent = Agent(since="e-7")
    agent.connect()
    assert agent.tell(reset("evicted")) == [Reset("evicted", "e-7")]


@pytest.mark.parametrize("since", ["", "7", "-7", "e-", "e-x", "e"])
def test_a_malformed_position_is_refused(since: str) -> None:
    with pytest.raises(UsageError, match="since must be a position"):
        Follower(("x",), since=since)


def test_a_goodbye_moves_the_position() -> None:
    agent = Agent()
    agent.start()
    agent.tell(event(2))
    for since in ("e-9", "e-3", "f-8", "e-x", None):
        agent.tell({"type": "closing", "payload": {"since": since}})
    assert agent.follower.position == "e-9"


def test_a_reset_in_the_middle_of_a_continuation_is_told() -> None:
    agent = agent_at(1)
    items = agent.tell(RESUMED, event(2), reset("evicted"), event(9))
    assert numbers(items) == [2, Reset("evicted", "e-2"), 9]


def test_a_new_epoch_without_a_word_is_a_reset() -> None:
    agent = Agent()
    agent.start()
    items = agent.tell(event(9), event(1, "f"), event(2, "f"))
    assert numbers(items) == [9, Reset(module.NEW_EPOCH, "e-9"), 1, 2]


def test_an_epoch_whose_numbers_go_on_is_none() -> None:
    agent = Agent()
    agent.start()
    items = agent.tell(event(8), event(9, "f"), event(9, "f"), event(12, "f"))
    assert numbers(items) == [8, 9, 12]
    assert agent.follower.position == "f-12"
    heartbeat = {"type": "heartbeat", "payload": {"since": "g-15"}}
    assert agent.tell(heartbeat, event(16, "g")) == [StreamedEvent(event(16, "g"))]


def test_a_gap_moves_the_position_and_comes_once() -> None:
    agent = Agent()
    agent.start()
    assert agent.tell(gap(1, 1)) == [Gap(1, 1, 1)]
    assert agent.follower.position is None
    items = agent.tell(event(2), gap(3, 5, 2), gap(3, 5, 2), event(5), event(6))
    assert numbers(items) == [2, Gap(3, 5, 2), 6]


def test_too_many_events_before_an_answer_end_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_EARLY", 3)
    agent = agent_at(1)
    agent.tell(*map(event, (2, 3, 4)))
    with pytest.raises(NetworkError, match="no answer to RESUME"):
        agent.tell(event(5))
    agent.connect()
    assert numbers(agent.tell(reset("r"))) == [Reset("r", "e-1")]


def test_the_present_peers_are_one_item() -> None:
    agent = Agent(keeps_snapshot=True)
    agent.start()
    assert agent.asked() == ["SUBSCRIBE_EVENTS", "RESUME", "SUBSCRIBE_EVENTS", "PING"]


def test_a_snapshot_ends_with_what_is_none_of_it() -> None:
    agent = Agent(keeps_snapshot=True)
    agent.start()
    peers = [event(5, snapshot=True), event(5, snapshot=True)]
    assert agent.tell(event(5)) != []
    assert agent.answer("chatMessage") == []
    items = agent.tell(*peers, event(6))
    assert items[0] == Snapshot(tuple(map(StreamedEvent, peers)))
    assert numbers(items[1:]) == [6]
    assert agent.tell(PONG) == []


def test_a_snapshot_of_nobody_ends_with_the_pong() -> None:
    agent = Agent(keeps_snapshot=True)
    agent.start()
    agent.answer("chatMessage")
    assert agent.tell(PONG) == [Snapshot(())]
    assert agent.follower.position is None


def test_a_snapshot_is_no_position_and_hides_no_event() -> None:
    agent = Agent(keeps_snapshot=True)
    agent.start()
    agent.answer("chatMessage")
    agent.tell(event(5, snapshot=True), PONG)
    assert agent.follower.position is None
    assert numbers(agent.tell(event(5), event(6))) == [5, 6]


def test_peers_nobody_asked_for_are_dropped() -> None:
    agent = Agent()
    agent.start()
    assert agent.tell(event(5, snapshot=True), PONG) == []


def test_a_snapshot_cut_short_is_asked_for_again() -> None:
    agent = Agent(keeps_snapshot=True)
    agent.start()
    agent.tell(event(4))
    agent.answer("chatMessage")
    agent.tell(event(5, snapshot=True))
    agent.connect()
    agent.asked()
    assert agent.tell(RESUMED, event(5, snapshot=True), event(5)) != []
    assert agent.asked() == ["SUBSCRIBE_EVENTS", "PING"]


def test_a_gap_before_any_event_is_a_position() -> None:
    agent = Agent()
    agent.start()
    first = gap(1, 5, 5)
    first["payload"]["epoch"] = "e"
    assert agent.tell(first) == [Gap(1, 5, 5)]
    assert agent.follower.position == "e-5"


@pytest.mark.parametrize("broken", [gap(3, 4), reset("r"), event(1, "f")])
def test_the_present_peers_are_asked_for_after_a_break(broken: dict[str, Any]) -> None:
    agent = agent_with_snapshot()
    agent.tell(RESUMED)
    agent.asked()
    agent.tell(broken)
    assert agent.asked() == ["SUBSCRIBE_EVENTS", "PING"]


def test_no_peers_are_asked_for_after_an_exact_continuation() -> None:
    agent = agent_with_snapshot()
    agent.tell(RESUMED, event(3))
    assert agent.asked() == ["SUBSCRIBE_EVENTS", "RESUME"]


def test_unknown_types_are_an_error_of_the_caller() -> None:
    for kind in ("chatMessage", "error"):
        agent = Agent("x", "typo")
        agent.follower.begin()
        agent.listen()
        with pytest.raises(UsageError, match="no event types typo"):
            agent.answer(kind, rejected=["typo"])
    with pytest.raises(UsageError, match="refused the subscription: too many"):
        agent.answer("error", message="too many")


def test_own_types_are_globs_from_the_second_time_on() -> None:
    agent = Agent("mine", "p2p.*", "TASK_STARTED", "agent.updated")
    agent.start()
    assert agent.requests[0]["payload"]["event_types"][0] == "mine"
    agent.asked()
    agent.connect()
    asked = agent.requests[0]["payload"]["event_types"]
    assert asked == ["[m]ine", "p2p.*", "TASK_STARTED", "agent.updated"]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "chatMessage", "payload": "hello"},
        {"type": "error", "payload": {"message": "?"}},
        {"type": "unheard of"},
        {"type": 5},
        {"type": "resumed"},
        {"type": "x", "seq": "1", "epoch": "e"},
        {"type": "x", "seq": 1},
    ],
)
def test_other_talk_is_no_item(message: dict[str, Any]) -> None:
    agent = Agent()
    agent.start()
    assert agent.tell(message) == []
