"""One point in time by which something must have happened (PRC-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# A timer this late was not the others' fault: our process was stopped, its machine
# asleep, or its loop held up. Whoever we wait for gets the time once more.
FREEZE = 1.0


class Deadline:
    """Calls `on_late` when the time is up, and may be moved at little cost."""

    __slots__ = (
        "_at",
        "_due",
        "_handle",
        "_is_extended",
        "_length",
        "_loop",
        "_on_late",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_late = on_late
        self._handle: asyncio.TimerHandle | None = None
        self._at = self._due = self._length = 0.0
        self._is_extended = False

    @property
    def is_set(self) -> bool:
        """Whether there is something to wait for."""
        return self._handle is not None

    def start(self, seconds: float) -> None:
        """Call in so many seconds, whatever was arranged before."""
        self.move(self._loop.time() + seconds, seconds)

    def move(self, due: float, length: float) -> None:
        """Call when the loop's clock shows `due`, at the end of `length` seconds."""
        self._due, self._length, self._is_extended = due, length, False
        # A timer that is too early finds out by itself: most deadlines only move on.
        if self._handle is None or due < self._at:
            self._arm(due)

    def cancel(self) -> None:
        """Call no more; may be called twice."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, at: float) -> None:
        self.cancel()
        self._at = at
        self._handle = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._handle = None
        now = self._loop.time()
        if now - self._at > FREEZE and not self._is_extended:
            self._is_extended = True
            self._due = max(self._due, now + self._length)
        if now < self._due:
            self._arm(self._due)
        else:
            self._on_late()
