"""Streams of a session: their state, the table that finds them, the lists they wait in.

A stream is one malloc'ed struct, owned by the table: frames of 10,000 streams must cost
as little as frames of one, so that looking one up touches two cache lines and no
reference count. The fields an incoming frame needs come first.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove

cdef enum:
    READY = 0       # owes bytes to data_to_send
    HALF_CLOSED = 1  # waits for the peer's end
    MIN_BITS = 3    # slots of the smallest table, as a power of two
    MIN_CHUNKS = 4


cdef struct chunk:
    PyObject* owner  # bytes, one reference held
    const uint8_t* data
    Py_ssize_t size


cdef struct stream_links:
    stream_state* prev
    stream_state* next
    bint is_linked


cdef struct stream_state:
    uint32_t id
    bint is_inbound
    bint is_accepted
    bint is_acked
    bint fin_received
    bint fin_due
    bint fin_sent
    uint32_t greeting     # SYN or ACK, not yet sent
    int64_t window
    int64_t credit
    int64_t unread
    int64_t send_window
    double epoch
    double deadline       # while half-closed
    int64_t update        # window update, not yet sent
    int64_t queued
    int64_t owed
    chunk* chunks         # queued data: chunks[head:count]
    Py_ssize_t head
    Py_ssize_t count
    Py_ssize_t room
    stream_links links[2]


cdef struct stream_list:
    stream_state* first
    stream_state* last


cdef struct stream_slot:
    uint32_t id
    stream_state* stream


# Open addressing with linear probing; never more than half full, no tombstones.
cdef struct stream_table:
    stream_slot* slots
    Py_ssize_t mask
    int shift
    Py_ssize_t count


cdef inline Py_ssize_t home_slot(const stream_table* table, uint32_t id) noexcept nogil:
    # Fibonacci hashing: neighbours in id are spread, whatever the peer's step is.
    return <Py_ssize_t>(<uint32_t>(id * 2654435769U) >> table.shift)


cdef inline stream_state* table_find(
    const stream_table* table, uint32_t id
) noexcept nogil:
    cdef Py_ssize_t pos
    if table.slots == NULL:
        return NULL
    pos = home_slot(table, id)
    while table.slots[pos].stream != NULL:
        if table.slots[pos].id == id:
            return table.slots[pos].stream
        pos = (pos + 1) & table.mask
    return NULL


cdef inline void table_place(stream_table* table, stream_state* stream) noexcept nogil:
    cdef Py_ssize_t pos = home_slot(table, stream.id)
    while table.slots[pos].stream != NULL:
        pos = (pos + 1) & table.mask
    table.slots[pos].id = stream.id
    table.slots[pos].stream = stream


cdef inline int table_resize(stream_table* table, int bits) except -1 nogil:
    cdef stream_slot* old = table.slots
    cdef Py_ssize_t size = table.mask + 1 if old != NULL else 0
    cdef Py_ssize_t pos
    cdef stream_slot* slots = <stream_slot*>calloc(<size_t>1 << bits, sizeof(stream_slot))
    if slots == NULL:
        with gil:
            raise MemoryError
    table.slots = slots
    table.mask = (<Py_ssize_t>1 << bits) - 1
    table.shift = 32 - bits
    for pos in range(size):
        if old[pos].stream != NULL:
            table_place(table, old[pos].stream)
    free(old)
    return 0


cdef inline stream_state* table_add(stream_table* table, uint32_t id) except NULL:
    """A zeroed stream under an id that is not in the table."""
    cdef stream_state* stream
    if table.slots == NULL:
        table_resize(table, MIN_BITS)
    elif (table.count + 1) * 2 > table.mask + 1:
        table_resize(table, 33 - table.shift)
    stream = <stream_state*>calloc(1, sizeof(stream_state))
    if stream == NULL:
        raise MemoryError
    stream.id = id
    table_place(table, stream)
    table.count += 1
    return stream


cdef inline void table_remove(stream_table* table, uint32_t id) noexcept nogil:
    """Empty the id's slot and move up what was pushed past it."""
    cdef Py_ssize_t pos = home_slot(table, id)
    cdef Py_ssize_t probe, home
    while table.slots[pos].id != id or table.slots[pos].stream == NULL:
        pos = (pos + 1) & table.mask
    table.count -= 1
    probe = pos
    while True:
        probe = (probe + 1) & table.mask
        if table.slots[probe].stream == NULL:
            break
        home = home_slot(table, table.slots[probe].id)
        if ((probe - home) & table.mask) >= ((probe - pos) & table.mask):
            table.slots[pos] = table.slots[probe]
            pos = probe
    table.slots[pos].stream = NULL
    table.slots[pos].id = 0
    if not table.count:
        free(table.slots)
        table.slots = NULL


cdef inline void list_append(
    stream_list* where, stream_state* stream, int which
) noexcept nogil:
    stream.links[which].prev = where.last
    stream.links[which].next = NULL
    stream.links[which].is_linked = True
    if where.last != NULL:
        where.last.links[which].next = stream
    else:
        where.first = stream
    where.last = stream


cdef inline void list_remove(
    stream_list* where, stream_state* stream, int which
) noexcept nogil:
    cdef stream_links* links = &stream.links[which]
    if not links.is_linked:
        return
    if links.prev != NULL:
        links.prev.links[which].next = links.next
    else:
        where.first = links.next
    if links.next != NULL:
        links.next.links[which].prev = links.prev
    else:
        where.last = links.prev
    links.prev = links.next = NULL
    links.is_linked = False


cdef inline void chunks_trim(stream_state* stream) noexcept nogil:
    """Give an emptied queue's memory back, but for what an idle stream may keep."""
    stream.head = stream.count = 0
    if stream.room > MIN_CHUNKS:
        free(stream.chunks)
        stream.chunks = NULL
        stream.room = 0


cdef inline chunk* chunk_add(stream_state* stream) except NULL:
    """Room for one more queued chunk, at the end."""
    cdef Py_ssize_t room
    cdef chunk* chunks
    if stream.count == stream.room:
        if stream.head * 2 >= stream.room and stream.head:
            memmove(
                stream.chunks,
                stream.chunks + stream.head,
                (stream.count - stream.head) * sizeof(chunk),
            )
            stream.count -= stream.head
            stream.head = 0
        else:
            room = stream.room * 2 if stream.room else MIN_CHUNKS
            chunks = <chunk*>realloc(stream.chunks, room * sizeof(chunk))
            if chunks == NULL:
                raise MemoryError
            stream.chunks = chunks
            stream.room = room
    stream.count += 1
    return &stream.chunks[stream.count - 1]
