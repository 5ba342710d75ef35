from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from praxis_fast.errors import (
    ResourceLimitError,
    StoreError,
    UsageError,
    WebhookRefusedError,
)
from praxis_fast.events.access.principal import Principal
from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import Event
from praxis_fast.events.webhooks.outbox import Outbox
from praxis_fast.events.webhooks.sender import Answer
from praxis_fast.limits import EventLimits, StoreLimits, WebhookLimits
from tests.events.receivers import SECRET, URL, Rig, event, eventually, settled


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    if made.receiver.hold is not None:
        made.receiver.hold.set()
    for outbox in made.outboxes:
        await outbox.close()


@pytest.fixture
async def outbox(rig: Rig) -> Outbox:
    return await rig.open()


async def acked(outbox: Outbox, event: Event) -> None:
    written = outbox.append(event)
    assert written is not None
    await written


async def register(outbox: Outbox, **more: Any) -> str:
    asked = {"url": URL, "secret": SECRET, **more}
    return (await outbox.register(asked)).id


async def health(outbox: Outbox, name: str) -> dict[str, Any]:
    (found,) = [entry for entry in await outbox.endpoints() if entry["id"] == name]
    return found


async def append_all(outbox: Outbox, events: list[Event]) -> None:
    acks = [outbox.append(each) for each in events]
    await asyncio.gather(*(ack for ack in acks if ack is not None))


# taking events


async def test_event_is_sent_signed_with_its_id(rig: Rig, outbox: Outbox) -> None:
    await register(outbox, headers={"X-Their-Token": "t"})
    sent = event()
    await outbox.append(sent)
    await settled(outbox)
    ((url, headers, body),) = rig.receiver.requests
    assert (url, headers["webhook-id"]) == (URL, sent.id)
    assert headers["X-Praxis-Attempt"] == "1"
    assert headers["X-Their-Token"] == "t"
    assert headers["Content-Type"] == "application/json"
    assert (body["event"], body["task_id"], body["data"]) == (
        *("task.started", "t1", {"n": 1}),
    )
    assert (body["timestamp"], body["delivery"]) == (sent.time, {"seq": 1})


async def test_only_what_an_endpoint_asked_for_is_sent(
    rig: Rig, outbox: Outbox
) -> None:
    await register(
        outbox,
        enabledEvents=["task.*", "message"],
        disabledEvents=["task.progress"],
        taskId="t1",
        minPriority="high",
    )
    wanted = [event(priority="high"), event("message", priority="critical")]
    others = [
        event(),
        event("task.progress", priority="high"),
        event("tool.failed", priority="high"),
        event(task="t2", priority="high"),
        event(task=None, priority="high"),
    ]
    for each in others:
        assert outbox.append(each) is None
    for each in wanted:
        await outbox.append(each)
    await settled(outbox)
    assert [body["id"] for _, _, body in rig.receiver.requests] == [
        each.id for each in wanted
    ]


async def test_endpoint_sees_no_more_than_who_registered_it(
    rig: Rig, outbox: Outbox
) -> None:
    await outbox.register({"url": URL, "secret": SECRET}, owner=Principal(name="g"))
    assert outbox.append(event(required_role="admin")) is None
    assert outbox.append(event(required_role="guest")) is not None


async def test_bus_hands_over_events_masked(rig: Rig, outbox: Outbox) -> None:
    await register(outbox)
    bus = EventBus()
    bus.add_sink(outbox.sink)
    bus.publish("my.type", {"password": "canary", "set": {"b", "a"}, 1: "x"})
    await eventually(lambda: rig.receiver.requests)
    data = rig.receiver.requests[0][2]["data"]
    assert data == {"password": "***", "set": ["a", "b"], "1": "x"}
    await bus.close()


async def test_same_id_is_taken_once(rig: Rig, outbox: Outbox) -> None:
    await register(outbox)
    sent = event()
    await append_all(outbox, [sent, sent])
    await settled(outbox)
    assert rig.receiver.got == [("t1", 1)]


