"""What is written into TXT records, and what is made of those of strangers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import DNSPointer, DNSRecord, DNSText

from praxis_fast.p2p.announcement import (
    MAX_TEXT,
    announced_text,
    heard_peers,
    is_dialable,
)
from praxis_fast.p2p.mdns import SERVICE
from praxis_fast.wire.multiaddr import Multiaddr
from tests.p2p.peers import at, peer

ANN, BOB = peer(1), peer(2)
HOME, AWAY = at("192.0.2.1"), at("192.0.2.2")
NAME = f"abc.{SERVICE}"


def strings(*parts: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in parts)


def text_record(*parts: str, name: str = NAME) -> DNSText:
    return DNSText(name, 16, 1, 120, strings(*parts))


def heard(*records: DNSRecord) -> dict[str, list[str]]:
    found = heard_peers(records, SERVICE, 20)
    return {
        str(peer_id): [str(addr.without_peer()) for addr in addrs]
        for peer_id, addrs in found.items()
    }


def test_text_holds_one_string_for_each_address() -> None:
    text = announced_text(ANN, [HOME, AWAY])
    assert text == strings(f"dnsaddr={HOME}/p2p/{ANN}", f"dnsaddr={AWAY}/p2p/{ANN}")


def test_text_is_read_back_as_written() -> None:
    record = DNSText(NAME, 16, 1, 120, announced_text(ANN, [HOME, AWAY]))
    assert heard(record) == {ANN: [str(HOME), str(AWAY)]}


def test_text_leaves_room_for_the_other_records_of_its_packet() -> None:
    text = announced_text(ANN, [at("192.0.2.1", port) for port in range(1, 100)])
    assert len(text) <= MAX_TEXT
    assert len(heard(DNSText(NAME, 16, 1, 120, text))[ANN]) >= 8


def test_several_text_records_are_one_announcement() -> None:
    first = text_record(f"dnsaddr={HOME}/p2p/{ANN}")
    second = text_record(f"dnsaddr={AWAY}/p2p/{ANN}")
    assert heard(first, second) == {ANN: [str(HOME), str(AWAY)]}


def test_several_peers_in_one_record_are_split() -> None:
    record = text_record(f"dnsaddr={HOME}/p2p/{ANN}", f"dnsaddr={AWAY}/p2p/{BOB}")
    assert heard(record) == {ANN: [str(HOME)], BOB: [str(AWAY)]}


def test_numbered_keys_of_py_libp2p_are_read() -> None:
    record = text_record(f"dnsaddr={HOME}/p2p/{ANN}", f"dnsaddr2={AWAY}/p2p/{ANN}")
    assert heard(record) == {ANN: [str(HOME), str(AWAY)]}


def test_keys_of_the_python_sdk_are_read() -> None:
    record = text_record(f"addresses={HOME},{AWAY}/p2p/{ANN}", f"peer_id={ANN}")
    assert heard(record) == {ANN: [str(HOME), str(AWAY)]}


def test_instance_may_be_named_by_the_pointer_alone() -> None:
    record = text_record(f"dnsaddr={HOME}/p2p/{ANN}", name="elsewhere.local.")
    pointer = DNSPointer(SERVICE, 12, 1, 120, "Elsewhere.local.")
    assert heard(record) == {}
    assert heard(record, pointer) == {ANN: [str(HOME)]}


def test_records_of_other_services_are_passed_over() -> None:
    record = text_record(f"dnsaddr={HOME}/p2p/{ANN}", name="abc._p2p._udp.local.")
    assert heard(record) == {}


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "dnsaddr",
        "dnsaddr=",
        "dnsaddr=junk",
        f"dnsaddr={HOME}",
        f"dnsaddr={HOME}/p2p/junk",
        f"dnsaddr=/ip4/0.0.0.0/tcp/4001/p2p/{ANN}",
        f"dnsaddr=/ip6/::/tcp/4001/p2p/{ANN}",
        f"dnsaddr=/ip4/192.0.2.1/tcp/0/p2p/{ANN}",
        f"dnsaddr=/ip4/192.0.2.1/p2p/{ANN}",
        f"dnsaddr=/p2p/{ANN}",
        f"dnsaddr=/dns4/example.org/tcp/4001/p2p/{ANN}",
        f"dnsaddr=/dnsaddr/example.org/p2p/{ANN}",
        f"path=/ip4/192.0.2.1/tcp/1/p2p/{ANN}",
        "peer_id=junk",
    ],
)
def test_dsc_2_junk_strings_are_skipped(junk: str) -> None:
    good = f"dnsaddr={AWAY}/p2p/{BOB}"
    assert heard(text_record(junk, good)) == {BOB: [str(AWAY)]}


def test_dsc_1_text_cut_short_is_dropped_whole() -> None:
    text = announced_text(ANN, [HOME, AWAY])
    assert heard(DNSText(NAME, 16, 1, 120, text[:-1])) == {}


def test_id_3_addresses_of_a_peer_are_bounded() -> None:
    parts = [f"dnsaddr={at('192.0.2.1', port)}/p2p/{ANN}" for port in range(1, 80)]
    assert len(heard(text_record(*parts))[ANN]) == 20


@given(st.binary(max_size=400))
def test_dsc_1_any_bytes_are_read_without_an_error(text: bytes) -> None:
    heard_peers([DNSText(NAME, 16, 1, 120, text)], SERVICE, 20)


def test_dsc_1_damaged_text_is_read_without_an_error(seed: random.Random) -> None:
    text = announced_text(ANN, [HOME, AWAY])
    for _ in range(500):
        damaged = bytearray(text)
        damaged[seed.randrange(len(text))] = seed.randrange(256)
        heard_peers([DNSText(NAME, 16, 1, 120, bytes(damaged))], SERVICE, 20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/ip4/192.0.2.1/tcp/4001", True),
        ("/ip6/2001:db8::1/tcp/4001", True),
        ("/dns4/example.org/tcp/4001", True),
        ("/dnsaddr/example.org", True),
        ("/ip4/0.0.0.0/tcp/4001", False),
        ("/ip4/192.0.2.1/tcp/0", False),
        ("/ip4/192.0.2.1", False),
        ("/tcp/4001", False),
    ],
)
def test_dialable_is_a_tcp_listener(text: str, expected: bool) -> None:
    assert is_dialable(Multiaddr.parse(text)) is expected
