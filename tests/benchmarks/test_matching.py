"""The matching bench on tiny input: contenders agree, tables have their rows."""

from __future__ import annotations

import pytest

from praxis_fast.benchmarks.matching import (
    check,
    make_events,
    make_filters,
    measure,
    measure_churn,
    measure_nobody,
    twins,
)
from praxis_fast.benchmarks.rows import Contender
from praxis_fast.errors import UsageError

LOOP = "upstream Python loop"


def test_filters_and_events_are_the_same_each_time() -> None:
    assert make_filters(30, 0.1) == make_filters(30, 0.1)
    first, second = make_events(5, 0.1), make_events(5, 0.1)
    assert [event.type for event in first] == [event.type for event in second]
    assert [event.tags for event in first] == [event.tags for event in second]


def test_an_event_matches_about_the_share_it_says() -> None:
    filters, events = make_filters(2000, 0.05), make_events(50, 0.05)
    matches = sum(wanted.matches(event) for wanted in filters for event in events)
    assert matches / len(filters) / len(events) == pytest.approx(0.045, rel=0.2)


def test_tables_have_a_row_for_each_contender() -> None:
    matching = measure(100, 0.1, 3, rounds=2)
    names = [row.name for row in matching.rows]
    assert names[0] == "plain twin"
    assert names[-1] == LOOP
    assert set(twins()) <= set(names)
    assert [row.name for row in measure_nobody(100, count=2, rounds=2).rows] == names
    churn = measure_churn(100, count=10, rounds=2)
    assert [row.name for row in churn.rows] == list(twins())
    assert (churn.items, churn.unit, churn.x) == (10, "pair", 100)


def test_a_wrong_answer_is_named() -> None:
    rivals = [Contender("honest", lambda: 1), Contender("liar", lambda: 2)]
    with pytest.raises(UsageError, match="liar found 2, 1 expected"):
        check(rivals)