async def test_event_that_has_no_json_form_or_is_too_long_is_counted(
    rig: Rig,
) -> None:
    outbox = await rig.open(events=EventLimits(max_event=1000))
    await register(outbox)
    bus = EventBus()
    for data in ({"a": object()}, {"a": "x" * 1000}):
        assert outbox.append(bus.publish("my.type", data)) is None
    assert outbox.counters.refused == 2
    assert outbox.append(bus.publish("my.type", {"a": "\ud800", "b": 2**70}))
    await bus.close()


async def test_a_lone_surrogate_undoes_no_other_write(rig: Rig, outbox: Outbox) -> None:
    name = await register(outbox)
    odd = event(task="\ud800", peer_id="\ud800")
    await append_all(outbox, [event(task="t1"), odd, event(task="t2")])
    await settled(outbox)
    assert [message["data"] for _, _, message in rig.receiver.requests] == [
        {"n": 1}
    ] * 3
    rig.receiver.answers = [Answer(error="bad line '\udcff'"), Answer(200)]
    await append_all(outbox, [event(task="t3"), event(task="t4")])
    await settled(outbox)
    told = await outbox.deliveries(name, limit=2)
    assert sorted((each["state"], each["error"]) for each in told) == [
        ("delivered", None),
        ("waiting", "bad line '\\udcff'"),
    ]
    # Where such an id would stand in a header, the event is no webhook.
    assert outbox.append(event(id="\ud800")) is None
    assert outbox.counters.refused == 1
    tasks = [each["task_id"] for each in await outbox.deliveries(name)]
    assert tasks == ["t4", "t3", "t2", "\\ud800", "t1"]


async def test_ack_survives_a_caller_that_stops_waiting(
    rig: Rig, outbox: Outbox
) -> None:
    await register(outbox)
    ack = outbox.append(event())
    assert ack is not None
    ack.cancel()
    await eventually(lambda: rig.receiver.requests)


async def test_endpoint_with_too_much_waiting_hurts_only_itself(rig: Rig) -> None:
    outbox = await rig.open(webhooks=WebhookLimits(max_waiting=2))
    rig.receiver.hold = asyncio.Event()
    name = await register(outbox, types=["a.*"])
    await register(outbox, types=["b.*"])
    for number in range(4):
        ack = outbox.append(event("a.b"))
        if ack is not None:
            await ack
        assert (ack is None) is (number >= 2)
    assert await outbox.append(event("b.b", task="t2")) is not None
    assert rig.reports == [("outbox_full", f"webhook {name}: message 3, limit 2")]
    rig.receiver.hold.set()
    await settled(outbox)
    assert outbox.append(event("a.b")) is not None


# order and bounds


async def test_hk_7_order_per_task_with_one_in_flight(rig: Rig, outbox: Outbox) -> None:
    await register(outbox)
    rig.receiver.hold = asyncio.Event()
    for number in range(30):
        await outbox.append(event(task=f"t{number % 10}"))
    await eventually(lambda: rig.receiver.running == 4)
    rig.receiver.hold.set()
    await settled(outbox)
    for task in range(10):
        mine = [seq for name, seq in rig.receiver.got if name == f"t{task}"]
        assert mine == [1, 2, 3]
    assert rig.receiver.most_running == 4


async def test_hk_7_total_is_bounded(rig: Rig) -> None:
    outbox = await rig.open(webhooks=WebhookLimits(total=3))
    for _ in range(4):
        await register(outbox)
    rig.receiver.hold = asyncio.Event()
    await outbox.append(event())
    await eventually(lambda: rig.receiver.running == 3)
    rig.receiver.hold.set()
    await settled(outbox)
    assert (rig.receiver.most_running, len(rig.receiver.got)) == (3, 4)


async def test_hk_7_failing_head_holds_its_task_and_no_other(
    rig: Rig, outbox: Outbox
) -> None:
    await register(outbox)
    rig.receiver.judge = lambda m: Answer(500 if m["task_id"] == "bad" else 200)
    for task in ("bad", "bad", "good", "good"):
        await outbox.append(event(task=task))
    await settled(outbox)
    assert rig.receiver.got == [("bad", 1), ("good", 1), ("good", 2)]
    rig.receiver.judge = None
    await rig.advance(outbox, 1.0)
    assert rig.receiver.got[3:] == [("bad", 1), ("bad", 2)]


# failures


