"""The time as events carry it, without making the whole text each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxis_fast.events.event import utc_text

if TYPE_CHECKING:
    from collections.abc import Callable


class ClockText:
    """Gives the wall clock's time as `utc_text`, remembering the current second."""

    __slots__ = ("_head", "_second", "_wall_clock")

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._second = -1
        self._head = ""

    def __call__(self) -> str:
        """The present moment, ISO 8601 in UTC with milliseconds."""
        now = self._wall_clock()
        second = int(now)
        if second != self._second:
            self._second = second
            self._head = utc_text(second)[:-4]
        return f"{self._head}{int((now - second) * 1000):03d}Z"
