# Unsafe directives (setup.py): no bounds checks, no negative indexes.
"""Frames to many subscribers at their own pace.

Frames are kept once per group, in a log; a subscriber is a cursor into the log of its
group, so that publishing does nothing per subscriber:

    positions   start                          end
    log         | frame | frame | frame | frame |
                    ^ cursor of a slow one      ^ cursor of all that are level

The log is freed up to the slowest cursor. What is published to one tuple of groups is
first only noted, as a run of frames:

    run         groups (g1, g2, ... gn)   frames | f1 | f2 |
                        ^ turn: the groups before it have got the frames

A group in which everybody is level is served from the run itself, joined once for all
groups, and its log is never written to. For every other group, and before anything is
asked or changed, the frames go into the logs (`settle`). Publishing costs the same for
any number of groups, and nobody can tell that the work is done later.

Two alarms, a position and a number of
bytes, say when a subscriber may be over its bounds; only then all are looked at, and

- "disconnect" ends the subscription;
- "drop_oldest" lets the subscriber float: its cursor is no longer kept up, the log may
  be trimmed under it, and where it goes on is worked out when it is served;
- "coalesce" detaches the subscriber: from now on it has a queue of its own, where
  newer frames replace older ones of the same topic, until it has caught up.

A detached queue is a list of nodes, frames and gaps; neighbouring gaps become one.
Any allocation may run the collector, and that any code: loops read their bounds anew.
"""

from praxis_fast.errors import UsageError

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_FromObject
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from praxis_fast._core.matcher cimport Group

cdef extern from "Python.h":
    PyObject *PyTuple_GET_ITEM(object items, Py_ssize_t index)
    PyObject *PyList_GET_ITEM(object items, Py_ssize_t index)
    Py_ssize_t PyList_GET_SIZE(object items)

POLICIES = ("disconnect", "drop_oldest", "coalesce")

cdef enum:
    DISCONNECT = 0
    DROP_OLDEST = 1
    COALESCE = 2

cdef enum:
    # Gaps nobody fetches may not pile up: beyond this number the last ones become one.
    MAX_GAPS = 1024
    # An empty log keeps a ring of at most this many entries.
    MAX_IDLE_RING = 16
    # Logs without subscribers that may wait to be swept out.
    MAX_DEAD = 64
    # A run is settled by whoever publishes the next frame after so many, or so many
    # bytes: what is put off must not hold the loop, nor much memory, in the end.
    MAX_RUN = 16
    MAX_RUN_BYTES = 65536

cdef int64_t NO_ALARM = 0x7FFFFFFFFFFFFFFF
# Bounds beyond this bound nothing; sums with them must not overflow.
MAX_BOUND = 1 << 60


@cython.final
cdef class Counter:
    """Bytes of all frames alive."""

    cdef int64_t size


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Frame:
    """One published frame, shared by all logs and queues it waits in."""

    cdef bytes data
    cdef object topic
    cdef Counter counter
    cdef int64_t seq
    cdef int64_t size

    def __dealloc__(self):
        self.counter.size -= self.size


cdef Frame make_frame(bytes data, int64_t seq, object topic, Counter counter):
    cdef Frame frame = Frame.__new__(Frame)
    frame.data = data
    frame.seq = seq
    frame.topic = topic
    frame.size = PyBytes_GET_SIZE(data)
    frame.counter = counter
    counter.size += frame.size
    return frame


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Node:
    """A frame or, without one, a gap in a detached queue."""

    cdef Frame frame
    cdef int64_t from_seq
    cdef int64_t to_seq
    cdef int64_t dropped
    # The older and the newer neighbour; `older` is borrowed.
    cdef PyObject *older
    cdef Node newer


@cython.final
@cython.no_gc
cdef class Queue:
    """What waits for a detached subscriber, oldest first."""

    cdef Node oldest
    cdef PyObject *newest
    cdef int64_t size
    cdef int64_t events
    # The node of each topic's newest frame, while coalescing.
    cdef dict topics

    def __dealloc__(self):
        self.unlink()

    cdef void unlink(self):
        """Take the chain apart node by node: letting it fall would recurse."""
        cdef Node node = self.oldest, newer
        self.oldest = None
        self.newest = NULL
        while node is not None:
            newer = node.newer
            node.newer = None
            node = newer

    cdef int append(self, Frame frame) except -1:
        cdef Node node = Node.__new__(Node)
        cdef Node former
        node.frame = frame
        self.link(node)
        self.size += frame.size
        self.events += 1
        if self.topics is not None and frame.topic is not None:
            found = self.topics.get(frame.topic)
            self.topics[frame.topic] = node
            if found is not None:
                former = <Node> found
                if former.frame is not None:
                    self.drop(former)
        return 0

    cdef int append_gap(self, int64_t from_seq, int64_t to_seq, int64_t dropped) except -1:
        cdef Node node = Node.__new__(Node)
        node.from_seq = from_seq
        node.to_seq = to_seq
        node.dropped = dropped
        self.link(node)
        return 0

    cdef int link(self, Node node) except -1:
        node.older = self.newest
        if self.newest == NULL:
            self.oldest = node
        else:
            (<Node> self.newest).newer = node
        self.newest = <PyObject *> node
        return 0

    cdef int drop(self, Node node) except -1:
        """Turn a frame into a gap and merge it with the gaps beside it."""
        cdef Node other
        cdef Frame frame = node.frame
        node.from_seq = node.to_seq = frame.seq
        node.dropped = 1
        node.frame = None
        self.size -= frame.size
        self.events -= 1
        if node.older != NULL:
            other = <Node> node.older
            if other.frame is None:
                node.from_seq = other.from_seq
                node.dropped += other.dropped
                self.cut(other)
        other = node.newer
        if other is not None and other.frame is None:
            node.to_seq = other.to_seq
            node.dropped += other.dropped
            self.cut(other)
        return 0

    cdef int cut(self, Node node) except -1:
        """Take a node out of the chain."""
        cdef Node newer = node.newer
        node.newer = None
        if newer is None:
            self.newest = node.older
        else:
            newer.older = node.older
        if node.older == NULL:
            self.oldest = newer
        else:
            (<Node> node.older).newer = newer
        return 0

    cdef int start_coalescing(self) except -1:
        """Keep the newest frame of each topic, now and for frames to come."""
        cdef Node node, former
        self.topics = {}
        node = self.oldest
        while node is not None:
            if node.frame is not None and node.frame.topic is not None:
                found = self.topics.get(node.frame.topic)
                self.topics[node.frame.topic] = node
                if found is not None:
                    former = <Node> found
                    self.drop(former)
            node = node.newer
        return 0

    cdef int drop_oldest(self, int64_t max_bytes, int64_t max_events) except -1:
        """Drop the oldest frames until the rest is within the bounds."""
        cdef Node node
        while self.size > max_bytes or self.events > max_events:
            node = self.oldest
            while node.frame is None:
                node = node.newer
            if self.topics is not None and node.frame.topic is not None:
                if self.topics.get(node.frame.topic) is node:
                    del self.topics[node.frame.topic]
            self.drop(node)
        return 0


