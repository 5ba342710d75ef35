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
from functools import lru_cache
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


@lru_cache(256)
def encode_line(text: str) -> bytes:
    """One line as it goes over the wire; a host says the same few all the time."""
    data = text.encode() + b"\n"
    return encode_varint(len(data)) + data


def next_line(data: bytes, start: int, limit: int) -> tuple[str, int] | None:
    """The line that starts there and where it ends; None until it is whole.

    Judges a length before its line arrives.
    """
    length = _next_length(data, start, limit)
    if length is None:
        return None
    size, begin = length
    end = begin + size
    if len(data) < end:
        return None
    return _read_line(data[begin:end]), end


def _next_length(data: bytes, start: int, limit: int) -> tuple[int, int] | None:
    """Size of the line and where its text begins, once both are known."""
    size = 0
    end = start + MAX_LENGTH_BYTES
    for count, byte in enumerate(data[start:end]):
        size |= (byte & 127) << 7 * count
        if byte < 128:
            _check_length(size, byte, count, limit)
            return size, start + count + 1
    if len(data) >= end:
        raise MultistreamError(
            f"line length of more than {MAX_LENGTH_BYTES} bytes, "
            f"limit {limit} for a line"
        )
    return None


def _check_length(size: int, last: int, count: int, limit: int) -> None:
    if size > limit:
        raise MultistreamError(f"line of {size} bytes, limit {limit}")
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

    __slots__ = (
        "_has_header",
        "_in",
        "_is_dead",
        "_is_over",
        "_max_line",
        "_out",
        "protocol",
    )

    def __init__(self, limits: SecurityLimits) -> None:
        self.protocol: str | None = None
        self._max_line = limits.max_line
        self._in = b""
        self._out = encode_line(HEADER)
        self._has_header = False
        self._is_over = False
        self._is_dead = False

    @property
    def leftover(self) -> bytes:
        """What came behind the agreement: the protocol's first bytes."""
        return self._in if self._is_over else b""

    def data_to_send(self) -> bytes:
        """Everything waiting to be sent, also after an error."""
        data, self._out = self._out, b""
        return data

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the other end; MultistreamError ends the negotiation."""
        if self._is_dead:
            raise MultistreamError("negotiation is over after an error")
        self._in += data
        try:
            self._in = self._in[self._read_lines() :]
        except MultistreamError:
            self._is_dead = True
            raise

    def _read_lines(self) -> int:
        """Take all whole lines; returns where they end."""
        end = 0
        while not self._is_over:
            found = next_line(self._in, end, self._max_line)
            if found is None:
                break
            line, end = found
            if self._has_header:
                self._on_line(line)
            elif line == HEADER:
                self._has_header = True
            else:
                raise MultistreamError(f"{line[:64]!r} in place of the header")
        return end

    def _agree(self, protocol: str) -> None:
        self.protocol = protocol
        self._is_over = True

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
        limits = limits or SecurityLimits()
        super().__init__(limits)
        self.failed = False
        self._proposals = list(protocols[:1] if lazy else protocols)
        self._check_proposals(limits)
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

    def _on_line(self, line: str) -> None:
        if line == self._proposals[0]:
            self._agree(line)
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
            self.failed = self._is_over = True


class MultistreamResponder(_Negotiation):
    """The end that answers proposals; its header is ready at once."""

    __slots__ = ("_max_proposals", "_proposed", "_protocols")

    def __init__(
        self, protocols: Container[str], *, limits: SecurityLimits | None = None
    ) -> None:
        limits = limits or SecurityLimits()
        super().__init__(limits)
        self._max_proposals = limits.max_proposals
        self._protocols = protocols
        self._proposed = 0

    def _on_line(self, line: str) -> None:
        self._proposed += 1
        if self._proposed > self._max_proposals:
            raise MultistreamError(
                f"{self._proposed} proposals, limit {self._max_proposals}"
            )
        # Answering "ls" is optional, and nobody needs our list.
        if line != LIST and line in self._protocols:
            self._agree(line)
            self._say(line)
        else:
            self._say(NOT_AVAILABLE)
