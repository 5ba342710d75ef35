"""pytest-benchmark over the matcher: pytest bench --benchmark-enable."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.benchmarks.matching import (
    contenders,
    leave_and_join,
    make_events,
    make_filters,
    make_matcher,
    measure,
    measure_churn,
    measure_nobody,
    twins,
)
from praxis_fast.benchmarks.muxing import Stopwatch

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

FILTERS, EVENTS = make_filters(1000, 0.01), make_events(8, 0.01)
RIVALS = {each.name: each for each in contenders(FILTERS, EVENTS, Stopwatch())}


@pytest.mark.parametrize("name", RIVALS)
def test_matching(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = "8 events to 1,000 subscribers"
    assert benchmark(RIVALS[name].run) == RIVALS["plain twin"].run()


@pytest.mark.parametrize("name", twins())
def test_coming_and_going(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = "100 discards and adds among 1,000 subscribers"
    matcher = make_matcher(twins()[name], FILTERS)
    benchmark(leave_and_join, matcher, list(enumerate(FILTERS))[:100])
    assert len(matcher) == len(FILTERS)


@pytest.mark.parametrize(
    "table",
    [
        partial(measure, 200, 0.01, 4, rounds=2),
        partial(measure_nobody, 200, rounds=2),
        partial(measure_churn, 200, count=50, rounds=2),
    ],
)
def test_tables_agree_on_who_wants_an_event(table: Any) -> None:
    assert len(table().rows) >= 1
