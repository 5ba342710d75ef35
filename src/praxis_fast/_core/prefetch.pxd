"""Asking memory for what will be needed soon.

GCC takes a function that does nothing but prefetch for one without effect and leaves
its calls out, unless something volatile is in it.
"""

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define praxis_prefetch(address) \\
        do { __builtin_prefetch(address); __asm__ volatile (""); } while (0)
    #else
    #define praxis_prefetch(address) ((void)(address))
    #endif
    """
    void prefetch "praxis_prefetch"(const void*) noexcept nogil
