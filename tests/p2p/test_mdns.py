"""mDNS on the real loopback group: what is on the wire, what is heard, what is left."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import struct
import threading
from typing import Any

import pytest
from zeroconf import (
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSService,
    DNSText,
)

from praxis_fast.errors import NetworkError, UsageError
from praxis_fast.p2p import mdns as mdns_module
from praxis_fast.p2p.announcement import announced_text
from praxis_fast.p2p.mdns import LOOPBACK, MDNS, SERVICE, check_multicast
from praxis_fast.wire.keys import PrivateKey
from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.peer_id import PeerID
from tests.p2p.multicast import (
    LONELY_SERVICE,
    eventually,
    loopback_wire,
    with_multicast,
)
from tests.p2p.network import sockets
from tests.p2p.peers import at, peer

ANN, BOB = peer(1), peer(2)
HOME = at(LOOPBACK, 4101)
RESPONSE = 0x8400
A, PTR, TXT, SRV, ANY = 1, 12, 16, 33, 255
IN = 1


class Heard:
    """Keeps what an MDNS reports."""

    def __init__(self) -> None:
        self.found: dict[PeerID, list[Multiaddr]] = {}
        self.gone: list[PeerID] = []

    def on_found(self, peer_id: PeerID, addrs: list[Multiaddr]) -> None:
        self.found[peer_id] = addrs

    def make(self, peer_id: PeerID, *addrs: Multiaddr, **options: Any) -> MDNS:
        options.setdefault("interfaces", [LOOPBACK])
        options.setdefault("service", LONELY_SERVICE)
        return MDNS(
            peer_id, addrs, self.on_found, on_goodbye=self.gone.append, **options
        )


def announcement(
    text: bytes, ttl: int = 120, name: str = f"x1.{LONELY_SERVICE}"
) -> bytes:
    out = DNSOutgoing(RESPONSE)
    out.add_answer_at_time(DNSPointer(LONELY_SERVICE, PTR, IN, ttl, name), 0)
    out.add_answer_at_time(DNSService(name, SRV, IN, ttl, 0, 0, 4001, "x1.local."), 0)
    out.add_answer_at_time(DNSText(name, TXT, IN, ttl, text), 0)
    out.add_answer_at_time(DNSAddress("x1.local.", A, IN, ttl, b"\x7f\0\0\1"), 0)
    (packet,) = out.packets()
    return packet


def with_more(packet: bytes, count: int) -> bytes:
    """The packet with so many address records more; 0xc00c is its first name."""
    answers = int.from_bytes(packet[6:8]) + count
    record = b"\xc0\x0c" + struct.pack(">HHIH", A, IN, 120, 4)
    more = b"".join(record + bytes([10, 0, 0, number]) for number in range(count))
    return packet[:6] + answers.to_bytes(2) + packet[8:] + more


def assert_full_set(
    packet: DNSIncoming, peer_id: PeerID, name: str = LONELY_SERVICE
) -> DNSService:
    """PTR, SRV, TXT and the SRV target's A in this one packet, as Go wants them."""
    by_type: dict[int, list[Any]] = {}
    for record in packet.answers():
        by_type.setdefault(record.type, []).append(record)
    (pointer,) = [r for r in by_type[PTR] if r.name == name]
    (service,) = by_type[SRV]
    (text,) = by_type[TXT]
    (address,) = by_type[A]
    assert pointer.alias == service.name == text.name
    assert address.name == service.server
    assert f"/p2p/{peer_id}".encode() in text.text
    return service


@with_multicast
async def test_announcement_is_one_packet_with_the_full_set() -> None:
    stranger = PrivateKey.generate().peer_id
    addrs = [HOME, at("192.0.2.7", 4101)]
    mdns = Heard().make(stranger, *addrs, service=SERVICE)
    with loopback_wire() as wire:
        await mdns.start()
        await eventually(lambda: wire.answers(stranger))
        await mdns.close()
        packet = wire.answers(stranger)[0]
    service = assert_full_set(packet, stranger, "praxis-p2p-mcp.local.")
    instance = service.name.removesuffix(".praxis-p2p-mcp.local.")
    assert re.fullmatch("[a-z0-9]{32,63}", instance)
    assert service.server == f"{instance}.local."
    assert service.port == 4101
    (text,) = [r for r in packet.answers() if isinstance(r, DNSText)]
    assert text.text == announced_text(stranger, addrs)
    assert {r.ttl for r in packet.answers()} == {120}
    (address,) = [r for r in packet.answers() if r.type == A]
    assert address.address == bytes([127, 0, 0, 1])


@with_multicast
@pytest.mark.parametrize("kind", [PTR, SRV, TXT, A, ANY])
async def test_every_question_is_answered_with_the_full_set(kind: int) -> None:
    mdns = Heard().make(ANN, HOME)
    with loopback_wire() as wire:
        await mdns.start()
        await eventually(lambda: len(wire.answers(LONELY_SERVICE, ANN)) >= 3)
        service = assert_full_set(wire.answers(LONELY_SERVICE, ANN)[0], ANN)
        wire.packets.clear()
        question = DNSOutgoing(0)
        name = {PTR: LONELY_SERVICE, A: service.server}.get(kind, service.name)
        question.add_question(DNSQuestion(name, kind, IN))
        wire.send(question.packets()[0])
        await eventually(lambda: wire.answers(service.server))
        await mdns.close()
        answers = [p for p in wire.answers(service.server) if p.answers()[0].ttl]
    for packet in answers:
        assert_full_set(packet, ANN)


