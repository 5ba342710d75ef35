"""EventStream: an agent's events, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from praxis_fast.client.address import DEFAULT_URL, is_sse, shown_url, stream_url
from praxis_fast.client.backoff import Backoff
from praxis_fast.client.follower import Follower
from praxis_fast.errors import (
    AccessDeniedError,
    NetworkError,
    UsageError,
    WrongServerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from praxis_fast.client.event_source import EventSource
    from praxis_fast.client.items import Item
    from praxis_fast.client.socket import Socket

logger = logging.getLogger(__name__)

# A connection that held this long was no part of a bad spell: delays begin anew.
STABLE_AFTER = 10.0


class EventStream:
    """Iterates over an agent's events, in order and without repeating one.

    It connects again when the connection is lost and goes on where it was. What cannot
    be had any more is an item too: Gap or Reset. With `snapshot` the present peers come
    first, and again after each Gap and Reset, as one Snapshot. `since` is where to go
    on: the `position` of an earlier stream.

    The URL is the agent's, or that of one of its streams: `ws://…/ws/events`, or
    `http://…/events/stream` for Server-Sent Events, where proxies let no WebSocket
    through; they have no snapshot and no `heartbeat` of ours.

    Entering it as a context manager connects; without, the first item does. An agent
    that is not there then is a NetworkError, unless `patient`. Later it tries again
    without end, or `retries` times in a row. Ends with AccessDeniedError for a token
    that is refused, WrongServerError when something else answers at the URL, UsageError
    for types that the agent does not know.

    An agent that is silent for two heartbeats while an item is waited for counts as
    gone. Nothing runs between two items: a reader that takes its time holds the agent
    back, which then drops events and says so in a Gap. Waiting for an
    item may be cancelled, as by `asyncio.timeout`, and nothing is lost.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        types: Sequence[str] = ("*",),
        token: str | None = None,
        since: str | None = None,
        snapshot: bool = False,
        patient: bool = False,
        retries: int | None = None,
        timeout: float = 10.0,
        heartbeat: float = 20.0,
        backoff: Backoff | None = None,
        on_lost: Callable[[NetworkError], None] | None = None,
    ) -> None:
        names = [types] if isinstance(types, str) else list(types)
        if not names or not all(names):
            raise UsageError("types must name at least one event type")
        self.url = stream_url(url)
        self._is_sse = is_sse(self.url)
        if self._is_sse and snapshot:
            raise UsageError("snapshots come over websocket only")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise UsageError("token must be printable ascii")
        self._token = token
        self._is_patient = patient
        self._retries = retries
        self._timeout = timeout
        self._heartbeat = heartbeat
        self._backoff = backoff or Backoff()
        self._on_lost = on_lost
        self._follower = Follower(names, since=since, keeps_snapshot=snapshot)
        self._items: deque[Item] = deque()
        self._outbox: deque[str] = deque()
        self._socket: Socket | EventSource | None = None
        self._closed = asyncio.Event()
        self._is_reading = False
        self._was_following = False
        self._tries = 0
        self._opened_at = self._retry_at = 0.0

    def __repr__(self) -> str:
        return f"<EventStream {shown_url(self.url)} at {self.position}>"

    @property
    def position(self) -> str | None:
        """Everything up to it has been received, "epoch-seq"."""
        return self._follower.position

    @property
    def is_following(self) -> bool:
        """Whether it is connected and the agent tells it everything from here on."""
        return self._socket is not None and self._follower.is_following

    @property
    def is_closed(self) -> bool:
        """Whether it was closed or has failed for good."""
        return self._closed.is_set()

    async def connect(self) -> None:
        """Be subscribed: what is published from now on will be told."""
        self._begin_reading()
        try:
            while not self.is_following and not self.is_closed:
                await self._advance()
        finally:
            self._is_reading = False

    async def close(self) -> None:
        """Leave the agent; whoever waits for an item comes to the end."""
        self._closed.set()
        await self._drop_socket()

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        self._begin_reading()
        try:
            while not self._items:
                if self.is_closed:
                    raise StopAsyncIteration
                await self._advance()
            return self._items.popleft()
        finally:
            self._is_reading = False

    # inside

    def _begin_reading(self) -> None:
        if self._is_reading:
            raise UsageError("an event stream has one reader at a time")
        self._is_reading = True

    async def _advance(self) -> None:
        """One step towards the next item: connect, or receive a message."""
        try:
            await self._step()
        except (AccessDeniedError, WrongServerError, UsageError):
            await self.close()
            raise
        except NetworkError as error:
            await self._lose(error)

    async def _step(self) -> None:
        if self._socket is None:
            await self._open()
            return
        socket = self._socket
        while self._outbox:
            await socket.send(self._outbox[0])
            self._outbox.popleft()
        if self._follower.is_following:
            message = await socket.receive()
        else:
            message = await self._receive_answer(socket)
        self._items += self._follower.receive_message(message)
        self._outbox += self._follower.messages_to_send()
        self._note_following()

    def _note_following(self) -> None:
        if self._follower.is_following:
            self._was_following = True
            self._tries = 0

    async def _receive_answer(self, socket: Socket | EventSource) -> dict[str, Any]:
        """A message while an answer of the agent is due."""
        try:
            async with asyncio.timeout(self._timeout):
                return await socket.receive()
        except TimeoutError as error:
            raise NetworkError(
                f"{shown_url(self.url)} did not answer, limit {self._timeout:g} s"
            ) from error

    async def _open(self) -> None:
        await self._wait_until(self._retry_at)
        if self._closed.is_set():
            return
        self._socket = await (self._open_source() if self._is_sse else self._dial())
        self._opened_at = asyncio.get_running_loop().time()
        if self._closed.is_set():
            await self._drop_socket()
            return
        self._outbox.clear()
        if self._is_sse:
            self._items += self._follower.begin_unasked()
        else:
            self._follower.begin()
        self._outbox += self._follower.messages_to_send()
        self._note_following()

    # Imported late for programs that never connect.

    async def _dial(self) -> Socket:
        from praxis_fast.client.socket import Socket

        return await Socket.open(
            self.url,
            token=self._token,
            timeout=self._timeout,
            heartbeat=self._heartbeat,
        )

    async def _open_source(self) -> EventSource:
        from praxis_fast.client.event_source import EventSource

        return await EventSource.open(
            self.url,
            types=self._follower.names,
            since=self._follower.position,
            token=self._token,
            timeout=self._timeout,
        )

    async def _wait_until(self, when: float) -> None:
        try:
            async with asyncio.timeout_at(when):
                await self._closed.wait()
        except TimeoutError:
            pass

    async def _lose(self, error: NetworkError) -> None:
        """The connection is gone or could not be had: when to try again, if at all."""
        if self._socket is not None:
            self._socket.abort()
            self._socket = None
        if self.is_closed:
            return
        is_patient = self._is_patient or self._was_following
        if not is_patient or self._tries == self._retries:
            await self.close()
            raise error
        delay = self._delay()
        self._tries += 1
        logger.info("%s; trying again in %.1f s", error, delay)
        if self._on_lost is not None:
            self._on_lost(error)

    def _delay(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._tries == 0 and now - self._opened_at > STABLE_AFTER:
            self._backoff.reset()
        delay = self._backoff.next()
        # Kept as a time: a reader that gives up waiting must not shorten it.
        self._retry_at = now + delay
        return delay

    async def _drop_socket(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
