from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t


cdef extern from "scan.h" nogil:
    enum: SCAN_BATCH
    enum:
        SCAN_BETWEEN
        SCAN_SCALAR
    enum:
        SCAN_FRAME_FAULT
        SCAN_DEPTH_FAULT
        SCAN_BLANK_FAULT
        SCAN_STRAY_FAULT

    struct scanner:
        int32_t start
        int32_t depth
        int32_t blank
        int32_t max_frame
        int32_t max_depth
        int32_t max_blank
        uint8_t state
        uint8_t fault
        uint8_t stray

    struct span:
        int32_t start
        int32_t end

    ctypedef int32_t scan_function(scanner*, const uint8_t*, int32_t, span*) noexcept

    struct kernel:
        const char* name
        scan_function* scan

    const kernel* scan_kernels()


cdef class JSONSplitter:
    cdef scanner _scanner
    cdef scan_function* _scan
    # The open text of earlier feeds: a bytes object nobody else has, longer than needed.
    #   |<- _size, received ->|<- room ->|
    cdef PyObject* _held
    cdef Py_ssize_t _size
    cdef str _fault
    cdef bint _ended

    cdef list _feed(self, const uint8_t* data, Py_ssize_t size)
    cdef int _hold(self, const uint8_t* data, Py_ssize_t size) except -1
    cdef bytes _take_held(self, const uint8_t* data, Py_ssize_t size)
    cdef int _move(self, Py_ssize_t size, Py_ssize_t held) except -1
    cdef int _fail(self, str fault) except -1
