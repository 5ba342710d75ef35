"""Losses as lines."""

from __future__ import annotations

import pytest

from praxis_fast.client import Gap, Reset
from praxis_fast.client.loss_line import loss_line


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (Gap(3, 9, 5), "gap, 5 events left out between 3 and 9"),
        (Gap(3, 3, 1, "a\nb"), "gap, 1 events left out between 3 and 3: a\\nb"),
        (Reset("evicted", "e-1"), "reset, events since e-1 may be missing: evicted"),
        (Reset("x\x1b[2J"), "reset, events may be missing: x\\x1b[2J"),
    ],
)
def test_a_loss_is_one_line(item: Gap | Reset, line: str) -> None:
    assert loss_line(item) == line
