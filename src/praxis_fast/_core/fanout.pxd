from cpython.object cimport PyObject


cdef struct Job:
    # Bytes for one descriptor, and how many of them were taken; both objects are owned
    # from `collect_jobs` to `settle_jobs`.
    PyObject *sub
    PyObject *data
    const char *start
    Py_ssize_t size
    Py_ssize_t taken
    int fd


cdef int collect_jobs(
    object fanout, budget, Job *jobs, Py_ssize_t *count, list left
) except -1
cdef int settle_jobs(object fanout, Job *jobs, Py_ssize_t count, list left) except -1
