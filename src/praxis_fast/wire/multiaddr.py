"""Multiaddrs: self-describing network addresses, as text and as bytes.

multiformats/multiaddr, README "Specification" and protocols.csv. What identify and mDNS
of foreign peers carry is read; the few forms left out (onion, garlic, paths) are an
AddressError, so that a caller can pass over such an address.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praxis_fast.errors import AddressError, ProtobufError
from praxis_fast.wire import address_value as value
from praxis_fast.wire.peer_id import PeerID
from praxis_fast.wire.protobuf import decode_uvarint, encode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from praxis_fast.wire.address_value import Codec

Part = tuple[str, str]
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Far beyond any real address: a longer one is an attack on our memory.
MAX_SIZE = 1024
MAX_TEXT = 1024
MAX_PARTS = 32

VARIABLE = -1


@dataclass(frozen=True, slots=True)
class Protocol:
    """One row of protocols.csv."""

    name: str
    code: int
    size: int
    """Bytes of the value; `VARIABLE` when a varint tells them."""
    codec: Codec | None = None
    """Between the value's text and bytes; None when there is no value."""


PROTOCOLS = (
    Protocol("ip4", 4, 4, value.IP4),
    Protocol("tcp", 6, 2, value.PORT),
    Protocol("dccp", 33, 2, value.PORT),
    Protocol("ip6", 41, 16, value.IP6),
    Protocol("ip6zone", 42, VARIABLE, value.TEXT),
    Protocol("ipcidr", 43, 1, value.MASK),
    Protocol("dns", 53, VARIABLE, value.TEXT),
    Protocol("dns4", 54, VARIABLE, value.TEXT),
    Protocol("dns6", 55, VARIABLE, value.TEXT),
    Protocol("dnsaddr", 56, VARIABLE, value.TEXT),
    Protocol("sctp", 132, 2, value.PORT),
    Protocol("udp", 273, 2, value.PORT),
    Protocol("p2p-webrtc-star", 275, 0),
    Protocol("p2p-webrtc-direct", 276, 0),
    Protocol("p2p-stardust", 277, 0),
    Protocol("webrtc-direct", 280, 0),
    Protocol("webrtc", 281, 0),
    Protocol("p2p-circuit", 290, 0),
    Protocol("udt", 301, 0),
    Protocol("utp", 302, 0),
    Protocol("p2p", 421, VARIABLE, value.PEER),
    Protocol("https", 443, 0),
    Protocol("tls", 448, 0),
    Protocol("sni", 449, VARIABLE, value.TEXT),
    Protocol("noise", 454, 0),
    Protocol("quic", 460, 0),
    Protocol("quic-v1", 461, 0),
    Protocol("webtransport", 465, 0),
    Protocol("certhash", 466, VARIABLE, value.HASH),
    Protocol("ws", 477, 0),
    Protocol("wss", 478, 0),
    Protocol("p2p-websocket-star", 479, 0),
    Protocol("http", 480, 0),
    Protocol("memory", 777, VARIABLE, value.TEXT),
)

_BY_NAME = {protocol.name: protocol for protocol in PROTOCOLS}
# "preferred over /ipfs": read, never written.
_BY_NAME["ipfs"] = _BY_NAME["p2p"]
_BY_CODE = {protocol.code: protocol for protocol in PROTOCOLS}

_HOSTS = frozenset({"ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr"})
_PORTS = frozenset({"tcp", "udp"})


