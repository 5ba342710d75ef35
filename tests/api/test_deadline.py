from __future__ import annotations

from typing import Any, cast

import pytest

from praxis_fast.api.deadline import FREEZE, Deadline
from tests.api.manual_loop import ManualLoop


@pytest.fixture
def loop() -> ManualLoop:
    return ManualLoop()


@pytest.fixture
def late() -> list[float]:
    return []


@pytest.fixture
def deadline(loop: ManualLoop, late: list[float]) -> Deadline:
    return Deadline(cast("Any", loop), lambda: late.append(loop.time()))


def test_deadline_calls_once_when_the_time_is_up(
    loop: ManualLoop, deadline: Deadline, late: list[float]
) -> None:
    deadline.start(10)
    loop.advance(9.9)
    assert (deadline.is_set, late) == (True, [])
    loop.advance(60)
    assert (deadline.is_set, late) == (False, [10])


def test_deadline_that_moved_on_calls_later_and_at_once_when_moved_back(
    loop: ManualLoop, deadline: Deadline, late: list[float]
) -> None:
    deadline.start(10)
    deadline.move(15, 5)
    loop.advance(14)
    assert late == []
    deadline.start(10)
    deadline.start(0.5)
    loop.advance(60)
    assert late == [14.5]


def test_cancelled_deadline_never_calls(
    loop: ManualLoop, deadline: Deadline, late: list[float]
) -> None:
    deadline.start(10)
    deadline.cancel()
    deadline.cancel()
    loop.advance(60)
    assert late == []


def test_prc_2_deadline_slept_through_is_set_once_more(
    loop: ManualLoop, deadline: Deadline, late: list[float]
) -> None:
    deadline.start(10)
    loop.sleep(3600)
    assert (deadline.is_set, late) == (True, [])
    loop.advance(9)
    assert late == []
    loop.sleep(3600)
    assert late == [2 * 3600 + 9]


def test_prc_2_timer_a_little_late_is_no_freeze(
    loop: ManualLoop, deadline: Deadline, late: list[float]
) -> None:
    deadline.start(10)
    loop.sleep(10 + FREEZE)
    assert late == [10 + FREEZE]
