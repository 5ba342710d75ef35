"""A link: one TCP connection, secured and multiplexed.

Theory of operation. The transport reads into one buffer that all links of a host share:
whatever a read brought is decrypted or copied before the next read.

    socket ─► NoiseTransport.receive_data ─► YamuxSession.receive_data ─► Stream
    Stream.write ─► YamuxSession.send_data ─► (flush, once a loop turn)
                      data_to_send ─► NoiseTransport.send_data ─► one transport.write

Back-pressure. While the transport's buffer is over `limits.connections.write_buffer`
nothing is taken out of the session, and writers wait as soon as the session holds as
much again. Reading never stops: a stream nobody reads stalls by its own window, and
what a peer may make the session keep is bounded by the session.

Every deadline of a link (keep-alive, negotiations) shares one timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from praxis_fast.core import (
    DataReceived,
    GoAway,
    PongReceived,
    StreamClosed,
    StreamOpened,
    StreamReset,
    WindowOpened,
    YamuxSession,
)
from praxis_fast.errors import (
    ConnectionLostError,
    MultistreamError,
    NegotiationError,
    NoiseError,
    ProtocolError,
    StreamResetError,
    YamuxError,
)
from praxis_fast.p2p.alarm import Alarm
from praxis_fast.p2p.channel import Channel
from praxis_fast.p2p.duties import Duties
from praxis_fast.p2p.openers import Openers
from praxis_fast.p2p.stream import Stream
from praxis_fast.wire.multistream import MultistreamInitiator, MultistreamResponder
from praxis_fast.wire.noise_transport import LENGTH_SIZE, MAX_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxis_fast.p2p.duties import Work
    from praxis_fast.p2p.link_owner import LinkOwner
    from praxis_fast.p2p.resources import Slot
    from praxis_fast.wire.keys import PublicKey
    from praxis_fast.wire.noise import NoiseTransport
    from praxis_fast.wire.peer_id import PeerID

# One read takes at most this much from the socket; two full Noise messages. With what
# is made of it, it stays in the caches of the processor.
READ_BUFFER = 128 * 1024

# What a read decrypts to: it may complete a message of which most came before.
PLAIN_BUFFER = READ_BUFFER + LENGTH_SIZE + MAX_MESSAGE

# yamux go-away code of a session that heard nothing for too long.
INTERNAL_ERROR = 2

# Streams woken in one flush; each may write a whole piece.
MAX_WOKEN = 16

# Why a link ended, where that is no failure.
ASKED = "asked to"
SHUTDOWN = "shutting down"
GONE = "the peer went away"

# A failed link may still have its goodbye in the socket's buffer for this long.
LINGER = 1.0


class Link(asyncio.BufferedProtocol):
    """One secured connection to a peer; see the module for how bytes go through it."""

    __slots__ = (
        "_agreeing",
        "_alarm",
        "_channel",
        "_crowd",
        "_drained",
        "_duties",
        "_fence",
        "_fresh",
        "_is_closing",
        "_is_dead",
        "_is_flushing",
        "_is_lost",
        "_is_paused",
        "_is_peer_gone",
        "_linger",
        "_noise",
        "_openers",
        "_owner",
        "_room",
        "_session",
        "_slot",
        "_streams",
        "_transport",
        "address",
        "held",
        "inbound",
        "is_leaving",
        "is_retired",
        "loop",
        "opened_at",
        "peer_id",
        "public_key",
        "was_told",
    )

    def __init__(
        self,
        owner: LinkOwner,
        *,
        transport: asyncio.Transport,
        noise: NoiseTransport,
        peer_id: PeerID,
        public_key: PublicKey,
        inbound: bool,
        address: str,
        slot: Slot,
    ) -> None:
        limits = owner.limits
        self.loop = asyncio.get_running_loop()
        self.peer_id = peer_id
        """Who is at the other end, proven."""
        self.public_key = public_key
        """The key that the peer's id is made of."""
        self.address = address
        """The other end's socket, as a multiaddr without the peer id."""
        self.inbound = inbound
        """Whether they dialled us."""
        self.opened_at = owner.clock()
        """Monotonic seconds."""
        self.held = 0
        """Bytes in this link's buffers, as charged to the pool."""
        self.is_retired = False
        """Whether new streams go elsewhere."""
        self.is_leaving = False
        """Whether the link is to end with its last stream."""
        self.was_told = False
        """Whether the peer has read our identify message on this link."""
        self._owner = owner
        self._slot = slot
        self._transport = transport
        self._channel = Channel(
            transport, noise, owner.spares, limit=limits.connections.write_buffer
        )
        self._noise = noise
        self._session = YamuxSession(
            client=not inbound,
            limits=limits.muxer,
            ping_interval=limits.connections.ping_interval,
            dead_after=limits.connections.dead_after,
            now=self.opened_at,
        )
        self._duties = Duties(self._report, self._on_duty_done)
        self._room = min(limits.connections.write_buffer, limits.muxer.max_outbound)
        self._streams: dict[int, Stream] = {}
        self._agreeing: dict[int, float] = {}  # inbound, negotiating: until when
        self._fresh: list[Stream] = []  # opened by the peer in this read
        self._crowd: deque[Stream] = deque()  # writers waiting for the socket
        self._openers = Openers()
        self._alarm = Alarm(owner.clock, self._on_deadline)
        self._linger: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._fence = 0  # pongs still to come before a quiet link is left
        self._is_closing = False  # no new streams
        self._is_dead = False  # no streams at all
        self._is_lost = False  # no socket
        self._is_paused = False
        self._is_peer_gone = False
        self._is_flushing = False

    # -- for the host ------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether a stream may be opened now."""
        return not self._is_dead and self._session.can_open

    @property
    def max_window(self) -> int:
        """The most a peer may have under way on one stream."""
        return self._owner.limits.muxer.max_window

    @property
    def is_gone(self) -> bool:
        """Whether the link carries nothing any more."""
        return self._is_dead

    @property
    def is_paused(self) -> bool:
        """Whether the socket takes no more for now."""
        return self._is_paused

    @property
    def num_streams(self) -> int:
        """How many streams are still open."""
        return len(self._streams)

    @property
    def pending_out(self) -> int:
        """Bytes that wait for the socket, frames included."""
        return self._session.pending_out

    @property
    def rtt(self) -> float:
        """The latest round trip of the keep-alive, 0.0 before the first."""
        return self._session.rtt

    async def open_stream(self, protocols: Sequence[str], *, lazy: bool) -> Stream:
        """Open a stream and agree on one of the protocols.

        With `lazy` the one protocol is taken for granted: what is written first leaves
        together with the proposal.
        """
        limits = self._owner.limits
        session = await self._wait_can_open()
        negotiation = MultistreamInitiator(protocols, lazy=lazy, limits=limits.security)
        stream = Stream(self, session.open_stream(), negotiation)
        self._streams[stream.id] = stream
        stream.speak()
        self._schedule_flush()
        if lazy:
            stream.protocol = protocols[0]
            return stream
        timeout = limits.connections.negotiation_timeout
        try:
            async with asyncio.timeout(timeout):
                await stream.agree()
        except TimeoutError:
            error = NegotiationError(
                f"no protocol agreed with {self.peer_id} in {timeout:g} s"
            )
            stream.abort(error)
            raise error from None
        except BaseException:
            stream.abort(StreamResetError(f"stream {stream.id} was given up"))
            raise
        return stream

    async def _wait_can_open(self) -> YamuxSession:
        """The session, when the peer has acknowledged enough to open one more."""
        while not self._is_dead:
            if self._session.can_open or self._is_peer_gone or self._is_closing:
                return self._session
            timeout = self._owner.limits.connections.negotiation_timeout
            try:
                if not await self._openers.wait(timeout):
                    return self._session
            finally:
                self._wake_openers()
        raise ConnectionLostError(f"the link to {self.peer_id} is gone")

    def spawn(self, kind: str, work: Work, *given: object) -> None:
        """Run work that belongs to this link; it is cancelled when the link ends."""
        self._duties.spawn(kind, work, *given)

    def retire(self) -> None:
        """Let new streams go elsewhere; what runs here goes on."""
        self.is_retired = True

    def stay(self) -> None:
        """Carry new streams again: there is no other link to do so."""
        self.is_retired = self.is_leaving = self._is_peer_gone
        self._fence = 0

    def leave(self) -> None:
        """End the link once its last stream is over and none can be under way.

        A ping is the fence: its answer comes behind every stream the peer had opened.
        """
        self.is_leaving = True
        self._check_quiet()

    async def close(self, reason: str, drain: float) -> None:
        """Let busy streams end for up to `drain` seconds, then end the link."""
        self.is_retired = self._is_closing = True
        if not self._is_dead and drain > 0 and self._is_busy():
            self._drained = self.loop.create_future()
            try:
                async with asyncio.timeout(drain):
                    await self._drained
            except TimeoutError:
                pass
        self.end(reason, linger=max(drain, LINGER))

    def shed(self) -> None:
        """End the link because of what it holds."""
        limit = self._owner.pool.limit
        message = f"{self.held} bytes held here, limit {limit} for all links together"
        self._report("memory", message)
        self._end(message)

    def end(self, reason: str, *, linger: float = LINGER) -> None:
        """Say goodbye and end the link with everything on it."""
        self._session.go_away(0)
        self._end(reason, linger=linger)

    # -- for streams -------------------------------------------------------------------

    def send(self, stream_id: int, data: memoryview) -> int:
        """Take what fits of the data; 0 when the writer has to wait."""
        if self._is_dead or self._is_full():
            return 0
        taken = self._session.send_data(stream_id, data)
        self._schedule_flush()
        return taken

    def send_words(self, stream_id: int, words: bytes) -> bool:
        """Send a stream's few negotiation bytes, which do not wait for the socket."""
        if self._is_dead:
            return False
        self._schedule_flush()
        return self._session.send_data(stream_id, words) == len(words)

    def queue_for_room(self, stream: Stream) -> None:
        """Wake the stream's writer when the socket has room again, if that is it."""
        if self._is_full():
            self._crowd.append(stream)

    def consume(self, stream_id: int, size: int) -> None:
        """Give the peer back what it spent on the stream."""
        if not self._is_dead:
            self._session.consume(stream_id, size)
            self._schedule_flush()

    def finish(self, stream_id: int) -> None:
        """Send the end of the stream."""
        if not self._is_dead:
            self._session.close_stream(stream_id)
            self._schedule_flush()

    def reset(self, stream_id: int) -> None:
        """Reset the stream at the peer."""
        if not self._is_dead:
            self._session.reset_stream(stream_id)
            self._schedule_flush()

    def forget(self, stream: Stream) -> None:
        """The stream is over."""
        if self._streams.get(stream.id) is stream:
            del self._streams[stream.id]
            self._agreeing.pop(stream.id, None)
            self.on_waiting()

    def on_agreed(self, stream: Stream) -> None:
        """The stream's protocol is agreed; an inbound one gets its handler."""
        if self._agreeing.pop(stream.id, None) is None:
            return
        self._session.accept_stream(stream.id)
        handler = self._owner.handlers.get(stream.protocol)
        if handler is None:
            stream.abort(StreamResetError(f"{stream.protocol} is not served any more"))
        else:
            self._duties.serve(stream, handler)

    def on_waiting(self) -> None:
        """A stream ended or waits for its peer: nothing may be left to wait for."""
        if self._drained is not None and not self._drained.done():
            if not self._is_busy():
                self._drained.set_result(None)
        elif self.is_leaving:
            self._check_quiet()

    # -- asyncio.BufferedProtocol ------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._owner.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """A read came in."""
        if self._is_dead:
            return
        owner = self._owner
        try:
            plaintext = self._noise.receive_into(
                owner.read_buffer, nbytes, owner.plain_buffer
            )
        except ProtocolError as error:
            self._fail(error)
        else:
            self.receive(plaintext)
            if nbytes == READ_BUFFER and not self._is_dead:
                self._give_way()

    def _give_way(self) -> None:
        """Let readers have a turn: the loop would go on reading while there is more.

        Else megabytes pile up before the first is read, in memory that is fresh and
        dear each time.
        """
        self._transport.pause_reading()
        self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The peer closed its side, which ends the link."""
        self._end("closed by the peer", linger=0)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._is_lost = True
        self._charge()
        self._end("closed by the peer" if exc is None else f"lost: {exc}", linger=0)
        if self._linger is not None:
            self._linger.cancel()
        self._slot.release()
        if not self._duties:
            self._owner.on_gone(self)

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self._is_paused = False
        self._schedule_flush()

    # -- reading -----------------------------------------------------------------------

    def receive(self, plaintext: bytes | memoryview) -> None:
        """Take what came through the secure channel.

        The flush comes behind all that the read wakes: a handler's first words leave in
        the same write as the agreement on its protocol.
        """
        is_first, self._is_flushing = not self._is_flushing, True
        try:
            if plaintext:
                self._on_plaintext(plaintext, self._owner.clock())
            self._after_read()
        except ProtocolError as error:
            self._fail(error)
        finally:
            if is_first:
                self.loop.call_soon(self._flush)

    def _on_plaintext(self, plaintext: bytes | memoryview, now: float) -> None:
        try:
            events = self._session.receive_data(plaintext, now)
        except YamuxError as error:
            self._on_events(error.events)
            raise
        self._on_events(events)

    def _on_events(self, events: Sequence[object]) -> None:
        streams = self._streams
        for event in events:
            if type(event) is DataReceived:
                stream = streams.get(event.stream_id)
                if stream is not None:
                    self._on_data(stream, event.data)
            else:
                self._on_event(event)

    def _on_event(self, event: object) -> None:
        match event:
            case WindowOpened():
                self._on_window(event)
            case StreamOpened():
                self._on_opened(event)
            case StreamClosed():
                self._on_stream_end(event)
            case StreamReset():
                self._on_stream_reset(event)
            case PongReceived():
                self._on_pong()
            case GoAway():
                self._on_go_away(event)

    def _on_data(self, stream: Stream, data: bytes | memoryview) -> None:
        try:
            stream.on_data(data, len(data))
        except MultistreamError as error:
            self._duties.fail(stream, "negotiation", error)

    def _after_read(self) -> None:
        """Let new streams speak, and tasks open more."""
        if self._fresh:
            for stream in self._fresh:
                stream.speak()
            self._fresh.clear()
        if self._openers:
            self._wake_openers()

    def _on_opened(self, event: StreamOpened) -> None:
        owner = self._owner
        if self._is_closing:
            self._session.reset_stream(event.stream_id)
            return
        responder = MultistreamResponder(owner.handlers, limits=owner.limits.security)
        stream = Stream(self, event.stream_id, responder)
        self._streams[stream.id] = stream
        self._agreeing[stream.id] = (
            owner.clock() + owner.limits.connections.negotiation_timeout
        )
        self._fresh.append(stream)

    def _on_stream_end(self, event: StreamClosed) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.on_end()

    def _on_stream_reset(self, event: StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.fail(StreamResetError(f"stream {stream.id} was reset by the peer"))

    def _on_window(self, event: WindowOpened) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.on_room()

    def _on_pong(self) -> None:
        if not self._fence:
            return
        self._fence -= 1
        if not self._fence:
            self._check_quiet(is_fenced=True)
        else:
            self._ping()

    def _on_go_away(self, event: GoAway) -> None:
        self.retire()
        if event.code:
            raise YamuxError(f"the peer ended the session with code {event.code}")
        self._is_peer_gone = self.is_leaving = True
        self._check_quiet()

    # -- writing -----------------------------------------------------------------------

    def _is_full(self) -> bool:
        """Whether writers have to wait for the socket."""
        return self._session.pending_out >= self._room

    def _ping(self) -> None:
        self._session.ping(self._owner.clock())
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """End a turn in which something came or was queued."""
        self._is_flushing = False
        if self._is_dead:
            return
        if not self._is_paused:
            self._write_out()
        self._arm()
        self._charge()

    def _write_out(self) -> None:
        """Send what was queued in this loop turn as one write."""
        channel = self._channel
        if self._session.pending_out:
            channel.send(self._session)
            if self._crowd:
                self._wake_crowd()
            if self._session.pending_out or channel.is_lending:
                # Behind the writers just woken: their bytes fill the next messages.
                self._schedule_flush()
        else:
            channel.settle()
            if self._crowd:
                self._wake_crowd()

    def _charge(self) -> None:
        """Charge the pool with what is held now."""
        held = 0
        if not self._is_dead:
            held = self._session.unread + self._session.pending_out
        if self._is_paused and not self._is_lost:
            held += self._transport.get_write_buffer_size()
        if held != self.held:
            pool = self._owner.pool
            pool.change(held - self.held)
            self.held = held
            if pool.is_over:
                self._owner.on_memory_short()

    def _wake_openers(self) -> None:
        """Let the next task open its stream, if it may or never will."""
        if self._is_dead:
            self._openers.wake_all()
        elif self._session.can_open:
            self._openers.wake_one()

    def _wake_crowd(self) -> None:
        """Let some waiting writers write, in the order they came."""
        woken = 0
        while self._crowd and woken < MAX_WOKEN and not self._is_full():
            stream = self._crowd.popleft()
            if stream.is_writing:
                stream.on_room()
                woken += 1
        if woken and self._crowd:
            self._schedule_flush()

    # -- deadlines ---------------------------------------------------------------------

    def _next_deadline(self) -> float | None:
        deadline = self._session.next_deadline()
        if not self._agreeing:
            return deadline
        first = next(iter(self._agreeing.values()))
        return first if deadline is None else min(first, deadline)

    def _arm(self) -> None:
        """Have the alarm ring no later than at the next deadline."""
        deadline = None if self._is_dead else self._next_deadline()
        if deadline is not None and deadline < self._alarm.at:
            self._alarm.set(deadline)

    def _on_deadline(self) -> None:
        if self._is_dead:
            return
        now = self._owner.clock()
        try:
            self._on_events(self._session.on_deadline(now))
        except ProtocolError as error:
            self._fail(error)
            return
        self._check_agreeing(now)
        self._schedule_flush()
        self._arm()

    def _check_agreeing(self, now: float) -> None:
        limit = self._owner.limits.connections.negotiation_timeout
        while self._agreeing:
            stream_id, deadline = next(iter(self._agreeing.items()))
            if deadline > now:
                return
            del self._agreeing[stream_id]
            stream = self._streams.get(stream_id)
            if stream is not None:
                error = MultistreamError(f"no protocol agreed in {limit:g} s")
                self._duties.fail(stream, "negotiation", error)

    # -- ending ------------------------------------------------------------------------

    def _on_duty_done(self) -> None:
        self.on_waiting()
        if self._is_lost and not self._duties:
            self._owner.on_gone(self)

    def _is_busy(self) -> bool:
        """Whether a stream is in the middle of our own work."""
        return self._duties.is_busy or any(
            stream.is_writing for stream in self._streams.values()
        )

    def _check_quiet(self, *, is_fenced: bool = False) -> None:
        """Go on leaving if nothing runs here any more."""
        if self._is_dead or self._streams or self._duties:
            return
        if is_fenced or self._is_peer_gone:
            self.end("replaced" if is_fenced else GONE)
        elif not self._fence:
            # The first answer may be to a ping that was under way already.
            self._fence = 2
            self._ping()

    def _report(
        self, kind: str, message: str, cause: BaseException | None = None
    ) -> None:
        self._owner.observers.error(
            kind, self.peer_id, self.address, message, cause=cause
        )

    def _fail(self, error: ProtocolError) -> None:
        """The peer broke a rule: say so once and end the link."""
        if not self._is_dead:
            self._report(_kind_of(error), str(error))
            self._end(str(error))

    def _end(self, reason: str, *, linger: float = LINGER) -> None:
        """Nothing goes over the link any more; the goodbye is the last thing sent."""
        if self._is_dead:
            return
        self._say_goodbye()
        self._is_dead = True
        self._alarm.cancel()
        self._close_transport(linger)
        self._session.receive_eof()
        lost = ConnectionLostError(f"the link to {self.peer_id} is gone: {reason}")
        for stream in tuple(self._streams.values()):
            stream.fail(lost)
        self._crowd.clear()
        self._fresh.clear()
        self._duties.cancel()
        self._wake_openers()
        self._charge()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._owner.on_ended(self, reason)

    def _say_goodbye(self) -> None:
        if self._is_lost or self._is_paused or self._transport.is_closing():
            return
        data = self._session.data_to_send()
        if data:
            try:
                self._transport.write(self._noise.send_data(data))
            except NoiseError:
                # The channel itself is what failed: there is no way to say goodbye.
                return

    def _close_transport(self, linger: float) -> None:
        if self._is_lost:
            return
        if self._is_paused or not linger:
            self._transport.abort()
            return
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._linger = self.loop.call_later(linger, self._transport.abort)


def _kind_of(error: Exception) -> str:
    """What an observer is told went wrong."""
    if isinstance(error, YamuxError):
        return "timeout" if error.code == INTERNAL_ERROR else "muxer"
    return "security"
