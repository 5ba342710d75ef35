# Built without bounds checks (the table in setup.py): every offset here is compared with
# a length first.
# Long, because events made in the session's own module cost a fifth less per frame.
"""The yamux session, compiled twin; the plain one says how it works and why."""

from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
)
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy

cimport cython

from praxis_fast._core.endian cimport load_be16, load_be32, store_be16, store_be32
from praxis_fast._core.prefetch cimport prefetch
from praxis_fast._core.stream_table cimport (
    HALF_CLOSED, READY, chunk, chunk_add, chunks_trim, home_slot, list_append,
    list_remove, stream_entry, stream_list, stream_state, stream_table, table_add, table_clear,
    table_find, table_remove
)

from collections import OrderedDict

from praxis_fast.errors import (
    ResourceLimitError,
    StreamResetError,
    UsageError,
    YamuxError,
)
from praxis_fast.limits import MuxerLimits

__all__ = [
    "DataReceived",
    "GoAway",
    "PingReceived",
    "PongReceived",
    "StreamClosed",
    "StreamOpened",
    "StreamReset",
    "View",
    "WindowOpened",
    "YamuxSession",
]

cdef enum:
    HEADER_SIZE = 12
    VERSION = 0
    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3
    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8
    ALL_FLAGS = 15
    NORMAL = 0
    INTERNAL_ERROR = 2
    INITIAL_WINDOW = 262144
    # A full data frame and its header are exactly four full Noise messages.
    MESSAGE = 65519
    MAX_BODY = 4 * MESSAGE - HEADER_SIZE
    # Control frames a peer may answer each begun message of a frame of ours with.
    UPDATES = 8
    # The most one turn of a stream writes: ACK, window update, data frame, FIN.
    MAX_TURN = 4 * HEADER_SIZE + MAX_BODY
    # The longest copy that is handed over.
    MAX_COPY = 65536
    # Pieces that are copied instead of keeping the whole input alive.
    COPY_BELOW = 256
    COPY_BELOW_UNREAD = 16384
    MUCH_UNREAD = 262144
    # Entries of more streams than this leave the nearest memory between messages.
    MANY_STREAMS = 1024
    # Frames whose entries are asked for together.
    AHEAD = 32

cdef int64_t MAX_UINT32 = 0xFFFFFFFF
cdef int64_t MAX_INT64 = 0x7FFFFFFFFFFFFFFF

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject** text, Py_ssize_t size) except -1
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL
    char* text_of "PyBytes_AS_STRING"(PyObject*)
    Py_ssize_t size_of "PyBytes_GET_SIZE"(PyObject*)
    bint PyMemoryView_Check(object)
    Py_buffer* buffer_of "PyMemoryView_GET_BUFFER"(object)
    int PyBuffer_IsContiguous(const Py_buffer*, char order)


cdef struct bucket:
    double rate
    double burst
    double tokens
    double stamp


cdef inline bint bucket_take(bucket* it, double now) noexcept nogil:
    """Take one token; False when there is none."""
    it.tokens += (now - it.stamp) * it.rate
    if it.tokens > it.burst:
        it.tokens = it.burst
    it.stamp = now
    if it.tokens < 1.0:
        return False
    it.tokens -= 1.0
    return True


cdef inline int64_t frames(int64_t size) noexcept nogil:
    """How many data frames `size` queued bytes will leave in."""
    return (size + MAX_BODY - 1) // MAX_BODY


cdef inline uint8_t* put_header(
    uint8_t* p, uint8_t kind, uint16_t flags, uint32_t stream_id, uint32_t length
) noexcept nogil:
    p[0] = VERSION
    p[1] = kind
    store_be16(p + 2, flags)
    store_be32(p + 4, stream_id)
    store_be32(p + 8, length)
    return p + HEADER_SIZE


cdef const uint8_t* fetch_ahead(
    const stream_table* table, const uint8_t* p, const uint8_t* end
) noexcept nogil:
    """Bring near what the next frames will look up; returns where they end.

    Asked together, because memory answers many questions in the time of one.
    """
    cdef const uint32_t* slots[AHEAD]
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t index
    cdef int64_t body
    while count < AHEAD and end - p >= HEADER_SIZE:
        slots[count] = &table.slots[home_slot(table, load_be32(p + 4))]
        prefetch(slots[count])
        count += 1
        body = load_be32(p + 8) if p[1] == DATA else 0
        p += min(HEADER_SIZE + body, <int64_t>(end - p))
    for index in range(count):
        if slots[index][0]:
            prefetch(&table.entries[slots[index][0] - 1])
    return p


cdef inline bint is_flat(const Py_buffer* view) noexcept:
    return view.ndim == 1 and view.itemsize == 1 and PyBuffer_IsContiguous(view, b"C")


cdef object flat_view(data):
    """A memoryview of single bytes, side by side."""
    if not PyMemoryView_Check(data):
        data = memoryview(data)
    data.nbytes  # raises when it was released
    return data if is_flat(buffer_of(data)) else data.cast("B")