cdef struct Loss:
    # A gap, as long as no memory is asked for.
    int64_t from_seq
    int64_t to_seq
    int64_t dropped


cdef struct Entry:
    # One frame (owned) and the bytes published to the group before it.
    PyObject *frame
    int64_t before


@cython.final
cdef class Log:
    """The frames of one group that some subscriber still waits for."""

    # What publishing touches comes first, in two cache lines.
    cdef uint64_t owner
    cdef Entry *ring
    cdef int64_t mask
    # Positions of the oldest frame and of the next one; bytes published before each.
    cdef int64_t start
    cdef int64_t end
    cdef int64_t start_bytes
    cdef int64_t end_bytes
    # No subscriber can be over its bounds before these are passed.
    cdef int64_t alarm_position
    cdef int64_t alarm_bytes
    # The widest bounds of any subscriber there was: what a floating one may need.
    cdef int64_t keep_events
    cdef int64_t keep_bytes
    # The first subscriber (borrowed), how many there are, and how often that changed.
    cdef PyObject *first
    cdef Py_ssize_t count
    cdef uint64_t changes
    cdef bint is_dirty
    cdef bint is_stale
    # Nobody is left, and it is found no more.
    cdef bint is_dropped
    # Subscribers with a queue of their own; None without any.
    cdef dict detached
    cdef list subs
    cdef object group
    # The sequence number of the last frame trimmed away.
    cdef int64_t trimmed_seq
    # The round: subscribers before `turn` have been served, or had to be passed.
    cdef Py_ssize_t turn
    cdef int64_t round_end
    # Joined frames of this turn by first position, all up to `joined_end`, and the
    # piece asked for last; None without any.
    cdef dict joined
    cdef int64_t joined_end
    cdef bytes latest
    cdef int64_t latest_from

    def __cinit__(self):
        self.mask = -1
        self.subs = []
        self.alarm_position = NO_ALARM
        self.alarm_bytes = NO_ALARM

    def __dealloc__(self):
        while self.start < self.end:
            Py_DECREF(<object> self.ring[self.start & self.mask].frame)
            self.start += 1
        PyMem_Free(self.ring)

    cdef inline Frame frame_at(self, int64_t position):
        return <Frame> self.ring[position & self.mask].frame

    cdef int64_t seq_before(self, int64_t position) noexcept:
        """The sequence number of the frame before a position."""
        if position == self.start:
            return self.trimmed_seq
        return (<Frame> self.ring[(position - 1) & self.mask].frame).seq

    cdef inline int64_t before(self, int64_t position) noexcept:
        if position == self.end:
            return self.end_bytes
        return self.ring[position & self.mask].before

    cdef int resize(self, int64_t capacity) except -1:
        """Move the frames to a ring of this many entries, a power of two."""
        cdef Entry *ring = <Entry *> PyMem_Malloc(capacity * sizeof(Entry))
        cdef int64_t position
        if ring == NULL:
            raise MemoryError()
        for position in range(self.start, self.end):
            ring[position & (capacity - 1)] = self.ring[position & self.mask]
        PyMem_Free(self.ring)
        self.ring = ring
        self.mask = capacity - 1
        return 0

    cdef inline int append(self, Frame frame) except -1:
        cdef Entry *entry
        if self.end - self.start > self.mask:
            self.resize(4 if self.mask < 0 else 2 * (self.mask + 1))
        entry = &self.ring[self.end & self.mask]
        Py_INCREF(frame)
        entry.frame = <PyObject *> frame
        entry.before = self.end_bytes
        self.end += 1
        self.end_bytes += frame.size
        return 0

    cdef int trim_to(self, int64_t position) except -1:
        """Let go of the frames before a position."""
        cdef PyObject *frame
        while self.start < position:
            frame = self.ring[self.start & self.mask].frame
            self.trimmed_seq = (<Frame> frame).seq
            self.start_bytes += (<Frame> frame).size
            self.start += 1
            Py_DECREF(<object> frame)
        if self.start == self.end and self.mask >= MAX_IDLE_RING:
            PyMem_Free(self.ring)
            self.ring = NULL
            self.mask = -1
        return 0

    cdef int trim_kept(self) except -1:
        """Let go of what is beyond every subscriber's bounds."""
        cdef int64_t position = max(self.start, self.end - self.keep_events)
        while self.end_bytes - self.before(position) > self.keep_bytes:
            position += 1
        return self.trim_to(position)

    cdef int trim_passed(self) except -1:
        """Let go of what every cursor has passed."""
        cdef int64_t lowest = self.end, position
        cdef Subscriber sub
        for sub in self.subs:
            if sub.queue is None:
                position = self.first_kept(sub) if sub.is_floating else sub.cursor
                if position < lowest:
                    lowest = position
                    if lowest <= self.start:
                        return 0
        return self.trim_to(lowest)

    cdef int64_t first_kept(self, Subscriber sub) noexcept:
        """Where a floating subscriber goes on: the oldest frame within its bounds."""
        cdef int64_t position = max(self.start, sub.cursor, self.end - sub.max_events)
        while self.end_bytes - self.before(position) > sub.max_bytes:
            position += 1
        return position

    cdef int put(self, Py_ssize_t index, Subscriber sub) except -1:
        self.subs[index] = sub
        sub.index = index
        return 0

    cdef int count_subs(self) except -1:
        """The subscribers are others than before."""
        self.changes += 1
        self.count = len(self.subs)
        self.first = <PyObject *> self.subs[0] if self.count else NULL
        return 0

    cdef int add_detached(self, Subscriber sub, dict fresh) except -1:
        """Know a subscriber with a queue; `fresh` is empty, so that nothing is made."""
        if self.detached is None:
            self.detached = fresh
        self.detached[sub] = None
        return 0

    cdef int discard_detached(self, Subscriber sub) except -1:
        if self.detached is not None:
            self.detached.pop(sub, None)
            if not self.detached:
                self.detached = None
        return 0

    cdef int forget_joined(self) except -1:
        self.joined = None
        self.latest = None
        return 0

    cdef bint is_level(self) noexcept:
        """Whether nobody waits for anything, here or for its socket."""
        cdef Py_ssize_t i
        if self.is_dirty or self.start != self.end or self.detached is not None:
            return False
        if self.count == 1:
            return (<Subscriber> self.first).is_level(self.end)
        for i in range(self.count):
            if not (<Subscriber> PyList_GET_ITEM(self.subs, i)).is_level(self.end):
                return False
        return True

    cdef bint pass_run(self, Run run) noexcept:
        """Go on as if the frames had been appended, taken and trimmed."""
        cdef int64_t count = run.count
        if self.end + count > self.alarm_position:
            return False
        if self.end_bytes + run.size > self.alarm_bytes:
            return False
        self.start = self.end = self.end + count
        self.start_bytes = self.end_bytes = self.end_bytes + run.size
        self.trimmed_seq = run.last_seq
        return True

    cdef int lower_alarms(self, Subscriber sub) except -1:
        self.alarm_position = min(self.alarm_position, sub.cursor + sub.max_events)
        self.alarm_bytes = min(self.alarm_bytes, sub.cursor_bytes + sub.max_bytes)
        return 0

    cdef int prepare_join(self) except -1:
        """Make what `join` needs; this may run the collector, and that any code."""
        cdef dict fresh
        if self.joined is None:
            fresh = {}
            if self.joined is None:
                self.joined = fresh
                self.joined_end = -1
        return 0

    cdef bytes join(self, int64_t position):
        """All frames from a position on, as one; the same object for all who ask.

        `prepare_join` was called before. Nothing here runs the collector.
        """
        cdef bytes data
        cdef char *target
        cdef Frame frame
        cdef int64_t begin = position
        if self.end - position == 1:
            return self.frame_at(position).data
        if self.joined_end != self.end:
            self.latest = None
            self.joined.clear()
            self.joined_end = self.end
        elif self.latest_from == position and self.latest is not None:
            return self.latest
        found = self.joined.get(position)
        if found is not None:
            self.latest = <bytes> found
            self.latest_from = position
            return self.latest
        data = PyBytes_FromStringAndSize(NULL, self.end_bytes - self.before(position))
        target = PyBytes_AS_STRING(data)
        while position < self.end:
            frame = self.frame_at(position)
            memcpy(target, PyBytes_AS_STRING(frame.data), frame.size)
            target += frame.size
            position += 1
        self.joined[begin] = self.latest = data
        self.latest_from = begin
        return data


