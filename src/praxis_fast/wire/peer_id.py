"""Peer ids: the multihash of a peer's public key.

libp2p specification, peer-ids/peer-ids.md: keys of up to 42 bytes are their own
(identity) multihash, longer ones are hashed with SHA-256. Text is base58btc; CIDv1 text
is read too.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from praxis_fast.errors import AddressError, ProtobufError, PublicKeyError
from praxis_fast.wire import base
from praxis_fast.wire.keys import PublicKey
from praxis_fast.wire.protobuf import decode_uvarint

if TYPE_CHECKING:
    from collections.abc import Callable

IDENTITY = 0x00
SHA256 = 0x12
MAX_INLINE_KEY = 42

# CIDv1 and the `libp2p-key` multicodec.
CID_PREFIX = b"\x01\x72"

# Texts that are no CID begin so: identity multihashes and those of SHA-256.
BASE58_STARTS = ("1", "Qm")

# Longest sensible text: a base16 CIDv1 of an inline key.
MAX_TEXT = 128

_MULTIBASES: dict[str, Callable[[str], bytes]] = {
    "b": base.decode_base32,
    "B": lambda text: base.decode_base32(_lower(text)),
    "f": lambda text: _decode_base16(text),
    "k": base.decode_base36,
    "z": base.decode_base58,
}


class PeerID(str):
    """A peer's id; the string itself is its base58btc text.

    Equal to and hashed like that text, so plain strings find it in mappings.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> PeerID:
        """A peer id from its text, base58btc or CIDv1."""
        if isinstance(text, PeerID):
            return text
        multihash = _decode_text(text)
        if not text.startswith(BASE58_STARTS):
            return cls.from_bytes(multihash)
        _check_multihash(multihash)
        # What decodes has no other base58btc text.
        return str.__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> PeerID:
        """A peer id from its text, base58btc or CIDv1."""
        return cls(text)

    @classmethod
    def from_bytes(cls, multihash: bytes) -> PeerID:
        """A peer id from its multihash."""
        _check_multihash(multihash)
        return str.__new__(cls, base.encode_base58(multihash))

    @classmethod
    def from_public_key(cls, key: PublicKey) -> PeerID:
        """The id of the peer that owns the key."""
        encoded = key.to_protobuf()
        if len(encoded) <= MAX_INLINE_KEY:
            return cls.from_bytes(bytes((IDENTITY, len(encoded))) + encoded)
        digest = hashlib.sha256(encoded).digest()
        return cls.from_bytes(bytes((SHA256, len(digest))) + digest)

    @property
    def multihash(self) -> bytes:
        """The binary form."""
        return base.decode_base58(self)

    @property
    def public_key(self) -> PublicKey | None:
        """The key, if it stands in the id and is a valid one."""
        multihash = self.multihash
        if multihash[0] != IDENTITY:
            return None
        try:
            return PublicKey.from_protobuf(multihash[2:])
        except PublicKeyError:
            return None

    def __repr__(self) -> str:
        return f"PeerID({str(self)!r})"


def _decode_text(text: str) -> bytes:
    """The multihash behind either form of text."""
    if not 1 < len(text) <= MAX_TEXT:
        raise AddressError(f"peer id of {len(text)} characters, limit {MAX_TEXT}")
    if text.startswith(BASE58_STARTS):
        return base.decode_base58(text)
    decode = _MULTIBASES.get(text[0])
    if decode is None:
        raise AddressError(f"peer id {text!r} is neither base58btc nor a CID")
    data = decode(text[1:])
    if not data.startswith(CID_PREFIX):
        raise AddressError(f"peer id {text!r} is not a CIDv1 of a libp2p key")
    return data[len(CID_PREFIX) :]


def _check_multihash(multihash: bytes) -> None:
    try:
        kind, pos = decode_uvarint(multihash)
        size, pos = decode_uvarint(multihash, pos)
    except ProtobufError as error:
        raise AddressError(f"malformed peer id: {error}") from error
    if size != len(multihash) - pos:
        raise AddressError(f"peer id says {size} bytes and has {len(multihash) - pos}")
    if kind == SHA256 and size == hashlib.sha256().digest_size:
        return
    if kind == IDENTITY and 0 < size <= MAX_INLINE_KEY:
        return
    raise AddressError(f"peer id of hash {kind:#x} and {size} bytes is not supported")


def _lower(text: str) -> str:
    if not text.isupper() or not text.isascii():
        raise AddressError(f"{text!r} is not upper-case base32")
    return text.lower()


def _decode_base16(text: str) -> bytes:
    """Strict lower-case hexadecimal."""
    if text.strip("0123456789abcdef"):
        raise AddressError(f"{text!r} is not base16")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise AddressError(f"{text!r} is not base16") from error
