"""The event gateway: WebSocket clients of one bus."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from praxis_fast.api.access.denials import Denials
from praxis_fast.api.access.revision import REVOKED, Revision, Verdict
from praxis_fast.api.broadcast import STRIDE, Broadcast, Channel
from praxis_fast.api.conversation import EVERYTHING, WELCOME, Conversation
from praxis_fast.api.deadline import FREEZE
from praxis_fast.api.deflate import SharedDeflateFactory, deflated_pack
from praxis_fast.api.event_socket import EventSocket
from praxis_fast.api.frames import text_frame
from praxis_fast.api.inbound import Inbound
from praxis_fast.api.legacy_shapes import SHAPES, shape_of
from praxis_fast.api.rejoin import Rejoining
from praxis_fast.api.shapes import enriched_shape, plain_shape
from praxis_fast.api.shared_sets import SharedSets
from praxis_fast.api.snapshot import snapshot_events
from praxis_fast.api.sse import (
    EventStreams,
    closing_message,
    connection_established,
    sse_pack,
)
from praxis_fast.api.task_conversation import TaskConversation
from praxis_fast.api.wanted import Wanted, asides, policy_of, wanted_of
from praxis_fast.errors import UsageError
from praxis_fast.events.access.roles import ADMIN
from praxis_fast.events.encode import encode
from praxis_fast.events.event import utc_now
from praxis_fast.events.filter import any_glob, is_glob
from praxis_fast.events.journal.ring import Journal
from praxis_fast.events.payloads import error_payload
from praxis_fast.events.priority import Priority
from praxis_fast.events.stages import Stages
from praxis_fast.events.tally import Tally
from praxis_fast.events.types import CATALOGUE, DEFAULT_TYPES
from praxis_fast.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Set

    from praxis_fast.api.access.access import Access, Refusal, Visit
    from praxis_fast.api.counters import Counters
    from praxis_fast.api.shapes import Pack
    from praxis_fast.api.sse import SSEClient
    from praxis_fast.events.access.principal import Principal
    from praxis_fast.events.bus import EventBus
    from praxis_fast.events.event import EventFilter
    from praxis_fast.events.journal.file import JournalFile
    from praxis_fast.events.mailbox import Policy

    Welcome = Callable[[], dict[str, Any]]

logger = logging.getLogger(__name__)

# How often sockets are looked at for silence, and how many between two loop turns.
TICK = 1.0
TICK_SLICE = 512

# At this part of the buffer pool clients that do not keep up are sent away.
SHED_AT = 0.8

_TOO_MANY = "Maximum connections reached"

# A close frame has room for as many bytes.
_MAX_REASON = 123

_STREAMING = "/streaming/websocket"
_TALKS: Mapping[str, type[Conversation]] = {_STREAMING: TaskConversation}


class EventGateway:
    """Holds the clients of the event streams; belongs to one running loop.

    `peers` gives the payloads of the present peers for snapshots, `version` is the
    agent's as events tell it; below `min_priority` nobody gets an event. With an open
    `journal` history reaches beyond the ring; without one the gateway has its own.
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
        min_priority: Priority = Priority.LOW,
        journal: JournalFile | None = None,
    ) -> None:
        self._min_priority = min_priority
        self.bus = bus
        self.access = access
        self.limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self.max_clients = max_clients or self.limits.websocket.max_clients
        self._peers = peers
        sockets = Stages(bus.stopwatch)
        self._plain = Channel(plain_shape, stages=sockets)
        self._aliased = Channel(enriched_shape(version), stages=sockets)
        # The same for clients that agreed to compression.
        self._deflated: dict[Channel, Channel] = {}
        if self.limits.websocket.compression:
            self._deflated = {
                channel: Channel(channel.shape, deflated_pack, sockets)
                for channel in (self._plain, self._aliased)
            }
        self.tally = Tally(bus)
        streams = Stages(bus.stopwatch)
        sse = Channel(enriched_shape(version), sse_pack(lambda: bus.epoch), streams)
        self.stages = {"websocket": sockets, "sse": streams}
        """What each class of clients counts."""
        self.journal_file = journal
        # Made before the broadcast, so that each event reaches it before.
        self.journal = (
            journal.journal
            if journal is not None
            else Journal(bus, self.limits.journal, encode=encode, clock=self.loop.time)
        )
        self.broadcast = Broadcast(
            bus,
            (self._plain, self._aliased, sse, *self._deflated.values()),
            self.limits.events,
            self.loop,
            sealed=self.journal.sealed,
        )
        self._policy = access.policy
        self._denials = Denials(bus, self.loop.time)
        # Two tasks: an issuer that takes its time must hold no revocation back.
        self._reading_file: asyncio.Task[bool] | None = None
        self._reading_keys: asyncio.Task[bool] | None = None
        access.on_change.append(self.rejudge)
        access.on_denied = access.on_denied or self._on_denied
        access.on_fault = access.on_fault or self._tell_fault
        self.streams = EventStreams(self, sse)
        self.rejoining = Rejoining(
            self.journal, self.broadcast, self.limits.events.max_event, self.loop
        )
        # Every way in and what it means: shape, welcome, types until a subscription.
        self._doors: dict[str, tuple[Channel, Welcome | None, frozenset[str]]] = {
            "/ws": (self._plain, WELCOME.copy, DEFAULT_TYPES),
            "/ws/events": (self._plain, WELCOME.copy, DEFAULT_TYPES),
            "/ws/workflow": (self._plain, WELCOME.copy, DEFAULT_TYPES),
            "/events": (self._aliased, None, EVERYTHING),
            _STREAMING: (self._aliased, connection_established, EVERYTHING),
        }
        # Those of upstream's shapes, by name and pack; most gateways need none.
        self._shaped: dict[tuple[str, Pack], Channel] = {}
        # Each with the server's own connections, where it is as long as it lives.
        self._sockets: dict[EventSocket, set[Any]] = {}
        # What all clients keep is made once: a bound method alone takes 64 bytes.
        self._share = SharedSets()
        self._known = self._known_types
        self._hide = self.hidden
        self._members: set[EventSocket] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._is_closing = False
        self._tick_due = self.loop.time() + TICK
        self._timer = self.loop.call_at(self._tick_due, self._on_tick)

    @property
    def epoch(self) -> str:
        """The epoch of the bus."""
        return self.bus.epoch

    @property
    def clients(self) -> int:
        """Clients that get events."""
        return len(self._members) + len(self.streams)

    @property
    def sockets(self) -> int:
        """Clients that get events over WebSocket."""
        return len(self._members)

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait for clients which do not keep up."""
        return self.broadcast.pending_bytes

    @property
    def queued_bytes(self) -> dict[str, int]:
        """Bytes that wait, for each class of clients."""
        return {
            kind: sum(
                channel.fanout.pending_bytes
                for channel in self.broadcast.channels
                if channel.stages is stages
            )
            for kind, stages in self.stages.items()
        }

    @property
    def lags(self) -> dict[str, float]:
        """Seconds the slowest client of each class has taken nothing of what waits."""
        now = self.now()
        slow: dict[str, Iterable[EventSocket | SSEClient]] = {
            "websocket": self._sockets,
            "sse": self.streams.slow,
        }
        return {
            kind: max((client.lag(now) for client in clients), default=0.0)
            for kind, clients in slow.items()
        }

    @property
    def counters(self) -> Counters:
        """What the streams count, all together."""
        return self.broadcast.counters

    @property
    def position_step(self) -> int:
        """Events after which a client that wants its position is told it again."""
        # Long before what followed the last one leaves the ring.
        return max(1, self.limits.journal.max_events // 4)

    @property
    def is_full(self) -> bool:
        """Whether no client may join (WS-10), or we are leaving."""
        return self._is_closing or self.clients >= self.max_clients

    def filter(self, wanted: Wanted, principal: Principal) -> EventFilter:
        """What a client gets of that which it wants: as much as it may see."""
        level = self._min_priority
        if level and (wanted.min_priority or Priority.LOW) < level:
            wanted = replace(wanted, min_priority=level)
        return self.access.policy.filter(principal, wanted.to_filter())

    def shaped(self, channel: Channel, shape: str | None) -> Channel:
        """The channel, or the one like it for one of upstream's shapes."""
        if shape is None:
            return channel
        key = (shape, channel.pack)
        if key not in self._shaped:
            made = Channel(SHAPES[shape], channel.pack, channel.stages)
            self._shaped[key] = made
            self.broadcast.open(made)
        return self._shaped[key]

    @property
    def paths(self) -> Iterable[str]:
        """The WebSocket paths that are ours."""
        return self._doors

    @property
    def extensions(self) -> list[SharedDeflateFactory]:
        """What a handshake may agree to."""
        return [SharedDeflateFactory()] if self._deflated else []

    def now(self) -> float:
        """The monotonic time of the loop."""
        return self.loop.time()

    # what a socket calls

    def enter(
        self,
        path: str,
        transport: asyncio.Transport,
        connections: set[Any],
        query: str = "",
        *,
        is_deflated: bool = False,
        principal: Principal | None = None,
    ) -> EventSocket:
        """Take over a connection right after its handshake.

        The client is taken out of `connections` when its own is gone. `query` may have
        `since`, `shape`, `policy` and conditions, as the SSE streams. The principal is
        whom `access` let in; without one it is nobody in particular.
        """
        principal = principal or self.access.visitor
        channel, welcome, types = self._doors[path]
        if is_deflated:
            channel = self._deflated[channel]
        now = self.now()
        asked = parse_qs(query)
        policy: Policy = "drop_oldest"
        fault = ""
        try:
            wanted, rejected = wanted_of(asked, types=types, known=self.bus.known_types)
            channel = self.shaped(channel, shape_of(asked))
            policy = policy_of(asked)
        except UsageError as error:
            wanted, rejected, fault = Wanted(), [], str(error)
        conversation = _TALKS.get(path, Conversation)(
            types=EVERYTHING if wanted.types is None else self._share(wanted.types),
            known=self._known,
            now=utc_now,
            max_filters=self.limits.websocket.max_filters,
            limits=self.limits.json,
            wanted=wanted,
            hidden=self._hide,
            principal=principal,
            share=self._share,
        )
        inbound = Inbound(self.limits.websocket, now, is_deflated=is_deflated)
        client = EventSocket(
            self, transport, channel, policy, conversation, inbound, now, principal
        )
        self._sockets[client] = connections
        self._is_empty.clear()
        if self._is_closing:
            client.close(1001, "going away")
        elif self.is_full:
            self.counters.hits["websocket.max_clients"] += 1
            client.close(1008, _TOO_MANY)
        elif fault:
            client.close(1008, _reason(fault))
        else:
            since = asked.get("since", [""])[0]
            is_chosen = wanted.types is not None and wanted.types is not types
            opening = [] if welcome is None else [welcome()]
            hidden = self.hidden(principal, wanted.types) if is_chosen else []
            opening += asides(rejected, hidden)
            self._admit(client, opening, conversation.wanted, since)
        return client

    def _admit(
        self,
        client: EventSocket,
        opening: Iterable[Mapping[str, Any]],
        wanted: Wanted,
        since: str,
    ) -> None:
        self._members.add(client)
        for message in opening:
            client.send(text_frame(encode(message)))
        if since:
            self.resume(client, since, wanted)
        else:
            self.broadcast.add(client, self.filter(wanted, client.principal))

    def subscribe(self, client: EventSocket, wanted: Wanted) -> None:
        """Change what a client gets."""
        chosen = self.filter(wanted, client.principal)
        if client in self._members and not self.rejoining.change(client, chosen):
            self.broadcast.change(client, chosen)

    def restrict(self, client: EventSocket, wanted: Wanted) -> None:
        """Change what a client may see; what it was not handed yet becomes a gap."""
        chosen = self.filter(wanted, client.principal)
        if client in self._members and not self.rejoining.change(client, chosen):
            self.broadcast.restrict(client, chosen)

    def resume(self, client: EventSocket, since: str, wanted: Wanted) -> None:
        """Give a client what came after the event it names, then the live stream."""
        if client in self._members:
            chosen = self.filter(wanted, client.principal)
            self.rejoining.begin(client, since, chosen)
            client.tell_positions(is_wanted=True)

    def snapshot(self, client: EventSocket, wanted: Wanted) -> bytes:
        """The present peers, as frames of the events the client would have got."""
        events = snapshot_events(self._peers(), self.bus)
        chosen = self.filter(wanted, client.principal)
        return b"".join(
            text_frame(encode(client.channel.shape(event) | {"snapshot": True}))
            for event in events
            if chosen.matches(event)
        )

    def position_of(self, client: EventSocket) -> str | None:
        """Where a client may go on later; None when it was not given all until now."""
        broadcast = self.broadcast
        if client not in self._members or client not in broadcast:
            return None
        broadcast.flush(client)
        is_behind = client.is_paused or broadcast.is_waiting(client)
        return None if is_behind else self.journal.token

    def leave(self, client: EventSocket) -> None:
        """Give a client no more events; its connection may still be closing."""
        if client in self._members:
            self._members.remove(client)
            self.rejoining.leave(client)
            self.broadcast.remove(client)

    def forget(self, client: EventSocket) -> None:
        """The connection of a client is gone."""
        self.leave(client)
        self._sockets.pop(client, set()).discard(client)
        if not self._sockets:
            self._is_empty.set()

    def hidden(self, principal: Principal, types: frozenset[str] | None) -> list[str]:
        """Those of the types that the principal never sees; globs mean the catalogue.

        Types of users' code may be many, and a client asks as often as it likes.
        """
        policy = self.access.policy
        if policy.view(principal).is_plain:
            return []
        globs = frozenset({"*"} if types is None else filter(is_glob, types))
        asked = {name for name in CATALOGUE if any_glob(globs, name)}
        return policy.hidden(principal, asked | ((types or frozenset()) - globs))

    # who may see what, changed

    def rejudge(self) -> None:
        """Judge every client anew, after something about access changed."""
        judge = Revision(self.access, self._policy)
        self._policy = self.access.policy
        for client in list(self._members):
            client.revise(judge(client))
        self.streams.rejudge(judge)

    def _watch_access(self) -> None:
        """End whose time is over; see whether anything else changed."""
        # Also where nothing is guarded: an application around us knows its clients.
        now = self.access.now()
        expired = Verdict(None, REVOKED)
        for client in [c for c in self._members if c.principal.is_expired(now)]:
            client.revise(expired)
        self.streams.rejudge(
            lambda who: expired if who.principal.is_expired(now) else Verdict(None)
        )
        access = self.access
        if access.is_file_changed and _is_idle(self._reading_file):
            self._reading_file = self.loop.create_task(access.refresh_file())
        if access.are_keys_due and _is_idle(self._reading_keys):
            self._reading_keys = self.loop.create_task(access.refresh_keys())

    def _on_denied(self, visit: Visit, refusal: Refusal) -> None:
        if refusal.retry_after is not None:
            self.counters.hits["http.failed_logins"] += 1
        self._denials(visit, refusal)

    def _tell_fault(self, message: str) -> None:
        told = error_payload(message, component="access", error_code="not_read")
        self.bus.publish("system.error", told, required_role=ADMIN)

    # the owner's end

    async def close(self, timeout: float = 2.0) -> None:
        """Say goodbye to every client (1001) and leave no connection behind."""
        self._is_closing = True
        ending = asyncio.create_task(self.streams.close())
        self._timer.cancel()
        try:
            async with asyncio.timeout(timeout):
                await self._say_goodbyes()
                await self._is_empty.wait()
                await ending
        except TimeoutError:
            for client in list(self._sockets):
                client.abort()
            self.streams.abort()
            await self._is_empty.wait()
            await asyncio.gather(ending, return_exceptions=True)
        self.access.on_change.remove(self.rejudge)
        for task in (self._reading_file, self._reading_keys):
            if task is not None:
                await asyncio.wait({task})
        await self.rejoining.close()
        self.broadcast.close()
        if self.journal_file is None:
            self.journal.close()
        self.tally.close()

    # inside

    async def _say_goodbyes(self) -> None:
        """Clients not reached yet go on getting events between the slices."""
        for number, client in enumerate(list(self._sockets)):
            if number % STRIDE == STRIDE - 1:
                await asyncio.sleep(0)
            self.say_goodbye(client)

    def say_goodbye(self, client: EventSocket) -> None:
        """End a client with a last message that tells where to go on (PRC-1)."""
        if client in self._members:
            message = closing_message("going away", self.position_of(client))
            client.send(text_frame(encode(message)))
        client.close(1001, "going away")

    def _known_types(self) -> Set[str]:
        return self.bus.known_types

    def _on_tick(self) -> None:
        slept = self.loop.time() - self._tick_due
        self._tick_due += max(slept, 0.0) + TICK
        self._timer = self.loop.call_at(self._tick_due, self._on_tick)
        now = self.now()
        if slept > FREEZE:
            # It was us who were away: nobody was silent for that long (PRC-2).
            for client in self._sockets:
                client.on_freeze(now)
        self.bus.stopwatch.time_next()
        self._watch_access()
        self._relieve()
        self.streams.nudge()
        self._look_at(list(self._sockets), now)

    def _relieve(self) -> None:
        """Send the newest slow clients away while too much waits for all (PRC-4)."""
        budget = SHED_AT * self.limits.process.buffer_pool
        slow: list[EventSocket | SSEClient] = [
            *(client for client in self._sockets if client.is_paused),
            *self.streams.slow,
        ]
        held = sum(client.held for client in slow)
        while slow and held + self.pending_bytes > budget:
            client = slow.pop()
            held -= client.held
            client.shed()
            self.counters.hits["process.buffer_pool"] += 1

    def _look_at(self, clients: list[EventSocket], now: float) -> None:
        for client in clients[:TICK_SLICE]:
            client.on_tick(now)
        rest = clients[TICK_SLICE:]
        if rest:
            self.loop.call_soon(self._look_at, rest, now)


def _is_idle(task: asyncio.Task[bool] | None) -> bool:
    return task is None or task.done()


def _reason(fault: str) -> str:
    """As much of an error as a close frame has room for."""
    return fault.encode(errors="replace")[:_MAX_REASON].decode(errors="ignore")