@pytest.mark.parametrize(
    "answer", [Answer(500), Answer(302), Answer(429), Answer(408), Answer(error="down")]
)
async def test_hk_5_failure_is_retried_until_120_hours(
    rig: Rig, outbox: Outbox, answer: Answer
) -> None:
    name = await register(outbox)
    rig.receiver.judge = lambda m: answer
    begun = rig.clock.now
    await outbox.append(event())
    await settled(outbox)
    for most in (1, 2, 4, 8):
        await rig.advance(outbox, most)
    assert [h["X-Praxis-Attempt"] for _, h, _ in rig.receiver.requests] == list("12345")
    async with asyncio.timeout(60):
        while (await health(outbox, name))["waiting"]:
            await rig.advance(outbox, 50_000)
    assert 120 * 3600 - 330 <= rig.clock.now - begun <= 120 * 3600 + 50_000
    assert len({h["webhook-id"] for _, h, _ in rig.receiver.requests}) == 1
    (dead,) = await outbox.deliveries(name, state="dead")
    assert dead["error"] == (answer.error or f"status {answer.status}")
    assert dead["attempts"] == len(rig.receiver.requests)


async def test_hk_5_retry_after_is_waited_for(rig: Rig, outbox: Outbox) -> None:
    await register(outbox)
    rig.receiver.answers = [Answer(503, retry_after=60.0)]
    await outbox.append(event())
    await settled(outbox)
    await rig.advance(outbox, 59.0)
    assert len(rig.receiver.got) == 1
    await rig.advance(outbox, 1.0)
    assert rig.receiver.got == [("t1", 1)] * 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_hk_5_other_4xx_is_a_dead_letter_at_once_and_leaves_a_gap(
    rig: Rig, outbox: Outbox, status: int
) -> None:
    name = await register(outbox)
    rig.receiver.answers = [Answer(200), Answer(status)]
    for _ in range(3):
        await outbox.append(event())
    await settled(outbox)
    assert rig.receiver.got == [("t1", 1), ("t1", 2), ("t1", 3)]
    found = await health(outbox, name)
    assert (found["delivered"], found["dead"], found["waiting"]) == (2, 1, 0)


async def test_hk_5_410_disables_and_redrive_enables(rig: Rig, outbox: Outbox) -> None:
    name = await register(outbox)
    rig.receiver.answers = [Answer(410)]
    await append_all(outbox, [event() for _ in range(3)])
    await settled(outbox)
    found = await health(outbox, name)
    assert (found["status"], found["dead"]) == ("disabled", 3)
    assert found["disabled_reason"] == "endpoint answered 410 gone"
    assert outbox.append(event()) is None
    assert [code for code, _ in rig.reports] == ["webhook_disabled"]
    await outbox.close()
    again = await rig.open()
    assert (await health(again, name))["status"] == "disabled"
    assert again.append(event()) is None
    assert await again.redrive(name) == 3
    await settled(again)
    assert rig.receiver.got == [("t1", 1), ("t1", 1), ("t1", 2), ("t1", 3)]
    assert (await health(again, name))["status"] == "active"
    assert again.append(event()) is not None


async def test_redrive_takes_dead_letters_by_id(rig: Rig, outbox: Outbox) -> None:
    name = await register(outbox)
    rig.receiver.answers = [Answer(400)] * 3
    sent = [event() for _ in range(3)]
    for each in sent:
        await outbox.append(each)
    await settled(outbox)
    assert await outbox.redrive(name, [sent[1].id, "unknown"]) == 1
    await settled(outbox)
    assert rig.receiver.requests[3][1]["webhook-id"] == sent[1].id
    assert rig.receiver.requests[3][1]["X-Praxis-Attempt"] == "2"
    assert (await health(outbox, name))["dead"] == 2


async def test_redrive_brings_no_removed_endpoint_back(
    rig: Rig, outbox: Outbox
) -> None:
    name = await register(outbox)
    rig.receiver.answers = [Answer(404)]
    await outbox.append(event())
    await settled(outbox)
    await asyncio.gather(outbox.remove(name), outbox.redrive(name))
    assert name not in outbox
    assert (await outbox.figures()).waiting == 0