@dataclass(frozen=True, slots=True)
class Multiaddr:
    """One address; make it with `parse`, `from_bytes` or `tcp`, which check it."""

    parts: tuple[Part, ...]
    """Protocol names and values in order; a protocol without a value has ""."""

    @classmethod
    def parse(cls, text: str) -> Multiaddr:
        """An address from its text."""
        if len(text) > MAX_TEXT:
            raise AddressError(f"address of {len(text)} characters, limit {MAX_TEXT}")
        first, *words = text.split("/")
        if first or not words:
            raise AddressError(f"address {text!r} does not begin with a slash")
        try:
            return cls._checked(tuple(_read_words(words)))
        except AddressError as error:
            raise AddressError(f"address {text!r}: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Multiaddr:
        """An address from its binary form."""
        if not 0 < len(data) <= MAX_SIZE:
            raise AddressError(f"address of {len(data)} bytes, limit {MAX_SIZE}")
        try:
            return cls._checked(tuple(_read_bytes(data)))
        except ProtobufError as error:
            raise AddressError(f"malformed address: {error}") from error

    @classmethod
    def tcp(cls, ip: str, port: int) -> Multiaddr:
        """A TCP address from what a socket shows, an interface behind % included."""
        ip, _, zone = ip.partition("%")
        name = "ip6" if ":" in ip else "ip4"
        prefix = f"/ip6zone/{zone}" if zone else ""
        return cls.parse(f"{prefix}/{name}/{ip}/tcp/{port}")

    @classmethod
    def _checked(cls, parts: tuple[Part, ...]) -> Multiaddr:
        if len(parts) > MAX_PARTS:
            raise AddressError(f"address of {len(parts)} parts, limit {MAX_PARTS}")
        return cls(parts)

    def to_bytes(self) -> bytes:
        """The binary form."""
        return b"".join(_part_bytes(name, text) for name, text in self.parts)

    @property
    def host(self) -> Part:
        """Kind and value of the host; two empty strings when there is none.

        The kind is ip4, ip6, dns, dns4, dns6 or dnsaddr; an IPv6 zone stands behind %.
        """
        zone = ""
        for name, text in self.parts:
            if name == "ip6zone":
                zone = f"%{text}"
            elif name in _HOSTS:
                return name, text + zone if name == "ip6" else text
        return "", ""

    @property
    def port(self) -> int | None:
        """The first TCP or UDP port."""
        for name, text in self.parts:
            if name in _PORTS:
                return int(text)
        return None

    @property
    def peer_id(self) -> PeerID | None:
        """The peer that the address leads to, if it ends in one."""
        if not self.parts or self.parts[-1][0] != "p2p":
            return None
        return PeerID(self.parts[-1][1])

    @property
    def is_loopback(self) -> bool:
        """Whether the host is a loopback IP address."""
        ip = self._ip()
        return ip is not None and ip.is_loopback

    @property
    def is_unspecified(self) -> bool:
        """Whether the host is 0.0.0.0 or ::, which stand for all interfaces."""
        ip = self._ip()
        return ip is not None and ip.is_unspecified

    def with_peer(self, peer_id: PeerID) -> Multiaddr:
        """This address, leading to the given peer."""
        return Multiaddr((*self.without_peer().parts, ("p2p", peer_id)))

    def without_peer(self) -> Multiaddr:
        """This address without the peer it ends in."""
        if not self.parts or self.parts[-1][0] != "p2p":
            return self
        return Multiaddr(self.parts[:-1])

    def _ip(self) -> IPAddress | None:
        kind, text = self.host
        if kind == "ip4":
            return ipaddress.IPv4Address(text)
        if kind == "ip6":
            # The zone may be any text, the library takes a few only.
            ip = ipaddress.IPv6Address(text.partition("%")[0])
            return ip.ipv4_mapped or ip
        return None

    def __str__(self) -> str:
        return "".join(
            f"/{name}/{text}" if text else f"/{name}" for name, text in self.parts
        )

    def __repr__(self) -> str:
        return f"Multiaddr({str(self)!r})"


def _read_words(words: list[str]) -> Iterator[Part]:
    """The parts of a text, values in their canonical form."""
    rest = iter(words)
    for name in rest:
        protocol = _BY_NAME.get(name)
        if protocol is None:
            raise AddressError(f"unknown protocol {name!r}")
        if protocol.codec is None:
            yield protocol.name, ""
            continue
        text = next(rest, "")
        if not text:
            raise AddressError(f"{name} without a value")
        yield protocol.name, _clean(protocol.codec, text)


def _clean(codec: Codec, text: str) -> str:
    if codec.clean is not None:
        return codec.clean(text)
    return codec.to_text(codec.to_bytes(text))


def _read_bytes(data: bytes) -> Iterator[Part]:
    pos = 0
    while pos < len(data):
        code, pos = decode_uvarint(data, pos)
        protocol = _BY_CODE.get(code)
        if protocol is None:
            raise AddressError(f"unknown protocol code {code}")
        size = protocol.size
        if size == VARIABLE:
            size, pos = decode_uvarint(data, pos)
        if size > len(data) - pos:
            raise AddressError(
                f"{protocol.name} of {size} bytes, {len(data) - pos} left"
            )
        codec = protocol.codec
        text = "" if codec is None else codec.to_text(data[pos : pos + size])
        yield protocol.name, text
        pos += size


def _part_bytes(name: str, text: str) -> bytes:
    protocol = _BY_NAME[name]
    code = encode_varint(protocol.code)
    if protocol.codec is None:
        return code
    data = protocol.codec.to_bytes(text)
    if protocol.size == VARIABLE:
        return code + encode_varint(len(data)) + data
    return code + data
