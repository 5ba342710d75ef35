"""Delays between tries."""

from __future__ import annotations

import pytest

from praxis_fast.client import Backoff
from praxis_fast.errors import UsageError


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff(1, 5, uniform=lambda _, whole: whole)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


def test_at_least_half_of_a_delay_stays() -> None:
    backoff = Backoff(1, 4, uniform=lambda least, _: least)
    assert [backoff.next() for _ in range(4)] == [0.5, 1, 2, 2]


def test_delays_differ() -> None:
    assert len({Backoff().next() for _ in range(10)}) > 1


@pytest.mark.parametrize(("first", "longest"), [(0, 1), (-1, 1), (2, 1)])
def test_senseless_delays_are_refused(first: float, longest: float) -> None:
    with pytest.raises(UsageError, match="backoff from"):
        Backoff(first, longest)
