"""Bytes straight to the kernel, one write per subscriber of a fan-out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from praxis_fast._pure.fanout import Fanout

# The most that one call serves.
BATCH = 64


def send_turn(fanout: Fanout, budget: int = BATCH) -> list[tuple[Hashable, bytes, int]]:
    """Flush, and write each subscriber's bytes to the descriptor `point` gave it.

    What the kernel takes counts as `written`. Returned is who has to be looked after,
    as (key, bytes, how many of them are written): those without a descriptor, those
    with gaps to be told first, and those whose bytes the kernel did not take whole, for
    whatever reason. At most `budget` subscribers are served, and no more than 64. The
    descriptors must be non-blocking and stay open during the call.
    """
    left: list[tuple[Hashable, bytes, int]] = []
    for key, data in fanout.flush(min(budget, BATCH)):
        fd = fanout.descriptor(key)
        taken = _send(fd, data)
        fanout.written(key, taken)
        if fd < 0 or taken < len(data):
            left.append((key, data, taken))
    return left


def _send(fd: int, data: bytes) -> int:
    if fd < 0:
        return 0
    try:
        return os.write(fd, data)
    except OSError:
        return 0
