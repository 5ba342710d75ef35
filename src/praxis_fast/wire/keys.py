"""Identity keys: their libp2p encoding, signing and verifying.

libp2p specification, peer-ids/peer-ids.md "Keys". We sign with Ed25519 only; RSA,
secp256k1 and ECDSA keys of others are verified. A key is checked before it is used:
only the canonical encoding of a strong key is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from praxis_fast.errors import KeyFileError, ProtobufError, PublicKeyError
from praxis_fast.limits import SecurityLimits
from praxis_fast.wire import key_file
from praxis_fast.wire.ed25519 import check_form, check_point
from praxis_fast.wire.protobuf import (
    as_bytes,
    as_number,
    encode_bytes,
    encode_number,
    read_fields,
)

if TYPE_CHECKING:
    from os import PathLike

    from praxis_fast.wire.peer_id import PeerID

SEED_SIZE = 32
SECP256K1_SIZE = 33

# Larger public exponents only cost time; Go takes none beyond 31 bits either.
MAX_RSA_EXPONENT_BITS = 31

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_SHA256 = ec.ECDSA(hashes.SHA256())

_Loaded = ed25519.Ed25519PublicKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class KeyType(IntEnum):
    """`KeyType` of the specification."""

    RSA = 0
    ED25519 = 1
    SECP256K1 = 2
    ECDSA = 3


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A peer's public identity key."""

    type: KeyType
    """Which algorithm."""
    data: bytes
    """The key as the specification encodes it for this type."""
    _checked: _Loaded | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """The key in usable form, once it has passed its checks."""

    @classmethod
    def from_protobuf(
        cls,
        encoded: bytes,
        limits: SecurityLimits | None = None,
        *,
        will_verify: bool = False,
    ) -> PublicKey:
        """A key from its message; PublicKeyError when it is not a good one.

        With `will_verify` the caller goes on to verify a signature. That finds the one
        fault that is dear to look for: a point that is not on the curve.
        """
        number, data = _read_message(encoded)
        try:
            key = cls(KeyType(number), data)
        except ValueError as error:
            raise PublicKeyError(f"key of the unknown type {number}") from error
        if key.to_protobuf() != encoded:
            raise PublicKeyError("key message is not canonical")
        key._load(limits or SecurityLimits(), will_verify=will_verify)
        return key

    def to_protobuf(self) -> bytes:
        """The key's message, byte for byte what the peer id is made of."""
        return encode_number(1, self.type) + encode_bytes(2, self.data)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether the signature is this key's over the data."""
        try:
            _verify(self._load(SecurityLimits()), signature, data)
        except (InvalidSignature, PublicKeyError):
            return False
        return True

    @property
    def peer_id(self) -> PeerID:
        """The id of the peer that owns this key."""
        # Here, because the two modules need each other.
        from praxis_fast.wire.peer_id import PeerID

        return PeerID.from_public_key(self)

    def __repr__(self) -> str:
        return f"PublicKey({self.type.name}, {self.peer_id})"

    def _load(self, limits: SecurityLimits, *, will_verify: bool = False) -> _Loaded:
        """The key in usable form; PublicKeyError when it is not a good one."""
        if self._checked is not None:
            return self._checked
        if self.type is KeyType.ED25519:
            key: _Loaded = _load_ed25519(self.data, will_verify=will_verify)
        elif self.type is KeyType.SECP256K1:
            key = _load_secp256k1(self.data)
        else:
            key = _load_der(self.type, self.data, limits)
        object.__setattr__(self, "_checked", key)
        return key


