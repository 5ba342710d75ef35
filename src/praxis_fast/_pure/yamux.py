"""The yamux session, plain twin: many streams over one ordered byte stream, sans-IO.

Wire: libp2p specification, yamux/README.md. A frame is a header and, for data only, a
body:

    0        1        2                 4                 8                12
    | version| type   | flags           | stream id       | length          | body …

Theory of operation. Inbound: the only buffer is an unfinished header. A frame is judged
as soon as its header is whole; of its body every piece is handed over as it arrives, so
nothing is ever kept here. A stream's peer may send `credit` bytes; what is announced
moves from `credit` to `unread`, what the reader takes (`consume`) goes back to the peer
as a window update once half of `window` is due:

    |<----------------------------- window ----------------------------->|
    |    credit (peer may send)    |   unread   |   due (read, not told)  |

Outbound: nothing is framed before `data_to_send`. A stream owes at most one SYN or ACK,
one window update, its queued data and one FIN, and waits in the ready queue while it
owes anything. Each turn of a stream writes its control frames and one data frame, so
that all streams with data share the link, and what a peer can make us keep is bounded
by the number of streams.
"""

from __future__ import annotations

from collections import OrderedDict
from struct import Struct
from typing import TYPE_CHECKING

from praxis_fast._pure.yamux_bucket import Bucket
from praxis_fast._pure.yamux_events import (
    DataReceived,
    GoAway,
    PingReceived,
    PongReceived,
    StreamClosed,
    StreamOpened,
    StreamReset,
    WindowOpened,
)
from praxis_fast._pure.yamux_stream import Stream
from praxis_fast.errors import (
    ResourceLimitError,
    StreamResetError,
    UsageError,
    YamuxError,
)
from praxis_fast.limits import INITIAL_WINDOW, MuxerLimits

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from praxis_fast._pure.yamux_events import Event

__all__ = [
    "DataReceived",
    "GoAway",
    "PingReceived",
    "PongReceived",
    "StreamClosed",
    "StreamOpened",
    "StreamReset",
    "WindowOpened",
    "YamuxSession",
]

HEADER = Struct(">BBHII")
VERSION = 0
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
ALL_FLAGS = SYN | ACK | FIN | RST
NORMAL, PROTOCOL_ERROR, INTERNAL_ERROR = range(3)
MAX_UINT32 = 0xFFFFFFFF

# What a full Noise message holds: 65,535 bytes on the wire, 16 of them the tag.
MESSAGE = 65519
# A full data frame and its header are exactly four of them, so bulk data never leaves a
# short message behind. Larger than one, because js-libp2p answers every data frame with
# a window update; four are within the window that a stream starts with.
MAX_BODY = 4 * MESSAGE - HEADER.size
# Control frames a peer may answer each begun message of a frame of ours with: py-libp2p
# returns the credit of every small read, which makes five for a short stream.
UPDATES = 8
# The longest copy that is handed over: a longer one would be fresh memory each time,
# and the system gives that page by page.
MAX_COPY = 64 * 1024

# A slice keeps the whole input alive. Pieces this short are copied, which is as quick;
# and longer ones too while much is unread, so that a peer whose data nobody reads
# cannot pin many times what it is charged for.
COPY_BELOW = 256
COPY_BELOW_UNREAD = 16 * 1024
MUCH_UNREAD = 256 * 1024


def _frames(size: int) -> int:
    """How many data frames `size` queued bytes will leave in."""
    return (size + MAX_BODY - 1) // MAX_BODY


