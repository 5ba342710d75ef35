"""The time as events carry it, without making the whole text each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxis_fast.events.event import utc_text

if TYPE_CHECKING:
    from collections.abc import Callable


class ClockText:
    """Gives the wall clock's time as `utc_text`, remembering what it said last."""

    __slots__ = ("_head", "_moment", "_second", "_text", "_wall_clock")

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._moment = self._second = -1
        self._head = self._text = ""

    def __call__(self) -> str:
        """The present moment, ISO 8601 in UTC with milliseconds."""
        moment = int(self._wall_clock() * 1000)
        if moment != self._moment:
            second, millisecond = divmod(moment, 1000)
            if second != self._second:
                self._head = utc_text(second)[:-4]
            self._second, self._moment = second, moment
            self._text = f"{self._head}{millisecond:03d}Z"
        return self._text
