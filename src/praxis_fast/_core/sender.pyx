# Unsafe directives (setup.py): no bounds checks, no negative indexes.
"""Bytes straight to the kernel, one write per subscriber of a fan-out.

The one place in the core that touches the world: it knows descriptors and nothing of
sockets, loops or addresses. A write costs the kernel 4 µs; reaching it through Python's
own calls costs 1 µs more, which is what this saves. Nothing is made for a subscriber
whose bytes the kernel takes whole, and the interpreter is let go once per `BATCH`.
"""

from praxis_fast._core.fanout cimport Job, collect_jobs, settle_jobs

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
    # 64 jobs take 2 KiB of the stack.
    BATCH = 64


def send_turn(fanout, budget=BATCH):
    """Flush, and write each subscriber's bytes to the descriptor `point` gave it.

    What the kernel takes counts as `written`. Returned is who has to be looked after,
    as (key, bytes, how many of them are written): those without a descriptor, those
    with gaps to be told first, and those whose bytes the kernel did not take whole, for
    whatever reason. At most `budget` subscribers are served, and no more than 64. The
    descriptors must be non-blocking and stay open during the call.
    """
    cdef list left = []
    cdef Job[BATCH] jobs
    cdef Py_ssize_t i, count = 0
    try:
        collect_jobs(fanout, min(budget, BATCH), jobs, &count, left)
    finally:
        with nogil:
            for i in range(count):
                send_one(&jobs[i])
        settle_jobs(fanout, jobs, count, left)
    return left


cdef inline void send_one(Job *job) noexcept nogil:
    job.taken = max(0, praxis_send(job.fd, job.start, job.size))
