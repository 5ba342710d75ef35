"""One timer for all deadlines of its owner."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarm:
    """Calls back no later than at the deadline it was last set to.

    Deadlines are put off all the time: the timer that runs stays then, and whoever it
    calls looks at what is due and sets the alarm again.
    """

    __slots__ = ("_callback", "_clock", "_loop", "_timer", "at")

    def __init__(
        self, clock: Callable[[], float], callback: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None
        self.at = inf
        """When it calls back, infinity while it is not set."""

    def set(self, deadline: float) -> None:
        """Call back at this time of the clock, or before."""
        if self.at <= deadline:
            return
        self.cancel()
        self.at = deadline
        delay = max(0.0, deadline - self._clock())
        self._timer = self._loop.call_later(delay, self._ring)

    def cancel(self) -> None:
        """Call back no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.at = inf

    def _ring(self) -> None:
        self._timer = None
        self.at = inf
        self._callback()
