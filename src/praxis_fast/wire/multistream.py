"""multistream-select 1.0: agreeing on a protocol by name.

multiformats/multistream-select, README; libp2p/specs, connections/README.md. Every line
is a varint length, the text and a newline. Both sides speak at once: the initiator its
header and first proposal in one packet, the responder its header (docs/peers.md).

    initiator   header, proposal ─► proposal ─► …        (next one after each "na")
    responder   header ─► "na" ─► … ─► the name again    (agreed)

What follows the agreement in the same packet belongs to the protocol: `leftover`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from praxis_fast.errors import MultistreamError, UsageError
from praxis_fast.limits import SecurityLimits
from praxis_fast.wire.protobuf import encode_varint

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

HEADER = "/multistream/1.0.0"
NOT_AVAILABLE = "na"
LIST = "ls"

# A length below 2**21 is all that any limit on lines can allow.
MAX_LENGTH_BYTES = 3


def encode_line(text: str) -> bytes:
    """One line as it goes over the wire."""
    data = text.encode() + b"\n"
    return encode_varint(len(data)) + data


class LineReader:
    """Takes bytes apart into lines; judges a length before its line arrives."""

    __slots__ = ("_buf", "_limit")

    def __init__(self, limit: int) -> None:
        self._buf = bytearray()
        self._limit = limit

    def receive_data(self, data: bytes) -> None:
        """Take more bytes."""
        self._buf += data

    def next_line(self) -> str | None:
        """The next whole line without its newline."""
        length = self._length()
        if length is None:
            return None
        size, start = length
        if len(self._buf) < start + size:
            return None
        line = bytes(self._buf[start : start + size])
        del self._buf[: start + size]
        return _read_line(line)

    def rest(self) -> bytes:
        """Everything behind the lines read; the reader is empty then."""
        rest = bytes(self._buf)
        self._buf.clear()
        return rest

    def _length(self) -> tuple[int, int] | None:
        """Size of the next line and where it starts, once both are known."""
        size = 0
        for count, byte in enumerate(self._buf[:MAX_LENGTH_BYTES]):
            size |= (byte & 127) << 7 * count
            if byte < 128:
                self._check_length(size, byte, count)
                return size, count + 1
        if len(self._buf) >= MAX_LENGTH_BYTES:
            raise MultistreamError(
                f"line length of more than {MAX_LENGTH_BYTES} bytes, "
                f"limit {self._limit} for a line"
            )
        return None

    def _check_length(self, size: int, last: int, count: int) -> None:
        if size > self._limit:
            raise MultistreamError(f"line of {size} bytes, limit {self._limit}")
        if size == 0:
            raise MultistreamError("line without a newline")
        if last == 0 and count:
            raise MultistreamError("line length is not in its shortest form")


def _read_line(line: bytes) -> str:
    if not line.endswith(b"\n"):
        raise MultistreamError("line without a newline")
    try:
        return line[:-1].decode()
    except UnicodeDecodeError as error:
        raise MultistreamError("line is not UTF-8") from error


class _Negotiation(ABC):
    """What both ends share: buffers, the header, the end."""

    __slots__ = ("_has_header", "_is_dead", "_leftover", "_out", "_reader", "protocol")

    def __init__(self, limits: SecurityLimits | None) -> None:
        limits = limits or SecurityLimits()
        self.protocol: str | None = None
        self._reader = LineReader(limits.max_line)
        self._out = bytearray()
        self._leftover = bytearray()
        self._has_header = False
        self._is_dead = False

    @property
    def leftover(self) -> bytes:
        """What came behind the agreement: the protocol's first bytes."""
        return bytes(self._leftover)

    def data_to_send(self) -> bytes:
        """Everything waiting to be sent, also after an error."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the other end; MultistreamError ends the negotiation."""
        if self._is_dead:
            raise MultistreamError("negotiation is over after an error")
        if self._is_over():
            self._leftover += data
            return
        self._reader.receive_data(data)
        try:
            self._read_lines()
        except MultistreamError:
            self._is_dead = True
            raise

    def _read_lines(self) -> None:
        while not self._is_over():
            line = self._reader.next_line()
            if line is None:
                return
            if self._has_header:
                self._on_line(line)
            elif line == HEADER:
                self._has_header = True
            else:
                raise MultistreamError(f"{line[:64]!r} in place of the header")
        self._leftover += self._reader.rest()

    def _is_over(self) -> bool:
        return self.protocol is not None

    @abstractmethod
    def _on_line(self, line: str) -> None:
        """Take a line behind the header."""

    def _say(self, text: str) -> None:
        self._out += encode_line(text)


class MultistreamInitiator(_Negotiation):
    """The end that proposes; `protocol` is set once the other end agreed.

    With `lazy` the first proposal is the only one, and the caller may send data behind
    it before the answer is here; the answer is checked all the same.
    """

    __slots__ = ("_proposals", "failed")

    def __init__(
        self,
        protocols: Sequence[str],
        *,
        lazy: bool = False,
        limits: SecurityLimits | None = None,
    ) -> None:
        super().__init__(limits)
        self.failed = False
        self._proposals = list(protocols[:1] if lazy else protocols)
        self._check_proposals(limits or SecurityLimits())
        self._say(HEADER)
        self._say(self._proposals[0])

    def _check_proposals(self, limits: SecurityLimits) -> None:
        count = len(self._proposals)
        if not 0 < count <= limits.max_proposals:
            raise UsageError(f"{count} protocols, limit {limits.max_proposals}")
        for name in self._proposals:
            if not name or "\n" in name or name in (NOT_AVAILABLE, LIST):
                raise UsageError(f"{name!r} cannot be the name of a protocol")
            size = len(name.encode()) + 1
            if size > limits.max_line:
                raise UsageError(
                    f"protocol name of {size} bytes, limit {limits.max_line}"
                )

    def _is_over(self) -> bool:
        return self.failed or self.protocol is not None

    def _on_line(self, line: str) -> None:
        if line == self._proposals[0]:
            self.protocol = line
        elif line == NOT_AVAILABLE:
            self._on_refused()
        else:
            raise MultistreamError(
                f"{line[:64]!r} in answer to {self._proposals[0][:64]!r}"
            )

    def _on_refused(self) -> None:
        del self._proposals[0]
        if self._proposals:
            self._say(self._proposals[0])
        else:
            self.failed = True


class MultistreamResponder(_Negotiation):
    """The end that answers proposals; its header is ready at once."""

    __slots__ = ("_limits", "_proposed", "_protocols")

    def __init__(
        self, protocols: Container[str], *, limits: SecurityLimits | None = None
    ) -> None:
        super().__init__(limits)
        self._limits = limits or SecurityLimits()
        self._protocols = protocols
        self._proposed = 0
        self._say(HEADER)

    def _on_line(self, line: str) -> None:
        self._proposed += 1
        if self._proposed > self._limits.max_proposals:
            raise MultistreamError(
                f"{self._proposed} proposals, limit {self._limits.max_proposals}"
            )
        # Answering "ls" is optional, and nobody needs our list.
        if line != LIST and line in self._protocols:
            self.protocol = line
            self._say(line)
        else:
            self._say(NOT_AVAILABLE)
