"""The event gateway: WebSocket clients of one bus."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from praxis_fast.api.broadcast import Broadcast, Channel
from praxis_fast.api.conversation import EVERYTHING, WELCOME, Conversation
from praxis_fast.api.encode import encode
from praxis_fast.api.event_socket import EventSocket
from praxis_fast.api.frames import text_frame
from praxis_fast.api.inbound import Inbound
from praxis_fast.api.shapes import enriched_shape, plain_shape
from praxis_fast.api.snapshot import snapshot_events
from praxis_fast.api.sse import EventStreams, sse_pack
from praxis_fast.events.event import EventFilter, utc_now
from praxis_fast.events.journal import Journal
from praxis_fast.events.types import DEFAULT_TYPES
from praxis_fast.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Set

    from praxis_fast.api.access import Access
    from praxis_fast.api.wanted import Wanted
    from praxis_fast.events.bus import EventBus
    from praxis_fast.events.mailbox import Policy

logger = logging.getLogger(__name__)

# How often sockets are looked at for silence, and how many between two loop turns.
TICK = 1.0
TICK_SLICE = 512

_TOO_MANY = "Maximum connections reached"


class EventGateway:
    """Holds the clients of the event streams; belongs to one running loop.

    `peers` gives the payloads of the present peers for snapshots, `version` is the
    agent's as events tell it.
    """

    def __init__(
        self,
        bus: EventBus,
        access: Access,
        *,
        limits: Limits | None = None,
        max_clients: int | None = None,
        peers: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
        version: str = "",
    ) -> None:
        self.bus = bus
        self.access = access
        self.limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self.max_clients = max_clients or self.limits.websocket.max_clients
        self._peers = peers
        self._plain = Channel(plain_shape)
        self._aliased = Channel(enriched_shape(version))
        sse = Channel(enriched_shape(version), sse_pack(bus.epoch))
        # Made before the broadcast, so that each event reaches it right before.
        self.journal = Journal(
            bus, self.limits.journal, encode=encode, clock=self.loop.time
        )
        self.broadcast = Broadcast(
            bus,
            (self._plain, self._aliased, sse),
            self.limits.events,
            self.loop,
            sealed=self.journal.sealed,
        )
        self.streams = EventStreams(self, sse)
        # Every way in and what it means: shape, welcome, types until a subscription.
        self._doors = {
            "/ws": (self._plain, True, DEFAULT_TYPES),
            "/ws/events": (self._plain, True, DEFAULT_TYPES),
            "/events": (self._aliased, False, EVERYTHING),
        }
        self._sockets: dict[EventSocket, Callable[[], None]] = {}
        self._members: set[EventSocket] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._is_closing = False
        self._timer = self.loop.call_later(TICK, self._on_tick)

    @property
    def epoch(self) -> str:
        """The epoch of the bus."""
        return self.bus.epoch

    @property
    def clients(self) -> int:
        """Clients that get events."""
        return len(self._members) + len(self.streams)

    @property
    def is_full(self) -> bool:
        """Whether no client may join (WS-10), or we are leaving."""
        return self._is_closing or self.clients >= self.max_clients

    def filter(self, wanted: Wanted) -> EventFilter:
        """What a client gets of that which it wants."""
        return wanted.to_filter(self.access.role())

    @property
    def paths(self) -> Iterable[str]:
        """The WebSocket paths that are ours."""
        return self._doors

    def now(self) -> float:
        """The monotonic time of the loop."""
        return self.loop.time()

    # what a socket calls

    def enter(
        self,
        path: str,
        transport: asyncio.Transport,
        on_lost: Callable[[], None],
        policy: Policy = "drop_oldest",
    ) -> EventSocket:
        """Take over a connection right after its handshake."""
        channel, is_welcomed, types = self._doors[path]
        now = self.now()
        conversation = Conversation(
            types=types,
            known=self._known_types,
            now=utc_now,
            max_filters=self.limits.websocket.max_filters,
            limits=self.limits.json,
        )
        inbound = Inbound(self.limits.websocket, now)
        client = EventSocket(
            self, transport, channel, policy, conversation, inbound, now
        )
        self._sockets[client] = on_lost
        self._is_empty.clear()
        if self._is_closing:
            client.close(1001, "going away")
        elif self.is_full:
            client.close(1008, _TOO_MANY)
        else:
            self._admit(client, is_welcomed, conversation)
        return client

    def _admit(
        self, client: EventSocket, is_welcomed: bool, conversation: Conversation
    ) -> None:
        self._members.add(client)
        if is_welcomed:
            client.send(text_frame(encode(WELCOME)))
        self.broadcast.add(client, self._filter(conversation.types))

    def subscribe(self, client: EventSocket, types: frozenset[str] | None) -> None:
        """Change what a client gets."""
        if client in self._members:
            self.broadcast.change(client, self._filter(types))

    def snapshot(self, client: EventSocket, types: frozenset[str] | None) -> bytes:
        """The present peers, as frames of the events the client would have got."""
        events = snapshot_events(self._peers(), self.bus)
        return b"".join(
            text_frame(encode(client.channel.shape(event) | {"snapshot": True}))
            for event in events
            if self._filter(types).matches(event)
        )

    def leave(self, client: EventSocket) -> None:
        """Give a client no more events; its connection may still be closing."""
        if client in self._members:
            self._members.remove(client)
            self.broadcast.remove(client)

    def forget(self, client: EventSocket) -> None:
        """The connection of a client is gone."""
        self.leave(client)
        on_lost = self._sockets.pop(client, None)
        if on_lost is not None:
            on_lost()
        if not self._sockets:
            self._is_empty.set()

    # the owner's end

    async def close(self, timeout: float = 2.0) -> None:
        """Say goodbye to every client (1001) and leave no connection behind."""
        self._is_closing = True
        self.broadcast.flush_all()
        ending = asyncio.create_task(self.streams.close())
        self._timer.cancel()
        for client in list(self._sockets):
            client.close(1001, "going away")
        try:
            async with asyncio.timeout(timeout):
                await self._is_empty.wait()
                await ending
        except TimeoutError:
            for client in list(self._sockets):
                client.abort()
            self.streams.abort()
            await self._is_empty.wait()
            await asyncio.gather(ending, return_exceptions=True)
        self.broadcast.close()
        self.journal.close()

    # inside

    def _known_types(self) -> Set[str]:
        return self.bus.known_types

    def _filter(self, types: frozenset[str] | None) -> EventFilter:
        return EventFilter(event_types=types, role=self.access.role())

    def _on_tick(self) -> None:
        self._timer = self.loop.call_later(TICK, self._on_tick)
        self._look_at(list(self._sockets), self.now())

    def _look_at(self, clients: list[EventSocket], now: float) -> None:
        for client in clients[:TICK_SLICE]:
            client.on_tick(now)
        rest = clients[TICK_SLICE:]
        if rest:
            self.loop.call_soon(self._look_at, rest, now)
