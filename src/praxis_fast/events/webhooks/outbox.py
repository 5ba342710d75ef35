"""The outbox: events to webhook endpoints, at least once and in order (HK-4..7).

Theory of operation
-------------------
    bus ─► append ─► database ─► lanes ─► send ─► delivered
                        ▲  acked            │
                        └── state, history ─┴─► retry later ─► dead letter ─► redrive

An event is acknowledged when it is on the disk; from then on it is sent until its
receiver takes it or it is given up, across crashes too, always with the same id. Each
(endpoint, task) is a lane with one message in flight. Of what waits only the numbers
are in memory, and the newest messages as long as they are few.

Times are epoch seconds by a clock that never jumps: the wall clock as it was at the
start, and what has passed since (PRC-3).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from praxis_fast.errors import (
    MessageError,
    ResourceLimitError,
    StoreError,
    UsageError,
)
from praxis_fast.events.priority import Priority
from praxis_fast.events.webhooks import store
from praxis_fast.events.webhooks.body import numbered, webhook_body
from praxis_fast.events.webhooks.counters import WebhookCounters
from praxis_fast.events.webhooks.endpoint import Endpoint
from praxis_fast.events.webhooks.endpoints import Endpoints
from praxis_fast.events.webhooks.fresh import Fresh
from praxis_fast.events.webhooks.lanes import Lanes, Slot
from praxis_fast.events.webhooks.retry import RetrySchedule
from praxis_fast.events.webhooks.signing import sign_webhook
from praxis_fast.events.webhooks.store import (
    Added,
    Attempt,
    Message,
    NewMessage,
    Result,
)
from praxis_fast.events.webhooks.writes import Writes
from praxis_fast.limits import Limits
from praxis_fast.store.database import Database
from praxis_fast.store.text import storable

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from praxis_fast.events.access.principal import Principal
    from praxis_fast.events.event import Event
    from praxis_fast.events.stages import Stopwatch
    from praxis_fast.events.webhooks.endpoints import Judge
    from praxis_fast.events.webhooks.sender import Answer
    from praxis_fast.events.webhooks.store import State

    Report = Callable[[str, str], None]

logger = logging.getLogger(__name__)

_CLEAN_UP = 3600.0
# How long a message waits when the database could not be asked for it.
_STORE_PAUSE = 5.0
# These answers ask for another try; every other 4xx is final.
_RETRIED_4XX = frozenset({408, 425, 429})


class Sender(Protocol):
    """What carries messages out; see `webhooks.WebhookClient`."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def check(self, url: str) -> None: ...
    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answer: ...


@dataclass(frozen=True, slots=True)
class OutboxFigures:
    """How the outbox does."""

    waiting: int
    """Messages not finished."""
    retrying: int
    """Those of them that were tried before."""
    in_flight: int
    oldest: float
    """Seconds since the oldest of them was made."""
    states: dict[str, str]
    """Each endpoint: active, failing or disabled."""


