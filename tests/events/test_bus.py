from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from praxis_fast.errors import ResourceLimitError, UsageError
from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import Event, EventFilter, Priority
from praxis_fast.events.types import CATALOGUE
from praxis_fast.limits import EventLimits


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def eventually(condition: Any) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def bus(clock: Clock) -> Any:
    bus = EventBus(source="test", clock=clock, epoch="e1")
    yield bus
    await bus.close()


# publishing


async def test_publish_stamps_one_sequence_when_many_publish(bus: EventBus) -> None:
    events = [bus.publish("task.started", {"n": n}) for n in range(3)]
    assert [event.seq for event in events] == [1, 2, 3]
    assert {event.epoch for event in events} == {"e1"}
    assert {event.source for event in events} == {"test"}
    assert len({event.id for event in events}) == 3
    assert bus.seq == 3


async def test_bus_4_sequence_grows_when_the_clock_goes_back() -> None:
    moments = iter([2000.5, 1000.25, 1000.25, 3000.0])
    bus = EventBus(wall_clock=lambda: next(moments))
    events = [bus.publish("task.started") for _ in range(4)]
    assert [event.seq for event in events] == [1, 2, 3, 4]
    times = [event.time for event in events]
    assert times[0] > times[1] == times[2] < times[3]


async def test_bus_4_sequence_grows_when_an_epoch_is_continued() -> None:
    bus = EventBus(epoch="e1")
    bus.publish("task.started")
    bus.continue_epoch("e0", 10)
    assert [bus.publish("task.started").seq, bus.publish("task.failed").seq] == [11, 12]
    bus.continue_epoch("e2", 5)
    event = bus.publish("task.started")
    assert (event.epoch, event.seq, bus.published) == ("e2", 13, 4)


async def test_bus_4_an_epoch_begins_when_the_reserved_numbers_are_used_up() -> None:
    bus = EventBus(epoch="e1")
    bus.reserve(3)
    nested = iter(["task.started", "task.started"])
    bus.add_sink(lambda event: [bus.publish(name) for name in nested] and None)
    stamped: list[Event] = []
    bus.add_sink(stamped.append)
    bus.publish("task.started")
    bus.publish(Event("task.started"))
    bus.publish("task.started")
    epochs = [event.epoch for event in stamped]
    assert [event.seq for event in stamped] == [1, 2, 3, 4, 5]
    assert epochs[:3] == ["e1"] * 3
    assert epochs[3] == epochs[4] == bus.epoch != "e1"


async def test_bus_4_epoch_differs_when_the_history_is_another() -> None:
    assert EventBus().epoch != EventBus().epoch


async def test_publish_keeps_every_field_given(bus: EventBus) -> None:
    event = bus.publish(
        "task.started",
        {"a": 1},
        source="s",
        correlation_id="c",
        tags=["x"],
        priority="high",
        task_id="t",
        peer_id="p",
        required_role="user",
    )
    assert (event.data, event.source, event.correlation_id) == ({"a": 1}, "s", "c")
    assert (event.tags, event.priority) == ({"x"}, Priority.HIGH)
    assert (event.task_id, event.peer_id, event.required_role) == ("t", "p", "user")


async def test_publish_keeps_id_and_time_when_given_an_event(bus: EventBus) -> None:
    made = Event("my.type", {"a": 1})
    event = bus.publish(made)
    assert (event.id, event.time, event.data) == (made.id, made.time, made.data)
    assert (event.seq, event.epoch, event.source) == (1, "e1", "test")
    assert made.seq == 0


@pytest.mark.parametrize("name", ["", "a b", "p2p.*", "gap", "reset", "resumed"])
async def test_publish_refuses_a_type_that_would_confuse(
    bus: EventBus, name: str
) -> None:
    with pytest.raises(UsageError, match="event type"):
        bus.publish(name)
    assert bus.seq == 0


async def test_publish_refuses_data_that_is_no_mapping(bus: EventBus) -> None:
    with pytest.raises(UsageError, match="event data is int, not a mapping"):
        bus.publish("my.type", 5)  # type: ignore[arg-type]


async def test_publish_makes_a_custom_type_known(bus: EventBus) -> None:
    bus.publish("my.type")
    bus.declare("my.other")
    assert bus.known_types == {"my.type", "my.other"}


async def test_publish_refuses_when_called_from_another_thread(bus: EventBus) -> None:
    bus.publish("my.type")
    errors: list[Exception] = []

    def run() -> None:
        try:
            bus.publish("my.type")
        except UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "publish_from_thread" in str(errors[0])


async def test_publish_from_thread_arrives_in_the_loop(bus: EventBus) -> None:
    seen: list[Event] = []
    bus.subscribe(EventFilter(), seen.append)
    thread = threading.Thread(
        target=bus.publish_from_thread, args=("my.type", {"a": 1})
    )
    thread.start()
    thread.join()
    await eventually(lambda: seen)
    assert seen[0].data == {"a": 1}