async def test_history_tells_every_try_newest_first(rig: Rig, outbox: Outbox) -> None:
    name = await register(outbox)
    rig.receiver.answers = [Answer(500), Answer(error="not connected: refused")]
    sent = event()
    await outbox.append(sent)
    await settled(outbox)
    await rig.advance(outbox, 1.0)
    await rig.advance(outbox, 2.0)
    for _ in range(3):
        await outbox.append(event())
    await settled(outbox)
    newest = await outbox.deliveries(name, limit=2)
    assert [entry["seq"] for entry in newest] == [4, 3]
    (oldest,) = await outbox.deliveries(name, before=newest[-1]["number"] - 1)
    assert oldest["id"] == sent.id
    assert (oldest["state"], oldest["attempts"], oldest["task_id"]) == (
        *("delivered", 3, "t1"),
    )
    assert [(t["response_code"], t["error"]) for t in oldest["history"]] == [
        (200, None),
        (None, "not connected: refused"),
        (500, "status 500"),
    ]
    found = await health(outbox, name)
    assert (found["total_requests"], found["success_rate"]) == (6, 4 / 6)
    assert found["last_success"] >= found["last_failure"] > "2025"
    with pytest.raises(UsageError, match="state 'odd' is not one of waiting"):
        await outbox.deliveries(name, state="odd")


async def test_history_is_purged_by_age_and_by_request(
    rig: Rig, outbox: Outbox
) -> None:
    name = await register(outbox)
    rig.receiver.answers = [Answer(200), Answer(400), Answer(400), Answer(200)]
    for _ in range(4):
        await outbox.append(event())
    await settled(outbox)
    assert await outbox.purge(name) == 2
    with pytest.raises(UsageError, match="are not purged"):
        await outbox.purge(name, "waiting")
    await rig.advance(outbox, 29 * 86400)
    outbox._clean_up()
    await settled(outbox)
    assert (await health(outbox, name))["dead"] == 2
    await rig.advance(outbox, 2 * 86400)
    outbox._clean_up()
    await settled(outbox)
    assert await outbox.deliveries(name) == []


# across restarts


async def test_hk_6_what_waits_is_sent_after_a_restart_in_order(rig: Rig) -> None:
    outbox = await rig.open()
    name = await register(outbox)
    rig.receiver.answers = [Answer(503, retry_after=100.0)]
    sent = [event() for _ in range(3)]
    for each in sent:
        await outbox.append(each)
    await settled(outbox)
    await outbox.close()
    assert outbox.append(event()) is None
    again = await rig.open()
    assert name in again
    await rig.advance(again, 99.0)
    assert len(rig.receiver.got) == 1
    await rig.advance(again, 1.0)
    ids = [headers["webhook-id"] for _, headers, _ in rig.receiver.requests]
    assert ids == [sent[0].id, *(each.id for each in sent)]


async def test_hk_6_request_cut_by_close_is_sent_again(rig: Rig) -> None:
    outbox = await rig.open()
    await register(outbox)
    rig.receiver.hold = asyncio.Event()
    await outbox.append(event())
    await eventually(lambda: rig.receiver.running)
    await outbox.close(timeout=0.01)
    rig.receiver.hold = None
    again = await rig.open()
    await settled(again)
    assert rig.receiver.got == [("t1", 1)] * 2


async def test_numbers_go_on_after_the_history_was_purged(rig: Rig) -> None:
    outbox = await rig.open()
    name = await register(outbox)
    await outbox.append(event(task=None))
    await settled(outbox)
    await outbox.purge(name)
    await rig.advance(outbox, 365 * 86400)
    await outbox.close()
    again = await rig.open()
    await again.append(event(task=None))
    await settled(again)
    assert rig.receiver.got == [("", 1), ("", 2)]


# the disk


async def test_db_3_full_disk_stops_acks_is_told_once_and_recovers(
    rig: Rig, outbox: Outbox
) -> None:
    await register(outbox)

    def bound(pages: int) -> Any:
        return lambda db: db.execute(f"PRAGMA max_page_count={pages}").fetchone()

    await outbox._db.write(bound(1))
    for _ in range(3):
        with pytest.raises(StoreError, match="not written"):
            await outbox.append(event("x" * 100, correlation_id="y" * 50_000))
    assert [code for code, _ in rig.reports] == ["outbox_not_written"]
    assert outbox.counters.refused == 3
    await outbox._db.write(bound(100_000))
    await outbox.append(event())
    await settled(outbox)
    assert rig.receiver.got == [("t1", 1)]