@cython.final
cdef class Subscriber:
    """One subscriber's place, bounds and gaps."""

    # What serving touches comes first, in two cache lines.
    cdef object key
    cdef Log log
    cdef int64_t cursor
    cdef int64_t cursor_bytes
    cdef int64_t unwritten
    cdef int64_t last_seq
    # Only of a detached subscriber.
    cdef Queue queue
    cdef list gaps
    # Where its bytes may be written by others, -1 for nowhere.
    cdef int fd
    # Over its bounds, see the theory of operation; the sequence of its first loss.
    cdef bint is_floating
    cdef int64_t lost_seq
    cdef bint is_ready
    cdef int policy
    # Its place in the log's list.
    cdef Py_ssize_t index
    cdef int64_t max_bytes
    cdef int64_t max_events

    def __cinit__(self):
        self.fd = -1

    cdef inline bint is_level(self, int64_t end) noexcept:
        """Whether nothing waits for it, here or for its socket."""
        return self.cursor == end and not self.unwritten and self.queue is None

    cdef bint is_waiting(self) noexcept:
        """Whether there is something to serve."""
        if self.queue is not None:
            return True
        return self.cursor < self.log.end

    cdef int keep_gap(self, int64_t from_seq, int64_t to_seq, int64_t dropped) except -1:
        # Made first: the collector may run here, and somebody take the gaps.
        cdef list fresh = []
        cdef tuple gap = (from_seq, to_seq, dropped), last
        if self.gaps is None:
            self.gaps = fresh
        if len(self.gaps) >= MAX_GAPS:
            last = <tuple> self.gaps.pop()
            gap = (last[0], to_seq, last[2] + dropped)
        if self.gaps is None:
            self.gaps = fresh
        self.gaps.append(gap)
        return 0

    cdef Loss end_floating(self) noexcept:
        """Bring the cursor up to the oldest frame within the bounds."""
        cdef Loss loss = Loss(0, 0, 0)
        if self.is_floating:
            loss.dropped = -self.cursor
            self.cursor = self.log.first_kept(self)
            self.cursor_bytes = self.log.before(self.cursor)
            self.is_floating = False
            self.log.lower_alarms(self)
            loss.dropped += self.cursor
            loss.from_seq = self.lost_seq
            loss.to_seq = self.log.seq_before(self.cursor)
        return loss

    cdef int keep_gaps(self) except -1:
        """Set the gaps of the queue aside; the frames stay."""
        cdef list cut = []
        cdef Queue queue = self.queue
        cdef Node node, newer
        if queue is None:
            return 0 if self.log is None else self.keep_loss(self.end_floating())
        # Noting a gap may run the collector: the queue is in order by then.
        node = queue.oldest
        while node is not None:
            newer = node.newer
            if node.frame is None:
                queue.cut(node)
                cut.append(node)
            node = newer
        for node in cut:
            self.keep_gap(node.from_seq, node.to_seq, node.dropped)
        return 0

    cdef void take_run(self, Run run) noexcept:
        """The frames of a run are handed out; the log has passed them already."""
        self.cursor = self.log.end
        self.cursor_bytes = self.log.end_bytes
        self.last_seq = run.last_seq
        self.unwritten = run.size
        self.is_ready = False

    cdef int keep_loss(self, Loss loss) except -1:
        if loss.dropped:
            self.keep_gap(loss.from_seq, loss.to_seq, loss.dropped)
        return 0

    cdef bytes take_log(self):
        """What waits in the log, joined; state changes before anything is allocated."""
        cdef Log log = self.log
        cdef Loss loss
        cdef bytes data = b""
        while log is not None and log.joined is None and log.end - self.cursor > 1:
            log.prepare_join()
            log = self.log
        if log is None or self.queue is not None:
            # The collector has run, and somebody unsubscribed or published.
            return data
        loss = self.end_floating()
        if self.cursor < log.end:
            data = log.join(self.cursor)
            self.last_seq = log.frame_at(log.end - 1).seq
            self.cursor = log.end
            self.cursor_bytes = log.end_bytes
        self.keep_loss(loss)
        return data

    cdef int attach(self) except -1:
        """Be level again with the log."""
        self.queue = None
        self.log.discard_detached(self)
        self.cursor = self.log.end
        self.cursor_bytes = self.log.end_bytes
        return self.log.lower_alarms(self)

    cdef int detach(self) except -1:
        """Put what waits in a queue of its own, gaps first."""
        cdef Queue queue = Queue.__new__(Queue)
        cdef Log log = self.log
        cdef int64_t position = self.cursor
        if self.is_floating:
            position = log.first_kept(self)
            queue.append_gap(self.lost_seq, log.seq_before(position), position - self.cursor)
            self.is_floating = False
        while position < log.end:
            queue.append(log.frame_at(position))
            position += 1
        self.queue = queue
        return 0

    cdef list drop_all(self):
        """Be level with the log without anything that waits: as gaps, oldest first."""
        cdef list lost = []
        cdef Queue queue
        cdef Node node
        if self.log is None:
            # The collector has run, and somebody unsubscribed.
            return lost
        if self.gaps is not None:
            lost.extend(self.gaps)
        self.gaps = None
        if self.queue is None:
            self.detach()
        queue = self.queue
        node = queue.oldest
        self.attach()
        while node is not None:
            if node.frame is None:
                lost.append((node.from_seq, node.to_seq, node.dropped))
            else:
                lost.append((node.frame.seq, node.frame.seq, 1))
            node = node.newer
        return lost

    cdef bytes take_queue(self):
        """What waits in the queue, joined; its gaps are set aside."""
        cdef list frames
        cdef Queue queue = self.queue
        cdef Node node = queue.oldest
        self.attach()
        frames = []
        while node is not None:
            if node.frame is None:
                self.keep_gap(node.from_seq, node.to_seq, node.dropped)
            else:
                frames.append(node.frame.data)
                self.last_seq = node.frame.seq
            node = node.newer
        if len(frames) == 1:
            return <bytes> frames[0]
        return b"".join(frames)