cdef bytes make_frame(uint8_t kind, uint16_t flags, uint32_t stream_id, uint32_t length):
    cdef uint8_t frame[HEADER_SIZE]
    put_header(frame, kind, flags, stream_id, length)
    return PyBytes_FromStringAndSize(<const char*>frame, HEADER_SIZE)


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class StreamOpened:
    """The peer opened a stream; take it with `accept_stream` or reset it."""

    __match_args__ = ("stream_id",)
    cdef readonly long long stream_id

    def __init__(self, long long stream_id):
        self.stream_id = stream_id

    def __repr__(self):
        return f"StreamOpened(stream_id={self.stream_id!r})"

    def __eq__(self, other):
        if type(other) is not StreamOpened:
            return NotImplemented
        cdef StreamOpened peer = other
        return self.stream_id == peer.stream_id

    def __hash__(self):
        return hash((self.stream_id,))


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class View:
    """A read-only slice of a bytes object, which it keeps alive.

    A `memoryview` would do, and costs more to make than the rest of a frame. It has a
    length, can be sliced and compared with any buffer, and gives one itself.
    """

    cdef bytes _owner
    cdef const uint8_t* _data
    cdef Py_ssize_t _size

    def __init__(self, data):
        self._owner = bytes(data)
        self._data = <const uint8_t*>PyBytes_AS_STRING(self._owner)
        self._size = len(self._owner)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <void*>self._data, self._size, 1, flags)

    def __len__(self):
        return self._size

    def __getitem__(self, key):
        return memoryview(self)[key]

    def __bytes__(self):
        return self.tobytes()

    def tobytes(self):
        """A copy of the bytes."""
        return PyBytes_FromStringAndSize(<const char*>self._data, self._size)

    def __eq__(self, other):
        return memoryview(self) == other

    def __hash__(self):
        return hash(self.tobytes())

    def __repr__(self):
        return f"<View of {self._size} bytes>"


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class DataReceived:
    """A piece of a stream's data, in order.

    `data` is a read-only buffer with a length: `bytes`, or a slice of the bytes given
    to `receive_data`, which it keeps alive. It stays valid for ever. Slice it through
    `memoryview(data)`; give the credit back with `consume`.
    """

    __match_args__ = ("stream_id", "data")
    cdef readonly long long stream_id
    cdef readonly object data

    def __init__(self, long long stream_id, data):
        self.stream_id = stream_id
        self.data = data

    def __repr__(self):
        # The bytes themselves stay out of logs.
        size = len(self.data)
        return f"DataReceived(stream_id={self.stream_id}, data=<{size} bytes>)"

    def __eq__(self, other):
        if type(other) is not DataReceived:
            return NotImplemented
        cdef DataReceived peer = other
        return self.stream_id == peer.stream_id and self.data == peer.data

    def __hash__(self):
        return hash((self.stream_id, self.data))


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class StreamClosed:
    """The peer will send nothing more on this stream."""

    __match_args__ = ("stream_id",)
    cdef readonly long long stream_id

    def __init__(self, long long stream_id):
        self.stream_id = stream_id

    def __repr__(self):
        return f"StreamClosed(stream_id={self.stream_id!r})"

    def __eq__(self, other):
        if type(other) is not StreamClosed:
            return NotImplemented
        cdef StreamClosed peer = other
        return self.stream_id == peer.stream_id

    def __hash__(self):
        return hash((self.stream_id,))


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class StreamReset:
    """The stream is gone in both directions; its unread bytes need no `consume`."""

    __match_args__ = ("stream_id",)
    cdef readonly long long stream_id

    def __init__(self, long long stream_id):
        self.stream_id = stream_id

    def __repr__(self):
        return f"StreamReset(stream_id={self.stream_id!r})"

    def __eq__(self, other):
        if type(other) is not StreamReset:
            return NotImplemented
        cdef StreamReset peer = other
        return self.stream_id == peer.stream_id

    def __hash__(self):
        return hash((self.stream_id,))


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class WindowOpened:
    """The stream can be written to (again); `size` is its whole send window now."""

    __match_args__ = ("stream_id", "size")
    cdef readonly long long stream_id
    cdef readonly long long size

    def __init__(self, long long stream_id, long long size):
        self.stream_id = stream_id
        self.size = size

    def __repr__(self):
        return f"WindowOpened(stream_id={self.stream_id!r}, size={self.size!r})"

    def __eq__(self, other):
        if type(other) is not WindowOpened:
            return NotImplemented
        cdef WindowOpened peer = other
        return self.stream_id == peer.stream_id and self.size == peer.size

    def __hash__(self):
        return hash((self.stream_id, self.size))


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class PingReceived:
    """The peer pinged; the answer is already queued."""

    __match_args__ = ("value",)
    cdef readonly long long value

    def __init__(self, long long value):
        self.value = value

    def __repr__(self):
        return f"PingReceived(value={self.value!r})"

    def __eq__(self, other):
        if type(other) is not PingReceived:
            return NotImplemented
        cdef PingReceived peer = other
        return self.value == peer.value

    def __hash__(self):
        return hash((self.value,))


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class PongReceived:
    """Our ping was answered after `rtt` seconds."""

    __match_args__ = ("rtt",)
    cdef readonly double rtt

    def __init__(self, double rtt):
        self.rtt = rtt

    def __repr__(self):
        return f"PongReceived(rtt={self.rtt!r})"

    def __eq__(self, other):
        if type(other) is not PongReceived:
            return NotImplemented
        cdef PongReceived peer = other
        return self.rtt == peer.rtt

    def __hash__(self):
        return hash((self.rtt,))


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class GoAway:
    """The peer ends the session: 0 in peace, 1 protocol error, 2 internal error."""

    __match_args__ = ("code",)
    cdef readonly long long code

    def __init__(self, long long code):
        self.code = code

    def __repr__(self):
        return f"GoAway(code={self.code!r})"

    def __eq__(self, other):
        if type(other) is not GoAway:
            return NotImplemented
        cdef GoAway peer = other
        return self.code == peer.code

    def __hash__(self):
        return hash((self.code,))