class Outbox:
    """Holds endpoints and their messages in one database; belongs to one running loop.

    `report(code, message)` hears what an operator should know. Hand `sink` to the bus.
    Below `min_priority` no endpoint gets an event.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sender: Sender,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        report: Report = lambda code, message: None,
        stopwatch: Stopwatch | None = None,
        min_priority: Priority = Priority.LOW,
        judge: Judge | None = None,
    ) -> None:
        limits = limits or Limits()
        self._limits = limits.webhooks
        self._min_priority = min_priority
        self._max_event = limits.events.max_event
        self._sender = sender
        self._clock = clock
        self._wall_clock = wall_clock
        self._report = report
        self._schedule = RetrySchedule(limits.webhooks, rng or random.Random())
        self._db = Database(
            path, store.SCHEMA, limits=limits.store, on_fault=self._on_store_fault
        )
        self._writes = Writes(self._db, limits.store.max_queued)
        self._fresh = Fresh(limits.webhooks.max_fresh)
        self._started = wall_clock() - clock()
        self.counters = WebhookCounters(stopwatch)
        self._lanes = Lanes(limits.webhooks.per_endpoint, limits.webhooks.total)
        self._endpoints = Endpoints(judge)
        self._registering = asyncio.Lock()
        self._full: set[str] = set()
        # Messages that failed and wait, with their endpoints.
        self._retrying: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._is_pump_due = False
        self._cleaning: asyncio.TimerHandle | None = None
        self._is_open = False

    async def open(self) -> None:
        """Open the database and begin to send what waits."""
        await self._sender.open()
        await self._db.open()
        for endpoint, disabled in await self._db.read(store.load_endpoints):
            self._endpoints.put(endpoint, disabled)
        now, wall = self._clock(), self._now()
        for name, task, number, due in await self._db.read(store.load_waiting):
            # A wall clock that was set back must not hold a message for ever.
            rest = min(max(0.0, due - wall), self._limits.max_retry_after)
            self._lanes.add(name, task, number, now + rest)
            if due:
                self._retrying[number] = name
        self._is_open = True
        self._clean_up()
        self.pump()

    async def close(self, timeout: float = 5.0) -> None:
        """Take no more, let requests end within `timeout`, close; may be called twice.

        What was not delivered is sent after the next `open`.
        """
        self._is_open = False
        for timer in (self._timer, self._cleaning):
            if timer is not None:
                timer.cancel()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._writes.flush()
        await self._sender.close()
        await self._db.close()

    # endpoints

    async def register(
        self, message: Mapping[str, Any], *, owner: Principal | None = None
    ) -> Endpoint:
        """Add an endpoint, or change the one with its id; UsageError when it is bad.

        It shows no more than its owner may see; whoever changes it, the owner stays.
        """
        endpoint = Endpoint.from_message(message, owner=owner, now=self._wall_clock())
        former = self._endpoints.get(endpoint.id)
        if former is not None:
            endpoint = replace(endpoint, owner=former.owner)
        await self._sender.check(endpoint.url)
        async with self._registering:
            # Looking up the host takes a while, and others register meanwhile.
            if self._endpoints.get(endpoint.id) is not former:
                raise UsageError(f"webhook {endpoint.id!r} was changed meanwhile")
            if former is None and len(self._endpoints) >= self._limits.max_endpoints:
                number, limit = len(self._endpoints) + 1, self._limits.max_endpoints
                raise ResourceLimitError(f"webhook {number}, limit {limit}")
            await self._writes.write(partial(store.save_endpoint, endpoint=endpoint))
            self._endpoints.put(endpoint)
        return endpoint

    async def remove(self, name: str) -> None:
        """Forget an endpoint and everything that waits for it."""
        self._endpoints.need(name)
        await self._writes.write(partial(store.delete_endpoint, endpoint=name))
        self._stop_feeding(name)
        self._endpoints.remove(name)

    def __contains__(self, name: str) -> bool:
        return name in self._endpoints

    def owner(self, name: str) -> Principal | None:
        """Who registered an endpoint."""
        return self._endpoints.need(name).owner

    def rejudge(self) -> None:
        """See anew what owners may see, after something about access changed."""
        self._endpoints.rejudge()

    async def endpoints(self) -> list[dict[str, Any]]:
        """Every endpoint and its health."""
        counts = await self._db.read(store.counts)
        return [
            endpoint.to_message()
            | self._endpoints.health(endpoint.id, counts.get(endpoint.id, {}))
            for endpoint in self._endpoints
        ]

    async def figures(self) -> OutboxFigures:
        """How the outbox does, at little cost."""
        read = partial(store.oldest, endpoints=[e.id for e in self._endpoints])
        since = await self._db.read(read)
        return OutboxFigures(
            waiting=self._lanes.depth,
            retrying=len(self._retrying),
            in_flight=self._lanes.in_flight,
            oldest=0.0 if since is None else max(0.0, self._now() - since),
            states=self._endpoints.states(),
        )

    async def deliveries(
        self,
        name: str,
        *,
        state: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """What became of an endpoint's messages, newest first."""
        self._endpoints.need(name)
        if state is not None and state not in store.STATES:
            raise UsageError(f"state {state!r} is not one of {', '.join(store.STATES)}")
        read = partial(
            store.history, endpoint=name, state=state, before=before, limit=limit
        )
        return await self._db.read(read)

    async def purge(self, name: str, state: State = "delivered") -> int:
        """Forget the history of an endpoint, or its dead letters; how many."""
        self._endpoints.need(name)
        if state not in ("delivered", "dead"):
            raise UsageError(f"messages in state {state!r} are not purged")
        purge = partial(store.purge_endpoint, endpoint=name, state=state)
        purged: int = await self._writes.write(purge)
        return purged

    async def redrive(self, name: str, ids: Sequence[str] | None = None) -> int:
        """Send dead letters again, all or these; a disabled endpoint is enabled."""
        self._endpoints.need(name)
        redrive = partial(store.redrive, endpoint=name, ids=ids)
        chosen: list[tuple[str, int]] = await self._writes.write(redrive)
        # It may have been changed meanwhile, or removed and its messages with it.
        if (endpoint := self._endpoints.get(name)) is None:
            return 0
        self.counters.redriven += len(chosen)
        self._endpoints.put(endpoint)
        for task, number in chosen:
            self._lanes.add(name, task, number)
        self.pump()
        return len(chosen)

    # events in

    def sink(self, event: Event) -> None:
        """Take an event of the bus; what cannot be taken is reported."""
        self._append(event)

    def append(self, event: Event) -> asyncio.Future[Any] | None:
        """Write an event for all who asked for it; None when nobody did.

        The future is done when it is on the disk, or has a StoreError.
        """
        written = self._append(event)
        # Whoever stops waiting must not stop the message as well.
        return None if written is None else asyncio.shield(written)

    def _append(self, event: Event) -> asyncio.Future[Any] | None:
        if event.priority < self._min_priority or not self._is_open:
            return None
        names = self._wanted_by(event)
        if not names:
            return None
        task = storable(event.task_id or "")
        message = self._new_message(event, task)
        if message is None:
            return None
        try:
            written = self._writes.append(message, names)
        except ResourceLimitError as error:
            self._refuse("*", f"event not taken for webhooks: {error}")
            return None
        written.add_done_callback(partial(self._on_written, message))
        if event.seq == self.counters.stages.watch.seq:
            written.add_done_callback(self._on_timed)
        return written

    def _wanted_by(self, event: Event) -> list[str]:
        names = self._endpoints.match(event)
        if names and event.seq == self.counters.stages.watch.seq:
            self.counters.stages.matched()
        return [name for name in names if self._has_room(name)]

    def _has_room(self, name: str) -> bool:
        waiting, limit = self._lanes.waiting(name), self._limits.max_waiting
        if waiting < limit:
            self._full.discard(name)
            return True
        self._refuse(name, f"webhook {name}: message {waiting + 1}, limit {limit}")
        return False

    def _refuse(self, name: str, text: str) -> None:
        """Count it; tell it once until there is room again."""
        self.counters.refused += 1
        if name not in self._full:
            self._full.add(name)
            logger.error("%s", text)
            self._report("outbox_full", text)

    def _new_message(self, event: Event, task: str) -> NewMessage | None:
        try:
            if not event.id.isprintable():
                raise MessageError("its id can stand in no header")
            body = webhook_body(event)
            if len(body) > self._max_event:
                raise MessageError(
                    f"event of {len(body)} bytes, limit {self._max_event}"
                )
        except (MessageError, TypeError, ValueError) as error:
            self.counters.refused += 1
            logger.warning("event %r is no webhook: %s", event.id, error)
            return None
        return NewMessage(event.id, event.type, task, body, self._now())

    def _on_written(
        self, message: NewMessage, written: asyncio.Future[list[Added]]
    ) -> None:
        if written.exception() is not None:
            self.counters.refused += 1
            return
        self._full.discard("*")
        for name, number, seq in written.result():
            if not self._endpoints.is_enabled(name):
                continue
            new = Message(number, message.id, seq, message.body, message.created)
            self._fresh.put(name, new)
            self._lanes.add(name, message.task, number)
            self.counters.stages.queued += 1
        self._pump_soon()

    def _on_timed(self, written: asyncio.Future[list[Added]]) -> None:
        if written.exception() is None:
            self.counters.stages.enqueued()

    # events out

    def pump(self) -> None:
        """Begin to send whatever is due; called by itself when something changes."""
        self._is_pump_due = False
        if not self._is_open:
            return
        for slot in self._lanes.take(self._clock()):
            task = asyncio.get_running_loop().create_task(self._deliver(slot))
            self._tasks.add(task)
            task.add_done_callback(self._on_delivered)
        self._arm()

    def _pump_soon(self) -> None:
        """Once for all that happens in a turn of the loop."""
        if not self._is_pump_due:
            self._is_pump_due = True
            asyncio.get_running_loop().call_soon(self.pump)

    def _arm(self) -> None:
        due = self._lanes.next_deadline()
        if self._timer is not None:
            if due == self._timer_due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer_due = due
            self._timer = loop.call_later(max(0.0, due - self._clock()), self._on_due)

    def _on_due(self) -> None:
        self._timer = None
        self.pump()

    def _on_delivered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump_soon()

    async def _deliver(self, slot: Slot) -> None:
        """One try, from the database to what came of it."""
        due: float | None = self._clock() + _STORE_PAUSE
        try:
            due = await self._try(slot)
        except StoreError as error:
            logger.warning("webhook %s: %s", slot.endpoint, error)
        except Exception:  # the task ends here; its message is tried again
            logger.exception("webhook %s: not sent", slot.endpoint)
        finally:
            if due is None:
                self._lanes.finish(slot)
            else:
                self._lanes.retry(slot, due)

    async def _try(self, slot: Slot) -> float | None:
        """When the message is due again; None when it is done with."""
        message = self._fresh.take(slot.endpoint, slot.number)
        if message is None:
            message = await self._load(slot.number)
        endpoint = self._endpoints.get(slot.endpoint)
        if message is None or endpoint is None:
            return None
        begun, at = self._clock(), self._now()
        if not self._endpoints.may_send(endpoint, message.body):
            withheld = Attempt(at, 0.0, None, "its owner may not see it any more")
            self.counters.dead_letters += 1
            self._record(message, withheld, "dead")
            return None
        body = numbered(message.body, message.seq)
        headers = {
            **endpoint.headers,
            **sign_webhook(message.id, body, endpoint.secrets, self._wall_clock()),
            "Content-Type": "application/json",
            "X-Praxis-Attempt": str(message.attempts + 1),
        }
        answer = await self._sender.post(endpoint.url, headers, body)
        duration = self._clock() - begun
        self.counters.answered(answer, duration)
        attempt = Attempt(at, duration, answer.status, _error(answer))
        return self._settle(slot, message, attempt, answer)

    async def _load(self, number: int) -> Message | None:
        # The disk may not know yet how often it was tried.
        tried = self._writes.tried(number)
        message = await self._db.read(partial(store.load_message, number=number))
        if message is None or tried is None or tried.attempts <= message.attempts:
            return message
        return replace(tried, body=message.body)

    def _settle(
        self, slot: Slot, message: Message, attempt: Attempt, answer: Answer
    ) -> float | None:
        name = slot.endpoint
        if answer.is_success:
            self._endpoints.succeeded(name)
            age = attempt.at + attempt.duration - message.created
            self.counters.stages.written.observe(max(0.0, age))
            self._record(message, attempt, "delivered")
            return None
        self._endpoints.failed(name)
        pause = self._pause(message, attempt, answer)
        if pause is not None:
            # It may have been removed or disabled while its receiver thought.
            if self._endpoints.is_enabled(name):
                self._retrying[message.number] = name
            self._record(message, attempt, "waiting", attempt.at + pause)
            return self._clock() + pause
        logger.warning(
            "webhook %s: message %s is a dead letter after %d tries: %s",
            *(name, message.id, message.attempts + 1, attempt.error),
        )
        self.counters.dead_letters += 1
        self._record(message, attempt, "dead")
        if answer.status == 410:
            self._disable(name)
        return None

    def _pause(
        self, message: Message, attempt: Attempt, answer: Answer
    ) -> float | None:
        status = answer.status or 0
        if 400 <= status < 500 and status not in _RETRIED_4XX:
            return None
        age = attempt.at - (attempt.at if message.since is None else message.since)
        return self._schedule.delay(message.tries + 1, age, answer.retry_after)

    def _record(
        self, message: Message, attempt: Attempt, state: State, due: float = 0.0
    ) -> None:
        """Write it down; the lane goes on meanwhile.

        Were this lost in a crash, the message would be sent once more.
        """
        if state != "waiting":
            self._retrying.pop(message.number, None)
        self._writes.record(Result(message, attempt, state, due))

    def _write_aside(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        try:
            self._writes.write(work)
        except ResourceLimitError as error:
            logger.warning("outbox: not written: %s", error)

    def _disable(self, name: str) -> None:
        """The receiver said it is gone for good (410)."""
        reason = "endpoint answered 410 gone"
        disable = partial(
            store.disable_endpoint,
            endpoint=name,
            reason=reason,
            now=self._now(),
        )
        self._stop_feeding(name)
        self._endpoints.disable(name, reason)
        self._write_aside(disable)
        logger.error("webhook %s is disabled: %s", name, reason)
        self._report("webhook_disabled", f"webhook {name} is disabled: {reason}")

    # inside

    def _now(self) -> float:
        """Epoch seconds that never jump."""
        return self._started + self._clock()

    def _stop_feeding(self, name: str) -> None:
        """Forget in memory what waits for an endpoint."""
        self._lanes.drop(name)
        self._fresh.drop(name)
        self._retrying = {
            number: owner for number, owner in self._retrying.items() if owner != name
        }
        self._full.discard(name)

    def _on_store_fault(self, error: StoreError | None) -> None:
        if error is None:
            self._writes.flush()
        else:
            self._report("outbox_not_written", f"webhooks are not taken: {error}")

    def _clean_up(self) -> None:
        """Forget old history, now and every hour."""
        loop = asyncio.get_running_loop()
        self._cleaning = loop.call_later(_CLEAN_UP, self._clean_up)
        now = self._now()
        self._write_aside(
            partial(
                store.purge,
                delivered_before=now - self._limits.history,
                dead_before=now - self._limits.dead_letters,
            )
        )


def _error(answer: Answer) -> str | None:
    if answer.error is not None:
        # It may quote what the receiver sent.
        return storable(answer.error)
    if answer.is_success:
        return None
    return f"status {answer.status}"