@pytest.mark.parametrize("status", [200, 404, 503])
async def test_db_3_what_came_of_a_try_is_written_when_the_disk_has_room(
    rig: Rig, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    name = await register(outbox)
    rig.receiver.hold = asyncio.Event()
    rig.receiver.answers = [Answer(status)]
    await outbox.append(event())
    await eventually(lambda: rig.receiver.running)

    def no_room() -> None:
        raise StoreError("0 bytes free on the disk")

    writer = outbox._db._writer
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_check_space", no_room)
        rig.receiver.hold.set()
        await eventually(lambda: rig.reports)
    # Anything that is written takes it along.
    await register(outbox)
    await settled(outbox)
    (told,) = await outbox.deliveries(name)
    state = {200: "delivered", 404: "dead", 503: "waiting"}[status]
    assert (told["state"], told["attempts"], told["response_code"]) == (
        *(state, 1, status),
    )


async def test_hk_5_tries_get_rarer_while_the_disk_is_full(
    rig: Rig, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(outbox)
    rig.receiver.judge = lambda message: Answer(503)

    def no_room() -> None:
        raise StoreError("0 bytes free on the disk")

    await outbox.append(event())
    with monkeypatch.context() as patch:
        patch.setattr(outbox._db._writer, "_check_space", no_room)
        for _ in range(12):
            await eventually(lambda: not outbox._tasks and not outbox._is_pump_due)
            rig.clock.now += 20
            outbox.pump()
        await eventually(lambda: not outbox._tasks)
    # The sixth one is due after about 300 s.
    tries = [headers["X-Praxis-Attempt"] for _, headers, _ in rig.receiver.requests]
    assert tries == ["1", "2", "3", "4", "5"]


async def test_message_that_cannot_be_read_is_tried_later(
    rig: Rig, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(outbox)

    async def fail(work: Any) -> Any:
        raise StoreError("outbox.db cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(outbox._db, "read", fail)
        await outbox.append(event())
        await settled(outbox)
    await rig.advance(outbox, 5.0)
    assert rig.receiver.got == [("t1", 1)]


async def test_writes_over_the_bound_are_refused_and_told_once(rig: Rig) -> None:
    outbox = await rig.open()
    await register(outbox)
    await outbox.close()
    outbox = await rig.open(store=StoreLimits(commit_interval=60, max_queued=2))
    acks = [outbox.append(event()) for _ in range(4)]
    assert [ack is None for ack in acks] == [False, False, True, True]
    assert [code for code, _ in rig.reports] == ["outbox_full"]
    assert outbox.counters.refused == 2
    await outbox.close()
    for ack in acks[:2]:
        assert ack is not None
        assert len(await ack) == 1


async def test_events_of_one_turn_share_a_write(rig: Rig, outbox: Outbox) -> None:
    await register(outbox)
    calls: list[Any] = []
    write = outbox._db.write
    outbox._db.write = lambda work: [calls.append(work), write(work)][1]  # type: ignore[method-assign]
    acks = [outbox.append(event(task=f"t{n % 3}")) for n in range(250)]
    assert not calls
    added = [await ack for ack in acks if ack is not None]
    assert len(calls) == 1
    assert [number for ((_, number, _),) in added] == list(range(1, 251))
    await eventually(lambda: len(rig.receiver.got) == 250)
    for task in ("t0", "t1", "t2"):
        seqs = [seq for name, seq in rig.receiver.got if name == task]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_id_that_was_taken_is_not_taken_again(rig: Rig, outbox: Outbox) -> None:
    await register(outbox)
    twice = event()
    first, second = outbox.append(twice), outbox.append(twice)
    assert first is not None
    assert second is not None
    assert len([*await first, *await second]) == 1
    third = outbox.append(twice)
    assert third is not None
    assert await third == []
    await eventually(lambda: rig.receiver.got)
    await settled(outbox)
    assert rig.receiver.got == [("t1", 1)]


async def test_new_messages_are_sent_without_asking_the_disk_again(
    rig: Rig, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(outbox)
    reads: list[Any] = []
    read = outbox._db.read
    monkeypatch.setattr(
        outbox._db, "read", lambda work: [reads.append(work), read(work)][1]
    )
    rig.receiver.answers = [Answer(500)]
    await acked(outbox, event())
    await settled(outbox)
    assert (len(rig.receiver.got), reads, outbox._fresh.size) == (1, [], 0)
    await rig.advance(outbox, 10)
    assert (len(rig.receiver.got), len(reads)) == (2, 1)


async def test_messages_beyond_the_room_in_memory_are_sent_all_the_same(
    rig: Rig,
) -> None:
    outbox = await rig.open(webhooks=WebhookLimits(max_fresh=1))
    await register(outbox)
    for _ in range(5):
        outbox.sink(event())
    await eventually(lambda: len(rig.receiver.got) == 5)
    assert outbox._fresh.size == 0


async def test_messages_of_an_endpoint_that_goes_leave_the_memory(
    rig: Rig, outbox: Outbox
) -> None:
    rig.receiver.hold = asyncio.Event()
    endpoint = await register(outbox)
    await acked(outbox, event())
    await acked(outbox, event())
    assert outbox._fresh.size > 0
    await outbox.remove(endpoint)
    assert outbox._fresh.size == 0
    rig.receiver.hold.set()


async def test_prc_3_wall_clock_that_jumps_gives_nothing_up(
    rig: Rig, outbox: Outbox
) -> None:
    await register(outbox)
    rig.receiver.answers = [Answer(500), Answer(500)]
    await acked(outbox, event())
    await settled(outbox)
    for days in (30, -30):
        rig.clock.jump = days * 86400.0
        await rig.advance(outbox, 10)
    assert len(rig.receiver.got) == 3
    assert outbox.counters.dead_letters == 0


async def test_what_was_done_is_counted(rig: Rig, outbox: Outbox) -> None:
    await register(outbox)
    rig.receiver.answers = [
        *(Answer(503), Answer(error="no answer in time", reason="timeout")),
        *(Answer(404), Answer(200)),
    ]
    await acked(outbox, event())
    await settled(outbox)
    for _ in range(2):
        await rig.advance(outbox, 10)
    await acked(outbox, event())
    await settled(outbox)
    counters = outbox.counters
    assert (counters.attempts, counters.successes) == (4, 1)
    assert counters.failures == {"status_503": 1, "timeout": 1, "status_404": 1}
    assert (counters.dead_letters, counters.redriven, counters.refused) == (1, 0, 0)
    assert (counters.stages.written.count, counters.durations.count) == (1, 4)


# endpoints


async def test_registering_tells_nothing_secret_again(outbox: Outbox) -> None:
    endpoint = await outbox.register(
        {
            "url": URL + "?key=canary",
            "secrets": [SECRET, "another secret, an older one"],
            "headers": {"Authorization": "Bearer canary"},
            "description": "mine",
        }
    )
    (listed,) = await outbox.endpoints()
    assert listed["url"] == URL + "?***"
    assert (listed["secrets"], listed["headers"]) == (2, ["Authorization"])
    for text in (repr(listed), repr(endpoint).replace("?key=canary", "")):
        assert "canary" not in text
        assert "secret" not in text.replace("'secrets'", "")


async def test_registering_again_changes_it_and_keeps_what_waits(
    rig: Rig, outbox: Outbox
) -> None:
    rig.receiver.answers = [Answer(500)]
    name = await register(outbox, id="mine", types=["task.*"])
    await outbox.append(event())
    await settled(outbox)
    new = "a new secret, long enough for it"
    await outbox.register(
        {"url": URL + "2", "id": name, "secrets": [new, SECRET], "types": ["x.*"]}
    )
    assert outbox.append(event()) is None
    await rig.advance(outbox, 1.0)
    assert [url for url, _, _ in rig.receiver.requests] == [URL, URL + "2"]


async def test_secret_is_made_when_none_is_given(outbox: Outbox) -> None:
    endpoint = await outbox.register({"url": URL})
    assert endpoint.secrets[0].startswith("whsec_")
    assert len(endpoint.id) == 36


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"url": None}, "url is not a text"),
        ({"url": 5}, "url is not a text"),
        ({"secret": "short"}, "5 bytes, 24 to 64"),
        ({"secrets": [SECRET] * 3}, "secrets are not a list of up to 2"),
        ({"secrets": [5]}, "secret is not a text"),
        ({"id": "../x"}, "id is not up to 128"),
        ({"id": "x" * 129}, "id is not up to 128"),
        ({"types": 5}, "event_types is not a list"),
        ({"types": [""]}, "event_types holds no name of 1 to 256"),
        ({"types": ["x"] * 257}, "event_types is not a list of up to 256"),
        ({"min_priority": "urgent"}, "priority 'urgent' is not one of"),
        ({"headers": ["x"]}, "headers are not an object of up to 16"),
        ({"headers": {"Host": "x"}}, "header 'Host' is not yours"),
        ({"headers": {"Webhook-Id": "x"}}, "header 'Webhook-Id' is not yours"),
        ({"headers": {"content-length": "x"}}, "not yours"),
        ({"headers": {"a b": "x"}}, "header 'a b' is not yours"),
        ({"headers": {"A": "x\r\nB: y"}}, "header 'A' is not a printable"),
        ({"headers": {"A": 5}}, "header 'A' is not a printable"),
        ({"headers": {"A": "x" * 5000}}, "of 5000 bytes, limit 4096"),
        ({"urll": "x"}, "unknown key 'urll'"),
    ],
)
async def test_endpoint_that_is_wrong_is_refused_in_words(
    outbox: Outbox, change: dict[str, Any], text: str
) -> None:
    asked = {"url": URL, "secret": SECRET, **change}
    if "secrets" in change:
        del asked["secret"]
    with pytest.raises(UsageError, match=text):
        await outbox.register(asked)
    assert await outbox.endpoints() == []


async def test_hk_1_endpoint_the_gate_refuses_is_not_kept(outbox: Outbox) -> None:
    with pytest.raises(WebhookRefusedError, match="is bad"):
        await register(outbox, url="https://bad.example/")
    assert await outbox.endpoints() == []


async def test_number_of_endpoints_is_bounded(rig: Rig) -> None:
    outbox = await rig.open(webhooks=WebhookLimits(max_endpoints=1))
    await register(outbox, id="one")
    await register(outbox, id="one")
    with pytest.raises(ResourceLimitError, match="webhook 2, limit 1"):
        await register(outbox)


async def test_registering_at_the_same_time_neither_takes_over_nor_adds_too_many(
    rig: Rig,
) -> None:
    outbox = await rig.open(webhooks=WebhookLimits(max_endpoints=3))
    ann, bob = Principal(name="ann"), Principal(name="bob")
    made = await asyncio.gather(
        outbox.register({"id": "one", "url": f"{URL}/ann"}, owner=ann),
        outbox.register({"id": "one", "url": f"{URL}/bob"}, owner=bob),
        *(outbox.register({"url": URL}) for _ in range(5)),
        return_exceptions=True,
    )
    assert outbox.owner("one") == ann
    (told,) = [each for each in await outbox.endpoints() if each["id"] == "one"]
    assert told["url"] == f"{URL}/ann"
    assert [type(each) for each in made].count(UsageError) == 1
    assert [type(each) for each in made].count(ResourceLimitError) == 3
    assert len(await outbox.endpoints()) == 3


async def test_removed_endpoint_leaves_nothing(rig: Rig, outbox: Outbox) -> None:
    name = await register(outbox)
    rig.receiver.hold = asyncio.Event()
    for task in ("a", "a", "b"):
        await outbox.append(event(task=task))
    await eventually(lambda: rig.receiver.running == 2)
    removing = asyncio.create_task(outbox.remove(name))
    await asyncio.sleep(0)
    late = outbox.append(event())
    await removing
    assert late is not None
    assert await late == []
    assert name not in outbox
    rig.receiver.hold.set()
    await settled(outbox)
    assert len(rig.receiver.got) == 2
    for ask in (outbox.remove, outbox.redrive, outbox.deliveries, outbox.purge):
        with pytest.raises(UsageError, match=f"no webhook '{name}'"):
            await ask(name)
    await outbox.close()
    database = sqlite3.connect(rig.path)
    for table in ("endpoints", "lanes", "messages", "attempts"):
        assert database.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)
    database.close()