@cython.final
cdef class YamuxSession:
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

    cdef object _limits
    cdef bint _client
    cdef double _ping_interval
    cdef double _dead_after
    cdef double _now
    cdef double _heard
    cdef bint _is_closed
    cdef tuple _error
    cdef list _events
    # the limits that frames meet
    cdef int64_t _max_window
    cdef int64_t _max_streams
    cdef int64_t _max_backlog
    cdef int64_t _max_unread
    cdef int64_t _max_pongs
    cdef int64_t _max_control
    cdef int64_t _max_outbound
    cdef double _half_closed_timeout
    # frames in
    cdef uint8_t _header[HEADER_SIZE]
    cdef int _header_size
    cdef int64_t _body_left
    cdef uint32_t _body_id
    cdef bint _body_fin
    cdef bucket _control
    cdef bucket _reset_bucket
    cdef int64_t _earned
    cdef int64_t _dropped
    # streams
    cdef stream_table _streams
    cdef stream_entry* _latest
    cdef int64_t _next_id
    cdef int64_t _highest
    cdef object _skipped
    cdef int64_t _inbound
    cdef int64_t _outbound
    cdef int64_t _backlog
    cdef int64_t _unacked
    cdef int64_t _unread
    cdef int64_t _growth
    cdef stream_list _half_closed
    cdef bint _peer_going
    cdef bint _we_going
    cdef bint _go_away_due
    # frames out
    cdef list _pongs
    cdef list _resets
    cdef stream_list _ready
    cdef dict _stalled
    cdef bytes _last_words
    cdef int64_t _queued
    cdef int64_t _pending
    # the peer's pulse
    cdef double _rtt
    cdef uint32_t _ping_value
    cdef double _ping_sent
    cdef bint _ping_open
    cdef bint _ping_queued
    cdef double _ping_due

    def __cinit__(self):
        self._streams.slots = NULL
        self._streams.entries = NULL
        self._latest = NULL

    def __init__(
        self,
        *,
        bint client,
        limits=None,
        double ping_interval=15.0,
        double dead_after=45.0,
        double now=0.0,
    ):
        self._limits = limits = limits or MuxerLimits()
        self._client = client
        self._ping_interval = ping_interval
        self._dead_after = dead_after
        self._now = self._heard = now
        self._events = []
        self._max_window = limits.max_window
        self._max_streams = limits.max_streams
        self._max_backlog = limits.max_backlog
        self._max_unread = limits.max_unread
        self._max_pongs = limits.max_pongs
        self._max_control = limits.max_control
        self._max_outbound = limits.max_outbound
        self._half_closed_timeout = limits.half_closed_timeout
        self._control.rate = limits.control_rate
        self._control.burst = self._control.tokens = limits.control_burst
        self._control.stamp = now
        self._reset_bucket.rate = limits.reset_rate
        self._reset_bucket.burst = self._reset_bucket.tokens = limits.reset_burst
        self._reset_bucket.stamp = now
        self._next_id = 1 if client else 2
        self._highest = 0 if client else -1
        self._skipped = OrderedDict()
        self._pongs = []
        self._resets = []
        self._stalled = {}
        self._last_words = b""
        self._ping_due = now
        self.ping(now)

    def __dealloc__(self):
        self._free_streams()

    cdef void _free_streams(self) noexcept:
        cdef Py_ssize_t index
        for index in range(self._streams.count):
            self._free_queue(self._streams.entries[index].stream)
            free(self._streams.entries[index].stream)
        table_clear(&self._streams)
        self._latest = NULL

    cdef void _free_queue(self, stream_state* stream) noexcept:
        cdef Py_ssize_t pos
        for pos in range(stream.head, stream.count):
            Py_DECREF(<object>stream.chunks[pos].owner)
        free(stream.chunks)
        stream.chunks = NULL
        stream.head = stream.count = stream.room = 0

    # -- what the owner may ask --------------------------------------------------------

    @property
    def is_closed(self):
        """Whether the session is dead."""
        return self._is_closed

    @property
    def num_streams(self):
        """Streams not yet gone, those with unread bytes included."""
        return self._streams.count

    @property
    def can_open(self):
        """Whether `open_stream` would succeed now."""
        return not self._refusal()

    @property
    def pending_out(self):
        """Bytes `data_to_send()` would return."""
        return self._pending

    @property
    def unread(self):
        """Bytes announced by the peer and not yet consumed, all streams."""
        return self._unread

    @property
    def rtt(self):
        """The latest round trip in seconds, 0.0 before the first pong."""
        return self._rtt

    @property
    def dropped_frames(self):
        """Frames ignored because their stream was gone or unknown."""
        return self._dropped

    def send_window(self, int64_t stream_id):
        """Bytes the peer lets us send on the stream; 0 when it is gone or closed."""
        cdef stream_state* stream = self._find(stream_id)
        return 0 if stream == NULL or stream.fin_due else stream.send_window

    # -- bytes in ----------------------------------------------------------------------

    def receive_data(self, data, double now=0.0):
        """Take what the peer sent; pieces are slices of `bytes`, copies of all else."""
        cdef bytes whole = None
        cdef const uint8_t* start
        cdef Py_ssize_t size
        if PyBytes_CheckExact(data):
            whole = data
            start = <const uint8_t*>PyBytes_AS_STRING(data)
            size = PyBytes_GET_SIZE(data)
        else:
            data = flat_view(data)
            start = <const uint8_t*>buffer_of(data).buf
            size = buffer_of(data).len
        if self._error is not None:
            raise YamuxError(*self._error)
        if self._is_closed:
            return []
        self._advance(now)
        if size:
            self._heard = self._now
        try:
            self._parse(whole, start, start + size)
        except YamuxError as error:
            self._die(error)
            raise
        return self._take_events()

    def receive_eof(self):
        """End the session: what can still be written to or read from is reset."""
        cdef stream_state* stream
        for stream_id in self._stream_ids():
            stream = self._find(stream_id)
            if not (stream.fin_received and stream.fin_due):
                self._events.append(make_stream_reset(stream_id))
        if not self._is_closed:
            self._close(b"")
        self._free_streams()
        self._unread = self._growth = 0
        self._inbound = self._outbound = self._backlog = self._unacked = 0
        return self._take_events()

    cdef list _stream_ids(self):
        cdef Py_ssize_t index
        cdef list found = []
        for index in range(self._streams.count):
            found.append(self._streams.entries[index].id)
        found.sort()
        return found

    cdef int _parse(self, bytes whole, const uint8_t* p, const uint8_t* end) except -1:
        cdef const uint8_t* fetched = p
        cdef Py_ssize_t size
        while p < end:
            if self._body_left:
                size = end - p
                if size > self._body_left:
                    size = <Py_ssize_t>self._body_left
                if size > MAX_COPY and whole is None:
                    size = MAX_COPY
                self._on_body(whole, p, size)
                p += size
            elif not self._header_size and end - p >= HEADER_SIZE:
                if p >= fetched and self._streams.count > MANY_STREAMS:
                    fetched = fetch_ahead(&self._streams, p, end)
                self._on_header(p)
                p += HEADER_SIZE
            else:
                size = min(<Py_ssize_t>(HEADER_SIZE - self._header_size), end - p)
                memcpy(self._header + self._header_size, p, size)
                self._header_size += <int>size
                p += size
                if self._header_size == HEADER_SIZE:
                    self._header_size = 0
                    self._on_header(self._header)
        return 0

    cdef int _on_header(self, const uint8_t* header) except -1:
        cdef uint32_t kind = header[1]
        cdef uint32_t flags = load_be16(header + 2)
        cdef uint32_t stream_id = load_be32(header + 4)
        cdef uint32_t length = load_be32(header + 8)
        cdef stream_entry* entry
        if header[0] != VERSION:
            raise YamuxError(f"frame of version {header[0]}, expected {VERSION}")
        if kind > GO_AWAY:
            raise YamuxError(f"frame of type {kind}, limit {GO_AWAY}")
        if flags & ~<uint32_t>ALL_FLAGS:
            raise YamuxError(f"frame with flags {flags}, limit {ALL_FLAGS}")
        if (kind >= PING) != (stream_id == 0):
            raise YamuxError(f"frame of type {kind} on stream {stream_id}")
        if kind == PING:
            return self._on_ping(flags, length)
        if kind == GO_AWAY:
            return self._on_go_away(length)
        entry = self._latest
        if entry == NULL or entry.id != stream_id:
            entry = self._latest = table_find(&self._streams, stream_id)
        if entry == NULL:
            return self._on_stream_frame(kind, flags, stream_id, length, NULL)
        if kind != DATA or flags or entry.has_ended or not 0 < length <= entry.credit:
            return self._on_stream_frame(kind, flags, stream_id, length, entry.stream)
        # Plain data, nearly all frames there are: the stream itself is not touched.
        self._body_left = length
        return self._charge(False, entry, length)

    cdef int _on_stream_frame(
        self,
        uint32_t kind,
        uint32_t flags,
        uint32_t stream_id,
        uint32_t length,
        stream_state* stream,
    ) except -1:
        cdef uint32_t body = length if kind == DATA else 0
        cdef bint is_news = flags & SYN or body > 0
        self._judge_body(flags, stream_id, stream, body)
        self._body_left = body
        self._body_id = 0
        if flags & SYN:
            stream = self._on_syn(stream_id, stream)
            if stream == NULL:
                return 0
        elif stream == NULL:
            # Late frames of a stream that is gone are normal.
            self._dropped += 1
            return 0 if body else self._spend()
        if flags & RST:
            # The length of a window update is an error code then.
            if self._on_reset(stream):
                is_news = True
        else:
            if flags & ACK and not stream.is_acked:
                stream.is_acked = is_news = True
                self._unacked -= 1
            if body:
                self._on_announced(flags & FIN, stream, body)
            elif kind == WINDOW_UPDATE and length:
                self._on_credit(stream, length)
            if flags & FIN and not body and self._on_fin(stream):
                is_news = True
        return 0 if is_news else self._spend()

    cdef inline int _judge_body(
        self, uint32_t flags, uint32_t stream_id, stream_state* stream, uint32_t size
    ) except -1:
        """Refuse a body before it comes and before anything is made for it."""
        cdef int64_t limit
        if stream != NULL:
            limit = self._entry(stream).credit
        elif flags & SYN:
            limit = INITIAL_WINDOW
        else:
            # Gone or unknown: more was never granted to any stream.
            limit = self._max_window
        if size > limit:
            raise YamuxError(
                f"frame of {size} bytes on stream {stream_id}, limit {limit}"
            )
        return 0

    cdef stream_state* _on_syn(
        self, uint32_t stream_id, stream_state* stream
    ) except? NULL:
        """Open the peer's stream; NULL when it was refused."""
        if (stream_id & 1 == 1) == self._client:
            raise YamuxError(f"stream {stream_id} opened with an id of ours")
        if stream != NULL:
            raise YamuxError(f"stream {stream_id} opened twice")
        self._use_id(stream_id)
        if len(self._resets) >= self._max_control:
            raise YamuxError(
                f"{len(self._resets)} control frames waiting, "
                f"limit {self._max_control}"
            )
        if (
            self._we_going
            or self._inbound >= self._max_streams
            or self._backlog >= self._max_backlog
        ):
            self._spend()
            self._queue_reset(stream_id)
            return NULL
        stream = self._add_stream(stream_id)
        stream.is_inbound = stream.is_acked = True
        self._inbound += 1
        self._backlog += 1
        stream.greeting = ACK
        self._owe(stream, HEADER_SIZE)
        self._events.append(make_stream_opened(stream_id))
        return stream

    cdef int _use_id(self, int64_t stream_id) except -1:
        """Refuse an id used before; opens may overtake one another a little."""
        cdef int64_t skipped
        if stream_id > self._highest:
            skipped = self._highest + 2
            if skipped < stream_id - 2 * self._max_backlog:
                skipped = stream_id - 2 * self._max_backlog
            while skipped < stream_id:
                self._skipped[skipped] = None
                skipped += 2
            while len(self._skipped) > self._max_backlog:
                self._skipped.popitem(False)
            self._highest = stream_id
        elif stream_id in self._skipped:
            del self._skipped[stream_id]
        else:
            raise YamuxError(f"stream id {stream_id} used twice")
        return 0

    cdef inline int _on_announced(
        self, bint is_last, stream_state* stream, uint32_t size
    ) except -1:
        """Charge a body that is about to come."""
        if stream.fin_received:
            raise YamuxError(f"data on stream {stream.id} after its end")
        if stream.fin_sent:
            self._wait_for_end(stream)
        return self._charge(is_last, self._entry(stream), size)

    cdef inline int _charge(
        self, bint is_last, stream_entry* entry, uint32_t size
    ) except -1:
        entry.credit -= size
        entry.unread += size
        self._unread += size
        self._body_id = entry.id
        self._body_fin = is_last
        return self._reset_greediest() if self._unread > self._max_unread else 0

    cdef int _reset_greediest(self) except -1:
        """Reset the stream that is read least, the lowest id of several."""
        cdef stream_entry* greediest = self._streams.entries
        cdef stream_entry* entry
        cdef Py_ssize_t index
        for index in range(self._streams.count):
            entry = &self._streams.entries[index]
            if entry.unread > greediest.unread or (
                entry.unread == greediest.unread and entry.id < greediest.id
            ):
                greediest = entry
        self._events.append(make_stream_reset(greediest.id))
        return self._reset(greediest.stream)

    cdef inline int _on_body(
        self, bytes whole, const uint8_t* p, Py_ssize_t size
    ) except -1:
        cdef DataReceived event
        cdef View view
        self._body_left -= size
        if not self._body_id:
            return 0
        event = DataReceived.__new__(DataReceived)
        event.stream_id = self._body_id
        if whole is None or size < (
            COPY_BELOW_UNREAD if self._unread > MUCH_UNREAD else COPY_BELOW
        ):
            event.data = PyBytes_FromStringAndSize(<const char*>p, size)
        else:
            view = View.__new__(View)
            view._owner = whole
            view._data = p
            view._size = size
            event.data = view
        self._events.append(event)
        if not self._body_left and self._body_fin:
            self._on_fin(self._find(self._body_id))
        return 0

    cdef int _on_credit(self, stream_state* stream, uint32_t size) except -1:
        cdef WindowOpened event
        if stream.send_window + size > MAX_UINT32:
            raise YamuxError(
                f"window of {stream.send_window + size} bytes on stream {stream.id}, "
                f"limit {MAX_UINT32}"
            )
        stream.send_window += size
        if not stream.fin_due:
            event = WindowOpened.__new__(WindowOpened)
            event.stream_id = stream.id
            event.size = stream.send_window
            self._events.append(event)
        return 0

    cdef int _on_fin(self, stream_state* stream) except -1:
        """End the peer's direction; 0 when it had ended before."""
        cdef StreamClosed event
        if stream.fin_received:
            return 0
        stream.fin_received = self._entry(stream).has_ended = True
        list_remove(&self._half_closed, stream, HALF_CLOSED)
        event = StreamClosed.__new__(StreamClosed)
        event.stream_id = stream.id
        self._events.append(event)
        self._finish(stream)
        return 1

    cdef int _on_reset(self, stream_state* stream) except -1:
        """End both directions; 0 when they had ended before."""
        if stream.fin_received and stream.fin_sent:
            return 0
        # Resets of streams that we opened are bounded by our opens.
        if stream.is_inbound and not bucket_take(&self._reset_bucket, self._now):
            raise YamuxError(f"more than {self._limits.reset_rate} resets a second")
        self._events.append(make_stream_reset(stream.id))
        self._drop(stream)
        return 1

    cdef int _on_ping(self, uint32_t flags, uint32_t value) except -1:
        if flags & SYN:
            self._spend()
            if len(self._pongs) >= self._max_pongs:
                raise YamuxError(
                    f"{len(self._pongs)} pongs waiting, limit {self._max_pongs}"
                )
            self._pongs.append(value)
            self._pending += HEADER_SIZE
            self._events.append(PingReceived(value))
        elif self._ping_open and value == self._ping_value:
            self._rtt = self._now - self._ping_sent
            self._ping_open = False
            self._events.append(PongReceived(self._rtt))
        else:
            self._spend()
        return 0

    cdef int _on_go_away(self, uint32_t code) except -1:
        self._spend()
        self._peer_going = True
        self._events.append(GoAway(code))
        return 0

    cdef inline int _spend(self) except -1:
        """Pay for a frame that moves nothing forward."""
        if self._earned:
            self._earned -= 1
        elif not bucket_take(&self._control, self._now):
            raise YamuxError(
                f"more than {self._limits.control_rate} control frames a second"
            )
        return 0

    # -- streams -----------------------------------------------------------------------

    def open_stream(self):
        """Open a stream and return its id; data may follow at once.

        ResourceLimitError when the session is ending, too many of our streams are
        open, or too many are not yet acknowledged; `can_open` says when it is over.
        """
        cdef stream_state* stream
        refusal = self._refusal()
        if refusal:
            raise ResourceLimitError(refusal)
        stream = self._add_stream(<uint32_t>self._next_id)
        stream.is_accepted = True
        self._next_id += 2
        self._outbound += 1
        self._unacked += 1
        stream.greeting = SYN
        self._owe(stream, HEADER_SIZE)
        return stream.id

    cdef str _refusal(self):
        """Why no stream can be opened now, or nothing."""
        if self._is_closed:
            return "session is closed"
        if self._we_going or self._peer_going:
            return "session is going away"
        if self._next_id > MAX_UINT32:
            return "stream ids are used up"
        if self._outbound >= self._max_streams:
            return f"{self._outbound} streams open, limit {self._max_streams}"
        if self._unacked >= self._max_backlog:
            return (
                f"{self._unacked} streams not yet acknowledged, "
                f"limit {self._max_backlog}"
            )
        return ""

    cdef stream_state* _add_stream(self, uint32_t stream_id) except NULL:
        cdef stream_entry* entry
        cdef stream_state* stream
        self._latest = NULL
        entry = table_add(&self._streams, stream_id)
        stream = entry.stream
        entry.credit = INITIAL_WINDOW
        stream.window = stream.send_window = INITIAL_WINDOW
        stream.epoch = self._now
        return stream

    cdef inline stream_entry* _entry(self, const stream_state* stream) noexcept:
        """The stream's entry, until streams come or go."""
        return &self._streams.entries[stream.index]

    def accept_stream(self, int64_t stream_id):
        """Take the peer's stream off the count of those not yet accepted."""
        cdef stream_state* stream = self._live(stream_id)
        if stream != NULL and not stream.is_accepted:
            stream.is_accepted = True
            self._backlog -= 1

    def send_data(self, int64_t stream_id, data):
        """Queue what window and session have room for; returns how many bytes.

        `bytes` and slices of them are kept as they are, other buffers copied once, only
        what is taken.
        """
        cdef stream_state* stream = self._writable(stream_id)
        cdef int64_t room, size, given
        cdef const uint8_t* start
        cdef chunk* piece
        cdef object view
        if PyBytes_CheckExact(data):
            start = <const uint8_t*>PyBytes_AS_STRING(data)
            given = PyBytes_GET_SIZE(data)
        else:
            # Making a view may run the collector, and that any code. It is kept to the
            # end, because letting it go may do so too.
            view = flat_view(data)
            start = <const uint8_t*>buffer_of(view).buf
            given = buffer_of(view).len
            stream = self._writable(stream_id)
        room = self._max_outbound - self._queued
        size = min(given, stream.send_window, room)
        if size < given and size == room:
            self._stalled[stream_id] = None
        if not size:
            return 0
        if not PyBytes_CheckExact(data):
            owner = view.obj
            if PyBytes_CheckExact(owner):
                data = owner
            else:
                data = PyBytes_FromStringAndSize(<const char*>start, <Py_ssize_t>size)
                start = <const uint8_t*>PyBytes_AS_STRING(data)
        piece = chunk_add(stream)
        Py_INCREF(data)
        piece.owner = <PyObject*>data
        piece.data = start
        piece.size = <Py_ssize_t>size
        room = frames(stream.queued + size) - frames(stream.queued)
        stream.queued += size
        self._queued += size
        stream.send_window -= size
        self._owe(stream, size + room * HEADER_SIZE)
        return size

    cdef stream_state* _writable(self, int64_t stream_id) except NULL:
        cdef stream_state* stream = self._live(stream_id)
        if stream == NULL:
            raise StreamResetError(f"stream {stream_id} is gone")
        if stream.fin_due:
            raise UsageError(f"stream {stream_id} is closed for writing")
        return stream

    def consume(self, int64_t stream_id, int64_t size):
        """Say that the reader took `size` bytes; the peer may send as many again."""
        cdef stream_state* stream = self._live(stream_id)
        cdef stream_entry* entry
        cdef int64_t due
        if stream == NULL:
            return
        entry = self._entry(stream)
        if not 0 <= size <= entry.unread:
            raise UsageError(
                f"consumed {size} bytes of stream {stream_id}, "
                f"{entry.unread} are unread"
            )
        entry.unread -= <uint32_t>size
        self._unread -= size
        if stream.fin_received:
            self._finish(stream)
            return
        due = stream.window - entry.credit - entry.unread
        if due * 2 < stream.window:
            return
        due += self._grow(stream)
        stream.epoch = self._now
        entry.credit += <uint32_t>due
        if not stream.update:
            self._owe(stream, HEADER_SIZE)
        stream.update += due

    cdef int64_t _grow(self, stream_state* stream) noexcept:
        """Double a window that was used up within four round trips."""
        cdef int64_t growth
        if not self._rtt or self._now - stream.epoch >= 4 * self._rtt:
            return 0
        growth = min(stream.window, self._max_window - stream.window)
        # Half of what may be unread is left to the windows streams start with.
        if growth <= 0 or self._growth + growth > self._max_unread // 2:
            return 0
        stream.window += growth
        self._growth += growth
        return growth

    def close_stream(self, int64_t stream_id):
        """Send the end after what is queued; the peer may still send."""
        cdef stream_state* stream = self._live(stream_id)
        if stream != NULL and not stream.fin_due:
            stream.fin_due = True
            self._stalled.pop(stream_id, None)
            self._owe(stream, HEADER_SIZE)

    def reset_stream(self, int64_t stream_id):
        """Give the stream up, with what is queued and what is unread."""
        cdef stream_state* stream = self._live(stream_id)
        if stream != NULL:
            self._reset(stream)

    cdef int _reset(self, stream_state* stream) except -1:
        cdef bint is_over = stream.fin_received and stream.fin_sent
        if not is_over and stream.greeting != SYN:
            self._queue_reset(stream.id)
            # Its acknowledgement and its end may still come.
            self._earned += 2
        return self._drop(stream)

    cdef inline stream_state* _find(self, int64_t stream_id) noexcept:
        cdef stream_entry* entry
        if not 0 <= stream_id <= MAX_UINT32:
            return NULL
        entry = table_find(&self._streams, <uint32_t>stream_id)
        return NULL if entry == NULL else entry.stream

    cdef inline stream_state* _live(self, int64_t stream_id) noexcept:
        return NULL if self._is_closed else self._find(stream_id)

    cdef inline void _wait_for_end(self, stream_state* stream) noexcept:
        """Start over the time within which the peer must send something."""
        list_remove(&self._half_closed, stream, HALF_CLOSED)
        stream.deadline = self._now + self._half_closed_timeout
        list_append(&self._half_closed, stream, HALF_CLOSED)

    cdef inline int _finish(self, stream_state* stream) except -1:
        """Forget a stream that both sides closed and the reader has emptied."""
        if stream.fin_received and stream.fin_sent and not self._entry(stream).unread:
            self._drop(stream)
        return 0

    cdef int _drop(self, stream_state* stream) except -1:
        """Forget a stream and give back all that it held."""
        self._unread -= self._entry(stream).unread
        table_remove(&self._streams, stream)
        self._latest = NULL
        list_remove(&self._ready, stream, READY)
        list_remove(&self._half_closed, stream, HALF_CLOSED)
        if self._stalled:
            self._stalled.pop(stream.id, None)
        if self._body_id == stream.id:
            self._body_id = 0
        if stream.is_inbound:
            self._inbound -= 1
        else:
            self._outbound -= 1
        self._backlog -= not stream.is_accepted
        self._unacked -= not stream.is_acked
        self._growth -= stream.window - INITIAL_WINDOW
        self._queued -= stream.queued
        self._pending -= stream.owed
        self._free_queue(stream)
        free(stream)
        return 0

    # -- bytes out ---------------------------------------------------------------------

    def data_to_send(self, max_bytes=None):
        """All frames that wait, joined once.

        With `max_bytes`, stop behind the frame that reaches it; the rest waits, and
        streams keep their turns.
        """
        cdef bytes data
        cdef int64_t bound = MAX_INT64 if max_bytes is None else max_bytes
        if self._is_closed:
            data, self._last_words, self._pending = self._last_words, b"", 0
            return data
        if not self._pending:
            return b""
        data = self._write_frames(max(min(bound, self._pending), 0))
        if self._stalled:
            self._wake_stalled()
        return data

    cdef bytes _write_frames(self, int64_t bound):
        """Frames until `bound` is reached: one buffer, written once."""
        cdef int64_t room = bound + MAX_TURN + 2 * HEADER_SIZE
        cdef PyObject* text = new_bytes(NULL, <Py_ssize_t>min(room, self._pending))
        cdef uint8_t* start = <uint8_t*>text_of(text)
        cdef uint8_t* p = self._put_session_frames(start, bound)
        cdef stream_state* stream
        while self._ready.first != NULL and p - start < bound:
            stream = self._ready.first
            list_remove(&self._ready, stream, READY)
            p = self._take_turn(stream, p)
        if self._go_away_due and self._ready.first == NULL and not self._resets:
            # Many peers drop their streams on it, so it goes behind all data.
            self._go_away_due = False
            p = put_header(p, GO_AWAY, 0, 0, NORMAL)
        self._pending -= p - start
        return finish_bytes(text, p - start)

    cdef uint8_t* _put_session_frames(self, uint8_t* p, int64_t bound) except NULL:
        """Frames that belong to no stream, until `bound` is reached."""
        cdef Py_ssize_t most = <Py_ssize_t>((bound + HEADER_SIZE - 1) // HEADER_SIZE)
        cdef const uint8_t* last = p + most * HEADER_SIZE
        if self._pongs:
            for value in self._pongs[:most]:
                p = put_header(p, PING, ACK, 0, value)
            del self._pongs[:most]
        if self._ping_queued and p < last:
            self._ping_queued = False
            p = put_header(p, PING, SYN, 0, self._ping_value)
        if self._resets:
            most = (last - p) // HEADER_SIZE
            for stream_id in self._resets[:most]:
                p = put_header(p, WINDOW_UPDATE, RST, stream_id, 0)
            del self._resets[:most]
        return p

    cdef uint8_t* _take_turn(self, stream_state* stream, uint8_t* p) except NULL:
        """Write a stream's control frames and one data frame."""
        cdef uint8_t* start = p
        cdef bint is_end
        if stream.greeting:
            p = put_header(p, WINDOW_UPDATE, <uint16_t>stream.greeting, stream.id, 0)
            stream.greeting = 0
        if stream.update:
            p = put_header(p, WINDOW_UPDATE, 0, stream.id, <uint32_t>stream.update)
            stream.update = 0
        if stream.queued:
            p = self._put_body(stream, p)
        is_end = stream.fin_due and not stream.fin_sent and not stream.queued
        if is_end:
            p = put_header(p, WINDOW_UPDATE, FIN, stream.id, 0)
        stream.owed -= p - start
        if stream.owed:
            list_append(&self._ready, stream, READY)
        if is_end:
            stream.fin_sent = self._entry(stream).has_ended = True
            if not stream.fin_received:
                self._wait_for_end(stream)
            # _drop takes what is still owed off the pending bytes: nothing, here.
            self._finish(stream)
        return p

    cdef uint8_t* _put_body(self, stream_state* stream, uint8_t* p) noexcept:
        """Write one data frame of what is queued."""
        cdef int64_t body = min(stream.queued, <int64_t>MAX_BODY)
        cdef int64_t left = body
        cdef Py_ssize_t size
        cdef chunk* piece
        p = put_header(p, DATA, 0, stream.id, <uint32_t>body)
        while left:
            piece = &stream.chunks[stream.head]
            size = piece.size if piece.size < left else <Py_ssize_t>left
            memcpy(p, piece.data, size)
            p += size
            left -= size
            piece.data += size
            piece.size -= size
            if not piece.size:
                Py_DECREF(<object>piece.owner)
                stream.head += 1
        stream.queued -= body
        self._queued -= body
        self._earned += UPDATES * (1 + body // MESSAGE)
        if not stream.queued:
            chunks_trim(stream)
        return p

    cdef int _wake_stalled(self) except -1:
        """Tell the streams that the session's bound had stopped that there is room."""
        cdef stream_state* stream
        cdef WindowOpened event
        if self._queued * 2 > self._max_outbound:
            return 0
        for stream_id in self._stalled:
            stream = self._find(stream_id)
            if stream.send_window:
                event = WindowOpened.__new__(WindowOpened)
                event.stream_id = stream.id
                event.size = stream.send_window
                self._events.append(event)
        self._stalled.clear()
        return 0

    cdef inline void _owe(self, stream_state* stream, int64_t size) noexcept:
        stream.owed += size
        self._pending += size
        if not stream.links[READY].is_linked:
            list_append(&self._ready, stream, READY)

    cdef inline int _queue_reset(self, uint32_t stream_id) except -1:
        self._resets.append(stream_id)
        self._pending += HEADER_SIZE
        return 0

    # -- the session -------------------------------------------------------------------

    def ping(self, double now=0.0):
        """Ping the peer, or join the ping under way; returns its value."""
        self._advance(now)
        if not self._ping_open and not self._is_closed:
            self._ping_value += 1
            self._ping_open = self._ping_queued = True
            self._ping_sent = self._now
            self._ping_due = self._now + self._ping_interval
            self._pending += HEADER_SIZE
        return self._ping_value

    def go_away(self, code=NORMAL):
        """End the session: open streams may finish with code 0, all ends with others.

        Many peers drop their streams on it, so call it when the streams are done.
        """
        if self._is_closed:
            return
        if not 0 <= code <= MAX_UINT32:
            raise UsageError(f"go-away code {code}, limit {MAX_UINT32}")
        if code:
            self._close(make_frame(GO_AWAY, 0, 0, code))
        elif not self._we_going:
            self._we_going = self._go_away_due = True
            self._pending += HEADER_SIZE

    def next_deadline(self):
        """When to call `on_deadline`; a time gone by means at once."""
        cdef double deadline = self._heard + self._dead_after
        if self._is_closed:
            return None
        if self._events:
            return self._now
        if not self._ping_open:
            deadline = min(deadline, self._ping_due)
        if self._half_closed.first != NULL:
            deadline = min(deadline, self._half_closed.first.deadline)
        return deadline

    def on_deadline(self, double now):
        """Do what is due; YamuxError when the peer has been silent for too long."""
        cdef stream_state* stream
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
        while self._half_closed.first != NULL:
            stream = self._half_closed.first
            if stream.deadline > self._now:
                break
            self._events.append(make_stream_reset(stream.id))
            self._reset(stream)
        return self._take_events()

    cdef inline void _advance(self, double now) noexcept:
        if now > self._now:
            self._now = now

    cdef inline list _take_events(self):
        # Made first: the collector may run here, and anything with it.
        cdef list fresh = []
        cdef list events = self._events
        self._events = fresh
        return events

    cdef int _die(self, error) except -1:
        error.events.extend(self._take_events())
        self._error = (str(error), error.code)
        return self._close(make_frame(GO_AWAY, 0, 0, error.code))

    cdef int _close(self, bytes last_words) except -1:
        """Be dead; only the streams' names are kept, for `receive_eof`."""
        cdef Py_ssize_t index
        self._is_closed = True
        self._last_words = last_words
        self._pending = len(last_words)
        self._queued = 0
        for index in range(self._streams.count):
            self._free_queue(self._streams.entries[index].stream)
        self._pongs.clear()
        self._resets.clear()
        self._stalled.clear()
        self._skipped.clear()
        self._ready.first = self._ready.last = NULL
        self._half_closed.first = self._half_closed.last = NULL
        self._body_id = 0
        return 0


# Made without a call, which may make a tuple and so run the collector, and that any
# code: callers hold pointers to streams.
cdef StreamReset make_stream_reset(uint32_t stream_id):
    cdef StreamReset event = StreamReset.__new__(StreamReset)
    event.stream_id = stream_id
    return event


cdef StreamOpened make_stream_opened(uint32_t stream_id):
    cdef StreamOpened event = StreamOpened.__new__(StreamOpened)
    event.stream_id = stream_id
    return event


cdef bytes finish_bytes(PyObject* text, Py_ssize_t size):
    """Cut a bytes object that nobody else has to its size, and own it."""
    if size_of(text) != size:
        _PyBytes_Resize(&text, size)
    data = <bytes>text
    Py_DECREF(data)
    return data