@with_multicast
async def test_goodbye_has_ttl_0_on_the_full_set_when_closed() -> None:
    heard = Heard()
    ann, bob = Heard().make(ANN, HOME), heard.make(BOB, at(LOOPBACK, 4102))
    with loopback_wire() as wire:
        await bob.start()
        await ann.start()
        await eventually(lambda: ANN in heard.found)
        await ann.close()
        await eventually(lambda: ANN in heard.gone)
        await bob.close()
        last = [
            p for p in wire.answers(LONELY_SERVICE, ANN) if assert_full_set(p, ANN)
        ][-1]
    assert {record.ttl for record in last.answers()} == {0}


@with_multicast
async def test_two_in_one_process_find_each_other() -> None:
    left, right = Heard(), Heard()
    ann, bob = left.make(ANN, HOME), right.make(BOB, at(LOOPBACK, 4102))
    await ann.start()
    await bob.start()
    await eventually(lambda: BOB in left.found and ANN in right.found)
    await ann.close()
    await bob.close()
    assert right.found == {ANN: [HOME.with_peer(ANN)]}


@with_multicast
async def test_questions_are_for_ptr_records_of_the_service() -> None:
    mdns = Heard().make(ANN)
    with loopback_wire() as wire:
        await mdns.start()
        await eventually(
            lambda: (
                [
                    (q.name, q.type, q.unique)
                    for p in wire.pump()
                    if p.is_query()
                    for q in p.questions
                    if q.name == LONELY_SERVICE
                ]
                == [(LONELY_SERVICE, PTR, False)]
            )
        )
        await mdns.close()
        assert not wire.answers(LONELY_SERVICE)


@with_multicast
async def test_instance_name_is_new_for_every_start() -> None:
    mdns = Heard().make(ANN, HOME)
    with loopback_wire() as wire:
        for _ in range(2):
            await mdns.start()
            await mdns.close()
        names = {
            assert_full_set(p, ANN).name for p in wire.answers(LONELY_SERVICE, ANN)
        }
    assert len(names) == 2


async def feed(packets: list[bytes], mdns: MDNS, until: Any) -> None:
    with loopback_wire() as wire:
        await mdns.start()
        for packet in packets:
            wire.send(packet)
        await eventually(until)
        await mdns.close()


@with_multicast
async def test_dsc_1_malformed_packets_are_dropped() -> None:
    heard = Heard()
    mdns = heard.make(ANN)
    spoof = announcement(announced_text(peer(9), [HOME]))
    many = with_more(announcement(announced_text(peer(8), [HOME])), 125)
    good = announcement(announced_text(BOB, [HOME]), name=f"x2.{LONELY_SERVICE}")
    bad = [
        b"",
        spoof[:7],
        spoof[:-3],
        spoof[:6] + b"\x00\x09" + spoof[8:],
        spoof[:12] + b"\xc0\x0c" + spoof[14:],
        spoof + b"\x00" * 9000,
        many,
    ]
    await feed([*bad, good], mdns, lambda: BOB in heard.found)
    assert set(heard.found) == {BOB}


@with_multicast
async def test_dsc_1_records_up_to_the_limit_are_heard() -> None:
    heard = Heard()
    mdns = heard.make(ANN)
    packet = with_more(announcement(announced_text(BOB, [HOME])), 124)
    await feed([packet], mdns, lambda: BOB in heard.found)


@with_multicast
async def test_dsc_2_our_own_announcement_is_not_a_peer() -> None:
    heard = Heard()
    mdns = heard.make(ANN)
    packets = [announcement(announced_text(p, [HOME])) for p in (ANN, BOB)]
    await feed(packets, mdns, lambda: BOB in heard.found)
    assert set(heard.found) == {BOB}


@with_multicast
async def test_nothing_is_left_when_started_and_closed_repeatedly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    mdns = Heard().make(ANN, HOME)
    opened, threads = sockets(), threading.active_count()
    for _ in range(3):
        await mdns.start()
        with pytest.raises(UsageError, match="already started"):
            await mdns.start()
        await mdns.close()
        await mdns.close()
    gc.collect()
    assert sockets() == opened
    assert threading.active_count() == threads
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert caplog.records == []


@with_multicast
async def test_close_ends_a_start_under_way() -> None:
    mdns = Heard().make(ANN, HOME)
    opened = sockets()
    task = asyncio.create_task(mdns.start())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await mdns.close()
    assert sockets() == opened


async def test_missing_multicast_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(interface: str) -> None:
        raise OSError(19, "No such device", interface)

    monkeypatch.setattr(mdns_module, "join_group", refuse)
    with pytest.raises(NetworkError) as caught:
        await Heard().make(ANN, HOME).start()
    assert "\n" not in str(caught.value)
    assert "multicast is not available: udp port 5353: [Errno 19]" in str(caught.value)


async def test_zeroconf_that_cannot_open_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**options: Any) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(mdns_module, "join_group", lambda interface: None)
    monkeypatch.setattr(mdns_module, "Zeroconf", refuse)
    mdns = Heard().make(ANN, HOME)
    with pytest.raises(NetworkError, match="Address already in use"):
        await mdns.start()
    await mdns.close()


def test_interface_without_multicast_is_named() -> None:
    with pytest.raises(NetworkError, match="multicast is not available"):
        check_multicast(["192.0.2.254"])


def test_loopback_host_stays_on_loopback() -> None:
    inner = MDNS(ANN, [HOME], Heard().on_found)
    outer = MDNS(ANN, [HOME, at("192.0.2.7")], Heard().on_found)
    assert inner._interfaces == [LOOPBACK]
    assert outer._interfaces is None
