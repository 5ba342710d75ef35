"""Tasks that wait until one more stream may be opened, in the order they came."""

from __future__ import annotations

import asyncio
from collections import deque


class Openers:
    """A queue of tasks, woken one by one or all at once."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, timeout: float) -> bool:
        """Wait to be woken; False when it took too long."""
        opener = asyncio.get_running_loop().create_future()
        self._waiting.append(opener)
        try:
            async with asyncio.timeout(timeout):
                await opener
        except TimeoutError:
            return False
        return True

    def wake_one(self) -> None:
        """Wake the first that still waits."""
        while self._waiting:
            opener = self._waiting.popleft()
            if not opener.done():
                opener.set_result(None)
                return

    def wake_all(self) -> None:
        """Wake them all."""
        while self._waiting:
            self.wake_one()
