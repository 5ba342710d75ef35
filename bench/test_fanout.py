"""pytest-benchmark over the fan-out: pytest bench --benchmark-enable."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.benchmarks.fanout import (
    FRAME,
    Queues,
    Turns,
    measure,
    measure_publish,
    twins,
)
from praxis_fast.benchmarks.muxing import Stopwatch
from praxis_fast.events.event import EventFilter

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

SUBSCRIBERS = 1000


def make(name: str, filters: list[EventFilter]) -> Any:
    found = twins()
    return Turns(found[name], filters) if name in found else Queues(len(filters))


@pytest.mark.parametrize("events", [1, 16])
@pytest.mark.parametrize("name", [*twins(), "a deque per subscriber"])
def test_turns(benchmark: BenchmarkFixture, name: str, events: int) -> None:
    benchmark.group = f"{events} events to {SUBSCRIBERS} subscribers"
    turns = make(name, [EventFilter()] * SUBSCRIBERS)
    expected = SUBSCRIBERS * events * len(FRAME)
    assert benchmark(turns.run, events, Stopwatch()) == expected


@pytest.mark.parametrize("name", [*twins(), "a deque per subscriber"])
def test_turns_of_groups_of_one(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = f"1 event to {SUBSCRIBERS} subscribers with filters of their own"
    turns = make(name, [EventFilter(tasks={str(n)}) for n in range(SUBSCRIBERS)])
    assert benchmark(turns.run, 1, Stopwatch()) == SUBSCRIBERS * len(FRAME)


@pytest.mark.parametrize(
    "table",
    [
        partial(measure, 20, 3, rounds=2),
        partial(measure_publish, 20, rounds=2),
        partial(measure_publish, 20, groups=4, rounds=2),
    ],
)
def test_tables_agree_on_every_byte(table: Any) -> None:
    assert len(table().rows) >= 2
