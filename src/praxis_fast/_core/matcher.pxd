from libc.stdint cimport int8_t, int16_t, int32_t, uint64_t


cdef struct Posting:
    # One group filed under one term; `group` is borrowed, the matcher owns it.
    void *group
    int32_t home
    int16_t min_priority
    int8_t rank
    int8_t flags


cdef struct Home:
    # Where a group is filed: the term (borrowed) and the place among its postings.
    void *term
    Py_ssize_t place


cdef class Group:
    # First, beside the reference count, which is touched with it.
    cdef uint64_t stamp
    # The fan-out keeps its log of the group here, so that publishing looks nothing up.
    cdef object log
    cdef readonly object filter
    cdef dict members
    cdef Py_hash_t hash
    cdef bint is_alive
    cdef bint has_failed
    # Every term the filter names (owned), cut into types, sources, tasks, peers,
    # required and excluded tags by `ends`.
    cdef void **wanted
    cdef int32_t wanted_count
    cdef int32_t[6] ends
    cdef Home *homes
    cdef int32_t home_count
    cdef int home_section
    cdef int min_priority
    cdef int rank
