"""Who and where a peer is: protobuf, identify, keys, peer ids and addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from praxis_fast.errors import (
    AddressError,
    IdentifyError,
    ProtobufError,
    PublicKeyError,
)
from praxis_fast.limits import IdentifyLimits
from praxis_fast.wire.identify import Identify, IdentifyReader
from praxis_fast.wire.keys import PrivateKey, PublicKey
from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.peer_id import PeerID
from praxis_fast.wire.protobuf import (
    decode_uvarint,
    encode_bytes,
    encode_number,
    encode_varint,
    read_fields,
)
from tests.fuzz.target import ParserTarget, Target, attempt, same_for_every_cut
from tests.wire.key_vectors import (
    ECDSA_PUBLIC,
    ED25519_PRIVATE,
    ED25519_PUBLIC,
    RSA_PUBLIC,
    SECP256K1_PUBLIC,
)

KEYS = (ECDSA_PUBLIC, ED25519_PUBLIC, SECP256K1_PUBLIC, RSA_PUBLIC)
PEERS = tuple(PublicKey.from_protobuf(key).peer_id for key in KEYS)
TEXTS = (
    f"/ip4/192.0.2.1/tcp/4001/p2p/{PEERS[1]}",
    f"/ip6/2001:db8::1/tcp/0/ws/p2p/{PEERS[2]}",
    f"/ip6zone/eth0/ip6/fe80::1/udp/4001/quic-v1/p2p/{PEERS[0]}/p2p-circuit",
    "/dns4/node.example/tcp/443/wss",
    "/dnsaddr/bootstrap.example",
    "/unix/tmp/socket",
)


class Protobuf(ParserTarget):
    """Fields and varints; what was read can be written again."""

    name = "protobuf"
    tokens = (b"\x08", b"\x12", b"\x80\x01", b"\xff" * 9 + b"\x01", b"\x0d", b"\x09")

    def seeds(self) -> Sequence[bytes]:
        fields = [encode_number(1, 300), encode_bytes(2, b"text"), b"\x1d1234"]
        return [*fields, b"".join(fields), encode_bytes(7, fields[1]), b"\x2112345678"]

    def check(self, data: bytes) -> None:
        fields = attempt(ProtobufError, lambda: list(read_fields(data)))
        if not isinstance(fields, ProtobufError):
            plain = [field for field in fields if isinstance(field.value, int | bytes)]
            assert len(plain) == len(fields)
        length = attempt(ProtobufError, decode_uvarint, data)
        if not isinstance(length, ProtobufError):
            assert data.startswith(encode_varint(length[0]))


class IdentifyMessage(ParserTarget):
    """Identify messages as they come over a stream."""

    name = "identify"
    tokens = (b"\x80", b"\xff\xff\x03", b"\x12\x00", b"\x1a\x05/a/b/", ED25519_PUBLIC)
    limits = IdentifyLimits(max_messages=3, max_protocols=4, max_addresses=4)

    def seeds(self) -> Sequence[bytes]:
        whole = Identify(
            protocol_version="ipfs/0.1.0",
            agent_version="go-libp2p/0.42",
            public_key=ED25519_PUBLIC,
            listen_addrs=(b"\x04\xc0\0\x02\x01\x06\x0f\xa1",),
            observed_addr=b"\x04\xc0\0\x02\x02\x06\x0f\xa1",
            protocols=("/ipfs/id/1.0.0", "/praxis/card/1.0.0"),
            signed_peer_record=b"record",
        ).encode()
        short = encode_bytes(3, b"/x")
        return [prefixed(whole), prefixed(whole) + prefixed(short), prefixed(short) * 4]

    def check(self, data: bytes) -> None:
        def run(chunks: list[bytes]) -> Any:
            found = attempt(IdentifyError, self.read, chunks)
            return str(found) if isinstance(found, IdentifyError) else found

        found = same_for_every_cut(run, data)
        if isinstance(found, Identify):
            assert Identify.decode(found.encode(), self.limits) == found

    def read(self, chunks: list[bytes]) -> Identify:
        reader = IdentifyReader(self.limits)
        for chunk in chunks:
            reader.receive_data(chunk)
        return reader.receive_eof()


def prefixed(message: bytes) -> bytes:
    return encode_varint(len(message)) + message


class Keys(ParserTarget):
    """Public keys, which are canonical or refused, and private ones."""

    name = "keys"
    tokens = (*KEYS, b"\x08\x01\x12\x20", b"\x08\x04", b"\xff" * 32, bytes(32))

    def seeds(self) -> Sequence[bytes]:
        return [*KEYS[:3], *KEYS, ED25519_PRIVATE]

    def check(self, data: bytes) -> None:
        key = attempt(PublicKeyError, PublicKey.from_protobuf, data)
        if isinstance(key, PublicKey):
            assert key.to_protobuf() == data
            assert not key.verify(data[:64], b"unsigned")
            assert key.peer_id.public_key in (key, None)
        private = attempt(PublicKeyError, PrivateKey.from_protobuf, data)
        if isinstance(private, PrivateKey):
            assert private.public_key.verify(private.sign(b"x"), b"x")


class PeerIDs(ParserTarget):
    """Peer ids as bytes and as text."""

    name = "peer-id"
    tokens = (
        b"\x12\x20",
        b"\0\x24",
        b"Qm",
        b"12D3Koo",
        b"bafz",
        b"k51",
        b"z",
        b"f0172",
    )

    def seeds(self) -> Sequence[bytes]:
        cids = [b"f01720" + peer.multihash.hex()[1:].encode() for peer in PEERS]
        texts = [peer.encode() for peer in PEERS]
        return [*(peer.multihash for peer in PEERS), *texts, *cids]

    def check(self, data: bytes) -> None:
        peer = attempt(AddressError, PeerID.from_bytes, data)
        if isinstance(peer, PeerID):
            assert peer.multihash == data
            assert PeerID.parse(peer) == peer
            assert peer.public_key is None or peer.public_key.peer_id == peer
        parsed = attempt(AddressError, PeerID.parse, data.decode("latin-1"))
        if isinstance(parsed, PeerID):
            assert PeerID.from_bytes(parsed.multihash) == parsed
        attempt(AddressError, PeerID.parse, data.decode(errors="replace"))


class Addresses(ParserTarget):
    """Multiaddrs as bytes and as text."""

    name = "multiaddr"
    tokens = (
        *(b"/ip4/", b"/ip6/", b"/tcp/", b"/p2p/", b"/ipfs/", b"/dns/", b"/", b"//"),
        *(b"\x04", b"\x06", b"\x29", b"\xa5\x03", b"\x90\x03", b"\x80", b"65536", b"%"),
    )

    def seeds(self) -> Sequence[bytes]:
        found = []
        for text in TEXTS:
            addr = attempt(AddressError, Multiaddr.parse, text)
            found += [text.encode()]
            found += [addr.to_bytes()] if isinstance(addr, Multiaddr) else []
        return found

    def check(self, data: bytes) -> None:
        read = attempt(AddressError, Multiaddr.from_bytes, data)
        parsed = attempt(AddressError, Multiaddr.parse, data.decode("latin-1"))
        strange = attempt(AddressError, Multiaddr.parse, data.decode(errors="replace"))
        for addr in (read, parsed, strange):
            if isinstance(addr, Multiaddr):
                check_address(addr)


def check_address(addr: Multiaddr) -> None:
    """It is the same after a way through bytes and through text."""
    assert Multiaddr.from_bytes(addr.to_bytes()) == addr
    assert Multiaddr.parse(str(addr)) == addr
    assert hash(Multiaddr.parse(str(addr))) == hash(addr)
    attempt(AddressError, lambda: (addr.host, addr.port, addr.peer_id))
    attempt(AddressError, lambda: (addr.is_loopback, addr.is_unspecified))
    bare = attempt(AddressError, addr.without_peer)
    if isinstance(bare, Multiaddr):
        attempt(AddressError, bare.with_peer, PEERS[1])


IDENTITY: tuple[type[Target], ...] = (
    Protobuf,
    IdentifyMessage,
    Keys,
    PeerIDs,
    Addresses,
)
