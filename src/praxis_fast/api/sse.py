"""Events as Server-Sent Events: `GET /events/stream` and `/streaming/sse`.

    retry: 2000                       first, with the number to come back with
    id: 5f0c…-17

    id: 5f0c…-18                      each event; `data` is the message of /events
    data: {"type":"task.started",…}

    : heartbeat                       while nothing happens, and when much does that is
    id: 5f0c…-40                      not for it: the number moves on, so a client of
                                      rare events need not fear `evicted`

A client is a receiver of the broadcast like a WebSocket: what it has not read is
bounded by the fan-out and its losses are told as `gap`. It is handed one piece, and the
next when the server has sent that. With `Last-Event-ID` or `?since=` it first gets what
it missed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs
from uuid import uuid4

from praxis_fast.api.access.hosts import header_values
from praxis_fast.api.access.principals import told_principal
from praxis_fast.api.access.revision import REVOKED
from praxis_fast.api.broadcast import NO_FD, STRIDE
from praxis_fast.api.deadline import Deadline
from praxis_fast.api.event_socket import tune
from praxis_fast.api.legacy_shapes import shape_of
from praxis_fast.api.rejoin import count_rejoin
from praxis_fast.api.replay import Replay
from praxis_fast.api.responses import error_response
from praxis_fast.api.wanted import asides, policy_of, wanted_of
from praxis_fast.errors import UsageError
from praxis_fast.events.encode import encode
from praxis_fast.events.event import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import Receive, Scope, Send

    from praxis_fast.api.access.revision import Verdict
    from praxis_fast.api.broadcast import Channel
    from praxis_fast.api.gateway import EventGateway
    from praxis_fast.api.shapes import Pack
    from praxis_fast.api.wanted import Wanted
    from praxis_fast.events.access.principal import Principal
    from praxis_fast.events.event import EventFilter
    from praxis_fast.events.mailbox import Policy

logger = logging.getLogger(__name__)

PATHS = ("/events/stream", "/streaming/sse")
WELCOMED = "/streaming/sse"

# Proxies close what is silent for 30 s or more; browsers come back after this pause.
HEARTBEAT = 15.0
RETRY = b"retry: 2000\n"

# One piece has this long to leave; a client slower than 1 KiB/s reads nothing.
PIECE = 64 * 1024
PATIENCE = 4 * HEARTBEAT

# Where our HTTP class says which transport a request came by.
EXTENSION = "praxis_fast.transport"
# Set there by us: the response is a stream, and its own rules for slow readers hold.
IS_STREAM = "is_stream"

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    # nginx would hold events back until its buffer is full.
    (b"x-accel-buffering", b"no"),
]


def sse_pack(epoch: Callable[[], str]) -> Pack:
    """Frames with `id: epoch-seq`; any line end in the text is framed (SSE-1).

    `epoch` tells the present one, which may change once in a long while.
    """
    known = epoch()
    head = _id_head(known)

    def pack(payload: bytes, seq: int) -> bytes:
        nonlocal known, head
        if (present := epoch()) is not known:
            known, head = present, _id_head(present)
        return b"%b%d\n%b" % (head, seq, data_lines(payload))

    return pack


def _id_head(epoch: str) -> bytes:
    if not epoch.isprintable():
        raise UsageError(f"epoch {epoch!r} is not printable")
    return f"id: {epoch}-".encode()


def data_lines(payload: bytes) -> bytes:
    """The end of a frame: its data, line by line, and the empty line."""
    if b"\n" in payload or b"\r" in payload:
        payload = b"\ndata: ".join(payload.splitlines())
    return b"data: " + payload + b"\n\n"


class StalledError(Exception):
    """The client took nothing for too long."""


class SSEClient:
    """A receiver of the broadcast whose bytes go through ASGI."""

    __slots__ = (
        "_ending",
        "_epoch",
        "_held",
        "_is_writing",
        "_patience",
        "_send",
        "_since",
        "_wake",
        "address",
        "channel",
        "fd",
        "is_cut",
        "is_gone",
        "policy",
        "principal",
        "told",
        "transport",
    )

    def __init__(
        self,
        channel: Channel,
        policy: Policy,
        send: Send,
        patience: float,
        epoch: Callable[[], str],
        principal: Principal,
        address: str | None,
    ) -> None:
        self.principal = principal
        self.address = address
        self.is_cut = False
        self._is_writing = False
        self.transport: asyncio.Transport | None = None
        self._epoch = epoch
        self.channel = channel
        self.policy = policy
        self.fd = NO_FD
        self.is_gone = False
        self._send = send
        self._patience = patience
        self._held: list[bytes] = []
        self._since = 0.0
        # The position told last.
        self.told = 0
        self._ending: bytes | None = None
        self._wake = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether everything handed over was written."""
        return not self._held

    @property
    def is_ending(self) -> bool:
        """Whether it is to get nothing new."""
        return self._ending is not None

    @property
    def held(self) -> int:
        """Bytes handed over and not yet written."""
        return sum(map(len, self._held))

    def shed(self) -> None:
        """Too much waits for slow clients, and this one came last (PRC-4)."""
        self.cut("too much is waiting for slow consumers")

    def lag(self, now: float) -> float:
        """How long the client has read nothing of what it was handed."""
        return max(0.0, now - self._since) if self._held else 0.0

    def deliver(self, data: bytes) -> bool:
        """Keep what was handed over until the server has sent it."""
        if not self._held:
            self._since = asyncio.get_running_loop().time()
        self._held.append(data)
        self._wake.set()
        return False

    def expel(self, last_seq: int) -> None:
        """The client was too slow: tell it where to go on."""
        self.end(closing("slow consumer", f"{self._epoch()}-{last_seq}"))

    def end(self, ending: bytes | None = None) -> None:
        """Write what is held and the ending; without one the client is gone."""
        self.is_gone = self.is_gone or ending is None
        self._ending = self._ending or ending or b""
        self._wake.set()

    def cut(self, reason: str) -> None:
        """End here and now; what is held may not be shown any more (BUS-1)."""
        self.is_cut = True
        self._held.clear()
        if self._is_writing and self.transport is not None:
            # The server has it already: only with the connection is it gone.
            self.transport.abort()
        self.end(closing(reason, None))

    async def next(self) -> bytes | None:
        """What to write; nothing when a heartbeat is due, None at the end."""
        if not self._held and self._ending is None:
            self._wake.clear()
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await self._wake.wait()
            except TimeoutError:
                return b""
        if self._held and not self.is_gone:
            return self._held[0]
        return b"" if self._ending is None else None

    def nudge(self) -> None:
        """A heartbeat is due at once, unless there is something to write."""
        self._wake.set()

    def wrote(self) -> int:
        """The piece that `next` gave is through; its size."""
        self._since = asyncio.get_running_loop().time()
        return len(self._held.pop(0)) if self._held else 0

    async def write(self, data: bytes) -> None:
        """Returns when the server has handed everything to the kernel."""
        self._is_writing = True
        try:
            for at in range(0, len(data), PIECE):
                if self.is_cut:
                    # Amid a frame nothing can follow but the connection's end.
                    self.is_gone = self.is_gone or at > 0
                    return
                await self._write_piece(data[at : at + PIECE])
        finally:
            self._is_writing = False

    async def _write_piece(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as patience:
                late = Deadline(loop, lambda: patience.reschedule(loop.time()))
                late.start(self._patience)
                try:
                    await self._send(body(data))
                    # A server waits with the next message until the last has left.
                    await self._send(body(b""))
                finally:
                    late.cancel()
        except TimeoutError:
            raise StalledError from None

    async def finish(self) -> None:
        """The ending, and the end of the response."""
        await self._send(body(self._ending or b"", more=False))


class EventStreams:
    """The SSE clients of a gateway, as an ASGI application."""

    def __init__(self, gateway: EventGateway, channel: Channel) -> None:
        self._gateway = gateway
        self._channel = channel
        # In the order of their arrival.
        self._clients: dict[SSEClient, None] = {}
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def slow(self) -> list[SSEClient]:
        """Clients that have not read what they were handed, the newest one last."""
        return [client for client in self._clients if not client.is_idle]

    def nudge(self) -> None:
        """Tell clients of rare events their position before the ring forgets it."""
        gateway = self._gateway
        due = gateway.journal.last - gateway.position_step
        self._nudge([c for c in self._clients if c.is_idle and c.told <= due])

    def _nudge(self, clients: list[SSEClient]) -> None:
        for client in clients[:STRIDE]:
            client.nudge()
        if rest := clients[STRIDE:]:
            self._gateway.loop.call_soon(self._nudge, rest)

    async def close(self) -> None:
        """End every stream with a last event that tells where to go on."""
        for number, client in enumerate(list(self._clients)):
            if number % STRIDE == STRIDE - 1:
                await asyncio.sleep(0)
            broadcast = self._gateway.broadcast
            broadcast.flush(client)
            # Whoever still reads the past, or has too much to read, misses something;
            # what it saw last is where it goes on.
            is_behind = broadcast.is_waiting(client)
            is_level = broadcast.remove(client) and not is_behind
            token = self._gateway.journal.token if is_level else None
            client.end(closing("going away", token))
        await self._is_empty.wait()

    def abort(self) -> None:
        """Wait for no client any more."""
        for client in list(self._clients):
            client.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One client, from its request to its end."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        gateway = self._gateway
        try:
            wanted, rejected = wanted_of(query, known=gateway.bus.known_types)
            channel = gateway.shaped(self._channel, shape_of(query))
            policy = policy_of(query)
        except UsageError as error:
            refusal = error_response(400, "bad request", str(error))
            await refusal(scope, receive, send)
            return
        if gateway.is_full:
            gateway.counters.hits["websocket.max_clients"] += 1
            full = "Maximum connections reached"
            await error_response(503, "limit reached", full)(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await send(start())
            await send(body(b"", more=False))
            return
        slow = gateway.limits.events.stall_timeout
        patience = slow if policy == "disconnect" else PATIENCE
        principal = told_principal(scope) or gateway.access.visitor
        told = scope.get("client")
        address = told[0] if told else None
        bus = gateway.bus
        client = SSEClient(
            channel, policy, send, patience, lambda: bus.epoch, principal, address
        )
        # In the same step as the look at `is_full`: others arrive while we write.
        self._clients[client] = None
        self._is_empty.clear()
        watcher = asyncio.create_task(watch(receive, client))
        transport = client.transport = transport_of(scope)
        try:
            await send(start())
            # As the door saw it may be a while ago.
            if (now := gateway.access.current(principal)) is None:
                client.cut(REVOKED)
            else:
                principal = client.principal = now
            if transport is not None:
                scope["extensions"][EXTENSION][IS_STREAM] = True
                tune(transport)
            hidden = gateway.hidden(principal, wanted.types) if wanted.types else []
            opening = self._opening(scope["path"], rejected, hidden)
            await self._serve(client, since_of(scope, query), wanted, opening)
        except StalledError:
            logger.info("an event stream was not read for %g s", patience)
            if transport is not None:
                transport.abort()
                await asyncio.wait({watcher})
        finally:
            watcher.cancel()
            gateway.broadcast.remove(client)
            self._clients.pop(client, None)
            if not self._clients:
                self._is_empty.set()

    async def _serve(
        self, client: SSEClient, token: str | None, wanted: Wanted, opening: bytes
    ) -> None:
        broadcast = self._gateway.broadcast
        chosen = self._gateway.filter(wanted, client.principal)
        if token is None:
            broadcast.add(client, chosen)
            await client.write(RETRY + self._here() + b"\n" + opening)
        else:
            await client.write(RETRY + b"\n" + opening)
            await self._replay(client, token, chosen)
        client.told = self._gateway.journal.last
        while (data := await client.next()) is not None:
            if data:
                await client.write(data)
                broadcast.written(client, client.wrote())
            else:
                await self._beat(client)
        if not client.is_gone:
            await client.finish()

    async def _replay(self, client: SSEClient, token: str, wanted: EventFilter) -> None:
        gateway = self._gateway
        limit = gateway.limits.events.max_event
        replay = Replay(gateway.journal, token, wanted, client.channel, limit)
        data = replay.begin(is_silent=True)
        count_rejoin(gateway.broadcast.counters, replay)
        while not replay.is_level and not client.is_ending:
            await client.write(data)
            await asyncio.sleep(0)
            if replay.needs_fetch:
                await replay.fetch()
            data = replay.take()
        if not client.is_ending:
            # In the same step as the last `take`: nothing is published between them.
            gateway.broadcast.add(client, wanted)
        await client.write(data)

    async def _beat(self, client: SSEClient) -> None:
        self._gateway.broadcast.flush(client)
        if client.is_idle:
            # Nothing is on its way, so the client has all until here.
            client.told = self._gateway.journal.last
            await client.write(b": heartbeat\n" + self._here() + b"\n")

    def _here(self) -> bytes:
        return f"id: {self._gateway.journal.token}\n".encode()

    def rejudge(self, judge: Callable[[SSEClient], Verdict]) -> None:
        """End whoever may no longer watch, or not as before; the latter come back."""
        for client in list(self._clients):
            verdict = judge(client)
            # It may end at another time, even where it sees the same.
            client.principal = verdict.principal or client.principal
            if verdict.reason and not client.is_ending:
                self._gateway.broadcast.remove(client)
                client.cut(verdict.reason)

    def _opening(self, path: str, rejected: list[str], hidden: list[str]) -> bytes:
        messages: list[Mapping[str, Any]] = []
        if path == WELCOMED:
            messages.append(connection_established())
        messages += asides(rejected, hidden)
        return b"".join(data_lines(encode(message)) for message in messages)


async def watch(receive: Receive, client: SSEClient) -> None:
    """End the client when its connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    client.end()


def connection_established() -> dict[str, Any]:
    """The first message of the streams of `/streaming`, as the reference has it."""
    return {
        "type": "connection_established",
        "connection_id": str(uuid4()),
        "timestamp": utc_now(),
        "message": "Connected to notification stream",
    }


def closing_message(reason: str, token: str | None) -> dict[str, Any]:
    """The last message of a stream; without a token what was seen last counts."""
    payload = {"reason": reason} | ({} if token is None else {"since": token})
    return {"type": "closing", "payload": payload}


def closing(reason: str, token: str | None) -> bytes:
    """The same as an event; it has no id, so that the browser's own is kept."""
    return data_lines(encode(closing_message(reason, token)))


def start() -> dict[str, Any]:
    """The beginning of the response."""
    return {"type": "http.response.start", "status": 200, "headers": _HEADERS.copy()}


def body(data: bytes, *, more: bool = True) -> dict[str, Any]:
    """A part of the response."""
    return {"type": "http.response.body", "body": data, "more_body": more}


def since_of(scope: Scope, query: Mapping[str, list[str]]) -> str | None:
    """The last event the client has; what a browser says itself is newer."""
    told = header_values(scope["headers"], b"last-event-id") + query.get("since", [])
    return told[0] if told else None


def transport_of(scope: Scope) -> asyncio.Transport | None:
    """The connection, where our own HTTP class serves it."""
    extensions = scope.get("extensions") or {}
    told = extensions.get(EXTENSION) or {}
    return cast("asyncio.Transport | None", told.get("transport"))
