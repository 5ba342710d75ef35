"""One WebSocket client after the handshake."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from praxis_fast.api.broadcast import NO_FD
from praxis_fast.api.conversation import (
    Positions,
    Reply,
    Resume,
    Snapshot,
    Subscribe,
)
from praxis_fast.api.frames import ping_frame, text_frame
from praxis_fast.events.encode import encode

if TYPE_CHECKING:
    from praxis_fast.api.access.revision import Verdict
    from praxis_fast.api.broadcast import Channel
    from praxis_fast.api.conversation import Action, Conversation
    from praxis_fast.api.gateway import EventGateway
    from praxis_fast.api.inbound import Inbound
    from praxis_fast.events.access.principal import Principal
    from praxis_fast.events.mailbox import Policy

# By default the kernel takes megabytes before it says that nobody reads; with this it
# says so after 128 KiB, and our own bounds mean something.
NOTSENT_LOWAT = 128 * 1024

# Messages answered before other clients get their turn.
MESSAGES_PER_TURN = 64

# Our close frame and what was written before it must arrive in this time.
CLOSE_TIMEOUT = 10.0

# Heartbeats without any sign of life until a client counts as gone.
MISSED_HEARTBEATS = 2

SLOW_CONSUMER = 4008
REVOKED_CODE = 4001


class EventSocket(asyncio.Protocol):
    """Writes what the broadcast hands over, answers what the client says.

    While the kernel takes no more bytes the client's messages wait too, so what we owe
    one client is bounded by the answers to one read.
    """

    __slots__ = (
        "_close_by",
        "_conversation",
        "_gateway",
        "_inbound",
        "_inbox",
        "_is_turn_due",
        "_left",
        "_moved_at",
        "_owed",
        "_pinged_at",
        "_told",
        "_told_at",
        "_transport",
        "_unanswered",
        "channel",
        "fd",
        "is_paused",
        "policy",
        "principal",
    )

    def __init__(
        self,
        gateway: EventGateway,
        transport: asyncio.Transport,
        channel: Channel,
        policy: Policy,
        conversation: Conversation,
        inbound: Inbound,
        now: float,
        principal: Principal,
    ) -> None:
        self.principal = principal
        self.channel = channel
        self.policy = policy
        self._gateway = gateway
        self._transport = transport
        self._conversation = conversation
        self._inbound = inbound
        # Messages not answered yet; most clients never have any.
        self._inbox: deque[str | bytes] | None = None
        self._is_turn_due = False
        self._owed = 0
        self._left = 0
        self._unanswered = 0
        self._pinged_at = self._moved_at = now
        self._close_by: float | None = None
        # The position told last; None when the client does not want to know.
        self._told: int | None = None
        self._told_at = now
        tune(transport)
        # We are made inside a call to the server's protocol object, and begin to write
        # there: that the kernel takes no more must be told to us.
        transport.set_protocol(self)
        # The answer to the handshake may still wait; whatever waits goes first.
        self.is_paused = transport.get_write_buffer_size() > 0
        self.fd = NO_FD if self.is_paused else descriptor(transport)

    @property
    def address(self) -> str | None:
        """Where the client connects from."""
        peer = self._transport.get_extra_info("peername")
        return peer[0] if isinstance(peer, tuple) else None

    # what the broadcast calls

    def deliver(self, data: bytes) -> bool:
        """Write frames; False when the kernel has not taken all of them yet.

        Not called any more once the closing handshake has begun (`leave`).
        """
        self._transport.write(data)
        if self.is_paused:
            self._owed += len(data)
        return not self.is_paused

    def expel(self, last_seq: int) -> None:
        """End a client that did not keep up."""
        epoch = self._gateway.epoch
        self.close(SLOW_CONSUMER, f"slow consumer, last event {epoch}-{last_seq}")

    # what the gateway calls

    def send(self, frames: bytes) -> None:
        """Write frames for this client alone."""
        if self._inbound.is_open and frames:
            self._transport.write(frames)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; the connection ends by itself."""
        self._inbox = None
        self._leave()
        self._inbound.close(code, reason)
        self._write_inbound()

    def revise(self, verdict: Verdict) -> None:
        """Go on as whom the client is now, or end (BUS-1).

        What the kernel has not taken was written under rights that are gone: then the
        connection ends without it, and the client comes back for what it may see.
        """
        is_waiting = self._transport.get_write_buffer_size() > 0
        if verdict.principal is None or (verdict.reason and is_waiting):
            if is_waiting:
                self.abort()
            self.close(REVOKED_CODE, verdict.reason)
            return
        # It may end at another time, even where it sees the same.
        self.principal = self._conversation.principal = verdict.principal
        if verdict.reason:
            self._gateway.restrict(self, self._conversation.wanted)

    def abort(self) -> None:
        """End the connection without another byte."""
        self._transport.abort()

    @property
    def held(self) -> int:
        """Bytes that wait in the transport."""
        return self._transport.get_write_buffer_size()

    def lag(self, now: float) -> float:
        """How long the client has read nothing of what waits for it."""
        return max(0.0, now - self._moved_at) if self.is_paused else 0.0

    def shed(self) -> None:
        """Too much waits for slow clients, and this one came last (PRC-4)."""
        self.close(SLOW_CONSUMER, "too much is waiting for slow consumers")

    def on_freeze(self, now: float) -> None:
        """Our process stood still: count the client's silence from now on (PRC-2)."""
        self._moved_at = self._pinged_at = now
        if self._close_by is not None:
            self._close_by = now + CLOSE_TIMEOUT

    def tell_positions(self, *, is_wanted: bool) -> None:
        """From now on tell the client, now and then, where it may go on later.

        A client of rare events would come back with a number that is long gone.
        """
        self._told = self._gateway.journal.last if is_wanted else None
        self._told_at = self._gateway.now()

    def on_tick(self, now: float) -> None:
        """Look for silence and for a client that does not read."""
        if self._close_by is not None:
            if now >= self._close_by:
                self.abort()
            return
        limits = self._gateway.limits
        if self._told is not None:
            self._tell_position(self._told, now)
        if self.is_paused:
            self._check_stall(now)
        elif now - self._pinged_at >= limits.websocket.ping_interval:
            self._ping(now)

    def _tell_position(self, told: int, now: float) -> None:
        limits, last = self._gateway.limits, self._gateway.journal.last
        is_due = now - self._told_at >= limits.websocket.ping_interval
        is_urgent = last - told >= self._gateway.position_step
        if last == told or not (is_due or is_urgent):
            return
        if (position := self._gateway.position_of(self)) is not None:
            self._told, self._told_at = last, now
            message = {"type": "heartbeat", "payload": {"since": position}}
            self.send(text_frame(encode(message)))

    def _ping(self, now: float) -> None:
        if self._unanswered >= MISSED_HEARTBEATS:
            self.close(1011, "no answer to heartbeats")
            return
        self._unanswered += 1
        self._pinged_at = now
        self._transport.write(ping_frame())

    def _check_stall(self, now: float) -> None:
        left = self._transport.get_write_buffer_size()
        if left < self._left or now < self._moved_at:
            self._moved_at = now
        self._left = left
        limits = self._gateway.limits
        patience = (
            limits.events.stall_timeout
            if self.policy == "disconnect"
            else MISSED_HEARTBEATS * limits.websocket.ping_interval
        )
        if now - self._moved_at >= patience:
            self.close(SLOW_CONSUMER, f"nothing read for {patience:g} s")

    # what the transport calls

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._unanswered = 0
        messages = self._inbound.receive_data(data, self._gateway.now())
        if messages:
            self._inbox = self._inbox or deque()
            self._inbox += messages
        self._write_inbound()
        self._work()

    def eof_received(self) -> bool:
        """The client ended its side; so do we."""
        self._inbound.receive_eof()
        self._write_inbound()
        return False

    def pause_writing(self) -> None:
        """The kernel takes no more for now."""
        self.is_paused = True
        self._point(NO_FD)
        self._moved_at = self._gateway.now()
        self._left = self._transport.get_write_buffer_size()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The kernel took everything."""
        self.is_paused = False
        if self._inbound.is_open and not self._transport.is_closing():
            self._point(descriptor(self._transport))
        owed, self._owed = self._owed, 0
        if owed:
            self._gateway.broadcast.written(self, owed)
        self._gateway.rejoining.on_writable(self)
        if not self._transport.is_closing():
            self._transport.resume_reading()
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, for whatever reason."""
        # The transport closes the descriptor after this; its number may come again.
        self._point(NO_FD)
        self._inbox = None
        self._close_by = None
        self._gateway.forget(self)

    def shutdown(self) -> None:
        """The server goes away (called by uvicorn)."""
        self._gateway.say_goodbye(self)

    # inside

    def _point(self, fd: int) -> None:
        """Have the broadcast write there, or through us."""
        self.fd = fd
        self._gateway.broadcast.point(self)

    def _leave(self) -> None:
        self._point(NO_FD)
        self._gateway.leave(self)

    def _write_inbound(self) -> None:
        data = self._inbound.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
        if self._inbound.is_open:
            return
        self._inbox = None
        self._leave()
        if self._close_by is None:
            self._close_by = self._gateway.now() + CLOSE_TIMEOUT
            self._gateway.counters.closes[self._inbound.code] += 1
        if self._inbound.wants_end:
            self._transport.close()
        elif self.is_paused:
            # The client's close frame must be read, or the handshake never ends.
            self._transport.resume_reading()

    def _work(self) -> None:
        """Answer a few messages, then give way."""
        for _ in range(MESSAGES_PER_TURN):
            if self.is_paused or not self._inbox:
                break
            for action in self._conversation.receive_message(self._inbox.popleft()):
                self._perform(action)
        if not self._inbox:
            self._inbox = None
        elif not self.is_paused and not self._is_turn_due:
            self._is_turn_due = True
            self._gateway.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_turn_due = False
        self._work()

    def _perform(self, action: Action) -> None:
        match action:
            case Reply(message):
                self.send(text_frame(encode(message)))
            case Subscribe():
                self._gateway.subscribe(self, self._conversation.wanted)
            case Snapshot():
                self.send(self._gateway.snapshot(self, self._conversation.wanted))
            case Positions(is_wanted):
                self.tell_positions(is_wanted=is_wanted)
            case Resume(since):
                self._gateway.resume(self, since, self._conversation.wanted)


def tune(transport: asyncio.Transport) -> None:
    """Have the kernel and the transport say at once when nobody reads."""
    # No byte may wait in the transport unnoticed: it tells us as soon as one does.
    transport.set_write_buffer_limits(high=0)
    limit_unsent(transport)


def limit_unsent(transport: asyncio.Transport) -> None:
    """Have the kernel take no more than it will send soon."""
    raw = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if raw is None or option is None or raw.family == getattr(socket, "AF_UNIX", -1):
        return
    # One that is closed by now has nothing to send.
    with suppress(OSError):
        raw.setsockopt(socket.IPPROTO_TCP, option, NOTSENT_LOWAT)


def descriptor(transport: asyncio.Transport) -> int:
    """Where the transport writes to, if plain bytes may be written there by others."""
    raw = transport.get_extra_info("socket")
    if raw is None or transport.get_extra_info("sslcontext") is not None:
        return NO_FD
    # On Windows a socket is no descriptor.
    fd: int = NO_FD if sys.platform == "win32" else raw.fileno()
    return fd
