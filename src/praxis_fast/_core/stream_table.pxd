"""Streams of a session: their state, the table that finds them, the lists they wait in.

Frames of 10,000 streams must cost as little as frames of one, so what a data frame
meets is kept apart and dense: 4 bytes in the hashed slots and one 24-byte entry, which
stay in near memory together. All else is in a malloc'ed struct, owned by its entry.

    slots   | . | 3 | . | 1 | . | . | 2 | . |     entry's index + 1, by hash of the id
    entries | id, credit, unread, … | id, … | …   no gaps: the last one fills a hole
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
    bint is_linked  # the only one of a list has no neighbours


cdef struct stream_state:
    uint32_t id
    uint32_t index        # of its entry
    bint is_inbound
    bint is_accepted
    bint is_acked
    bint fin_received
    bint fin_due
    bint fin_sent
    uint32_t greeting     # SYN or ACK, not yet sent
    int64_t window
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


cdef struct stream_entry:
    uint32_t id
    uint32_t credit       # never more than a window, nor are both together
    uint32_t unread
    bint has_ended        # in either direction: data frames need a closer look
    stream_state* stream


cdef struct stream_list:
    stream_state* first
    stream_state* last


# Open addressing with linear probing; never more than half full, no tombstones.
cdef struct stream_table:
    uint32_t* slots
    stream_entry* entries
    Py_ssize_t mask
    int shift
    Py_ssize_t count


cdef inline Py_ssize_t home_slot(const stream_table* table, uint32_t id) noexcept nogil:
    # Fibonacci hashing: neighbours in id are spread, whatever the peer's step is.
    return <Py_ssize_t>(<uint32_t>(id * 2654435769U) >> table.shift)


cdef inline stream_entry* table_find(
    const stream_table* table, uint32_t id
) noexcept nogil:
    cdef Py_ssize_t pos
    cdef stream_entry* entry
    if table.slots == NULL:
        return NULL
    pos = home_slot(table, id)
    while table.slots[pos]:
        entry = &table.entries[table.slots[pos] - 1]
        if entry.id == id:
            return entry
        pos = (pos + 1) & table.mask
    return NULL


cdef inline void table_place(stream_table* table, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t pos = home_slot(table, table.entries[index].id)
    while table.slots[pos]:
        pos = (pos + 1) & table.mask
    table.slots[pos] = <uint32_t>(index + 1)


cdef inline int table_resize(stream_table* table, int bits) except -1:
    cdef Py_ssize_t size = <Py_ssize_t>1 << bits
    cdef Py_ssize_t index
    cdef stream_entry* entries
    cdef uint32_t* slots = <uint32_t*>calloc(size, sizeof(uint32_t))
    if slots == NULL:
        raise MemoryError
    entries = <stream_entry*>realloc(table.entries, size // 2 * sizeof(stream_entry))
    if entries == NULL:
        free(slots)
        raise MemoryError
    free(table.slots)
    table.slots = slots
    table.entries = entries
    table.mask = size - 1
    table.shift = 32 - bits
    for index in range(table.count):
        table_place(table, index)
    return 0


cdef inline stream_entry* table_add(stream_table* table, uint32_t id) except NULL:
    """A zeroed entry and stream under an id that is not in the table."""
    cdef stream_state* stream
    cdef stream_entry* entry
    if table.slots == NULL:
        table_resize(table, MIN_BITS)
    elif table.count * 2 > table.mask:
        table_resize(table, 33 - table.shift)
    stream = <stream_state*>calloc(1, sizeof(stream_state))
    if stream == NULL:
        raise MemoryError
    stream.id = id
    stream.index = <uint32_t>table.count
    entry = &table.entries[table.count]
    entry.id = id
    entry.credit = entry.unread = 0
    entry.has_ended = False
    entry.stream = stream
    table_place(table, table.count)
    table.count += 1
    return entry


cdef inline Py_ssize_t slot_of(const stream_table* table, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t pos = home_slot(table, table.entries[index].id)
    while table.slots[pos] != <uint32_t>(index + 1):
        pos = (pos + 1) & table.mask
    return pos


cdef inline void table_clear(stream_table* table) noexcept nogil:
    free(table.slots)
    free(table.entries)
    table.slots = NULL
    table.entries = NULL
    table.count = 0


cdef inline void table_remove(stream_table* table, stream_state* stream) noexcept nogil:
    """Take the stream out; the caller frees it."""
    cdef Py_ssize_t index = stream.index
    cdef Py_ssize_t pos = slot_of(table, index)
    cdef Py_ssize_t probe = pos
    cdef Py_ssize_t home
    while True:
        # Move up what was pushed past the slot that becomes empty.
        probe = (probe + 1) & table.mask
        if not table.slots[probe]:
            break
        home = home_slot(table, table.entries[table.slots[probe] - 1].id)
        if ((probe - home) & table.mask) >= ((probe - pos) & table.mask):
            table.slots[pos] = table.slots[probe]
            pos = probe
    table.slots[pos] = 0
    table.count -= 1
    if not table.count:
        table_clear(table)
    elif index != table.count:
        table.slots[slot_of(table, table.count)] = <uint32_t>(index + 1)
        table.entries[index] = table.entries[table.count]
        table.entries[index].stream.index = <uint32_t>index


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