def test_publish_from_thread_refuses_when_no_loop_was_seen() -> None:
    with pytest.raises(UsageError, match="running loop"):
        EventBus().publish_from_thread("my.type")


async def test_every_type_of_the_catalogue_arrives(bus: EventBus) -> None:
    subscription = bus.subscribe()
    for name in CATALOGUE:
        bus.publish(name)
    got = [(await anext(subscription)).type for _ in CATALOGUE]
    assert got == list(CATALOGUE)


# iterating


async def test_each_iterator_gets_its_events_in_order(bus: EventBus) -> None:
    filters = [EventFilter(), EventFilter({"task.*"}), EventFilter({"none.*"})]
    subscriptions = [bus.subscribe(wanted) for wanted in filters]
    for number in range(20):
        bus.publish("task.started" if number % 2 else "log.entry", {"n": number})
    for subscription in subscriptions:
        subscription._mailbox.finish()
    got = [[event.seq async for event in each] for each in subscriptions]
    assert got == [list(range(1, 21)), list(range(2, 21, 2)), []]


async def test_iterator_wakes_when_an_event_comes_later(bus: EventBus) -> None:
    subscription = bus.subscribe()
    reader = asyncio.create_task(anext(subscription))
    await asyncio.sleep(0)
    bus.publish("my.type")
    assert (await reader).type == "my.type"


async def test_iterator_says_the_gap_when_it_was_too_slow(bus: EventBus) -> None:
    subscription = bus.subscribe(max_events=2)
    for _ in range(5):
        bus.publish("my.type")
    gap = await anext(subscription)
    assert (gap.type, gap.data) == ("gap", {"from": 1, "to": 3, "dropped": 3})
    assert [(await anext(subscription)).seq for _ in range(2)] == [4, 5]


async def test_iterator_raises_at_the_end_under_disconnect(bus: EventBus) -> None:
    subscription = bus.subscribe(policy="disconnect", max_events=1)
    for _ in range(3):
        bus.publish("my.type")
    assert (await anext(subscription)).seq == 1
    with pytest.raises(ResourceLimitError, match="event e1-2 was over its bound"):
        await anext(subscription)


async def test_iterator_ends_when_closed_while_it_waits(bus: EventBus) -> None:
    subscription = bus.subscribe()
    reader = asyncio.create_task(anext(subscription, None))
    await asyncio.sleep(0)
    subscription.close()
    subscription.close()
    assert await reader is None
    assert subscription.is_closed


async def test_iterator_closes_at_the_end_of_a_with_block(bus: EventBus) -> None:
    with bus.subscribe() as subscription:
        pass
    assert subscription.is_closed
    assert not bus._mailboxes


async def test_iterator_is_forgotten_when_its_reader_went_away(bus: EventBus) -> None:
    async def read_one() -> None:
        async for _ in bus.subscribe():
            return

    bus.publish("my.type")
    reader = asyncio.create_task(read_one())
    await asyncio.sleep(0)
    bus.publish("my.type")
    await reader
    gc.collect()
    bus.publish("my.type")
    assert not bus._mailboxes


async def test_iterator_refuses_a_second_reader(bus: EventBus) -> None:
    subscription = bus.subscribe()
    reader = asyncio.create_task(anext(subscription))
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="one reader"):
        await anext(subscription)
    bus.publish("my.type")
    await reader


async def test_subscription_with_a_handler_cannot_be_iterated(bus: EventBus) -> None:
    with pytest.raises(UsageError, match="handler"):
        aiter(bus.subscribe(EventFilter(), print))


async def test_subscribe_refuses_over_the_limit() -> None:
    bus = EventBus(limits=EventLimits(max_subscribers=1))
    keep = bus.subscribe()
    with pytest.raises(ResourceLimitError, match="subscriber 2, limit 1"):
        bus.subscribe()
    keep.close()
    bus.subscribe().close()


async def test_subscribe_refuses_when_the_bus_is_closed(bus: EventBus) -> None:
    await bus.close()
    with pytest.raises(UsageError, match="closed"):
        bus.subscribe()


# handlers


async def test_handlers_get_events_in_order_sync_and_async(bus: EventBus) -> None:
    plain: list[int] = []
    slow: list[int] = []

    async def handler(event: Event) -> None:
        for _ in range(event.seq % 3):
            await asyncio.sleep(0)
        slow.append(event.seq)

    bus.subscribe(EventFilter(), lambda event: plain.append(event.seq))
    bus.subscribe(EventFilter(), handler)
    for _ in range(50):
        bus.publish("my.type")
    await eventually(lambda: len(slow) == len(plain) == 50)
    assert plain == slow == list(range(1, 51))


