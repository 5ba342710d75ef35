"""What a link sends through: the secured socket, in large writes that cost no memory.

A turn's frames go out as one write. Much at once is encrypted into a buffer that all
links of a host use in turn: fresh memory for each write would cost more than the
encryption. A buffer is lent while its bytes are under way.

    spare ──► filled, written ──► lent ──► the transport holds nothing more ──► spare
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from praxis_fast.wire.noise_transport import MAX_PLAINTEXT, OVERHEAD, SMALL

if TYPE_CHECKING:
    import asyncio

    from praxis_fast.core import YamuxSession
    from praxis_fast.wire.noise import NoiseTransport

# Full Noise messages in one write, as many as a full data frame; more would leave the
# caches of the processor.
BATCH: Final = 4

# A session goes over what it is asked for by less than a frame and its control frames.
BUFFER_SIZE: Final = (2 * BATCH + 1) * (MAX_PLAINTEXT + OVERHEAD)

# Buffers kept by a host that sends nothing.
MAX_SPARES: Final = 4


class Channel:
    """Writes a session's frames; `paused` is the owner's to look at."""

    __slots__ = ("_lent", "_noise", "_spares", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        noise: NoiseTransport,
        spares: list[bytearray],
        *,
        limit: int,
    ) -> None:
        # Writing goes on when all is written, which is when a buffer comes back.
        transport.set_write_buffer_limits(high=limit, low=0)
        self._transport = transport
        self._noise = noise
        self._spares = spares
        self._lent: list[bytearray] = []

    @property
    def buffered(self) -> int:
        """Bytes the socket has not taken yet."""
        return self._transport.get_write_buffer_size()

    @property
    def is_lending(self) -> bool:
        """Whether a buffer waits to be taken back by `settle`."""
        return bool(self._lent)

    def send(self, session: YamuxSession) -> None:
        """Write what the session has to send, at most a batch."""
        if session.pending_out > SMALL:
            self._send_batch(session)
        elif session.pending_out:
            self._transport.write(self._noise.send_data(session.data_to_send()))

    def settle(self) -> None:
        """Take the lent buffers back if they are written, else let them go."""
        if not self.buffered:
            self._take_back()
        self._lent.clear()

    def _send_batch(self, session: YamuxSession) -> None:
        if self._lent and not self.buffered:
            self._take_back()
        buffer = self._spares.pop() if self._spares else _new_buffer()
        self._lent.append(buffer)
        view = memoryview(buffer)
        frames = session.data_to_send(BATCH * MAX_PLAINTEXT)
        end = self._noise.send_into(frames, view)
        self._transport.write(view[:end])

    def _take_back(self) -> None:
        free = MAX_SPARES - len(self._spares)
        self._spares += self._lent[:free]
        self._lent.clear()


def _new_buffer() -> bytearray:
    """A buffer, and the C library made to keep blocks as large as a batch's frames.

    It does so once a larger block was let go. Else it gives each batch's memory back to
    the system and gets it again page by page, which can double the price of sending.
    """
    bytes(2 * BUFFER_SIZE)
    return bytearray(BUFFER_SIZE)