@cython.final
cdef class Run:
    """Frames published to one tuple of groups that are not in the logs yet."""

    cdef tuple groups
    cdef list frames
    # How many there are, their bytes, and the sequence number of the newest.
    cdef int64_t count
    cdef int64_t size
    cdef int64_t last_seq
    # Groups before this one have got the frames.
    cdef Py_ssize_t turn
    cdef bytes joined

    cdef int add(self, Frame frame) except -1:
        self.frames.append(frame)
        self.count += 1
        self.size += frame.size
        self.last_seq = frame.seq
        return 0

    cdef bint takes(self, tuple groups) noexcept:
        """Whether a frame to these groups can still be noted."""
        return (
            self.groups is groups
            and not self.turn
            and self.count < MAX_RUN
            and self.size < MAX_RUN_BYTES
        )

    cdef bytes join(self):
        """All frames as one; the same object for all who ask."""
        cdef Frame frame
        if self.joined is None:
            if self.count == 1:
                self.joined = (<Frame> self.frames[0]).data
            else:
                self.joined = b"".join([frame.data for frame in self.frames])
        return self.joined


cdef Run make_run(tuple groups, Frame frame):
    cdef Run run = Run.__new__(Run)
    run.groups = groups
    run.frames = []
    run.add(frame)
    return run


@cython.final
cdef class Turn:
    """What is handed out in one go, and to how many more it may be.

    With room for jobs, bytes for whoever has a descriptor are put there.
    """

    cdef list handed
    cdef Py_ssize_t room
    cdef Job *jobs
    cdef Py_ssize_t *job_count

    cdef int give(self, Subscriber sub, bytes data) except -1:
        cdef Job *job
        self.room -= 1
        if self.jobs == NULL:
            self.handed.append((sub.key, data))
        elif sub.fd < 0 or sub.gaps is not None:
            self.handed.append((sub.key, data, 0))
        else:
            job = &self.jobs[self.job_count[0]]
            Py_INCREF(sub)
            Py_INCREF(data)
            job.sub = <PyObject *> sub
            job.data = <PyObject *> data
            job.start = PyBytes_AS_STRING(data)
            job.size = PyBytes_GET_SIZE(data)
            job.taken = 0
            job.fd = sub.fd
            self.job_count[0] += 1
        return 0


