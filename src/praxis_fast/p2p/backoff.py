"""Growing, jittered pauses between tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class Backoff:
    """How long to wait after so many failures in a row.

    The pause doubles up to its ceiling; the upper half of each step is random, so that
    hosts cut off together do not come back together.
    """

    __slots__ = ("_least", "_most", "_rng")

    def __init__(self, least: float, most: float, rng: Random) -> None:
        self._least = least
        self._most = max(least, most)
        self._rng = rng

    def pause(self, failures: int) -> float:
        """Seconds to wait; `failures` counts from 1."""
        # 2**32 seconds is past any ceiling; more would only overflow the float.
        high = min(self._most, self._least * 2.0 ** min(failures, 32))
        return max(self._least, self._rng.uniform(high / 2, high))
