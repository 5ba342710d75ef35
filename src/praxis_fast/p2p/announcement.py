"""What a peer says of itself in mDNS records: written and read.

One TXT record holds one string for each address, `dnsaddr=<multiaddr>/p2p/<id>`
(libp2p discovery/mdns.md). Everything read here is a hint of a stranger (DSC-2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeroconf import DNSPointer, DNSText

from praxis_fast.errors import AddressError
from praxis_fast.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from zeroconf import DNSRecord

    from praxis_fast.wire.peer_id import PeerID

KEY = "dnsaddr"
# A packet over 1,460 bytes is split, and go-libp2p judges each packet alone: names,
# SRV, A, AAAA and NSEC need up to 400 bytes of it, so the TXT record gets the rest.
MAX_TEXT = 1000
MAX_STRING = 255  # RFC 1035, 3.3: a character string has one length byte

HOSTS = frozenset({"ip4", "ip6", "dns", "dns4", "dns6"})

Addresses = tuple[Multiaddr, ...]


def is_dialable(addr: Multiaddr) -> bool:
    """Whether the address is a plain TCP one that somebody may be listening on."""
    names = [name for name, _ in addr.without_peer().parts]
    if names == ["dnsaddr"]:
        return True
    if len(names) != 2 or names[0] not in HOSTS or names[1] != "tcp":
        return False
    return not addr.is_unspecified and bool(addr.port)


def is_announceable(addr: Multiaddr) -> bool:
    """Whether the address may stand in an announcement: a dialable ip4 or ip6 one.

    As go-libp2p has it; and a stranger's names are not looked up.
    """
    return is_dialable(addr) and addr.host[0] in ("ip4", "ip6")


def announced_text(peer_id: PeerID, addrs: Sequence[Multiaddr]) -> bytes:
    """The TXT data for these addresses, as many as one packet holds."""
    text = b""
    for addr in addrs:
        string = f"{KEY}={addr.with_peer(peer_id)}".encode()
        if len(string) <= MAX_STRING and len(text) + 1 + len(string) <= MAX_TEXT:
            text += bytes([len(string)]) + string
    return text


def heard_peers(
    records: Iterable[DNSRecord], service: str, max_addresses: int
) -> dict[PeerID, Addresses]:
    """The peers that the records of one packet announce under `service`.

    A TXT record counts when its name ends in the service, or when a PTR record of the
    same packet names it (rust-libp2p's instances do not end in the service).
    """
    records = list(records)
    instances = {
        record.alias.lower()
        for record in records
        if isinstance(record, DNSPointer) and record.name.lower() == service
    }
    heard: dict[PeerID, list[Multiaddr]] = {}
    for record in records:
        if isinstance(record, DNSText) and (
            record.name.lower() in instances
            or record.name.lower().endswith("." + service)
        ):
            _hear(record.text, heard, max_addresses)
    return {peer_id: tuple(addrs) for peer_id, addrs in heard.items()}


def _hear(
    text: bytes, heard: dict[PeerID, list[Multiaddr]], max_addresses: int
) -> None:
    for peer_id, addr in _text_addresses(text):
        addrs = heard.setdefault(peer_id, [])
        if addr not in addrs and len(addrs) < max_addresses:
            addrs.append(addr)


def _text_addresses(text: bytes) -> Iterator[tuple[PeerID, Multiaddr]]:
    named: str | None = None
    listed: list[str] = []
    for key, value in _pairs(text):
        # py-libp2p calls the second string dnsaddr2, the third dnsaddr3.
        if key.rstrip("0123456789") == KEY:
            yield from _address(value)
        elif key == "peer_id":
            named = value
        elif key == "addresses":
            listed = value.split(",")
    if named is not None:
        for value in listed:
            yield from _address(f"{value.partition('/p2p/')[0]}/p2p/{named}")


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    """Key and value of each string; a record cut short yields nothing."""
    pos = 0
    pairs = []
    while pos < len(text):
        end = pos + 1 + text[pos]
        if end > len(text):
            return
        key, equals, value = text[pos + 1 : end].partition(b"=")
        if equals:
            pairs.append((key.decode(errors="replace"), value.decode(errors="replace")))
        pos = end
    yield from pairs


def _address(value: str) -> Iterator[tuple[PeerID, Multiaddr]]:
    try:
        addr = Multiaddr.parse(value)
        peer_id = addr.peer_id
        if peer_id is not None and is_announceable(addr):
            yield peer_id, addr
    except AddressError:
        return