async def test_handler_gets_nothing_more_when_it_closes_itself(bus: EventBus) -> None:
    seen: list[int] = []

    async def handler(event: Event) -> None:
        handle.close()
        await asyncio.sleep(0)
        seen.append(event.seq)

    handle = bus.subscribe(EventFilter(), handler)
    for _ in range(3):
        bus.publish("my.type")
    await eventually(lambda: seen)
    bus.publish("my.type")
    await asyncio.sleep(0)
    assert seen == [1]


async def test_handler_gets_the_gap_as_an_event(bus: EventBus) -> None:
    seen: list[Event] = []
    bus.subscribe(EventFilter(), seen.append, max_events=1)
    for _ in range(3):
        bus.publish("my.type")
    await eventually(lambda: len(seen) == 2)
    assert seen[0].data == {"from": 1, "to": 2, "dropped": 2}
    assert seen[1].seq == 3


async def test_bus_2_handler_that_raises_hurts_only_itself(
    bus: EventBus, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    errors: list[Event] = []

    def bad(event: Event) -> None:
        raise ValueError("no good")

    bus.subscribe(EventFilter({"my.type"}), bad)
    bus.subscribe(EventFilter({"my.type"}), lambda event: seen.append(event.seq))
    bus.subscribe(EventFilter({"system.error"}), errors.append)
    for _ in range(5):
        bus.publish("my.type")
    await eventually(lambda: len(seen) == 5 and errors)
    assert len(errors) == 1
    clock.now += 1.0
    bus.publish("my.type")
    await eventually(lambda: len(errors) == 2)
    assert errors[0].data["error_code"] == "ValueError"
    assert errors[0].data["message"].endswith("bad failed on my.type: no good")
    assert errors[1].data["diagnostic_data"]["suppressed"] == 4
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_bus_2_handler_of_errors_that_raises_makes_no_new_ones(
    bus: EventBus, clock: Clock
) -> None:
    calls: list[int] = []

    def bad(event: Event) -> None:
        calls.append(event.seq)
        clock.now += 5.0
        raise ValueError

    bus.subscribe(EventFilter(), bad)
    bus.publish("my.type")
    await eventually(lambda: len(calls) == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (len(calls), bus.seq) == (2, 2)


async def test_bus_2_handler_that_hangs_loses_that_event_only() -> None:
    bus = EventBus(limits=EventLimits(handler_timeout=0.01))
    seen: list[str] = []

    async def handler(event: Event) -> None:
        if event.data.get("hang"):
            await asyncio.Event().wait()
        seen.append(event.type)

    told: list[Event] = []
    bus.subscribe(EventFilter({"system.error"}), told.append)
    bus.subscribe(EventFilter(), handler)
    bus.publish("my.type", {"hang": True})
    bus.publish("my.type")
    await eventually(lambda: len(seen) == 2 and told)
    assert sorted(seen) == ["my.type", "system.error"]
    assert told[0].data["message"].endswith("failed on my.type: not done after 0.01 s")
    await bus.close()


async def test_bus_2_timeout_of_the_handler_s_own_is_told_as_it_is(
    bus: EventBus,
) -> None:
    async def handler(event: Event) -> None:
        raise TimeoutError("mine")

    told = bus.subscribe(EventFilter({"system.error"}))
    bus.subscribe(EventFilter({"my.type"}), handler)
    bus.publish("my.type")
    assert (await anext(told)).data["message"].endswith("mine")


async def test_bus_2_filter_that_raises_matches_nothing(bus: EventBus) -> None:
    class Bad(EventFilter):
        def matches(self, event: Event) -> bool:
            raise RuntimeError("broken")

    seen: list[Event] = []
    bus.subscribe(Bad(), seen.append)
    everything = bus.subscribe()
    bus.publish("my.type")
    assert (await anext(everything)).type == "my.type"
    error = await anext(everything)
    assert error.type == "system.error"
    assert "broken" in error.data["message"]
    assert not seen


async def test_filter_of_users_code_is_asked_event_by_event(bus: EventBus) -> None:
    class Odd(EventFilter):
        def matches(self, event: Event) -> bool:
            return super().matches(event) and event.data["n"] % 2 == 1

    subscription = bus.subscribe(Odd({"my.*"}))
    for number in range(4):
        bus.publish("my.type", {"n": number})
    got = [(await anext(subscription)).data["n"] for _ in range(2)]
    assert got == [1, 3]


async def test_bus_3_queues_stay_bounded_when_nobody_reads(bus: EventBus) -> None:
    subscription = bus.subscribe(max_events=10)
    for _ in range(1000):
        bus.publish("my.type")
    assert len(subscription._mailbox) == 10
    assert (await anext(subscription)).data == {"from": 1, "to": 990, "dropped": 990}


async def test_events_published_by_handlers_keep_everybody_s_order(
    bus: EventBus,
) -> None:
    first: list[int] = []
    last: list[int] = []

    def sink(event: Event) -> None:
        first.append(event.seq)
        if event.seq < 5:
            bus.publish("my.type")

    bus.add_sink(sink)
    handle = bus.add_sink(lambda event: last.append(event.seq))
    bus.publish("my.type")
    assert first == last == [1, 2, 3, 4, 5]
    handle.close()
    handle.close()
    bus.publish("my.type")
    assert last == [1, 2, 3, 4, 5]


async def test_bus_2_sink_that_raises_hurts_only_itself(bus: EventBus) -> None:
    def bad(event: Event) -> None:
        raise OSError("disk")

    seen: list[str] = []
    bus.add_sink(bad)
    bus.add_sink(lambda event: seen.append(event.type))
    bus.publish("my.type")
    assert seen == ["my.type", "system.error"]


def test_events_published_before_any_loop_reach_handlers_inside_it() -> None:
    bus = EventBus()
    seen: list[int] = []
    bus.subscribe(EventFilter(), lambda event: seen.append(event.seq))
    bus.publish("my.type")

    async def main() -> None:
        bus.publish("my.type")
        await eventually(lambda: len(seen) == 2)
        await bus.close()

    asyncio.run(main())
    assert seen == [1, 2]


# question and answer


async def test_publish_and_wait_returns_the_answer(bus: EventBus) -> None:
    bus.subscribe(
        EventFilter({"tool.ask"}),
        lambda event: bus.reply(event, {"sum": event.data["a"] + 1}),
    )
    answer = await bus.publish_and_wait("tool.ask", {"a": 1}, required_role="user")
    assert (answer.type, answer.data) == ("tool.ask.reply", {"sum": 2})
    assert answer.required_role == "user"


async def test_bus_1_answer_is_as_sensitive_as_the_question(bus: EventBus) -> None:
    secret = {"sensitivity": "secret", "segment": "plant", "domain": "a.example"}
    question = bus.publish("tool.ask", tags=secret | {"other": "x"})
    assert bus.reply(question).tags == secret
    told = bus.reply(question, tags={"sensitivity": "public", "mine": ""}).tags
    assert told == secret | {"sensitivity": "public", "mine": ""}
    assert bus.reply(question, tags=["mine"]).tags == secret | {"mine": ""}
    assert bus.reply(bus.publish("tool.ask")).tags == {}


async def test_publish_and_wait_takes_the_first_answer_only(bus: EventBus) -> None:
    for number in range(2):
        bus.subscribe(
            EventFilter({"tool.ask"}),
            lambda event, number=number: bus.reply(event, {"n": number}),
        )
    assert (await bus.publish_and_wait("tool.ask")).data == {"n": 0}
    assert not bus._waiting


async def test_publish_and_wait_times_out_when_nobody_answers(bus: EventBus) -> None:
    with pytest.raises(TimeoutError, match=r"no answer to tool.ask within 0.01 s"):
        await bus.publish_and_wait("tool.ask", timeout=0.01)
    assert not bus._waiting


async def test_publish_and_wait_refuses_a_correlation_id_in_use(bus: EventBus) -> None:
    waiting = asyncio.create_task(bus.publish_and_wait("x", correlation_id="c"))
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="'c' is being waited for"):
        await bus.publish_and_wait("x", correlation_id="c")
    bus.publish("y", correlation_id="c")
    assert (await waiting).type == "y"


# the end


async def test_close_gives_readers_and_handlers_what_waits(bus: EventBus) -> None:
    seen: list[int] = []
    subscription = bus.subscribe()
    bus.subscribe(EventFilter(), lambda event: seen.append(event.seq))
    for _ in range(3):
        bus.publish("my.type")
    await bus.close()
    assert seen == [1, 2, 3]
    assert [event.seq async for event in subscription] == [1, 2, 3]
    assert not bus._tasks
    assert not bus._mailboxes


async def test_close_cancels_handlers_that_are_not_done_in_time(bus: EventBus) -> None:
    cancelled: list[bool] = []

    async def handler(event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    bus.subscribe(EventFilter(), handler)
    bus.publish("my.type")
    await asyncio.sleep(0)
    await bus.close(timeout=0.01)
    assert cancelled == [True]
    assert not bus._tasks


async def test_close_tells_who_waits_for_an_answer(bus: EventBus) -> None:
    waiting = asyncio.create_task(bus.publish_and_wait("tool.ask"))
    await asyncio.sleep(0)
    await bus.close()
    with pytest.raises(UsageError, match="the bus was closed"):
        await waiting
