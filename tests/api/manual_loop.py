"""A clock under the test's hand, with the running loop behind it."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Timer:
    def __init__(self, call: Any) -> None:
        self.call = call

    def cancel(self) -> None:
        self.call = None


class ManualLoop:
    """Timers run in `advance`; everything else is the running loop's."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, call: Any, *args: Any) -> Timer:
        timer = Timer(lambda: call(*args))
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_later(self, delay: float, call: Any, *args: Any) -> Timer:
        return self.call_at(self._now + delay, call, *args)

    def advance(self, seconds: float) -> None:
        """Run what is due on the way, each timer at its own time."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heappop(self._timers)
            self._now = max(self._now, when)
            if timer.call is not None:
                timer.call()
        self._now = end

    def sleep(self, seconds: float) -> None:
        """The whole process is stopped; then all that is due runs late."""
        self._now += seconds
        self.advance(0)
