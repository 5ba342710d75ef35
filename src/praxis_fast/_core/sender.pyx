# Unsafe directives (setup.py): no bounds checks, no negative indexes.
"""Bytes straight to the kernel, one write per receiver.

The one place in the core that touches the world: it knows descriptors and nothing of
sockets, loops or addresses. A write costs the kernel 4 µs; reaching it through Python's
own calls costs 1 µs more, which is what this saves. The interpreter is let go once per
`BATCH` writes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE

cdef extern from *:
    """
    #ifdef _WIN32
    /* A socket is no descriptor there: the caller's own way is taken. */
    static Py_ssize_t praxis_send(int fd, const char *data, Py_ssize_t size) {
        (void)fd; (void)data; (void)size;
        return -1;
    }
    #else
    #include <errno.h>
    #include <sys/socket.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    static Py_ssize_t praxis_send(int fd, const char *data, Py_ssize_t size) {
        ssize_t taken;
        do {
            taken = send(fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
        } while (taken < 0 && errno == EINTR);
        return (Py_ssize_t)taken;
    }
    #endif
    """
    Py_ssize_t praxis_send(int fd, const char *data, Py_ssize_t size) noexcept nogil

cdef enum:
    # 64 writes hold no more than this many entries on the stack.
    BATCH = 64


cdef struct Job:
    const char *data
    Py_ssize_t size
    Py_ssize_t taken
    int fd


def send_all(turn, written):
    """Write each receiver's bytes to its non-blocking socket `fd`.

    `written` is called with each receiver whose bytes the kernel took whole. The others
    are returned with the number of bytes taken, 0 for whatever error there was and for
    a negative descriptor. The descriptors must stay open during the call.
    """
    # Nobody else can change it, so the bytes stay while the interpreter is let go.
    cdef tuple items = tuple(turn)
    cdef list left = []
    cdef Py_ssize_t start
    for start in range(0, len(items), BATCH):
        send_batch(items, start, min(start + BATCH, len(items)), written, left)
    return left


cdef int send_batch(
    tuple items, Py_ssize_t start, Py_ssize_t end, object written, list left
) except -1:
    cdef Job jobs[BATCH]
    cdef Py_ssize_t i
    cdef tuple item
    for i in range(start, end):
        prepare(&jobs[i - start], <tuple?> items[i])
    with nogil:
        for i in range(end - start):
            send_one(&jobs[i])
    for i in range(start, end):
        item = <tuple> items[i]
        if jobs[i - start].taken == jobs[i - start].size:
            written(item[0], jobs[i - start].size)
        else:
            left.append((item[0], item[1], jobs[i - start].taken))
    return 0


cdef int prepare(Job *job, tuple item) except -1:
    cdef object data
    receiver, data = item
    if not PyBytes_CheckExact(data):
        raise TypeError(f"a bytes-like object is required, not '{type(data).__name__}'")
    job.fd = receiver.fd
    job.data = PyBytes_AS_STRING(data)
    job.size = PyBytes_GET_SIZE(data)
    return 0


cdef inline void send_one(Job *job) noexcept nogil:
    cdef Py_ssize_t taken
    job.taken = 0
    if job.fd >= 0:
        taken = praxis_send(job.fd, job.data, job.size)
        if taken > 0:
            job.taken = taken
