"""The gate before zeroconf: malformed packets and lone questions stay outside."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSText

from praxis_fast.errors import ProtocolError
from praxis_fast.limits import DiscoveryLimits
from praxis_fast.p2p.mdns import SERVICE
from praxis_fast.p2p.packet_gate import PacketGate, checked_packet

LIMITS = DiscoveryLimits()
NEIGHBOUR = ("192.0.2.9", 5353)
PTR, TXT, SRV = 12, 16, 33


class Clock:
    """Goes on a step with every look."""

    def __init__(self, step: float = 0.01) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Receiver:
    """Stands for zeroconf."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.is_lost = False

    def datagram_received(self, data: bytes, addrs: object) -> None:
        self.packets.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


def make_gate(answered: bool = True) -> tuple[PacketGate, Receiver, list[set[str]]]:
    receiver = Receiver()
    asked: list[set[str]] = []

    def on_question(names: set[str]) -> bool:
        asked.append(names)
        return answered

    return PacketGate(receiver, LIMITS, on_question, Clock()), receiver, asked


def packet(out: DNSOutgoing) -> bytes:
    (data,) = out.packets()
    return data


def response() -> bytes:
    out = DNSOutgoing(0x8400)
    out.add_answer_at_time(DNSPointer(SERVICE, PTR, 1, 120, f"abc.{SERVICE}"), 0)
    out.add_answer_at_time(DNSText(f"abc.{SERVICE}", TXT, 1, 120, b"\x03a=b"), 0)
    return packet(out)


def query(type_: int, *, probe: bool = False) -> bytes:
    out = DNSOutgoing(0)
    out.add_question(DNSQuestion(f"ABC.{SERVICE}", type_, 1))
    if probe:
        out.add_authorative_answer(DNSPointer(SERVICE, PTR, 1, 120, f"abc.{SERVICE}"))
    return packet(out)


def test_well_formed_packets_pass() -> None:
    gate, receiver, asked = make_gate()
    for data in (response(), query(PTR), query(SRV, probe=True)):
        gate.datagram_received(data, NEIGHBOUR)
    assert len(receiver.packets) == 3
    assert asked == []
    assert gate.dropped == 0


def test_lone_question_is_answered_here() -> None:
    gate, receiver, asked = make_gate()
    gate.datagram_received(query(SRV), NEIGHBOUR)
    assert asked == [{f"abc.{SERVICE}"}]
    assert receiver.packets == []


def test_lone_question_passes_when_it_is_not_ours_or_wants_unicast() -> None:
    gate, receiver, asked = make_gate(answered=False)
    gate.datagram_received(query(SRV), NEIGHBOUR)
    gate.datagram_received(query(SRV), ("192.0.2.9", 40_000))
    assert len(receiver.packets) == 2
    assert len(asked) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 11,
        response()[:-1],
        response()[:20],
        response()[:4] + b"\xff\xff" + response()[6:],
        response()[:6] + b"\x00\x03" + response()[8:],
        # The first name points at itself, then past the end.
        response()[:12] + b"\xc0\x0c" + response()[14:],
        response()[:12] + b"\xc3\xff" + response()[14:],
        # A reserved label type.
        response()[:12] + b"\x7f" + response()[13:],
        # A length that no longer fits the pointer's name.
        response().replace(struct.pack(">IH", 120, 6), struct.pack(">IH", 120, 5)),
        response() + b"\0" * 9000,
    ],
)
def test_dsc_1_malformed_packet_never_reaches_the_cache(data: bytes) -> None:
    gate, receiver, _ = make_gate()
    gate.datagram_received(data, NEIGHBOUR)
    assert receiver.packets == []
    assert gate.dropped == 1


def test_dsc_1_malformed_record_of_a_query_is_found() -> None:
    data = query(SRV, probe=True)
    checked_packet(data, LIMITS)
    with pytest.raises(ProtocolError, match="ends inside a record"):
        checked_packet(data[:-1], LIMITS)


def test_dsc_1_limits_are_told_with_their_value() -> None:
    with pytest.raises(ProtocolError, match=r"^packet of 9001 bytes, limit 9000$"):
        checked_packet(b"\0" * 9001, LIMITS)
    few = replace(LIMITS, max_records=1)
    with pytest.raises(ProtocolError, match=r"^packet of 2 records, limit 1$"):
        checked_packet(response(), few)


def test_records_of_unknown_types_do_no_harm() -> None:
    record = b"\0" + struct.pack(">HHIH", 41, 4096, 0, 3) + b"abc"
    data = response()
    data = data[:10] + b"\x00\x01" + data[12:] + record
    assert len(checked_packet(data, LIMITS).answers()) == 2


@given(st.binary(max_size=300))
def test_dsc_1_any_bytes_pass_or_are_dropped(data: bytes) -> None:
    gate, receiver, _ = make_gate()
    gate.datagram_received(data, NEIGHBOUR)
    assert len(receiver.packets) + gate.dropped <= 1


def test_dsc_1_what_passes_is_read_whole(seed: random.Random) -> None:
    gate, receiver, _ = make_gate()
    for _ in range(2000):
        data = bytearray(response())
        for _ in range(seed.randrange(1, 4)):
            data[seed.randrange(len(data))] = seed.randrange(256)
        gate.datagram_received(bytes(data), NEIGHBOUR)
    for passed in receiver.packets:
        assert DNSIncoming(passed).valid


def test_dsc_1_flood_is_not_read() -> None:
    receiver = Receiver()
    clock = Clock(0.0)
    gate = PacketGate(receiver, LIMITS, lambda names: True, clock)
    for _ in range(1500):
        gate.datagram_received(response(), NEIGHBOUR)
    assert len(receiver.packets) == 1000
    assert gate.dropped == 500
    clock.now = 1.0
    for _ in range(200):
        gate.datagram_received(response(), NEIGHBOUR)
    assert len(receiver.packets) == 1100


def test_end_of_the_socket_is_passed_on() -> None:
    gate, receiver, _ = make_gate()
    gate.error_received(OSError("no route"))
    gate.connection_lost(None)
    assert receiver.is_lost
