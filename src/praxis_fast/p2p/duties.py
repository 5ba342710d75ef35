"""The tasks that belong to one link: handlers of its streams, and its own work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from praxis_fast.errors import (
    ConnectionLostError,
    NetworkError,
    ProtocolError,
    StreamResetError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from praxis_fast.p2p.stream import Stream

    Handler = Callable[[Stream], Awaitable[None]]
    Report = Callable[[str, str, BaseException | None], None]
    Work = Callable[..., Coroutine[Any, Any, None]]

# What peers cause and a handler need not foresee: told in a line, without a trace.
_EXPECTED = (ProtocolError, NetworkError, EOFError, TimeoutError)


class Duties:
    """Runs and owns tasks; whatever one does ends with its own stream."""

    __slots__ = ("_on_done", "_report", "_tasks")

    def __init__(self, report: Report, on_done: Callable[[], None]) -> None:
        self._report = report
        self._on_done = on_done
        self._tasks: dict[asyncio.Task[None], Stream | None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_busy(self) -> bool:
        """Whether a handler does more than wait for its peer."""
        return any(
            stream is not None and not stream.is_waiting
            for stream in self._tasks.values()
        )

    def serve(self, stream: Stream, handler: Handler) -> None:
        """Run a stream's handler."""
        self._start(self._serve(stream, handler), stream)

    def spawn(self, kind: str, work: Work, *given: object) -> None:
        """Run other work; a failure is told as `kind`."""
        self._start(self._guard(kind, work, given), None)

    def cancel(self) -> None:
        """Stop everything but the task that asks for it."""
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    def fail(
        self, stream: Stream, kind: str, error: Exception, *, trace: bool = False
    ) -> None:
        """One stream failed: say so once, reset it, leave the others alone."""
        protocol = stream.protocol or "no protocol"
        message = f"stream {stream.id} ({protocol}): {error or type(error).__name__}"
        self._report(kind, message, error if trace else None)
        stream.abort(StreamResetError(message))

    def _start(self, work: Coroutine[Any, Any, None], stream: Stream | None) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = stream
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._on_done()

    async def _guard(self, kind: str, work: Work, given: tuple[object, ...]) -> None:
        try:
            await work(*given)
        except ConnectionLostError:
            return  # which is told as the link's end
        except _EXPECTED as error:
            self._report(kind, str(error) or type(error).__name__, None)
        except Exception as error:
            self._report(kind, str(error) or type(error).__name__, error)

    async def _serve(self, stream: Stream, handler: Handler) -> None:
        try:
            await handler(stream)
        except (StreamResetError, ConnectionLostError) as error:
            stream.abort(error)
        except _EXPECTED as error:
            self.fail(stream, "stream", error)
        except Exception as error:
            self.fail(stream, "handler", error, trace=True)
        except BaseException:
            stream.abort(StreamResetError(f"stream {stream.id} was given up"))
            raise
        else:
            stream.close_now()
