"""The event bus: one ordered sequence, any number of bounded subscribers.

Theory of operation
-------------------
`publish` stamps an event with (epoch, seq), hands it to the sinks and then to the
mailboxes of every group of filters that matches. Nothing in there waits: a mailbox that
is full follows its policy. Readers and handlers run later, in their own tasks.

    publish ─► stamp ─► sinks (journal, sockets, ...)
                   └──► Matcher ─► mailbox ─► async iterator
                                └► mailbox ─► HandlerRunner task ─► handler

What a sink or a filter publishes meanwhile waits in `_outbox` until the event at hand
has reached everybody, so that each subscriber sees the order of `seq`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from praxis_fast.core import Matcher
from praxis_fast.errors import ResourceLimitError, UsageError
from praxis_fast.events.access.rule import LIMITING
from praxis_fast.events.catalogue import PRIORITIES
from praxis_fast.events.clocktext import ClockText
from praxis_fast.events.event import Event, EventFilter, Priority, Tags
from praxis_fast.events.faults import FaultLimiter, handler_name
from praxis_fast.events.ids import IDSource
from praxis_fast.events.mailbox import Mailbox
from praxis_fast.events.payloads import error_payload
from praxis_fast.events.redact import Redactor
from praxis_fast.events.stages import TIMED_EVERY, Stages, Stopwatch
from praxis_fast.events.subscription import HandlerRunner, Subscription, overrun
from praxis_fast.events.types import CATALOGUE, RESERVED, is_type_name
from praxis_fast.limits import EventLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Set

    from praxis_fast.events.mailbox import Policy
    from praxis_fast.events.subscription import Handler

    Sink = Callable[[Event], None]

logger = logging.getLogger(__name__)

# Type names of users' code that are remembered as known; more are published all the
# same, but clients can ask for them by glob only.
MAX_KNOWN_TYPES = 10_000


class SinkHandle:
    """Takes a sink off its bus."""

    def __init__(self, sinks: list[Sink], sink: Sink) -> None:
        self._sinks = sinks
        self._sink = sink

    def close(self) -> None:
        """Hand the sink no more events; may be called twice."""
        if self._sink in self._sinks:
            self._sinks.remove(self._sink)


class EventBus:
    """Publishes events in one sequence to subscribers of this process and to sinks.

    It belongs to the thread that first publishes or subscribes inside a running loop;
    other threads use `publish_from_thread`.
    """

    def __init__(
        self,
        *,
        source: str = "praxis-fast",
        limits: EventLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        epoch: str | None = None,
        redactor: Redactor | None = None,
        timed_every: int = TIMED_EVERY,
    ) -> None:
        self.source = source
        self.epoch = epoch or os.urandom(8).hex()
        self._limits = limits or EventLimits()
        self.stopwatch = Stopwatch(timed_every)
        self.stages = Stages(self.stopwatch)
        """What subscribers of this process count."""
        self.handler_errors = 0
        """Handlers, filters and sinks that raised or took too long."""
        redactor = redactor or Redactor()
        self._mask, self._mask_tags = redactor.mask, redactor.mask_tags
        self._faults = FaultLimiter(clock)
        # Bound once: calling the objects looks the method up each time.
        self._new_id = IDSource().__call__
        self._time = ClockText(wall_clock).__call__
        self._seq = 0
        # The last number this epoch may give, and how many were never given.
        self._reserved = sys.maxsize
        self._skipped = 0
        self._matcher = Matcher(on_error=self._on_filter_error)
        self._current: Event | None = None
        self._mailboxes: set[Mailbox] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sinks: list[Sink] = []
        self._waiting: dict[str, asyncio.Future[Event]] = {}
        self._known: set[str] = set()
        self._outbox: deque[Event] = deque()
        self._is_delivering = False
        self._is_closed = False
        self._thread: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # publishing

    def publish(
        self,
        type: str | Event,  # noqa: A002  the name users know
        data: Mapping[str, Any] | None = None,
        *,
        source: str | None = None,
        correlation_id: str | None = None,
        tags: Mapping[str, str] | Iterable[str] | None = None,
        priority: Priority | str | None = None,
        task_id: str | None = None,
        peer_id: str | None = None,
        required_role: str | None = None,
    ) -> Event:
        """Give everybody who asked for it an event, and return it stamped.

        Never waits. An `Event` made by the caller keeps its id and time. Sensitive
        values in `data` are masked in the event, never in the caller's own objects.
        Without a priority the event has the one its type has in the catalogue.
        """
        # Once for each event: what is as it should be is not worth a call.
        if get_ident() != self._thread:
            self._check_thread()
        if not isinstance(type, str) and isinstance(type, Event):
            event = self._restamp(type)
        else:
            if type not in CATALOGUE and type not in self._known:
                self._admit_type(type)
            event = Event(
                type,
                self._mask(data if data.__class__ is dict else _as_dict(data)),
                source or self.source,
                correlation_id,
                Tags(self._mask_tags(Tags(tags))) if tags else _NO_TAGS,
                PRIORITIES.get(type, _NORMAL)
                if priority is None
                else _as_priority(priority),
                task_id,
                None if peer_id is None else str(peer_id),
                required_role,
                self._new_id(),
                self._time(),
                self.epoch if self._seq < self._reserved else self.begin_epoch(),
                self._next_seq(),
            )
        self._outbox.append(event)
        if not self._is_delivering:
            self._deliver_all()
        return event

    def publish_from_thread(self, type: str | Event, *args: Any, **kwargs: Any) -> None:  # noqa: A002
        """Publish from a thread that is not the bus's own; returns at once."""
        if self._loop is None:
            raise UsageError("the bus has not been used in a running loop yet")
        self._loop.call_soon_threadsafe(lambda: self.publish(type, *args, **kwargs))

    async def publish_and_wait(
        self,
        type: str,  # noqa: A002
        data: Mapping[str, Any] | None = None,
        *,
        timeout: float = 30.0,
        **fields: Any,
    ) -> Event:
        """Publish a question and return the first event with its correlation id.

        Raises TimeoutError when nobody answers in time, UsageError when the bus is
        closed meanwhile. Answer with `reply`.
        """
        correlation_id = fields.pop("correlation_id", None) or self._new_id()
        if correlation_id in self._waiting:
            raise UsageError(f"correlation id {correlation_id!r} is being waited for")
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        # Entered after publishing: the question itself is no answer.
        question = self.publish(type, data, correlation_id=correlation_id, **fields)
        self._waiting[correlation_id] = answer
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise TimeoutError(
                f"no answer to {question.type} within {timeout:g} s"
            ) from None
        finally:
            del self._waiting[correlation_id]

    def reply(
        self,
        event: Event,
        data: Mapping[str, Any] | None = None,
        *,
        type: str | None = None,  # noqa: A002
        **fields: Any,
    ) -> Event:
        """Answer an event; what limits who may see the question limits the answer."""
        limiting = {name: event.tags[name] for name in LIMITING if name in event.tags}
        fields["tags"] = limiting | Tags(fields.get("tags"))
        given = {
            "correlation_id": event.correlation_id or event.id,
            "task_id": event.task_id,
            "peer_id": event.peer_id,
            "required_role": event.required_role,
        }
        return self.publish(type or f"{event.type}.reply", data, **(given | fields))

    def declare(self, *names: str) -> None:
        """Make types of users' code known, so that clients can subscribe by name."""
        for name in names:
            self._check_type(name)

    @property
    def known_types(self) -> Set[str]:
        """Types outside the catalogue that were declared or published."""
        return self._known

    @property
    def seq(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._seq

    @property
    def published(self) -> int:
        """How many events there were in this process."""
        return self._seq - self._skipped

    def continue_epoch(self, epoch: str, seq: int) -> None:
        """Go on with the numbers after `seq`; numbers never go back (BUS-4)."""
        self.epoch = epoch
        self._reserved = sys.maxsize
        if seq > self._seq:
            self._skipped += seq - self._seq
            self._seq = seq

    def reserve(self, last: int) -> None:
        """Give no number beyond `last` in this epoch: what follows begins another."""
        self._reserved = last

    def begin_epoch(self) -> str:
        """Begin an epoch that nobody has heard of; the numbers go on."""
        self.epoch = os.urandom(8).hex()
        self._reserved = sys.maxsize
        return self.epoch

    @property
    def waiting(self) -> tuple[int, int]:
        """Events that wait for subscribers of this process, in all and at most."""
        sizes = [len(mailbox) for mailbox in self._mailboxes]
        return sum(sizes), max(sizes, default=0)

    @property
    def active_handlers(self) -> int:
        """Handlers that are at work."""
        return len(self._tasks)

    @property
    def subscribers(self) -> int:
        """How many subscribers of this process there are."""
        return len(self._mailboxes)

    # subscribing

    def subscribe(
        self,
        filter: EventFilter | None = None,  # noqa: A002
        handler: Handler | None = None,
        *,
        policy: Policy = "drop_oldest",
        max_events: int | None = None,
    ) -> Subscription:
        """Get the events a filter matches: by iterating, or by a handler.

        Handlers are called one event at a time, in order. Events lost to the bound come
        as an event of type `gap` with `from`, `to` and `dropped`.
        """
        self._check_thread()
        if self._is_closed:
            raise UsageError("the bus is closed")
        if len(self._mailboxes) >= self._limits.max_subscribers:
            raise ResourceLimitError(
                f"subscriber {len(self._mailboxes) + 1}, "
                f"limit {self._limits.max_subscribers}"
            )
        mailbox = Mailbox(
            policy, max_events or self._limits.max_queued_events, self.stages
        )
        if handler is not None:
            timeout = self._limits.handler_timeout
            runner = HandlerRunner(mailbox, handler, self._report, timeout, self._tasks)
            mailbox.wake = runner.wake
        self._mailboxes.add(mailbox)
        self._matcher.add(mailbox, filter or EventFilter())
        return Subscription(mailbox, self._forget, is_iterator=handler is None)

    def add_sink(self, sink: Sink) -> SinkHandle:
        """Have a function called with every event, in order, inside `publish`.

        It must be quick and must not raise; its `close` takes it off again.
        """
        self._sinks.append(sink)
        return SinkHandle(self._sinks, sink)

    async def close(self, timeout: float = 5.0) -> None:
        """Accept no more subscribers and end those there are.

        Readers and handlers get what waits for them; handlers that are not done after
        `timeout` seconds are cancelled.
        """
        self._is_closed = True
        for mailbox in list(self._mailboxes):
            self._forget(mailbox)
            mailbox.finish()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(UsageError("the bus was closed"))
        self._sinks.clear()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # inside

    def _check_thread(self) -> None:
        if get_ident() == self._thread:
            return
        if self._thread is not None:
            raise UsageError(
                "the bus belongs to another thread; use publish_from_thread there"
            )
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._thread = get_ident()

    def _check_type(self, name: str) -> None:
        if name not in CATALOGUE and name not in self._known:
            self._admit_type(name)

    def _admit_type(self, name: str) -> None:
        if not is_type_name(name):
            raise UsageError(f"event type {name!r} is not a short name without blanks")
        if name in RESERVED:
            raise UsageError(f"event type {name!r} is reserved for the bus itself")
        if len(self._known) < MAX_KNOWN_TYPES:
            self._known.add(name)

    def _restamp(self, event: Event) -> Event:
        self._check_type(event.type)
        source = event.source or self.source
        stamped: Event = replace(
            event,
            data=self._mask(_as_dict(event.data)),
            tags=Tags(self._mask_tags(event.tags)) if event.tags else event.tags,
            source=source,
            epoch=self.epoch if self._seq < self._reserved else self.begin_epoch(),
            seq=self._next_seq(),
        )
        return stamped

    def _next_seq(self) -> int:
        self._seq += 1
        if self._seq >= self.stopwatch.due:
            self.stopwatch.begin(self._seq)
        return self._seq

    def _deliver_all(self) -> None:
        self._is_delivering = True
        try:
            while self._outbox:
                self._deliver(self._outbox.popleft())
        finally:
            self._is_delivering = False

    def _deliver(self, event: Event) -> None:
        for sink in tuple(self._sinks):
            try:
                sink(event)
            except Exception as error:  # one sink's fault is not the publisher's
                self._report(sink, event, error)
        self._current = event
        gone: list[Mailbox] = []
        groups = self._matcher.match(event)
        is_timed = event.seq == self.stopwatch.seq
        if is_timed and groups:
            self.stages.matched()
        for group in groups:
            mailboxes = cast("tuple[Mailbox, ...]", tuple(group.keys))
            gone += [mailbox for mailbox in mailboxes if not mailbox.put(event)]
            self.stages.queued += len(mailboxes)
            if is_timed:
                self._watch(event, mailboxes)
        if is_timed and groups:
            self.stages.enqueued()
        for mailbox in gone:
            self._forget(mailbox)
        if self._waiting and event.correlation_id is not None:
            answer = self._waiting.get(event.correlation_id)
            if answer is not None and not answer.done():
                answer.set_result(event)

    def _watch(self, event: Event, mailboxes: Iterable[Mailbox]) -> None:
        for mailbox in mailboxes:
            mailbox.time(event, self.stopwatch.begun)

    def _on_filter_error(self, wanted: EventFilter, error: Exception) -> None:
        assert self._current is not None
        self._report(wanted.matches, self._current, error)

    def _forget(self, mailbox: Mailbox) -> None:
        if mailbox not in self._mailboxes:
            return
        self._mailboxes.remove(mailbox)
        self._matcher.discard(mailbox)
        if mailbox.expelled is not None:
            self.stages.expelled += 1
            logger.warning("%s", overrun(mailbox))

    def _report(self, culprit: Any, event: Event, error: BaseException) -> None:
        """Log a fault of users' code and tell it as `system.error`."""
        name = handler_name(culprit)
        self.handler_errors += 1
        held = self._faults.admit((name, type(error)))
        if held is None:
            return
        message = str(error) or type(error).__name__
        logger.error("%s failed on %s: %s", name, event.type, message, exc_info=error)
        # A handler that fails on errors must not make new ones for itself.
        if event.type == "system.error" or self._is_closed:
            return
        self.publish(
            "system.error",
            error_payload(
                f"{name} failed on {event.type}: {message}",
                component=name,
                error_code=type(error).__name__,
                diagnostic_data={"event_id": event.id, "suppressed": held},
            ),
            priority=Priority.HIGH,
            required_role=event.required_role,
        )


_NO_TAGS = Tags()
_NORMAL = Priority.NORMAL


def _as_priority(priority: Priority | str) -> Priority:
    return priority if isinstance(priority, Priority) else Priority.parse(priority)


def _as_dict(data: Mapping[str, Any] | None) -> dict[str, Any]:
    if data is None:
        return {}
    try:
        return data if type(data) is dict else dict(data)
    except (TypeError, ValueError):
        raise UsageError(
            f"event data is {type(data).__name__}, not a mapping"
        ) from None
