"""Peer ids in all their forms."""

from __future__ import annotations

import copy
import hashlib
import pickle

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import AddressError
from praxis_fast.wire.base import encode_base32, encode_base36, encode_base58
from praxis_fast.wire.keys import KeyType, PrivateKey, PublicKey
from praxis_fast.wire.peer_id import CID_PREFIX, PeerID

# libp2p specification, peer-ids/peer-ids.md, "Decoding", "Examples".
CID = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe"
SAME_AS_CID = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
ED25519 = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"

MULTIHASHES = st.one_of(
    st.binary(min_size=1, max_size=42).map(lambda d: bytes((0, len(d))) + d),
    st.binary(min_size=32, max_size=32).map(lambda d: b"\x12\x20" + d),
)


def test_published_examples_are_read() -> None:
    assert PeerID.parse(CID) == PeerID.parse(CID.upper()) == SAME_AS_CID
    assert PeerID.parse(SAME_AS_CID).multihash[:2] == b"\x12\x20"
    assert PeerID.parse(ED25519).multihash[:6] == bytes.fromhex("002408011220")


def test_key_stands_in_an_ed25519_peer_id() -> None:
    key = PeerID.parse(ED25519).public_key
    assert key is not None
    assert key.type is KeyType.ED25519
    assert key.peer_id == ED25519
    assert PeerID.parse(SAME_AS_CID).public_key is None


def test_public_key_is_none_when_the_id_holds_no_good_one() -> None:
    assert PeerID.from_bytes(b"\x00\x03abc").public_key is None
    small_order = PublicKey(KeyType.ED25519, bytes(32))
    assert PeerID.from_public_key(small_order).public_key is None


def test_peer_id_is_made_by_hashing_when_the_key_is_longer_than_42_bytes() -> None:
    short = PublicKey(KeyType.SECP256K1, bytes(38))
    assert len(short.to_protobuf()) == 42
    assert short.peer_id.multihash == b"\x00\x2a" + short.to_protobuf()
    long = PublicKey(KeyType.SECP256K1, bytes(39))
    digest = hashlib.sha256(long.to_protobuf()).digest()
    assert long.peer_id.multihash == b"\x12\x20" + digest


@given(MULTIHASHES)
def test_every_text_form_gives_the_same_id(multihash: bytes) -> None:
    peer = PeerID.from_bytes(multihash)
    cid = CID_PREFIX + multihash
    assert peer.multihash == multihash
    assert str(peer) == base58.b58encode(multihash).decode()
    for text in (
        "b" + encode_base32(cid),
        "B" + encode_base32(cid).upper(),
        "z" + encode_base58(cid),
        "k" + encode_base36(cid),
        "f" + cid.hex(),
    ):
        assert PeerID.parse(text) == peer


def test_peer_id_is_its_text_where_strings_are_used() -> None:
    peer = PrivateKey.generate().peer_id
    assert {str(peer): 1}[peer] == 1
    assert repr(peer) == f"PeerID('{peer}')"
    assert f"/p2p/{peer}" == "/p2p/" + str(peer)
    for copied in (copy.deepcopy(peer), pickle.loads(pickle.dumps(peer))):
        assert copied == peer
        assert type(copied) is PeerID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "Qm",
        "hello",
        "12D3KooW",
        ED25519[:-1],
        ED25519 + "1",
        ED25519 + "\n",
        "1" + ED25519,
        "Qm" + "1" * 44,
        "b",
        "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqx",
        "b" + encode_base32(b"\x01\x55\x12\x20" + bytes(32)),
        "b" + encode_base32(b"\x00\x72\x12\x20" + bytes(32)),
        "B" + CID[1:],
        "f01",
        "f0172" + "0g",
        "f017",
        "1" * 129,
        "é" * 10,
    ],
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        PeerID.parse(text)


@pytest.mark.parametrize(
    "multihash",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x2b" + bytes(43),
        b"\x00\x05abcd",
        b"\x00\x03abcd",
        b"\x00\x83\x00abc",
        b"\x80\x00\x03abc",
        b"\x12\x1f" + bytes(31),
        b"\x12\x20" + bytes(33),
        b"\x13\x40" + bytes(64),
        b"\xff" * 20,
    ],
)
def test_malformed_multihash_is_refused(multihash: bytes) -> None:
    with pytest.raises(AddressError):
        PeerID.from_bytes(multihash)
