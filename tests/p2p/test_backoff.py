"""Pauses between tries."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.p2p.backoff import Backoff


@given(st.integers(1, 5000), st.integers())
def test_con_4_pause_is_between_its_bounds(failures: int, seed: int) -> None:
    pause = Backoff(1.0, 300.0, random.Random(seed)).pause(failures)
    assert 1.0 <= pause <= 300.0


def test_con_4_pauses_double_and_are_not_alike() -> None:
    backoff = Backoff(1.0, 300.0, random.Random(1))
    for failures, longest in ((1, 2.0), (2, 4.0), (5, 32.0), (9, 300.0), (50, 300.0)):
        pauses = [backoff.pause(failures) for _ in range(50)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


def test_con_4_ceiling_under_the_floor_is_the_floor() -> None:
    assert Backoff(5.0, 1.0, random.Random(1)).pause(1) == 5.0
