"""The fan-out bench on tiny input: contenders agree, tables have their rows."""

from __future__ import annotations

import pytest

from praxis_fast.benchmarks.fanout import FRAME, measure, measure_publish, twins

NAMES = [*twins(), "a deque per subscriber"]


def test_the_frame_has_the_size_of_a_small_event() -> None:
    assert len(FRAME) == 355


@pytest.mark.parametrize("events", [1, 16])
def test_turns_have_a_row_for_each_contender(events: int) -> None:
    table = measure(20, events, rounds=2)
    assert [row.name for row in table.rows] == NAMES
    assert (table.items, table.bytes) == (20 * events, 20 * events * len(FRAME))
    assert table.unit == "frame"


@pytest.mark.parametrize("groups", [None, 3])
def test_publishing_has_a_row_for_each_contender(groups: int | None) -> None:
    table = measure_publish(20, groups=groups, rounds=2)
    assert [row.name for row in table.rows] == NAMES
    assert table.items == 20