class YamuxSession:
    """One side of a yamux connection.

    Give it what the peer sent (`receive_data`) and send what it says (`data_to_send`)
    after every call that may have queued something, the constructor included. Times
    are seconds of any monotonic clock; calls without `now` use the latest one seen.

    Back-pressure: `send_data` takes what fits the stream's window and the session's
    bound on queued data (`limits.max_outbound`), perhaps nothing. A writer whose data
    was not taken whole waits for `WindowOpened` of that stream. It comes when the peer
    opened the window, and also when `data_to_send` made room for a stream that the
    session's bound had stopped: then `next_deadline()` is due at once, and the event
    comes from the next `on_deadline` or `receive_data`. So look at `next_deadline()`
    after each `data_to_send()`, which is not called while the socket is full.

    A stream closed on both sides stays until all its bytes are consumed; `reset_stream`
    gives up the rest (and then sends nothing).

    After a `YamuxError` the session is dead: `data_to_send()` has the goodbye, the
    error's `events` what came before the bad frame, and `receive_eof()` the resets of
    all streams still open.
    """

    __slots__ = (
        "_backlog",
        "_body_fin",
        "_body_left",
        "_body_stream",
        "_client",
        "_control",
        "_dead_after",
        "_dropped",
        "_earned",
        "_error",
        "_events",
        "_go_away_due",
        "_growth",
        "_half_closed",
        "_header",
        "_heard",
        "_highest",
        "_inbound",
        "_is_closed",
        "_last_words",
        "_limits",
        "_next_id",
        "_now",
        "_outbound",
        "_peer_going",
        "_pending",
        "_ping_due",
        "_ping_interval",
        "_ping_queued",
        "_ping_sent",
        "_ping_value",
        "_pongs",
        "_queued",
        "_ready",
        "_reset_bucket",
        "_resets",
        "_rtt",
        "_skipped",
        "_stalled",
        "_streams",
        "_unacked",
        "_unread",
        "_we_going",
    )

    def __init__(
        self,
        *,
        client: bool,
        limits: MuxerLimits | None = None,
        ping_interval: float = 15.0,
        dead_after: float = 45.0,
        now: float = 0.0,
    ) -> None:
        self._limits = limits = limits or MuxerLimits()
        self._client = client
        self._ping_interval = ping_interval
        self._dead_after = dead_after
        self._now = now
        self._heard = now
        self._is_closed = False
        self._error: tuple[str, int] | None = None
        self._events: list[Event] = []
        # frames in
        self._header = bytearray()
        self._body_left = 0
        self._body_stream: Stream | None = None
        self._body_fin = False
        self._control = Bucket(limits.control_rate, limits.control_burst, now)
        self._reset_bucket = Bucket(limits.reset_rate, limits.reset_burst, now)
        self._earned = 0
        self._dropped = 0
        # streams
        self._streams: dict[int, Stream] = {}
        self._next_id = 1 if client else 2
        self._highest = 0 if client else -1  # the peer's highest id so far
        self._skipped: OrderedDict[int, None] = OrderedDict()  # lower, not yet used
        self._inbound = 0
        self._outbound = 0
        self._backlog = 0
        self._unacked = 0
        self._unread = 0
        self._growth = 0
        self._half_closed: OrderedDict[int, float] = OrderedDict()
        self._peer_going = False
        self._we_going = False
        self._go_away_due = False
        # frames out
        self._pongs: list[int] = []
        self._resets: list[int] = []
        self._ready: OrderedDict[int, Stream] = OrderedDict()
        self._stalled: dict[int, None] = {}
        self._last_words = b""
        self._queued = 0
        self._pending = 0
        # the peer's pulse
        self._rtt = 0.0
        self._ping_value = 0
        self._ping_sent: float | None = None
        self._ping_queued = False
        self._ping_due = now
        self.ping(now)

    # -- what the owner may ask ------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether the session is dead."""
        return self._is_closed

    @property
    def num_streams(self) -> int:
        """Streams not yet gone, those with unread bytes included."""
        return len(self._streams)

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` would succeed now."""
        return not self._refusal()

    @property
    def pending_out(self) -> int:
        """Bytes `data_to_send()` would return."""
        return self._pending

    @property
    def unread(self) -> int:
        """Bytes announced by the peer and not yet consumed, all streams."""
        return self._unread

    @property
    def rtt(self) -> float:
        """The latest round trip in seconds, 0.0 before the first pong."""
        return self._rtt

    @property
    def dropped_frames(self) -> int:
        """Frames ignored because their stream was gone or unknown."""
        return self._dropped

    def send_window(self, stream_id: int) -> int:
        """Bytes the peer lets us send on the stream; 0 when it is gone or closed."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None or stream.fin_due else stream.send_window

    # -- bytes in --------------------------------------------------------------------

    def receive_data(self, data: Buffer, now: float = 0.0) -> list[Event]:
        """Take what the peer sent; pieces are slices of `bytes`, copies of all else."""
        view = memoryview(data).cast("B")
        if self._error is not None:
            raise YamuxError(*self._error)
        if self._is_closed:
            return []
        self._advance(now)
        if view:
            self._heard = self._now
        try:
            self._parse(view, is_lasting=type(data) is bytes)
        except YamuxError as error:
            self._die(error)
            raise
        return self._take_events()

    def receive_eof(self) -> list[Event]:
        """End the session: what can still be written to or read from is reset."""
        for stream in sorted(self._streams.values(), key=lambda stream: stream.id):
            if not (stream.fin_received and stream.fin_due):
                self._events.append(StreamReset(stream.id))
        self._streams.clear()
        if not self._is_closed:
            self._close(b"")
        self._unread = self._growth = 0
        self._inbound = self._outbound = self._backlog = self._unacked = 0
        return self._take_events()

    def _parse(self, view: memoryview, *, is_lasting: bool) -> None:
        pos, end = 0, len(view)
        longest = end if is_lasting else MAX_COPY
        while pos < end:
            if self._body_left:
                size = min(self._body_left, end - pos, longest)
                self._on_body(view[pos : pos + size], is_lasting=is_lasting)
            else:
                size = min(HEADER.size - len(self._header), end - pos)
                self._header += view[pos : pos + size]
                if len(self._header) == HEADER.size:
                    fields = HEADER.unpack(self._header)
                    self._header.clear()
                    self._on_header(*fields)
            pos += size

    def _on_header(
        self, version: int, kind: int, flags: int, stream_id: int, length: int
    ) -> None:
        if version != VERSION:
            raise YamuxError(f"frame of version {version}, expected {VERSION}")
        if kind > GO_AWAY:
            raise YamuxError(f"frame of type {kind}, limit {GO_AWAY}")
        if flags & ~ALL_FLAGS:
            raise YamuxError(f"frame with flags {flags}, limit {ALL_FLAGS}")
        if (kind >= PING) != (stream_id == 0):
            raise YamuxError(f"frame of type {kind} on stream {stream_id}")
        if kind == PING:
            self._on_ping(flags, length)
        elif kind == GO_AWAY:
            self._on_go_away(length)
        else:
            self._on_stream_frame(kind, flags, stream_id, length)

    def _on_stream_frame(
        self, kind: int, flags: int, stream_id: int, length: int
    ) -> None:
        stream = self._streams.get(stream_id)
        body = length if kind == DATA else 0
        self._judge_body(flags, stream_id, stream, body)
        self._body_left = body
        self._body_stream = None
        if flags & SYN:
            stream = self._on_syn(stream_id, stream)
            if stream is None:
                return
        elif stream is None:
            # Late frames of a stream that is gone are normal.
            self._dropped += 1
            if not body:
                self._spend()
            return
        is_news = bool(flags & SYN) or body > 0
        if flags & RST:
            # The length of a window update is an error code then.
            is_news = self._on_reset(stream) or is_news
        else:
            if flags & ACK and not stream.is_acked:
                stream.is_acked = is_news = True
                self._unacked -= 1
            if body:
                self._on_announced(flags, stream, body)
            elif kind == WINDOW_UPDATE and length:
                self._on_credit(stream, length)
            if flags & FIN and not body:
                is_news = self._on_fin(stream) or is_news
        if not is_news:
            self._spend()

    def _judge_body(
        self, flags: int, stream_id: int, stream: Stream | None, size: int
    ) -> None:
        """Refuse a body before it comes and before anything is made for it."""
        if stream is not None:
            limit = stream.credit
        elif flags & SYN:
            limit = INITIAL_WINDOW
        else:
            # Gone or unknown: more was never granted to any stream.
            limit = self._limits.max_window
        if size > limit:
            raise YamuxError(
                f"frame of {size} bytes on stream {stream_id}, limit {limit}"
            )

    def _on_syn(self, stream_id: int, stream: Stream | None) -> Stream | None:
        """Open the peer's stream; None when it was refused."""
        limits = self._limits
        if stream_id & 1 == self._client:
            raise YamuxError(f"stream {stream_id} opened with an id of ours")
        if stream is not None:
            raise YamuxError(f"stream {stream_id} opened twice")
        self._use_id(stream_id)
        if len(self._resets) >= limits.max_control:
            raise YamuxError(
                f"{len(self._resets)} control frames waiting, "
                f"limit {limits.max_control}"
            )
        if (
            self._we_going
            or self._inbound >= limits.max_streams
            or self._backlog >= limits.max_backlog
        ):
            self._spend()
            self._queue_reset(stream_id)
            return None
        self._inbound += 1
        self._backlog += 1
        stream = self._streams[stream_id] = Stream(stream_id, True, self._now)
        stream.greeting = ACK
        self._owe(stream, HEADER.size)
        self._events.append(StreamOpened(stream_id))
        return stream

    def _use_id(self, stream_id: int) -> None:
        """Refuse an id used before; opens may overtake one another a little."""
        if stream_id > self._highest:
            room = self._limits.max_backlog
            first = max(self._highest + 2, stream_id - 2 * room)
            for skipped in range(first, stream_id, 2):
                self._skipped[skipped] = None
            while len(self._skipped) > room:
                self._skipped.popitem(last=False)
            self._highest = stream_id
        elif stream_id in self._skipped:
            del self._skipped[stream_id]
        else:
            raise YamuxError(f"stream id {stream_id} used twice")

    def _on_announced(self, flags: int, stream: Stream, size: int) -> None:
        """Charge a body that is about to come."""
        if stream.fin_received:
            raise YamuxError(f"data on stream {stream.id} after its end")
        stream.credit -= size
        stream.unread += size
        self._unread += size
        self._body_stream = stream
        self._body_fin = bool(flags & FIN)
        if stream.fin_sent:
            self._wait_for_end(stream)
        if self._unread > self._limits.max_unread:
            # Whoever is read least pays, which need not be this stream.
            greediest = max(self._streams.values(), key=lambda s: (s.unread, -s.id))
            self._events.append(StreamReset(greediest.id))
            self._reset(greediest)

    def _on_body(self, piece: memoryview, *, is_lasting: bool) -> None:
        self._body_left -= len(piece)
        stream = self._body_stream
        if stream is None:
            return
        short = COPY_BELOW_UNREAD if self._unread > MUCH_UNREAD else COPY_BELOW
        is_kept = is_lasting and len(piece) >= short
        self._events.append(
            DataReceived(stream.id, piece if is_kept else piece.tobytes())
        )
        if not self._body_left:
            self._body_stream = None
            if self._body_fin:
                self._on_fin(stream)

    def _on_credit(self, stream: Stream, size: int) -> None:
        if stream.send_window + size > MAX_UINT32:
            raise YamuxError(
                f"window of {stream.send_window + size} bytes on stream {stream.id}, "
                f"limit {MAX_UINT32}"
            )
        stream.send_window += size
        if not stream.fin_due:
            self._events.append(WindowOpened(stream.id, stream.send_window))

    def _on_fin(self, stream: Stream) -> bool:
        """End the peer's direction; False when it had ended before."""
        if stream.fin_received:
            return False
        stream.fin_received = True
        self._half_closed.pop(stream.id, None)
        self._events.append(StreamClosed(stream.id))
        self._finish(stream)
        return True

    def _on_reset(self, stream: Stream) -> bool:
        """End both directions; False when they had ended before."""
        if stream.fin_received and stream.fin_sent:
            return False
        # Resets of streams that we opened are bounded by our opens.
        if stream.is_inbound and not self._reset_bucket.take(self._now):
            raise YamuxError(f"more than {self._limits.reset_rate} resets a second")
        self._events.append(StreamReset(stream.id))
        self._drop(stream)
        return True

    def _on_ping(self, flags: int, value: int) -> None:
        if flags & SYN:
            self._spend()
            if len(self._pongs) >= self._limits.max_pongs:
                raise YamuxError(
                    f"{len(self._pongs)} pongs waiting, limit {self._limits.max_pongs}"
                )
            self._pongs.append(value)
            self._pending += HEADER.size
            self._events.append(PingReceived(value))
        elif self._ping_sent is not None and value == self._ping_value:
            self._rtt = self._now - self._ping_sent
            self._ping_sent = None
            self._events.append(PongReceived(self._rtt))
        else:
            self._spend()

    def _on_go_away(self, code: int) -> None:
        self._spend()
        self._peer_going = True
        self._events.append(GoAway(code))

    def _spend(self) -> None:
        """Pay for a frame that moves nothing forward.

        Peers may answer each data frame of ours with a few window updates, and some do;
        those are earned by sending. All others come from the bucket.
        """
        if self._earned:
            self._earned -= 1
        elif not self._control.take(self._now):
            raise YamuxError(
                f"more than {self._limits.control_rate} control frames a second"
            )

    # -- streams ---------------------------------------------------------------------

    def open_stream(self) -> int:
        """Open a stream and return its id; data may follow at once.

        ResourceLimitError when the session is ending, too many of our streams are
        open, or too many are not yet acknowledged; `can_open` says when it is over.
        """
        refusal = self._refusal()
        if refusal:
            raise ResourceLimitError(refusal)
        stream_id = self._next_id
        self._next_id += 2
        self._outbound += 1
        self._unacked += 1
        stream = self._streams[stream_id] = Stream(stream_id, False, self._now)
        stream.greeting = SYN
        self._owe(stream, HEADER.size)
        return stream_id

    def _refusal(self) -> str:
        """Why no stream can be opened now, or nothing."""
        limits = self._limits
        if self._is_closed:
            return "session is closed"
        if self._we_going or self._peer_going:
            return "session is going away"
        if self._next_id > MAX_UINT32:
            return "stream ids are used up"
        if self._outbound >= limits.max_streams:
            return f"{self._outbound} streams open, limit {limits.max_streams}"
        if self._unacked >= limits.max_backlog:
            return (
                f"{self._unacked} streams not yet acknowledged, "
                f"limit {limits.max_backlog}"
            )
        return ""

    def accept_stream(self, stream_id: int) -> None:
        """Take the peer's stream off the count of those not yet accepted."""
        stream = self._live(stream_id)
        if stream is not None and not stream.is_accepted:
            stream.is_accepted = True
            self._backlog -= 1

    def send_data(self, stream_id: int, data: Buffer) -> int:
        """Queue what window and session have room for; returns how many bytes.

        `bytes` and slices of them are kept as they are, other buffers copied once, only
        what is taken.
        """
        stream = self._live(stream_id)
        if stream is None:
            raise StreamResetError(f"stream {stream_id} is gone")
        if stream.fin_due:
            raise UsageError(f"stream {stream_id} is closed for writing")
        view = memoryview(data).cast("B")
        room = self._limits.max_outbound - self._queued
        size = min(len(view), stream.send_window, room)
        if size < len(view) and size == room:
            self._stalled[stream_id] = None
        if not size:
            return 0
        piece = view[:size]
        stream.queue.append(piece if type(view.obj) is bytes else piece.tobytes())
        headers = _frames(stream.queued + size) - _frames(stream.queued)
        stream.queued += size
        self._queued += size
        stream.send_window -= size
        self._owe(stream, size + headers * HEADER.size)
        return size

    def consume(self, stream_id: int, size: int) -> None:
        """Say that the reader took `size` bytes; the peer may send as many again."""
        stream = self._live(stream_id)
        if stream is None:
            return
        if not 0 <= size <= stream.unread:
            raise UsageError(
                f"consumed {size} bytes of stream {stream_id}, "
                f"{stream.unread} are unread"
            )
        stream.unread -= size
        self._unread -= size
        if stream.fin_received:
            self._finish(stream)
            return
        due = stream.window - stream.credit - stream.unread
        if due * 2 < stream.window:
            return
        due += self._grow(stream)
        stream.epoch = self._now
        stream.credit += due
        if not stream.update:
            self._owe(stream, HEADER.size)
        stream.update += due

    def _grow(self, stream: Stream) -> int:
        """Double a window that was used up within four round trips."""
        if not self._rtt or self._now - stream.epoch >= 4 * self._rtt:
            return 0
        limits = self._limits
        growth = min(stream.window, limits.max_window - stream.window)
        # Half of what may be unread is left to the windows streams start with.
        if growth <= 0 or self._growth + growth > limits.max_unread // 2:
            return 0
        stream.window += growth
        self._growth += growth
        return growth

    def close_stream(self, stream_id: int) -> None:
        """Send the end after what is queued; the peer may still send."""
        stream = self._live(stream_id)
        if stream is not None and not stream.fin_due:
            stream.fin_due = True
            self._stalled.pop(stream_id, None)
            self._owe(stream, HEADER.size)

    def reset_stream(self, stream_id: int) -> None:
        """Give the stream up, with what is queued and what is unread."""
        stream = self._live(stream_id)
        if stream is not None:
            self._reset(stream)

    def _reset(self, stream: Stream) -> None:
        is_over = stream.fin_received and stream.fin_sent
        is_unheard = stream.greeting == SYN
        if not is_over and not is_unheard:
            self._queue_reset(stream.id)
            # Its acknowledgement and its end may still come.
            self._earned += 2
        self._drop(stream)

    def _live(self, stream_id: int) -> Stream | None:
        return None if self._is_closed else self._streams.get(stream_id)

    def _wait_for_end(self, stream: Stream) -> None:
        """Start over the time within which the peer must send something."""
        self._half_closed[stream.id] = self._now + self._limits.half_closed_timeout
        self._half_closed.move_to_end(stream.id)

    def _finish(self, stream: Stream) -> None:
        """Forget a stream that both sides closed and the reader has emptied."""
        if stream.fin_received and stream.fin_sent and not stream.unread:
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        """Forget a stream and give back all that it held."""
        del self._streams[stream.id]
        self._ready.pop(stream.id, None)
        self._stalled.pop(stream.id, None)
        self._half_closed.pop(stream.id, None)
        if self._body_stream is stream:
            self._body_stream = None
        if stream.is_inbound:
            self._inbound -= 1
        else:
            self._outbound -= 1
        self._backlog -= not stream.is_accepted
        self._unacked -= not stream.is_acked
        self._unread -= stream.unread
        self._growth -= stream.window - INITIAL_WINDOW
        self._queued -= stream.queued
        self._pending -= stream.owed

    # -- bytes out -------------------------------------------------------------------

    def data_to_send(self, max_bytes: int | None = None) -> bytes:
        """All frames that wait, joined once.

        With `max_bytes`, stop behind the frame that reaches it; the rest waits, and
        streams keep their turns.
        """
        if self._is_closed:
            data, self._last_words, self._pending = self._last_words, b"", 0
            return data
        bound = self._pending if max_bytes is None else max(max_bytes, 0)
        parts = self._session_frames(-(-bound // HEADER.size))
        size = len(parts) * HEADER.size
        while self._ready and size < bound:
            stream = self._ready.popitem(last=False)[1]
            size += self._take_turn(stream, parts)
        if self._go_away_due and not self._ready and not self._resets:
            # Many peers drop their streams on it, so it goes behind all data.
            self._go_away_due = False
            parts.append(HEADER.pack(VERSION, GO_AWAY, 0, 0, NORMAL))
            size += HEADER.size
        self._pending -= size
        self._wake_stalled()
        return b"".join(parts)

    def _session_frames(self, most: int) -> list[bytes | memoryview]:
        """Frames that belong to no stream, at most so many."""
        parts: list[bytes | memoryview] = [
            HEADER.pack(VERSION, PING, ACK, 0, value) for value in self._pongs[:most]
        ]
        del self._pongs[:most]
        if self._ping_queued and len(parts) < most:
            self._ping_queued = False
            parts.append(HEADER.pack(VERSION, PING, SYN, 0, self._ping_value))
        left = most - len(parts)
        parts.extend(
            HEADER.pack(VERSION, WINDOW_UPDATE, RST, stream_id, 0)
            for stream_id in self._resets[:left]
        )
        del self._resets[:left]
        return parts

    def _take_turn(self, stream: Stream, parts: list[bytes | memoryview]) -> int:
        """Write a stream's control frames and one data frame; returns their size.

        SYN, ACK and FIN go alone on a window update of length 0: some peers miss a
        FIN beside an ACK, or lose the data beside a FIN.
        """
        size = 0
        if stream.greeting:
            parts.append(
                HEADER.pack(VERSION, WINDOW_UPDATE, stream.greeting, stream.id, 0)
            )
            stream.greeting = 0
            size += HEADER.size
        if stream.update:
            parts.append(
                HEADER.pack(VERSION, WINDOW_UPDATE, 0, stream.id, stream.update)
            )
            stream.update = 0
            size += HEADER.size
        if stream.queued:
            size += self._take_body(stream, parts)
        is_end = stream.fin_due and not stream.fin_sent and not stream.queued
        if is_end:
            parts.append(HEADER.pack(VERSION, WINDOW_UPDATE, FIN, stream.id, 0))
            size += HEADER.size
        stream.owed -= size
        if stream.owed:
            self._ready[stream.id] = stream
        if is_end:
            stream.fin_sent = True
            if not stream.fin_received:
                self._wait_for_end(stream)
            self._finish(stream)
        return size

    def _take_body(self, stream: Stream, parts: list[bytes | memoryview]) -> int:
        """Write one data frame of what is queued."""
        left = body = min(stream.queued, MAX_BODY)
        parts.append(HEADER.pack(VERSION, DATA, 0, stream.id, body))
        while left:
            piece = stream.queue.popleft()
            if len(piece) > left:
                stream.queue.appendleft(piece[left:])
                piece = piece[:left]
            parts.append(piece)
            left -= len(piece)
        stream.queued -= body
        self._queued -= body
        self._earned += UPDATES * (1 + body // MESSAGE)
        return HEADER.size + body

    def _wake_stalled(self) -> None:
        """Tell the streams that the session's bound had stopped that there is room."""
        if not self._stalled or self._queued * 2 > self._limits.max_outbound:
            return
        for stream_id in self._stalled:
            window = self._streams[stream_id].send_window
            if window:
                self._events.append(WindowOpened(stream_id, window))
        self._stalled.clear()

    def _owe(self, stream: Stream, size: int) -> None:
        stream.owed += size
        self._pending += size
        self._ready.setdefault(stream.id, stream)

    def _queue_reset(self, stream_id: int) -> None:
        self._resets.append(stream_id)
        self._pending += HEADER.size

    # -- the session -----------------------------------------------------------------

    def ping(self, now: float = 0.0) -> int:
        """Ping the peer, or join the ping under way; returns its value."""
        self._advance(now)
        if self._ping_sent is None and not self._is_closed:
            self._ping_value = (self._ping_value + 1) & MAX_UINT32
            self._ping_sent = self._now
            self._ping_due = self._now + self._ping_interval
            self._ping_queued = True
            self._pending += HEADER.size
        return self._ping_value

    def go_away(self, code: int = NORMAL) -> None:
        """End the session: open streams may finish with code 0, all ends with others.

        Many peers drop their streams on it, so call it when the streams are done.
        """
        if self._is_closed:
            return
        if not 0 <= code <= MAX_UINT32:
            raise UsageError(f"go-away code {code}, limit {MAX_UINT32}")
        if code:
            self._close(HEADER.pack(VERSION, GO_AWAY, 0, 0, code))
        elif not self._we_going:
            self._we_going = self._go_away_due = True
            self._pending += HEADER.size

    def next_deadline(self) -> float | None:
        """When to call `on_deadline`; a time gone by means at once."""
        if self._is_closed:
            return None
        if self._events:
            return self._now
        deadline = self._heard + self._dead_after
        if self._ping_sent is None:
            deadline = min(deadline, self._ping_due)
        if self._half_closed:
            deadline = min(deadline, next(iter(self._half_closed.values())))
        return deadline

    def on_deadline(self, now: float) -> list[Event]:
        """Do what is due; YamuxError when the peer has been silent for too long."""
        self._advance(now)
        if self._is_closed:
            return []
        if self._now >= self._heard + self._dead_after:
            error = YamuxError(
                f"nothing heard for {self._dead_after} seconds", INTERNAL_ERROR
            )
            self._die(error)
            raise error
        if self._now >= self._ping_due:
            self.ping(self._now)
        while self._half_closed:
            stream_id, deadline = next(iter(self._half_closed.items()))
            if deadline > self._now:
                break
            self._events.append(StreamReset(stream_id))
            self._reset(self._streams[stream_id])
        return self._take_events()

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _die(self, error: YamuxError) -> None:
        error.events.extend(self._take_events())
        self._error = (str(error), error.code)
        self._close(HEADER.pack(VERSION, GO_AWAY, 0, 0, error.code))

    def _close(self, last_words: bytes) -> None:
        """Be dead; only the streams' names are kept, for `receive_eof`."""
        self._is_closed = True
        self._last_words = last_words
        self._pending = len(last_words)
        self._queued = 0
        for stream in self._streams.values():
            stream.queue.clear()
        self._pongs.clear()
        self._resets.clear()
        self._ready.clear()
        self._stalled.clear()
        self._half_closed.clear()
        self._skipped.clear()
        self._body_stream = None