class PrivateKey:
    """Our own identity key, always Ed25519; shows nothing but its peer id."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: ed25519.Ed25519PrivateKey) -> None:
        self._key = key
        self._public = PublicKey(KeyType.ED25519, key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key that lives in memory only."""
        return cls(ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """The key that grows from 32 bytes."""
        if len(seed) != SEED_SIZE:
            raise PublicKeyError(f"seed of {len(seed)} bytes, expected {SEED_SIZE}")
        return cls(ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_protobuf(cls, encoded: bytes) -> PrivateKey:
        """A key from its message: seed and public key, the latter once or twice."""
        number, data = _read_message(encoded)
        if number != KeyType.ED25519:
            raise PublicKeyError(f"private key of type {number}, expected Ed25519 (1)")
        if len(data) not in (64, 96):
            raise PublicKeyError(f"Ed25519 key of {len(data)} bytes, expected 64")
        key = cls.from_seed(data[:SEED_SIZE])
        public = data[SEED_SIZE:]
        if public != key.public_key.data * (len(public) // SEED_SIZE):
            raise PublicKeyError("private and public half do not belong together")
        return key

    @classmethod
    def load(cls, path: str | PathLike[str]) -> PrivateKey:
        """The key in a file that only its owner can read."""
        encoded = key_file.read(path)
        if encoded is None:
            raise KeyFileError(f"{path}: no such file")
        try:
            return cls.from_protobuf(encoded)
        except PublicKeyError as error:
            raise KeyFileError(f"{path}: not an identity key: {error}") from error

    @classmethod
    def load_or_create(cls, path: str | PathLike[str]) -> PrivateKey:
        """The key in a file; a new one only if there is no file at all."""
        if key_file.read(path) is None:
            key_file.create(path, cls.generate().to_protobuf())
        return cls.load(path)

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._public

    @property
    def peer_id(self) -> PeerID:
        """The id under which others know us."""
        return self._public.peer_id

    def sign(self, data: bytes) -> bytes:
        """Our signature over the data."""
        return self._key.sign(data)

    def to_protobuf(self) -> bytes:
        """The key's message as key files hold it: seed, then public key."""
        data = self._key.private_bytes_raw() + self._public.data
        return encode_number(1, KeyType.ED25519) + encode_bytes(2, data)

    def __repr__(self) -> str:
        return f"PrivateKey({self.peer_id})"


def _read_message(encoded: bytes) -> tuple[int, bytes]:
    """Type and data of a key message, which has exactly these two fields."""
    try:
        fields = list(read_fields(encoded))
        if [field.number for field in fields] != [1, 2]:
            raise PublicKeyError("key message does not have type and data, once each")
        return as_number(fields[0]), as_bytes(fields[1])
    except ProtobufError as error:
        raise PublicKeyError(f"malformed key message: {error}") from error


def _load_ed25519(data: bytes, *, will_verify: bool) -> ed25519.Ed25519PublicKey:
    fault = check_form(data) if will_verify else check_point(data)
    if fault is not None:
        raise PublicKeyError(f"bad Ed25519 key: {fault}")
    return ed25519.Ed25519PublicKey.from_public_bytes(data)


def _load_secp256k1(data: bytes) -> ec.EllipticCurvePublicKey:
    if len(data) != SECP256K1_SIZE:
        raise PublicKeyError(
            f"secp256k1 key of {len(data)} bytes, expected {SECP256K1_SIZE}"
        )
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), data)
    except ValueError as error:
        raise PublicKeyError("bad secp256k1 key: not a point of the curve") from error


def _load_der(kind: KeyType, data: bytes, limits: SecurityLimits) -> _Loaded:
    """An RSA or ECDSA key from its SubjectPublicKeyInfo, which must be DER."""
    try:
        key = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PublicKeyError(f"bad {kind.name} key: not readable") from error
    if kind is KeyType.RSA and isinstance(key, rsa.RSAPublicKey):
        _check_rsa(key, limits)
    elif kind is not KeyType.ECDSA or not isinstance(key, ec.EllipticCurvePublicKey):
        raise PublicKeyError(f"bad {kind.name} key: another kind of key inside")
    elif not isinstance(key.curve, _CURVES):
        raise PublicKeyError(f"bad ECDSA key: curve {key.curve.name} not supported")
    canonical = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if canonical != data:
        raise PublicKeyError(f"bad {kind.name} key: encoding is not canonical")
    return key


def _check_rsa(key: rsa.RSAPublicKey, limits: SecurityLimits) -> None:
    if not limits.rsa_min_bits <= key.key_size <= limits.rsa_max_bits:
        raise PublicKeyError(
            f"RSA key of {key.key_size} bits, limits "
            f"{limits.rsa_min_bits} to {limits.rsa_max_bits}"
        )
    exponent = key.public_numbers().e
    if exponent < 3 or exponent.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise PublicKeyError(
            f"RSA exponent of {exponent.bit_length()} bits, "
            f"limit {MAX_RSA_EXPONENT_BITS}"
        )


def _verify(key: _Loaded, signature: bytes, data: bytes) -> None:
    """Raise InvalidSignature unless the signature is good."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, data)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    else:
        key.verify(signature, data, _SHA256)
