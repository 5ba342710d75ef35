"""Multiaddrs: published examples, round trips, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from praxis_fast.errors import AddressError
from praxis_fast.wire.keys import PrivateKey
from praxis_fast.wire.multiaddr import MAX_SIZE, MAX_TEXT, PROTOCOLS, Multiaddr
from praxis_fast.wire.peer_id import PeerID

PEER = PrivateKey.from_seed(bytes(range(32))).peer_id
OTHER = PrivateKey.from_seed(bytes(range(1, 33))).peer_id

# multiformats/multiaddr: README "Specification" and test/multiaddr.feature.
PUBLISHED = [
    ("/ip4/127.0.0.1/udp/1234", "047f000001910204d2"),
    ("/ip4/192.0.2.42/tcp/443", "04c000022a0601bb"),
]

CERTIFICATE = "uEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K_1aluKR_tpevQ"

# Forms seen in identify messages and mDNS answers of foreign peers.
FOREIGN = [
    "/ip6/2001:db8::1/tcp/4001",
    "/ip6zone/eth0/ip6/fe80::1/tcp/4001",
    "/dns/example.org/tcp/443/wss",
    "/dns4/example.org/tcp/443/tls/ws",
    "/dns6/example.org/tcp/443/tls/sni/example.org/ws",
    f"/dnsaddr/example.org/p2p/{PEER}",
    "/ip4/192.0.2.1/udp/4001/quic-v1",
    f"/ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/{CERTIFICATE}",
    "/ip4/192.0.2.1/udp/9/webrtc-direct",
    f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{OTHER}",
    "/memory/x",
    "/ip4/10.0.0.0/ipcidr/8",
]


@pytest.mark.parametrize(("text", "packed"), PUBLISHED)
def test_published_examples_are_read_both_ways(text: str, packed: str) -> None:
    address = Multiaddr.parse(text)
    assert address.to_bytes().hex() == packed
    assert Multiaddr.from_bytes(bytes.fromhex(packed)) == address
    assert str(address) == text


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_address_comes_back(text: str) -> None:
    address = Multiaddr.parse(text)
    assert str(address) == text
    assert Multiaddr.from_bytes(address.to_bytes()) == address


def test_codes_of_the_protocols_we_use_are_pinned() -> None:
    codes = {protocol.name: protocol.code for protocol in PROTOCOLS}
    assert codes["ip4"] == 4
    assert codes["tcp"] == 6
    assert codes["ip6"] == 41
    assert codes["dns"] == 53
    assert codes["dns4"] == 54
    assert codes["dns6"] == 55
    assert codes["dnsaddr"] == 56
    assert codes["udp"] == 273
    assert codes["p2p-circuit"] == 290
    assert codes["p2p"] == 421
    assert codes["tls"] == 448
    assert codes["quic-v1"] == 461
    assert codes["ws"] == 477
    assert codes["wss"] == 478
    assert len(set(codes.values())) == len(codes)


def test_parts_host_and_port_are_told() -> None:
    address = Multiaddr.parse(f"/ip4/192.0.2.1/tcp/4001/ws/p2p/{PEER}")
    assert address.parts == (
        ("ip4", "192.0.2.1"),
        ("tcp", "4001"),
        ("ws", ""),
        ("p2p", PEER),
    )
    assert address.host == ("ip4", "192.0.2.1")
    assert address.port == 4001
    assert address.peer_id == PEER
    assert type(address.peer_id) is PeerID
    assert repr(address) == f"Multiaddr('{address}')"


def test_host_of_a_zoned_address_has_its_zone() -> None:
    address = Multiaddr.parse("/ip6zone/eth0/ip6/fe80::1/tcp/4001")
    assert address.host == ("ip6", "fe80::1%eth0")
    assert Multiaddr.tcp("fe80::1%eth0", 4001) == address


def test_host_and_port_are_empty_when_there_is_none() -> None:
    address = Multiaddr.parse(f"/p2p/{PEER}/p2p-circuit")
    assert address.host == ("", "")
    assert address.port is None
    assert address.peer_id is None
    assert not address.is_loopback
    assert not address.is_unspecified


def test_peer_is_the_last_one_behind_a_relay() -> None:
    address = Multiaddr.parse(f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit")
    assert address.peer_id is None
    assert address.with_peer(OTHER).peer_id == OTHER
    assert address.without_peer() is address


def test_peer_is_put_behind_replaced_and_taken_off() -> None:
    address = Multiaddr.tcp("192.0.2.1", 4001)
    full = address.with_peer(PEER)
    assert str(full) == f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"
    assert full.with_peer(OTHER) == address.with_peer(OTHER)
    assert full.without_peer() == address
    only = Multiaddr.parse(f"/p2p/{PEER}")
    assert only.without_peer().parts == ()
    assert only.without_peer().peer_id is None
    assert only.without_peer().with_peer(PEER) == only


@pytest.mark.parametrize(
    ("text", "is_loopback", "is_unspecified"),
    [
        ("/ip4/127.0.0.1/tcp/1", True, False),
        ("/ip4/127.9.9.9/tcp/1", True, False),
        ("/ip6/::1/tcp/1", True, False),
        ("/ip6/::ffff:127.0.0.1/tcp/1", True, False),
        ("/ip4/0.0.0.0/tcp/1", False, True),
        ("/ip6/::/tcp/1", False, True),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", False, False),
        ("/ip6zone/%eth0/ip6/::1/tcp/1", True, False),
        ("/ip6zone/eth0/ip4/127.0.0.1/tcp/1", True, False),
        ("/ip4/192.0.2.1/tcp/1", False, False),
        ("/dns4/localhost/tcp/1", False, False),
    ],
)
def test_loopback_and_unspecified_hosts_are_told_apart(
    text: str, is_loopback: bool, is_unspecified: bool
) -> None:
    address = Multiaddr.parse(text)
    assert address.is_loopback is is_loopback
    assert address.is_unspecified is is_unspecified


def test_equal_addresses_are_one_in_a_set() -> None:
    spellings = [
        "/ip6/2001:db8:0:0:0:0:0:1/tcp/04001",
        "/ip6/2001:DB8::1/tcp/4001",
    ]
    assert len({Multiaddr.parse(text) for text in spellings}) == 1
    assert Multiaddr.parse(f"/ipfs/{PEER}") == Multiaddr.parse(f"/p2p/{PEER}")


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(lambda ip: f"/ip4/{ip}"),
    st.ip_addresses(v=6).map(lambda ip: f"/ip6/{ip}"),
    st.from_regex(r"\A[a-z0-9.-]{1,60}\Z").map(lambda name: f"/dns4/{name}"),
)
SUFFIXES = st.sampled_from(["", "/ws", "/tls/ws", f"/p2p/{PEER}", "/tls/sni/a"])


@given(HOSTS, st.integers(0, 65535), SUFFIXES)
def test_text_and_bytes_say_the_same(host: str, port: int, suffix: str) -> None:
    address = Multiaddr.parse(f"{host}/tcp/{port}{suffix}")
    assert Multiaddr.from_bytes(address.to_bytes()) == address
    assert Multiaddr.parse(str(address)) == address
    assert address.port == port


@given(st.binary(min_size=1, max_size=60))
@example(b"\x35\x03a/b")
@example(b"\xdd\x03")
def test_any_bytes_are_an_address_or_refused(data: bytes) -> None:
    try:
        address = Multiaddr.from_bytes(data)
    except AddressError:
        return
    assert address.to_bytes() == data
    assert Multiaddr.parse(str(address)) == address


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = Multiaddr.parse(text)
    except AddressError:
        return
    assert Multiaddr.from_bytes(address.to_bytes()) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//",
        "ip4/127.0.0.1",
        "/ip4",
        "/ip4/",
        "/ip4/127.0.0.1/",
        "/ip4/127.0.0.1/tcp",
        "/ip4/127.0.0.1//tcp/1",
        "/ip4/127.0.0.01/tcp/1",
        "/ip4/127.1/tcp/1",
        "/ip4/::1/tcp/1",
        "/ip6/127.0.0.1/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/+1",
        "/ip4/127.0.0.1/tcp/1e3",
        "/ip4/127.0.0.1/tcp/٣",
        "/ip4/127.0.0.1/tcp/000001",
        "/ip4/10.0.0.0/ipcidr/256",
        "/IP4/127.0.0.1",
        "/nothing/1",
        "/p2p/hello",
        "/dns4/a b/tcp/1",
        "/dns4/a\nb/tcp/1",
        "/dns4/a\x00b/tcp/1",
        "/dns4/\ud800/tcp/1",
        "/dns4/" + "a" * 256,
        "/certhash/zabc",
        "/certhash/u",
        "/certhash/uA",
        "/certhash/u!!!!",
        "/certhash/uAB",
        "/ip4/127.0.0.1" * 33,
        "/ws" * 700,
    ],
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        Multiaddr.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x04",
        b"\x04\x7f\x00\x00",
        b"\x84\x00\x7f\x00\x00\x01",
        b"\x03\x00",
        b"\x35\x00",
        b"\x35\x05abc",
        b"\x35\x83\x00abc",
        b"\x35\x03a/b",
        b"\x35\x02\xff\xff",
        b"\x35\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xa5\x03\x03abc",
        b"\xff" * 12,
        b"\xdd\x03" * 33,
        b"\xdd\x03" * MAX_SIZE,
    ],
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(AddressError):
        Multiaddr.from_bytes(data)


def test_limits_are_told_when_an_address_is_too_long() -> None:
    with pytest.raises(AddressError, match=f"3000 characters, limit {MAX_TEXT}"):
        Multiaddr.parse("/" * 3000)
    with pytest.raises(AddressError, match=f"1025 bytes, limit {MAX_SIZE}"):
        Multiaddr.from_bytes(bytes(1025))
