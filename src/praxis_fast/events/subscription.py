"""What `EventBus.subscribe` returns: an async iterator, or a handle on a callback."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Self

from praxis_fast.errors import ResourceLimitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from praxis_fast.events.event import Event
    from praxis_fast.events.mailbox import Mailbox

    Handler = Callable[[Event], Awaitable[object] | object]
    Report = Callable[[Handler, Event, BaseException], None]


def overrun(mailbox: Mailbox) -> ResourceLimitError:
    """Why a subscriber under `disconnect` gets nothing any more."""
    event = mailbox.expelled
    assert event is not None
    return ResourceLimitError(
        f"subscriber too slow: event {event.epoch}-{event.seq} was over its bound"
    )


class Subscription:
    """A subscriber of this process; `close()` ends it.

    Without a handler it is an async iterator for one reader, and a reader that goes
    away without closing is forgotten together with this object.
    """

    def __init__(
        self, mailbox: Mailbox, forget: Callable[[Mailbox], None], *, is_iterator: bool
    ) -> None:
        self._mailbox = mailbox
        self._forget = forget
        self._is_iterator = is_iterator
        self._waiter: asyncio.Future[None] | None = None
        if is_iterator:
            mailbox.wake = None

    def close(self) -> None:
        """Get nothing more; may be called at any time and twice."""
        self._forget(self._mailbox)
        self._mailbox.close()
        self._wake()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will come."""
        return self._mailbox.is_closed

    def __aiter__(self) -> Self:
        if not self._is_iterator:
            raise UsageError("a subscription with a handler cannot be iterated")
        return self

    async def __anext__(self) -> Event:
        if self._waiter is not None:
            raise UsageError("a subscription has one reader at a time")
        while (event := self._mailbox.take()) is None:
            self._check_end()
            await self._wait()
        return event

    def _check_end(self) -> None:
        if self._mailbox.expelled is not None:
            raise overrun(self._mailbox)
        if self._mailbox.is_closed:
            raise StopAsyncIteration

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        # Held only while somebody waits, so that nothing in the bus keeps us alive.
        self._mailbox.wake = self._wake
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._mailbox.wake = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The bus forgets a closed mailbox at the next event it has for it; nothing else
        # may be touched from here, because finalizers run at any time.
        if self._is_iterator:
            self._mailbox.is_closed = True


class HandlerRunner:
    """Runs one handler, event after event, in a task of its own.

    A handler that raises, or that takes longer than `timeout`, loses that event only;
    `report` tells it. A handler that blocks the thread blocks everybody.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        handler: Handler,
        report: Report,
        timeout: float,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self._mailbox = mailbox
        self._handler = handler
        self._report = report
        self._timeout = timeout
        # The bus's own set: it cancels what is left there when it closes.
        self._tasks = tasks
        self._is_running = False

    def wake(self) -> None:
        """Start the task when none runs; it ends with its mailbox empty.

        Events published before any loop runs wait for the first one inside it.
        """
        if self._is_running or not len(self._mailbox):
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._is_running = True
        task = loop.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        try:
            while (event := self._mailbox.take()) is not None:
                await self._call(event)
        finally:
            self._is_running = False

    async def _call(self, event: Event) -> None:
        try:
            outcome: Any = self._handler(event)
            if inspect.isawaitable(outcome):
                await self._wait_for(outcome)
        except Exception as error:  # a handler is users' code and may raise anything
            self._report(self._handler, event, error)

    async def _wait_for(self, outcome: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                await outcome
        except TimeoutError:
            if not deadline.expired():
                raise
            raise TimeoutError(f"not done after {self._timeout:g} s") from None
