"""The identify message: who a peer is, where it listens and what it speaks.

libp2p specification identify/README.md. A message is a protobuf behind its length as a
varint; go-libp2p may send several, which are joined (libp2p-quirks 21).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from praxis_fast.errors import IdentifyError, ProtobufError
from praxis_fast.limits import IdentifyLimits
from praxis_fast.wire.protobuf import (
    Field,
    as_bytes,
    as_text,
    decode_varint,
    encode_bytes,
    read_fields,
)

PUBLIC_KEY: Final = 1
LISTEN_ADDRS: Final = 2
PROTOCOLS: Final = 3
OBSERVED_ADDR: Final = 4
PROTOCOL_VERSION: Final = 5
AGENT_VERSION: Final = 6
SIGNED_PEER_RECORD: Final = 8

# Versions and protocol names are shown to people; longer ones are a fault.
MAX_TEXT: Final = 1024


@dataclass(frozen=True, slots=True)
class Identify:
    """One peer's description of itself; None and () mean: not said."""

    protocol_version: str | None = None
    """The network, such as ipfs/0.1.0."""
    agent_version: str | None = None
    """Software and version."""
    public_key: bytes | None = None
    """The identity key's protobuf."""
    listen_addrs: tuple[bytes, ...] = ()
    """Binary multiaddrs the peer listens on."""
    observed_addr: bytes | None = None
    """The binary multiaddr under which the peer sees us."""
    protocols: tuple[str, ...] = ()
    """Protocol ids the peer answers."""
    signed_peer_record: bytes | None = None
    """A signed envelope around the peer's addresses (RFC 0002, 0003)."""

    def encode(self) -> bytes:
        """The message, without the length in front."""
        return b"".join(encode_bytes(number, value) for number, value in self._fields())

    @classmethod
    def decode(cls, data: bytes, limits: IdentifyLimits | None = None) -> Identify:
        """A message without its length; IdentifyError when malformed or too big."""
        limits = limits or IdentifyLimits()
        reading = _Reading(limits)
        try:
            for field in read_fields(data):
                reading.on_field(field)
        except ProtobufError as error:
            raise IdentifyError(f"malformed identify message: {error}") from error
        return reading.result()

    def _fields(self) -> list[tuple[int, bytes]]:
        """The fields that are said, by number."""
        single = (
            (PUBLIC_KEY, self.public_key),
            (OBSERVED_ADDR, self.observed_addr),
            (PROTOCOL_VERSION, _encoded(self.protocol_version)),
            (AGENT_VERSION, _encoded(self.agent_version)),
            (SIGNED_PEER_RECORD, self.signed_peer_record),
        )
        return [
            *((number, value) for number, value in single if value is not None),
            *((LISTEN_ADDRS, addr) for addr in self.listen_addrs),
            *((PROTOCOLS, protocol.encode()) for protocol in self.protocols),
        ]


class IdentifyReader:
    """Joins the messages of one identify stream, bounded (ID-1)."""

    __slots__ = ("_buffer", "_count", "_limits", "_message")

    def __init__(self, limits: IdentifyLimits | None = None) -> None:
        self._limits = limits or IdentifyLimits()
        self._buffer = bytearray()
        self._message: Identify | None = None
        self._count = 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes in any chunking; IdentifyError when over a limit."""
        self._buffer += data
        while (message := self._take()) is not None:
            self._count += 1
            if self._count > self._limits.max_messages:
                raise IdentifyError(
                    f"{self._count} identify messages, limit "
                    f"{self._limits.max_messages}"
                )
            self._join(Identify.decode(message, self._limits))

    def receive_eof(self) -> Identify:
        """The joined message at the end of the stream."""
        if self._buffer:
            raise IdentifyError(
                f"identify stream ended inside a message, {len(self._buffer)} bytes in"
            )
        if self._message is None:
            raise IdentifyError("identify stream ended without a message")
        return self._message

    def _take(self) -> bytes | None:
        """The next whole message; its length is judged before its body arrives."""
        # No allowed length takes more bytes than this.
        head = bytes(self._buffer[:4])
        if not head or (len(head) < 4 and head[-1] & 128):
            return None
        try:
            size, start = decode_varint(head)
        except ProtobufError as error:
            raise IdentifyError(f"malformed identify length: {error}") from error
        if size > self._limits.max_message:
            raise IdentifyError(
                f"identify message of {size} bytes, limit {self._limits.max_message}"
            )
        end = start + size
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[start:end])
        del self._buffer[:end]
        return message

    def _join(self, message: Identify) -> None:
        """A later part overrides single fields and adds to the lists."""
        if self._message is None:
            self._message = message
            return
        joined = {
            field.name: _joined(
                getattr(self._message, field.name), getattr(message, field.name)
            )
            for field in fields(Identify)
        }
        self._message = Identify(**joined)
        _check_counts(self._message, self._limits)


class _Reading:
    """Fields as they come, counted."""

    __slots__ = ("_limits", "_lists", "_single")

    def __init__(self, limits: IdentifyLimits) -> None:
        self._limits = limits
        self._single: dict[int, bytes] = {}
        self._lists: dict[int, list[bytes]] = {LISTEN_ADDRS: [], PROTOCOLS: []}

    def on_field(self, field: Field) -> None:
        if field.number in self._lists:
            # Over the count they are not kept; result() refuses the message.
            if len(self._lists[field.number]) <= self._limits.max_addresses:
                self._lists[field.number].append(as_bytes(field))
        elif field.number in (PROTOCOL_VERSION, AGENT_VERSION):
            self._single[field.number] = as_text(field).encode()
        elif field.number in (PUBLIC_KEY, OBSERVED_ADDR, SIGNED_PEER_RECORD):
            self._single[field.number] = as_bytes(field)

    def result(self) -> Identify:
        single = self._single.get
        message = Identify(
            protocol_version=_text(single(PROTOCOL_VERSION)),
            agent_version=_text(single(AGENT_VERSION)),
            public_key=single(PUBLIC_KEY),
            listen_addrs=tuple(self._lists[LISTEN_ADDRS]),
            observed_addr=single(OBSERVED_ADDR),
            protocols=tuple(_protocol(name) for name in self._lists[PROTOCOLS]),
            signed_peer_record=single(SIGNED_PEER_RECORD),
        )
        _check_counts(message, self._limits)
        return message


def _check_counts(message: Identify, limits: IdentifyLimits) -> None:
    for name, count, limit in (
        ("addresses", len(message.listen_addrs), limits.max_addresses),
        ("protocols", len(message.protocols), limits.max_protocols),
    ):
        if count > limit:
            raise IdentifyError(f"identify with {count} {name}, limit {limit}")


def _joined(old: Any, new: Any) -> Any:
    if isinstance(old, tuple) and isinstance(new, tuple):
        return old + new
    return old if new is None else new


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    if len(data) > MAX_TEXT:
        raise IdentifyError(f"identify text of {len(data)} bytes, limit {MAX_TEXT}")
    return data.decode()


def _protocol(data: bytes) -> str:
    if len(data) > MAX_TEXT:
        raise IdentifyError(f"protocol id of {len(data)} bytes, limit {MAX_TEXT}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise IdentifyError("protocol id is not UTF-8") from error
