"""A stream: one conversation over a link, with back-pressure and half-close."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from praxis_fast.errors import (
    ConnectionLostError,
    NegotiationError,
    NetworkError,
    StreamResetError,
    UsageError,
)
from praxis_fast.wire.multistream import MultistreamInitiator

if TYPE_CHECKING:
    from types import TracebackType

    from praxis_fast.p2p.link import Link
    from praxis_fast.wire.multistream import MultistreamResponder
    from praxis_fast.wire.peer_id import PeerID

    Data = bytes | bytearray | memoryview

# The session is given so much at once: half of what a full data frame holds.
MAX_PIECE = 2 * 65519 - 6

# One read gives no more than this, or one piece. Joining more costs fresh memory, page
# by page, which is dearer than another read.
LARGE_READ = 64 * 1024

# Pieces this short that nobody reads yet are gathered in one buffer, so that a peer
# who sends byte by byte cannot make us keep an object for each.
SMALL_PIECE = 512
GATHER_LIMIT = 16 * 1024


class Stream:
    """A stream to a peer; one task may read and another write at the same time.

    What was received is kept until it is read, at most the stream's window; then the
    peer has to wait. Whoever opened the stream or handles it must end it with `close`,
    `reset` or `async with`; a handler's stream is closed when the handler returns.
    """

    __slots__ = (
        "_buffer",
        "_credited",
        "_discarded",
        "_error",
        "_is_abandoned",
        "_is_ended",
        "_is_finished",
        "_link",
        "_negotiation",
        "_reader",
        "_size",
        "_writer",
        "id",
        "protocol",
    )

    def __init__(
        self,
        link: Link,
        stream_id: int,
        negotiation: MultistreamInitiator | MultistreamResponder,
    ) -> None:
        self.id = stream_id
        """The yamux stream id."""
        self.protocol = ""
        """The protocol spoken, agreed when the stream was opened."""
        self._link = link
        self._negotiation: MultistreamInitiator | MultistreamResponder | None = (
            negotiation
        )
        self._buffer: deque[Data] | None = None
        self._size = 0
        self._credited = 0  # bytes in the buffer whose credit was already given back
        self._discarded = 0
        self._is_ended = False  # the peer sends nothing more
        self._is_finished = False  # we send nothing more
        self._is_abandoned = False  # we read nothing more
        self._error: NetworkError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # -- for whoever uses the stream ---------------------------------------------------

    @property
    def peer_id(self) -> PeerID:
        """The peer at the other end, proven by the link's handshake."""
        return self._link.peer_id

    @property
    def link(self) -> Link:
        """The link the stream runs over."""
        return self._link

    async def read(self, n: int = -1) -> bytes:
        """What is there, at most `n` bytes if given; waits for something.

        b"" means the end. Raises StreamResetError or ConnectionLostError.
        """
        if n == 0:
            return b""
        while not self._size:
            if not self._may_get_more():
                return b""
            await self._wait_readable()
        size = self._size if n < 0 else min(n, self._size)
        return self._take(size if size <= LARGE_READ else self._large(size))

    async def read_exactly(self, n: int) -> bytes:
        """Exactly `n` bytes; asyncio.IncompleteReadError when the end comes first.

        A cancelled call loses nothing: the bytes wait for the next read.
        """
        while self._size < n:
            if not self._may_get_more():
                raise asyncio.IncompleteReadError(self._take(self._size), n)
            if self._credited < self._size:
                self._give_credit(self._size - self._credited)
                self._credited = self._size
            await self._wait_readable()
        return self._take(n)

    async def write(self, data: Data) -> None:
        """Send the bytes; waits while the peer or the socket takes no more.

        A cancelled call may have sent a part; nothing of it is sent twice.
        """
        self._check_writable()
        if self._writer is not None:
            raise UsageError(f"stream {self.id} is already being written to")
        view = memoryview(data).cast("B")
        sent, size = 0, len(view)
        while True:
            taken = self._link.send(self.id, view[sent : sent + MAX_PIECE])
            sent += taken
            if sent >= size:
                return
            if not taken:
                await self._wait_writable()
                self._check_writable()

    async def close_write(self) -> None:
        """Say that nothing more is sent; reading goes on."""
        self._finish()

    async def close(self) -> None:
        """End both directions; what the peer still sends is thrown away."""
        self.close_now()

    async def reset(self) -> None:
        """Give the stream up at once, in both directions."""
        self.abort(StreamResetError(f"stream {self.id} was reset by us"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self.reset()

    def __repr__(self) -> str:
        protocol = self.protocol or "no protocol yet"
        return f"<Stream {self.id} with {self._link.peer_id}, {protocol}>"

    # -- for the link ------------------------------------------------------------------

    @property
    def is_negotiating(self) -> bool:
        """Whether the peer has yet to agree on the protocol."""
        return self._negotiation is not None

    @property
    def is_waiting(self) -> bool:
        """Whether a task waits for the peer to say something."""
        return self._reader is not None

    @property
    def is_writing(self) -> bool:
        """Whether a task waits to send more."""
        return self._writer is not None

    @property
    def is_ended(self) -> bool:
        """Whether the peer sends nothing more."""
        return self._is_ended

    @property
    def unread(self) -> int:
        """Bytes received and not yet read."""
        return self._size

    @property
    def is_open(self) -> bool:
        """Whether anything may still come or go."""
        return self._error is None and not (self._is_ended and self._is_finished)

    def speak(self) -> None:
        """Send what the negotiation has to say."""
        if self._negotiation is None or self._error is not None:
            return
        words = self._negotiation.data_to_send()
        if words and not self._link.send_words(self.id, words):
            # The session's own bound is far above the one that writers wait at.
            self.abort(StreamResetError(f"no room to negotiate stream {self.id}"))

    async def agree(self) -> None:
        """Wait until the peer agreed on the protocol."""
        while self._negotiation is not None:
            if self._error is not None:
                raise self._error
            await self._wait_readable()

    def close_now(self) -> None:
        """End both directions; safe to call at any time, more than once."""
        if self._error is not None or self._is_abandoned:
            return
        self._is_abandoned = True
        self._finish()
        if self._size:
            self._discard(self._drop())
        self._wake_reader()
        self._forget_if_over()

    def abort(self, error: NetworkError) -> None:
        """Reset the stream; both sides' tasks get the error."""
        if self.is_open:
            self._link.reset(self.id)
        self.fail(error)

    def fail(self, error: NetworkError) -> None:
        """The stream is gone; a reset loses what was not read, a lost link does not."""
        if self._error is not None:
            return
        self._error = error
        if not isinstance(error, ConnectionLostError):
            self._drop()
        self._wake_reader()
        self.on_room()
        self._link.forget(self)

    def on_data(self, data: Data, size: int) -> None:
        """The peer sent `size` bytes."""
        if self._negotiation is not None:
            data = self._negotiate(data, size)
            size = len(data)
            if not size:
                return
        if self._is_abandoned:
            self._discard(size)
        else:
            self._keep(data, size)
            self._wake_reader()

    def on_end(self) -> None:
        """The peer sends nothing more."""
        if self._negotiation is not None:
            self.abort(NegotiationError(f"stream {self.id} ended before it was agreed"))
            return
        self._is_ended = True
        self._wake_reader()
        self._forget_if_over()

    def on_room(self) -> None:
        """More may be sent."""
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    # -- reading -----------------------------------------------------------------------

    def _may_get_more(self) -> bool:
        """Whether waiting makes sense; raises what ended the stream."""
        error = self._error
        if error is not None and not (self._is_ended and self._is_whole(error)):
            raise error
        if self._is_abandoned:
            raise UsageError(f"stream {self.id} is closed")
        return not self._is_ended

    def _is_whole(self, error: NetworkError) -> bool:
        """Whether what came before the end was kept in spite of the error."""
        return isinstance(error, ConnectionLostError)

    async def _wait_readable(self) -> None:
        if self._reader is not None:
            raise UsageError(f"stream {self.id} is already being read")
        self._reader = self._link.loop.create_future()
        self._link.on_waiting()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _keep(self, data: Data, size: int) -> None:
        self._size += size
        buffer = self._buffer
        if buffer is None:
            self._buffer = deque((data,))
        elif size >= SMALL_PIECE or not buffer:
            buffer.append(data)
        elif isinstance(buffer[-1], bytearray) and len(buffer[-1]) < GATHER_LIMIT:
            buffer[-1].extend(data)
        else:
            buffer.append(bytearray(data))

    def _take(self, n: int) -> bytes:
        """The next `n` bytes, which are there; their credit goes back to the peer."""
        if self._buffer is None or not n:
            return b""
        first = self._buffer[0]
        if len(first) == n and isinstance(first, bytes):
            data = first
            self._buffer.popleft()
        else:
            data = b"".join(self._pieces(self._buffer, n))
        self._size -= n
        if not self._size:
            self._buffer = None
        credited = min(n, self._credited)
        self._credited -= credited
        self._give_credit(n - credited)
        return data

    def _large(self, size: int) -> int:
        """How much of the size one read gives: whole pieces, at least one."""
        total = 0
        for piece in self._buffer or ():
            if total and total + len(piece) > LARGE_READ:
                break
            total += len(piece)
        return min(size, total)

    def _pieces(self, buffer: deque[Data], n: int) -> list[Data]:
        if n == self._size:
            return list(buffer)
        pieces: list[Data] = []
        while n:
            piece = memoryview(buffer.popleft())
            if len(piece) > n:
                # Cut from a copy if it may grow: a growing buffer must not be viewed.
                rest = piece[n:]
                buffer.appendleft(
                    bytes(rest) if isinstance(piece.obj, bytearray) else rest
                )
                piece = piece[:n]
            pieces.append(piece)
            n -= len(piece)
        return pieces

    def _drop(self) -> int:
        """Forget what was not read; returns how much credit the peer is owed for it."""
        owed = self._size - self._credited
        self._buffer = None
        self._size = self._credited = 0
        return owed

    def _discard(self, size: int) -> None:
        """Throw away what comes after we closed, up to what may be under way."""
        self._discarded += size
        if self._discarded > self._link.max_window:
            self.abort(StreamResetError(f"stream {self.id} did not end when closed"))
        else:
            self._give_credit(size)

    def _give_credit(self, size: int) -> None:
        if size and self._error is None:
            self._link.consume(self.id, size)

    # -- writing -----------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self._error is not None:
            raise self._error
        if self._is_finished:
            raise UsageError(f"stream {self.id} is closed for writing")

    async def _wait_writable(self) -> None:
        self._writer = self._link.loop.create_future()
        self._link.queue_for_room(self)
        try:
            await self._writer
        finally:
            self._writer = None

    def _finish(self) -> None:
        if not self._is_finished and self._error is None:
            self._is_finished = True
            self._link.finish(self.id)
            self.on_room()
            self._forget_if_over()

    # -- negotiating -------------------------------------------------------------------

    def _negotiate(self, data: Data, size: int) -> bytes:
        """Feed the negotiation; returns what came behind the agreement."""
        negotiation = self._negotiation
        if negotiation is None:
            return b""
        negotiation.receive_data(bytes(data))
        self.speak()
        if isinstance(negotiation, MultistreamInitiator) and negotiation.failed:
            self.abort(NegotiationError("the peer speaks none of the protocols"))
            return b""
        if self._error is not None:
            return b""
        left = negotiation.leftover
        self._give_credit(size - len(left))
        if negotiation.protocol is not None:
            self._negotiation = None
            self.protocol = negotiation.protocol
            self._wake_reader()
            self._link.on_agreed(self)
        return left

    def _forget_if_over(self) -> None:
        if self._is_ended and self._is_finished:
            self._link.forget(self)
