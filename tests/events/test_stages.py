from __future__ import annotations

import pytest

from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import EventFilter
from praxis_fast.events.histogram import FAST_BOUNDS, Histogram
from praxis_fast.events.stages import Stopwatch


def test_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram()
    for value in (0.00001, 0.00002, 99.0):
        histogram.observe(value)
    buckets = dict(histogram.buckets())
    assert list(buckets.values()) == [1, *[2] * (len(FAST_BOUNDS) - 1), 3]
    assert (histogram.count, histogram.mean) == (3, pytest.approx(33.00001))
    assert Histogram().mean == 0


def test_one_event_in_so_many_is_timed() -> None:
    bus = EventBus(timed_every=10)
    reader = bus.subscribe(EventFilter(event_types="my.*"))
    for _ in range(25):
        bus.publish("my.type")
    stages = bus.stages
    assert (stages.match.count, stages.enqueue.count, stages.queued) == (3, 3, 25)
    assert stages.written.count == 0
    reader.close()


async def test_event_counts_as_written_when_its_reader_takes_it() -> None:
    now = 0.0
    bus = EventBus(timed_every=2)
    bus.stopwatch.clock = lambda: now
    reader = bus.subscribe()
    bus.publish("my.type")
    bus.publish("my.type")
    now = 3.0
    await anext(reader)
    assert (bus.stages.written.count, bus.stages.written.total) == (1, 3.0)
    # The second one is not timed.
    await anext(reader)
    assert bus.stages.written.count == 1


async def test_timed_event_that_is_dropped_is_never_written() -> None:
    bus = EventBus(timed_every=100)
    reader = bus.subscribe(max_events=1)
    bus.publish("my.type")
    bus.publish("my.type")
    assert [(await anext(reader)).type for _ in range(2)] == ["gap", "my.type"]
    stages = bus.stages
    assert (stages.dropped, stages.gaps, stages.written.count) == (1, 1, 0)
    assert bus.waiting == (0, 0)


def test_next_event_is_timed_when_asked_for() -> None:
    watch = Stopwatch(every=1000, clock=lambda: 5.0)
    watch.begin(1)
    watch.time_next()
    assert watch.due <= 2
    watch.begin(2)
    assert (watch.seq, watch.due, watch.passed) == (2, 1002, 0.0)


def test_event_published_meanwhile_does_not_take_the_watch() -> None:
    bus = EventBus(timed_every=1000)
    bus.add_sink(lambda event: event.type == "my.a" and bus.publish("my.b") and None)
    reader = bus.subscribe(EventFilter(event_types="my.*"))
    bus.publish("my.a")
    assert (bus.stopwatch.seq, bus.stages.match.count) == (1, 1)
    reader.close()


def test_subscribers_expelled_are_counted() -> None:
    bus = EventBus()
    reader = bus.subscribe(policy="disconnect", max_events=1)
    bus.publish("my.type")
    assert bus.waiting == (1, 1)
    bus.publish("my.type")
    assert (bus.stages.expelled, bus.subscribers) == (1, 0)
    reader.close()
