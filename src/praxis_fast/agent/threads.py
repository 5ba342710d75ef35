"""Plain functions beside the event loop, a bounded number at once.

Not a ThreadPoolExecutor: its threads are waited for when the process ends, and a tool
that never returns would keep an agent from ever leaving.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Threads:
    """Runs functions in daemon threads; a place is free again when one returned."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)

    async def run(self, function: Callable[[], Any]) -> Any:
        """The function's result; a cancelled caller leaves the thread to its end."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Outcome] = loop.create_future()
        context = copy_context()
        thread = Thread(
            target=self._work,
            args=(loop, future, lambda: context.run(function)),
            daemon=True,
            name="praxis-fast-tool",
        )
        try:
            thread.start()
        except RuntimeError:
            self._places.release()
            raise
        outcome = await future
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def _work(
        self,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[_Outcome],
        function: Callable[[], Any],
    ) -> None:
        try:
            outcome = _Outcome(function(), None)
        except BaseException as error:  # raised again in the caller
            outcome = _Outcome(None, error)
        try:
            loop.call_soon_threadsafe(self._finish, future, outcome)
        except RuntimeError:
            pass  # the loop ended before the function did: nobody waits any more

    def _finish(self, future: asyncio.Future[_Outcome], outcome: _Outcome) -> None:
        self._places.release()
        if not future.done():
            future.set_result(outcome)


class _Outcome:
    """A result or an error; a future cannot hold a StopIteration as an error."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error