cdef Turn make_turn(budget):
    cdef Turn turn = Turn.__new__(Turn)
    turn.handed = []
    turn.room = 0x7FFFFFFFFFFFFFFF
    if budget is not None:
        if budget < 1:
            raise UsageError(f"budget of {budget}, at least 1")
        turn.room = budget
    return turn


cdef Subscriber make_subscriber(key, int64_t last_seq):
    cdef Subscriber sub = Subscriber.__new__(Subscriber)
    sub.key = key
    sub.last_seq = last_seq
    return sub


cdef uint64_t owners = 0


@cython.final
cdef class Fanout:
    """Hands frames published to groups out to their subscribers, never waiting for one.

    What waits for a subscriber (bytes on the way to its socket not counted) is bounded
    in bytes and in events. Over the bound the subscriber's policy decides:
    "disconnect" ends its subscription; "drop_oldest" drops from the old end;
    "coalesce" keeps, until the subscriber has caught up, the newest frame of each
    topic (frames without a topic are all kept) and drops from the old end only when
    that does not help. `pending_bytes` counts each waiting frame once.
    """

    cdef dict subs
    cdef dict logs
    # What was published last and has not come to the logs yet.
    cdef Run run
    # Logs with frames nobody was offered yet: those being served, and those that come
    # after them. Then subscribers to serve on their own.
    cdef list serving
    cdef Py_ssize_t served
    cdef list dirty
    cdef list ready
    # Logs to trim when there is time.
    cdef list stale
    cdef list gone
    cdef dict gapped
    cdef Counter counter
    cdef uint64_t owner
    cdef int64_t last_seq
    cdef int64_t queued_count

    def __cinit__(self):
        global owners
        owners += 1
        self.owner = owners
        self.subs = {}
        self.logs = {}
        self.serving = []
        self.dirty = []
        self.ready = []
        self.stale = []
        self.gone = []
        self.gapped = {}
        self.counter = Counter()

    def __init__(self):
        pass

    def __len__(self):
        self.settle()
        return len(self.subs)

    def __contains__(self, key):
        self.settle()
        return key in self.subs

    @property
    def has_pending(self):
        """Whether `flush` may have something to hand out."""
        return self.run is not None or self.has_dirty() or bool(self.ready)

    @property
    def has_gaps(self):
        """Whether `gaps` would tell any subscriber anything that `flush` passed."""
        return bool(self.gapped)

    @property
    def pending_bytes(self):
        """Bytes of all frames somebody still waits for."""
        cdef Log log
        self.settle()
        logs = self.serving
        for log in list(logs):
            log.trim_passed()
        logs = self.dirty
        for log in list(logs):
            log.trim_passed()
        logs = self.stale
        for log in list(logs):
            log.trim_passed()
        return self.counter.size

    @property
    def queued(self):
        """How many frames there were, each counted for each of its subscribers."""
        self.settle()
        return self.queued_count

    def subscribe(
        self,
        key,
        group,
        *,
        max_bytes=1048576,
        max_events=1024,
        policy="drop_oldest",
    ):
        """Hand frames of the group to `key` from now on.

        A key that is subscribed already moves to the new group, bounds and policy;
        what waits for it still comes, and comes first.
        """
        cdef int64_t byte_bound, event_bound
        cdef int order
        cdef Subscriber sub
        cdef Log log, left
        cdef dict fresh = {}
        check_bound("max_bytes", max_bytes)
        check_bound("max_events", max_events)
        if policy not in POLICIES:
            known = ", ".join(POLICIES)
            raise UsageError(f"policy {policy!r} is not one of {known}")
        byte_bound = min(max_bytes, MAX_BOUND)
        event_bound = min(max_events, MAX_BOUND)
        order = POLICIES.index(policy)
        hash(group)
        self.settle()
        found = self.subs.get(key)
        sub = make_subscriber(key, self.last_seq) if found is None else <Subscriber> found
        log = self.log_of(group)
        # Keys, groups and the collector may run any code, up to here and from `adopt`
        # on; between these all is done at once.
        is_new = sub.log is None
        if sub.queue is not None:
            sub.queue.topics = None
        elif not is_new and sub.is_waiting():
            sub.detach()
        left = self.leave(sub)
        sub.max_bytes = byte_bound
        sub.max_events = event_bound
        sub.policy = order
        self.enter(sub, log, fresh)
        if is_new:
            self.adopt(sub)
        if left is not None:
            self.drop_log(left)

    cdef int adopt(self, Subscriber sub) except -1:
        """Know a new subscriber by its key, unless somebody was quicker."""
        cdef bint is_known = False
        try:
            is_known = self.subs.setdefault(sub.key, sub) is sub
        finally:
            if not is_known:
                self.forget(sub)
        return 0

    def unsubscribe(self, key):
        """Forget the subscriber and all that waits; an unknown key is ignored."""
        self.settle()
        found = self.subs.pop(key, None)
        if found is not None:
            self.forget(<Subscriber> found)

    cdef int forget(self, Subscriber sub) except -1:
        cdef Log left
        self.gapped.pop(sub, None)
        sub.is_ready = False
        sub.queue = None
        left = self.leave(sub)
        return 0 if left is None else self.drop_log(left)

    cdef int enter(self, Subscriber sub, Log log, dict fresh) except -1:
        sub.log = log
        sub.index = len(log.subs)
        log.subs.append(sub)
        log.count_subs()
        log.keep_bytes = max(log.keep_bytes, sub.max_bytes)
        log.keep_events = max(log.keep_events, sub.max_events)
        if sub.queue is None:
            sub.attach()
        else:
            log.add_detached(sub, fresh)
            self.make_ready(sub)
        return 0

    def point(self, key, int fd):
        """Say where `send_turn` may write the subscriber's bytes, -1 for nowhere.

        The descriptor is the caller's: it must be -1 again, or the key unsubscribed,
        before it is closed. A key that is not subscribed is ignored.
        """
        found = self.subs.get(key)
        if found is not None:
            (<Subscriber> found).fd = max(-1, fd)

    def descriptor(self, key):
        """Where the subscriber's next bytes may be written; -1 before gaps, too."""
        found = self.subs.get(key)
        if found is None or (<Subscriber> found).gaps is not None:
            return -1
        return (<Subscriber> found).fd

    cdef Log leave(self, Subscriber sub):
        """Take the subscriber out of its log, whatever round is on.

        Returns the log for `drop_log` when nobody is left in it.
        """
        cdef Log log = sub.log
        cdef Py_ssize_t index = sub.index
        cdef Py_ssize_t last
        if log is None:
            return None
        last = len(log.subs) - 1
        sub.log = None
        if index < log.turn:
            log.turn -= 1
            log.put(index, <Subscriber> log.subs[log.turn])
            index = log.turn
        if index < last:
            log.put(index, <Subscriber> log.subs[last])
        log.subs.pop()
        log.count_subs()
        log.discard_detached(sub)
        if not last:
            log.forget_joined()
            log.trim_to(log.end)
            return log
        if sub.cursor < log.end:
            self.make_stale(log)
        return None

    cdef Log find_log(self, group):
        if type(group) is Group:
            found = (<Group> group).log
            if found is not None and (<Log> found).owner == self.owner:
                return <Log> found
        return self.logs.get(group)

    cdef Log log_of(self, group):
        """The log of a group, made when there is none; looking for it runs any code."""
        cdef Log log = self.find_log(group)
        while log is None or log.is_dropped:
            log = Log()
            log.group = group
            log.owner = self.owner
            log = <Log> self.logs.setdefault(group, log)
            if type(group) is Group and (<Group> group).log is None:
                (<Group> group).log = log
        return log

    cdef int drop_log(self, Log log) except -1:
        """Forget a log that nobody is left in, or came to while it was looked up."""
        cdef object group = log.group
        if log.subs:
            return 0
        if type(group) is Group and (<Group> group).log is log:
            (<Group> group).log = None
        taken = self.logs.pop(group, None)
        if taken is not None and (<Log> taken).subs:
            self.logs[group] = taken
            return 0
        log.is_dropped = True
        log.group = None
        return 0

    cdef int make_ready(self, Subscriber sub) except -1:
        """Serve it on its own when it has to be and can be."""
        if not sub.is_ready and not sub.unwritten and sub.is_waiting():
            sub.is_ready = True
            self.ready.append(sub)
        return 0

    cdef int make_stale(self, Log log) except -1:
        if not log.is_stale:
            log.is_stale = True
            self.stale.append(log)
            if len(self.stale) > len(self.logs) + MAX_DEAD:
                self.trim_stale()
        return 0

    def publish(self, frame, groups, int64_t seq, *, topic=None):
        """Queue the frame for every subscriber of the groups; `seq` never falls.

        Each group is named once. Cheapest is the same tuple of groups again.
        """
        cdef Frame entry
        if type(frame) is not bytes:
            raise UsageError(f"frame must be bytes, not {type(frame).__name__}")
        if not frame:
            raise UsageError("frame is empty")
        if seq < self.last_seq:
            raise UsageError(f"sequence {seq} after {self.last_seq}")
        if topic is not None:
            if not isinstance(topic, str):
                raise UsageError(f"topic must be a str, not {type(topic).__name__}")
            topic = PyUnicode_FromObject(topic)
        self.last_seq = seq
        entry = make_frame(<bytes> frame, seq, topic, self.counter)
        if type(groups) is not tuple:
            groups = tuple(groups)
        if groups:
            self.note(<tuple> groups, entry)

    cdef int note(self, tuple groups, Frame frame) except -1:
        """Add the frame to the run at hand, or begin another."""
        cdef Run run
        if self.run is not None and self.run.takes(groups):
            return self.run.add(frame)
        run = make_run(groups, frame)
        while self.run is not None:
            self.settle()
        self.run = run
        return 0

    cdef int settle(self) except -1:
        """Put the frames of the run into the logs of the groups that are left."""
        cdef Run run = self.run
        cdef Log log
        if run is None:
            return 0
        # Whoever settles it meanwhile, on behalf of the collector, goes on from here.
        while self.run is run and run.turn < PyTuple_GET_SIZE(run.groups):
            log = self.next_log(run)
            if log is not None:
                self.append_run(log, run)
        if self.run is run:
            self.run = None
        return 0

    cdef Log next_log(self, Run run):
        cdef Py_ssize_t at = run.turn
        run.turn += 1
        return self.find_log(<object> PyTuple_GET_ITEM(run.groups, at))

    cdef int append_run(self, Log log, Run run) except -1:
        cdef Frame frame
        for frame in run.frames:
            self.append(log, frame)
        return 0

    cdef int append(self, Log log, Frame frame) except -1:
        log.append(frame)
        self.queued_count += log.count
        if not log.is_dirty:
            log.is_dirty = True
            self.dirty.append(log)
        if log.detached is not None:
            self.append_detached(log, frame)
        if log.end > log.alarm_position or log.end_bytes > log.alarm_bytes:
            self.check_bounds(log)
        if (
            log.end - log.start > log.keep_events
            or log.end_bytes - log.start_bytes > log.keep_bytes
        ):
            log.trim_kept()
        return 0

    cdef int append_detached(self, Log log, Frame frame) except -1:
        cdef Subscriber sub
        # Held, because making the list may run the collector, and that drop it.
        detached = log.detached
        for sub in list(detached):
            if sub.queue is None or sub.log is not log:
                continue
            sub.queue.append(frame)
            self.make_ready(sub)
            if sub.queue.size > sub.max_bytes or sub.queue.events > sub.max_events:
                self.relieve(sub)
        return 0

    cdef int relieve(self, Subscriber sub) except -1:
        """Bring a detached subscriber back within its bounds."""
        cdef Queue queue = sub.queue
        if sub.policy == DISCONNECT:
            return self.expel(sub)
        if sub.policy == COALESCE and queue.topics is None:
            queue.start_coalescing()
        return queue.drop_oldest(sub.max_bytes, sub.max_events)

    cdef int check_bounds(self, Log log) except -1:
        """Look at every attached subscriber, and set the alarms anew.

        What may run any code comes after: then alarms and cursors are in order again.
        """
        cdef list over = []
        cdef dict fresh = {}
        cdef Subscriber sub
        log.alarm_position = log.alarm_bytes = NO_ALARM
        for sub in log.subs:
            if sub.queue is not None or sub.is_floating:
                continue
            if (
                log.end - sub.cursor > sub.max_events
                or log.end_bytes - sub.cursor_bytes > sub.max_bytes
            ):
                self.give_way(sub, fresh)
                if sub.policy != DROP_OLDEST:
                    over.append(sub)
            else:
                log.lower_alarms(sub)
        for sub in over:
            if sub.log is not log:
                continue
            if sub.policy == DISCONNECT:
                self.expel(sub)
            elif sub.queue is not None:
                self.relieve(sub)
        return 0

    cdef int give_way(self, Subscriber sub, dict fresh) except -1:
        """An attached subscriber has gone over its bounds: the log may be trimmed."""
        if sub.policy == COALESCE:
            sub.detach()
            sub.log.add_detached(sub, fresh)
            self.make_ready(sub)
        else:
            sub.lost_seq = sub.log.frame_at(sub.cursor).seq
            sub.is_floating = True
        return 0

    cdef int expel(self, Subscriber sub) except -1:
        self.gone.append((sub.key, sub.last_seq))
        self.unsubscribe(sub.key)
        return 0

    def flush(self, budget=None):
        """What each subscriber gets in this turn, for at most `budget` subscribers.

        Subscribers that are level get the same object. The bytes are empty for a
        subscriber that has nothing but gaps to be told. Call again while
        `has_pending`; a subscriber served now comes last the next time.
        """
        cdef Turn turn = make_turn(budget)
        self.serve_turn(turn)
        return turn.handed

    cdef int settle_job(self, Job *job, list left) except -1:
        """Note what was written; the rest is `left` to do."""
        cdef Subscriber sub = <Subscriber> job.sub
        sub.unwritten = max(0, sub.unwritten - job.taken)
        if sub.log is None:
            return 0
        self.make_ready(sub)
        if job.taken < job.size:
            left.append((sub.key, <bytes> job.data, job.taken))
        return 0

    cdef int serve_turn(self, Turn turn) except -1:
        cdef Py_ssize_t room = turn.room
        if self.run is not None and (self.ready or self.has_dirty()):
            self.settle()
        if self.ready:
            # Logs wait behind those on their own, but never for the whole slice.
            if self.has_dirty():
                turn.room = (room + 1) // 2
            room -= turn.room
            self.serve_ready(turn)
            turn.room += room
        self.serve_logs(turn)
        if self.run is not None and turn.room > 0:
            self.serve_run(turn)
        if self.ready and turn.room > 0:
            self.serve_ready(turn)
        return self.trim_stale()

    cdef int serve_run(self, Turn turn) except -1:
        """Hand the run out, group by group, while nobody settles it."""
        cdef Run run = self.run
        cdef Log log
        cdef Py_ssize_t count = PyTuple_GET_SIZE(run.groups)
        while turn.room > 0 and run.turn < count and self.run is run:
            log = self.next_log(run)
            if log is not None and not self.serve_level(log, run, turn):
                self.append_run(log, run)
                self.serve_logs(turn)
        if self.run is run and run.turn >= count:
            self.run = None
        return 0

    cdef bint serve_level(self, Log log, Run run, Turn turn) except -1:
        """Hand the run out to a group that is level; False when it is not."""
        cdef bytes data = run.join()
        cdef Subscriber sub
        cdef list subs = None
        cdef uint64_t changes = log.changes
        if not 0 < log.count <= turn.room:
            return False
        if log.count > 1:
            # Out of reach of whatever the collector may run in between.
            subs = list(log.subs)
        # From here to the end of the loop nothing is allocated.
        if log.changes != changes or not log.is_level() or not log.pass_run(run):
            return False
        self.queued_count += run.count * log.count
        if subs is None:
            sub = <Subscriber> log.first
            sub.take_run(run)
            turn.give(sub, data)
            return True
        for sub in subs:
            sub.take_run(run)
        for sub in subs:
            if sub.log is log:
                turn.give(sub, data)
        return True

    def is_waiting(self, key):
        """Whether the subscriber has frames or gaps coming that were not handed out."""
        self.settle()
        found = self.subs.get(key)
        return found is not None and (<Subscriber> found).is_waiting()

    def flush_key(self, key):
        """What one subscriber gets, out of its turn; None when it gets nothing now.

        Nobody else is looked at. Its gaps and `written` are as after `flush`.
        """
        cdef Subscriber sub
        cdef Log log
        cdef bytes data
        self.settle()
        found = self.subs.get(key)
        if found is None:
            return None
        sub = <Subscriber> found
        if sub.unwritten or not sub.is_waiting():
            return None
        log = sub.log
        data = self.serve(sub)
        self.make_stale(log)
        return data

    def drop(self, key):
        """Take away what waits for one subscriber and was not handed out.

        It is one gap (first dropped, last dropped, how many), gaps that `gaps` would
        have told included; None when there is nothing.
        """
        cdef Subscriber sub
        cdef int64_t from_seq, to_seq = 0, dropped = 0
        cdef list lost
        cdef Log log
        self.settle()
        found = self.subs.get(key)
        if found is None:
            return None
        sub = <Subscriber> found
        log = sub.log
        lost = sub.drop_all()
        self.gapped.pop(sub, None)
        self.make_stale(log)
        if not lost:
            return None
        from_seq = lost[0][0]
        for gap in lost:
            to_seq = gap[1]
            dropped += gap[2]
        return (from_seq, to_seq, dropped)

    cdef int serve_ready(self, Turn turn) except -1:
        # Out of reach of whatever the collector may run in between.
        cdef list ready = self.ready, rest
        cdef Py_ssize_t i = 0
        cdef Subscriber sub
        cdef Log log
        self.ready = []
        try:
            while i < len(ready) and turn.room > 0:
                sub = <Subscriber> ready[i]
                i += 1
                if sub.is_ready:
                    sub.is_ready = False
                    if not sub.unwritten and sub.is_waiting():
                        log = sub.log
                        turn.give(sub, self.serve(sub))
                        self.make_stale(log)
        finally:
            # Not by adding lists: that runs the collector after it has measured both.
            rest = ready[i:]
            rest.extend(self.ready)
            self.ready = rest
        return 0

    cdef inline bint has_dirty(self) noexcept:
        return self.served < PyList_GET_SIZE(self.serving) or PyList_GET_SIZE(self.dirty)

    cdef Log next_dirty(self):
        """Take the log to serve next; None without any."""
        cdef list fresh, _former
        if not self.has_dirty():
            return None
        if self.served >= len(self.serving):
            # Making a list may run the collector, and that serve others.
            fresh = []
            if self.served >= len(self.serving):
                _former = self.serving
                self.serving = self.dirty
                self.served = 0
                self.dirty = fresh
        if self.served >= len(self.serving):
            return None
        self.served += 1
        return <Log> self.serving[self.served - 1]

    cdef int serve_logs(self, Turn turn) except -1:
        cdef Log log
        cdef bint is_over = False
        while turn.room > 0:
            log = self.next_dirty()
            if log is None:
                break
            is_over = False
            try:
                is_over = self.serve_round(log, turn)
            finally:
                self.end_round(log, is_over)
        return 0

    cdef int end_round(self, Log log, bint is_over) except -1:
        """A log that is not through comes first the next time, or has new frames."""
        if is_over:
            log.turn = 0
            log.is_dirty = log.end != log.round_end
            if log.is_dirty:
                self.dirty.append(log)
        elif self.served and self.serving[self.served - 1] is log:
            self.served -= 1
        else:
            # The collector ran somebody who served others meanwhile.
            self.dirty.append(log)
        return 0

    cdef bint serve_round(self, Log log, Turn turn) except -1:
        """Go on with the round of a group; whether it is over."""
        cdef Subscriber sub
        if log.turn == 0:
            log.round_end = log.end
            self.make_stale(log)
        while log.turn < len(log.subs):
            if turn.room <= 0:
                return False
            sub = <Subscriber> log.subs[log.turn]
            log.turn += 1
            if not sub.unwritten and sub.is_waiting():
                turn.give(sub, self.serve(sub))
        return True

    cdef bytes serve(self, Subscriber sub):
        cdef bytes data
        sub.is_ready = False
        data = sub.take_log() if sub.queue is None else sub.take_queue()
        sub.unwritten = PyBytes_GET_SIZE(data)
        if sub.gaps is not None and sub.log is not None:
            self.gapped[sub] = None
        return data

    cdef int trim_stale(self) except -1:
        """Let go of what has been served; rounds that go on are left alone."""
        cdef list stale = self.stale
        cdef Log log
        self.stale = []
        for log in stale:
            if log.turn:
                self.stale.append(log)
            else:
                log.is_stale = False
                log.trim_passed()
                log.forget_joined()
        return 0

    def written(self, key, int64_t n):
        """The socket took `n` more bytes; a key that is not subscribed is ignored.

        Frames of the caller's own, gaps for instance, may be counted too: more than
        was handed out is all of it.
        """
        cdef Subscriber sub
        found = self.subs.get(key)
        if found is None:
            return
        sub = <Subscriber> found
        if n < 0:
            raise UsageError(f"{n} bytes written, at least 0")
        sub.unwritten = max(0, sub.unwritten - n)
        self.make_ready(sub)

    def gaps(self, key):
        """Take the subscriber's gaps: (first dropped, last dropped, how many).

        They belong before the bytes flushed for it in the same turn.
        """
        cdef Subscriber sub
        cdef list taken
        self.settle()
        found = self.subs.get(key)
        if found is None:
            return []
        sub = <Subscriber> found
        sub.keep_gaps()
        taken = sub.gaps
        sub.gaps = None
        self.gapped.pop(sub, None)
        if sub.queue is not None and sub.queue.oldest is None:
            sub.attach()
        return [] if taken is None else taken

    def expelled(self):
        """Take the keys "disconnect" ended, each with the last event handed to it.

        For one that was handed nothing it is the last event before it subscribed.
        """
        cdef list taken
        self.settle()
        taken = self.gone
        self.gone = []
        return taken


cdef int collect_jobs(
    object fanout, budget, Job *jobs, Py_ssize_t *count, list left
) except -1:
    """As `flush`, with jobs for those who have a descriptor; `settle_jobs` must follow."""
    cdef Turn turn = make_turn(budget)
    turn.jobs = jobs
    turn.job_count = count
    turn.handed = left
    return (<Fanout?> fanout).serve_turn(turn)


cdef int settle_jobs(object fanout, Job *jobs, Py_ssize_t count, list left) except -1:
    """Take the jobs back, with what was written."""
    cdef Py_ssize_t i
    for i in range(count):
        (<Fanout> fanout).settle_job(&jobs[i], left)
        Py_DECREF(<object> jobs[i].data)
        Py_DECREF(<object> jobs[i].sub)
    return 0


cdef int check_bound(str name, value) except -1:
    """Refuse a bound nothing could fit in."""
    if value < 1:
        raise UsageError(f"{name} of {value}, at least 1")
    return 0
