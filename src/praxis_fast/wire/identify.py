"""The identify message: who a peer is, where it listens, what it speaks.

libp2p specification, identify/README.md. One message, or several to be joined, each
behind its varint length (docs/peers.md); the end of the stream ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from praxis_fast.errors import IdentifyError, ProtobufError
from praxis_fast.limits import IdentifyLimits
from praxis_fast.wire.protobuf import as_bytes, as_text, encode_bytes, read_fields

if TYPE_CHECKING:
    from praxis_fast.wire.protobuf import Field

# `Identify` of the specification, and go-libp2p's `signedPeerRecord`.
PUBLIC_KEY: Final = 1
LISTEN_ADDRS: Final = 2
PROTOCOLS: Final = 3
OBSERVED_ADDR: Final = 4
PROTOCOL_VERSION: Final = 5
AGENT_VERSION: Final = 6
SIGNED_PEER_RECORD: Final = 8

# Characters in a version or a protocol id; a multistream line can have no more either.
MAX_TEXT = 1024

# A length below 2**28; no limit on messages can allow more.
MAX_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Identify:
    """What a peer says of itself; in a push, absent fields did not change."""

    protocol_version: str | None = None
    """The family of protocols, such as `ipfs/0.1.0`."""
    agent_version: str | None = None
    """Name and version of the software."""
    public_key: bytes | None = None
    """The peer's key message; it has to be that of the connection (ID-2)."""
    listen_addrs: tuple[bytes, ...] = ()
    """Binary multiaddrs, as they came."""
    observed_addr: bytes | None = None
    """Our own address as the peer sees it, a binary multiaddr."""
    protocols: tuple[str, ...] = ()
    """What the peer takes inbound streams for."""
    signed_peer_record: bytes | None = None
    """An envelope around the addresses, signed by the peer."""

    def encode(self) -> bytes:
        """The message, without its length."""
        fields: list[tuple[int, bytes | str | None]] = [
            (PUBLIC_KEY, self.public_key),
            *((LISTEN_ADDRS, addr) for addr in self.listen_addrs),
            *((PROTOCOLS, name) for name in self.protocols),
            (OBSERVED_ADDR, self.observed_addr),
            (PROTOCOL_VERSION, self.protocol_version),
            (AGENT_VERSION, self.agent_version),
            (SIGNED_PEER_RECORD, self.signed_peer_record),
        ]
        return b"".join(
            encode_bytes(number, value.encode() if isinstance(value, str) else value)
            for number, value in fields
            if value is not None
        )

    @classmethod
    def decode(cls, data: bytes, limits: IdentifyLimits | None = None) -> Identify:
        """The message in the data; of a repeated single field the last one counts."""
        draft = _Draft(limits or IdentifyLimits())
        try:
            for field in read_fields(data):
                if field.number in (PROTOCOL_VERSION, AGENT_VERSION):
                    draft.texts[field.number] = _text(field)
                elif field.number in (PUBLIC_KEY, OBSERVED_ADDR, SIGNED_PEER_RECORD):
                    draft.blobs[field.number] = as_bytes(field)
                elif field.number == LISTEN_ADDRS:
                    draft.add_address(as_bytes(field))
                elif field.number == PROTOCOLS:
                    draft.add_protocol(_text(field))
        except ProtobufError as error:
            raise IdentifyError(f"malformed identify message: {error}") from error
        return draft.finish()


def _text(field: Field) -> str:
    text = as_text(field)
    if len(text) > MAX_TEXT:
        raise IdentifyError(
            f"identify text of {len(text)} characters, limit {MAX_TEXT}"
        )
    return text


class _Draft:
    """An identify message while it is read: lists without repetition, bounded."""

    def __init__(self, limits: IdentifyLimits) -> None:
        self.texts: dict[int, str] = {}
        self.blobs: dict[int, bytes] = {}
        self._limits = limits
        self._addresses: dict[bytes, None] = {}
        self._protocols: dict[str, None] = {}

    def add_address(self, addr: bytes) -> None:
        self._addresses[addr] = None
        if len(self._addresses) > self._limits.max_addresses:
            raise IdentifyError(
                f"more than {self._limits.max_addresses} addresses, the limit"
            )

    def add_protocol(self, name: str) -> None:
        self._protocols[name] = None
        if len(self._protocols) > self._limits.max_protocols:
            raise IdentifyError(
                f"more than {self._limits.max_protocols} protocols, the limit"
            )

    def finish(self) -> Identify:
        return Identify(
            protocol_version=self.texts.get(PROTOCOL_VERSION),
            agent_version=self.texts.get(AGENT_VERSION),
            public_key=self.blobs.get(PUBLIC_KEY),
            listen_addrs=tuple(self._addresses),
            observed_addr=self.blobs.get(OBSERVED_ADDR),
            protocols=tuple(self._protocols),
            signed_peer_record=self.blobs.get(SIGNED_PEER_RECORD),
        )


class IdentifyReader:
    """Joins the messages of one identify stream; judges lengths before bytes come."""

    __slots__ = ("_buf", "_is_dead", "_limits", "_messages")

    def __init__(self, limits: IdentifyLimits | None = None) -> None:
        self._limits = limits or IdentifyLimits()
        self._buf = bytearray()
        self._messages: list[bytes] = []
        self._is_dead = False

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the stream; an IdentifyError ends it."""
        if self._is_dead:
            raise IdentifyError("identify is over after an error or its end")
        self._buf += data
        try:
            while self._take_message():
                pass
        except IdentifyError:
            self._is_dead = True
            raise

    def receive_eof(self) -> Identify:
        """The stream ended: what all its messages say together."""
        if self._is_dead:
            raise IdentifyError("identify is over after an error or its end")
        self._is_dead = True
        if self._buf:
            raise IdentifyError(f"end of data, {len(self._buf)} bytes into a message")
        if not self._messages:
            raise IdentifyError("end of data before any message")
        return Identify.decode(b"".join(self._messages), self._limits)

    def _take_message(self) -> bool:
        length = self._length()
        if length is None:
            return False
        size, start = length
        if len(self._buf) < start + size:
            return False
        self._messages.append(bytes(self._buf[start : start + size]))
        del self._buf[: start + size]
        return bool(self._buf)

    def _length(self) -> tuple[int, int] | None:
        """Size of the next message and where it starts, once both are known."""
        size = 0
        for count, byte in enumerate(self._buf[:MAX_LENGTH_BYTES]):
            size |= (byte & 127) << 7 * count
            if byte < 128:
                self._check_room(size)
                return size, count + 1
        if len(self._buf) >= MAX_LENGTH_BYTES:
            raise IdentifyError(
                f"message length of more than {MAX_LENGTH_BYTES} bytes, "
                f"limit {self._limits.max_message} for a message"
            )
        return None

    def _check_room(self, size: int) -> None:
        if size > self._limits.max_message:
            raise IdentifyError(
                f"identify message of {size} bytes, limit {self._limits.max_message}"
            )
        if len(self._messages) >= self._limits.max_messages:
            raise IdentifyError(
                f"more than {self._limits.max_messages} identify messages, the limit"
            )
