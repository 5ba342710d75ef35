# Built without bounds checks (the table in setup.py): every offset here comes from a
# kernel, which keeps it inside the buffer it was given.
"""Finds where JSON texts end in a stream of bytes."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
)
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy

cimport cython

from praxis_fast.errors import JSONStreamError, UsageError

__all__ = ["JSONSplitter", "current_kernel", "kernels", "select_kernel"]

# Far above any frame this library accepts; offsets stay 32 bits wide.
cdef enum:
    HIGHEST_LIMIT = 1073741824
    FIRST_HOLD = 256
    # Where the C library begins and where it ends to adapt to what it is asked for.
    LEAST_LET_GO = 131072
    MOST_LET_GO = 33554432

cdef extern from "Python.h":
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL
    char* text_of "PyBytes_AS_STRING"(PyObject*)
    Py_ssize_t room_of "PyBytes_GET_SIZE"(PyObject*)
    int _PyBytes_Resize(PyObject** text, Py_ssize_t size) except -1
    void Py_XDECREF(PyObject*)
    void Py_CLEAR(PyObject*)

# The largest block a splitter has let go of. The C library gets a large block from the
# system and gives it back, which costs ten times what splitting does, unless one as
# large was let go of before: from then on it keeps memory for such blocks. Those that
# are cut to size in place never count.
cdef Py_ssize_t let_go = LEAST_LET_GO

# The one choice for the whole process; each splitter keeps the one it was made with.
cdef const kernel* current = scan_kernels()


def kernels():
    """The kernels this processor can run, best first."""
    cdef const kernel* one = scan_kernels()
    names = []
    while one.name != NULL:
        names.append(one.name.decode())
        one += 1
    return tuple(names)


def current_kernel():
    """The kernel of splitters made from now on."""
    return current.name.decode()


def select_kernel(name=None):
    """Use this kernel for splitters made from now on; the best one for None or "".

    Returns its name.
    """
    global current
    cdef const kernel* one = scan_kernels()
    while one.name != NULL:
        if not name or one.name.decode() == name:
            current = one
            return current_kernel()
        one += 1
    raise UsageError(f"kernel {name!r}, this processor has {', '.join(kernels())}")


@cython.final
cdef class JSONSplitter:
    """Cuts a stream into its top-level JSON texts, without decoding them.

    Texts stand side by side, with or without white space, and arrive in any chunking.
    Only ends are found: what lies between them is the decoder's to judge. A text found
    before a fault is never lost: the call that meets the fault returns the texts before
    it, and the next call raises (`receive_data(b"")` asks at once). After an error
    every call raises it again.
    """

    # Not __init__: limits and kernel must be there even after a bare __new__, once.
    def __cinit__(self, *, max_frame=1048576, max_depth=128, max_blank=65536):
        self._scanner.max_frame = checked("max_frame", max_frame)
        self._scanner.max_depth = checked("max_depth", max_depth)
        self._scanner.max_blank = checked("max_blank", max_blank)
        self._scan = current.scan

    def __dealloc__(self):
        Py_XDECREF(self._held)

    @property
    def pending(self):
        """Bytes held of a text that has not ended."""
        return self._size

    def receive_data(self, data):
        """Take any contiguous buffer; return the texts that end in it."""
        cdef Py_buffer view
        if self._fault is not None:
            raise JSONStreamError(self._fault)
        if self._ended:
            raise UsageError("data after the end of the stream")
        if PyBytes_CheckExact(data):
            return self._feed(
                <const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
            )
        get_buffer(data, &view)
        try:
            return self._feed(<const uint8_t*> view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def receive_eof(self):
        """End the stream; return a last bare scalar, raise for an unfinished text."""
        if self._fault is not None:
            raise JSONStreamError(self._fault)
        self._ended = True
        if self._scanner.state == SCAN_SCALAR:
            self._scanner.state = SCAN_BETWEEN
            return [self._take_held(NULL, 0)]
        if self._size:
            self._fail(f"stream ended inside a text of {self._size} bytes")
            raise JSONStreamError(self._fault)
        return []

    cdef list _feed(self, const uint8_t* data, Py_ssize_t size):
        cdef span found[SCAN_BATCH]
        cdef int32_t step, count, i
        cdef const uint8_t* batch
        cdef Py_ssize_t pos = 0
        cdef list texts = []
        # Stands if memory runs out below, with kernel and held text out of step.
        self._fault = "out of memory"
        while pos < size and not self._scanner.fault:
            step = SCAN_BATCH if size - pos > SCAN_BATCH else <int32_t> (size - pos)
            batch = data + pos
            count = self._scan(&self._scanner, batch, step, found)
            if self._scanner.state != SCAN_BETWEEN:
                self._scanner.start -= step
            i = 0
            if self._size and count:
                texts.append(self._take_held(data, pos + found[0].end))
                i = 1
            while i < count:
                texts.append(PyBytes_FromStringAndSize(
                    <const char*> batch + found[i].start, found[i].end - found[i].start
                ))
                i += 1
            pos += step
        if self._scanner.fault:
            self._fail(fault_text(&self._scanner))
            if not texts:
                raise JSONStreamError(self._fault)
            return texts
        if self._scanner.state != SCAN_BETWEEN:
            # `start` is now minus the length of the open text.
            size = -self._scanner.start - self._size
            if size:
                self._hold(data + pos - size, size)
        self._fault = None
        return texts

    cdef int _hold(self, const uint8_t* data, Py_ssize_t size) except -1:
        """Keep the rest of a feed that ended inside a text."""
        cdef Py_ssize_t needed = self._size + size
        if self._held == NULL:
            self._held = new_bytes(NULL, max(needed, FIRST_HOLD))
        elif needed > room_of(self._held):
            # Doubling keeps the cost of growing linear in the length of the text.
            _PyBytes_Resize(&self._held, min(2 * needed, self._scanner.max_frame))
        memcpy(text_of(self._held) + self._size, data, size)
        self._size = needed
        return 0

    cdef bytes _take_held(self, const uint8_t* data, Py_ssize_t size):
        """Complete the held text with the head of a feed and give it away."""
        cdef Py_ssize_t held = self._size
        self._size = 0
        if let_go < room_of(self._held) <= MOST_LET_GO:
            self._move(held + size, held)
        else:
            _PyBytes_Resize(&self._held, held + size)
        if size:
            memcpy(text_of(self._held) + held, data, size)
        text = <bytes> self._held
        Py_CLEAR(self._held)
        return text

    cdef int _move(self, Py_ssize_t size, Py_ssize_t held) except -1:
        """Resize by a copy, and let all of the larger block go."""
        global let_go
        cdef PyObject* text = new_bytes(NULL, size)
        memcpy(text_of(text), text_of(self._held), held)
        let_go = room_of(self._held)
        Py_XDECREF(self._held)
        self._held = text
        return 0

    cdef int _fail(self, str fault) except -1:
        self._fault = fault
        self._size = 0
        Py_CLEAR(self._held)
        return 0


cdef str fault_text(const scanner* s):
    """What the kernel found wrong, as the plain twin says it."""
    if s.fault == SCAN_FRAME_FAULT:
        return f"text of at least {s.max_frame + 1} bytes, limit {s.max_frame}"
    if s.fault == SCAN_DEPTH_FAULT:
        return f"nesting of {s.max_depth + 1} levels, limit {s.max_depth}"
    if s.fault == SCAN_BLANK_FAULT:
        return f"white space of at least {s.max_blank + 1} bytes, limit {s.max_blank}"
    if s.fault == SCAN_STRAY_FAULT:
        return f"stray {chr(s.stray)!r} between texts"
    return "backslash outside a string"


cdef int32_t checked(str name, object value) except -1:
    if type(value) is not int or not 1 <= value <= HIGHEST_LIMIT:
        raise UsageError(
            f"{name} of {value!r}, expected a whole number from 1 to {HIGHEST_LIMIT}"
        )
    return value


cdef int get_buffer(object data, Py_buffer* view) except -1:
    try:
        return PyObject_GetBuffer(data, view, PyBUF_SIMPLE)
    except (TypeError, BufferError):
        name = type(data).__name__
        raise UsageError(
            f"data of type {name}, expected a contiguous buffer"
        ) from None
