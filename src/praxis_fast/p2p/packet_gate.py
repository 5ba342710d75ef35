"""The door before python-zeroconf: what may not come in, and what may not go out alone.

Every datagram passes here before zeroconf's cache sees it, so a packet that is
malformed or over a limit leaves no trace (DSC-1).
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import TYPE_CHECKING, Any, Protocol

from zeroconf import DNSIncoming

from praxis_fast.errors import ProtocolError
from praxis_fast.p2p.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.limits import DiscoveryLimits

logger = logging.getLogger(__name__)

MDNS_PORT = 5353
TYPE_PTR = 12
# One question makes every agent of a network answer within 0.12 s.
BURST_SECONDS = 10
HEADER = struct.Struct(">6H")  # id, flags, then how many of each section
RECORD = struct.Struct(">HHIH")  # type, class, ttl, length; RFC 1035, 3.2.1
# The types zeroconf keeps; one of these that it left out was malformed.
# A, CNAME, PTR, HINFO, TXT, AAAA, SRV, NSEC
KEPT_TYPES = frozenset({1, 5, 12, 13, 16, 28, 33, 47})


class DatagramReceiver(Protocol):
    """The part of a datagram protocol that the gate stands before."""

    def datagram_received(self, data: bytes, addrs: Any, /) -> None: ...

    def connection_lost(self, exc: Exception | None, /) -> None: ...


class PacketGate(asyncio.DatagramProtocol):
    """Passes well-formed packets on to `receiver`, at a bounded rate.

    `on_question(names)` is asked of every multicast question that is not for PTR
    records, and says whether it was answered there. (A lone SRV question would get SRV
    and A without TXT, and go-libp2p takes such an answer for an empty peer.)
    """

    def __init__(
        self,
        receiver: DatagramReceiver,
        limits: DiscoveryLimits,
        on_question: Callable[[set[str]], bool],
        clock: Callable[[], float],
    ) -> None:
        self._receiver = receiver
        self._limits = limits
        self._on_question = on_question
        self._pace = TokenBucket(
            limits.packet_rate, BURST_SECONDS * limits.packet_rate, clock()
        )
        self._clock = clock
        self.dropped = 0

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        # Reading a packet costs far more than sending one: a flood is not read at all.
        if not self._pace.take(self._clock()):
            self.dropped += 1
            return
        try:
            packet = checked_packet(data, self._limits)
        except ProtocolError as error:
            self.dropped += 1
            logger.debug("dropped an mdns packet from %s: %s", addr[0], error)
            return
        names = lone_questions(packet) if addr[1] == MDNS_PORT else set()
        if not names or not self._on_question(names):
            self._receiver.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        logger.debug("mdns socket: %s", exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connection_lost(exc)


def checked_packet(data: bytes, limits: DiscoveryLimits) -> DNSIncoming:
    """The packet, read; ProtocolError when it is malformed or over a limit."""
    if len(data) > limits.max_packet:
        raise ProtocolError(f"packet of {len(data)} bytes, limit {limits.max_packet}")
    if len(data) < HEADER.size:
        raise ProtocolError(f"packet of {len(data)} bytes, a header has {HEADER.size}")
    _, _, questions, *others = HEADER.unpack_from(data)
    if questions + sum(others) > limits.max_records:
        count = questions + sum(others)
        raise ProtocolError(f"packet of {count} records, limit {limits.max_records}")
    try:
        types = record_types(data, questions, sum(others))
    except (IndexError, struct.error) as error:
        raise ProtocolError("packet that ends inside a record") from error
    packet = DNSIncoming(data)
    kept = sum(type_ in KEPT_TYPES for type_ in types)
    if not packet.valid or len(packet.answers()) != kept:
        raise ProtocolError("packet with a malformed record")
    return packet


def record_types(data: bytes, questions: int, records: int) -> list[int]:
    """The type of each record; IndexError or struct.error when one is cut short."""
    pos = HEADER.size
    for _ in range(questions):
        pos = skip_name(data, pos) + 4
    types = []
    for _ in range(records):
        pos = skip_name(data, pos)
        type_, _, _, length = RECORD.unpack_from(data, pos)
        pos += RECORD.size + length
        types.append(type_)
    if pos > len(data):
        raise IndexError(pos)
    return types


def skip_name(data: bytes, pos: int) -> int:
    """Where the name at `pos` ends; a compression pointer ends it too."""
    while 0 < data[pos] < 0x40:
        pos += 1 + data[pos]
    return pos + (1 if data[pos] == 0 else 2)


def lone_questions(packet: DNSIncoming) -> set[str]:
    """The names a query asks for records other than PTR; none for a probe."""
    if not packet.is_query() or packet.is_probe():
        return set()
    return {q.name.lower() for q in packet.questions if q.type != TYPE_PTR}
