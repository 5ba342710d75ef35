"""Identity keys: the specification's vectors, and keys nobody should trust."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import KeyFileError, PublicKeyError
from praxis_fast.limits import SecurityLimits
from praxis_fast.wire.keys import KeyType, PrivateKey, PublicKey
from praxis_fast.wire.protobuf import encode_bytes, encode_number
from tests.wire import key_vectors

PUBLIC = [
    (KeyType.RSA, key_vectors.RSA_PUBLIC),
    (KeyType.ED25519, key_vectors.ED25519_PUBLIC),
    (KeyType.SECP256K1, key_vectors.SECP256K1_PUBLIC),
    (KeyType.ECDSA, key_vectors.ECDSA_PUBLIC),
]
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def message(kind: int, data: bytes) -> bytes:
    return encode_number(1, kind) + encode_bytes(2, data)


def spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(("kind", "encoded"), PUBLIC)
def test_published_public_key_comes_back(kind: KeyType, encoded: bytes) -> None:
    key = PublicKey.from_protobuf(encoded)
    assert key.type is kind
    assert key.to_protobuf() == encoded
    assert kind.name in repr(key)


def test_published_private_key_gives_the_published_public_key() -> None:
    key = PrivateKey.from_protobuf(key_vectors.ED25519_PRIVATE)
    assert key.public_key.to_protobuf() == key_vectors.ED25519_PUBLIC
    assert key.to_protobuf() == key_vectors.ED25519_PRIVATE


def test_old_private_key_of_96_bytes_is_read() -> None:
    data = key_vectors.ED25519_PRIVATE[4:]
    old = message(1, data + data[32:])
    assert PrivateKey.from_protobuf(old).to_protobuf() == key_vectors.ED25519_PRIVATE


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_signature_is_good_for_its_key_and_data_only(seed: bytes, data: bytes) -> None:
    key = PrivateKey.from_seed(seed)
    signature = key.sign(data)
    assert key.public_key.verify(signature, data)
    assert not key.public_key.verify(signature, data + b"x")
    assert not key.public_key.verify(signature[:-1], data)
    assert not key.public_key.verify(b"", data)
    assert PrivateKey.from_protobuf(key.to_protobuf()).peer_id == key.peer_id


def test_rsa_signature_is_verified(rsa_key: rsa.RSAPrivateKey) -> None:
    key = PublicKey.from_protobuf(message(0, spki(rsa_key.public_key())))
    signature = rsa_key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())
    assert key.verify(signature, b"data")
    assert not key.verify(signature, b"other")
    assert str(key.peer_id).startswith("Qm")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_ecdsa_signature_is_verified(curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    key = PublicKey.from_protobuf(message(3, spki(private.public_key())))
    signature = private.sign(b"data", ec.ECDSA(hashes.SHA256()))
    assert key.verify(signature, b"data")
    assert not key.verify(signature, b"other")


def test_secp256k1_signature_is_verified_with_low_and_high_s() -> None:
    private = ec.generate_private_key(ec.SECP256K1())
    data = private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    key = PublicKey.from_protobuf(message(2, data))
    signature = private.sign(b"data", ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(signature)
    assert key.verify(signature, b"data")
    assert key.verify(encode_dss_signature(r, SECP256K1_ORDER - s), b"data")
    assert not key.verify(signature, b"other")


def test_repr_of_a_private_key_shows_its_peer_id_only() -> None:
    key = PrivateKey.from_seed(bytes(range(32)))
    assert repr(key) == f"PrivateKey({key.peer_id})"
    assert str(key) == repr(key)
    assert not hasattr(key, "__dict__")


ED25519_DATA = key_vectors.ED25519_PUBLIC[4:]


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x08\x01",
        encode_bytes(2, ED25519_DATA),
        encode_bytes(2, ED25519_DATA) + encode_number(1, 1),
        key_vectors.ED25519_PUBLIC + encode_number(3, 0),
        key_vectors.ED25519_PUBLIC * 2,
        b"\x08\x81\x00\x12\x20" + ED25519_DATA,
        b"\x08\x01\x12\xa0\x00" + ED25519_DATA,
        b"\x88\x00\x01\x12\x20" + ED25519_DATA,
        encode_bytes(1, b"\x01") + encode_bytes(2, ED25519_DATA),
        encode_number(1, 1) + encode_number(2, 1),
        message(4, ED25519_DATA),
        message(2**32 + 1, ED25519_DATA),
        message(1, ED25519_DATA[:-1]),
        message(1, ED25519_DATA + b"\0"),
        b"\xff",
    ],
)
def test_sec_2_key_that_is_not_canonical_is_refused(encoded: bytes) -> None:
    with pytest.raises(PublicKeyError):
        PublicKey.from_protobuf(encoded)


@pytest.mark.parametrize(
    "data",
    [
        bytes(32),
        b"\x01" + bytes(31),
        b"\x02" + bytes(31),
        b"\xff" * 32,
        (2**255 - 19).to_bytes(32, "little"),
    ],
)
def test_sec_4_5_weak_ed25519_key_is_refused(data: bytes) -> None:
    with pytest.raises(PublicKeyError, match="bad Ed25519 key"):
        PublicKey.from_protobuf(message(1, data))
    assert not PublicKey(KeyType.ED25519, data).verify(bytes(64), b"")


def test_sec_4_5_rsa_key_out_of_the_limits_is_refused(
    rsa_key: rsa.RSAPrivateKey,
) -> None:
    encoded = message(0, spki(rsa_key.public_key()))
    limits = SecurityLimits(rsa_min_bits=3072)
    with pytest.raises(PublicKeyError, match="2048 bits, limits 3072 to 8192"):
        PublicKey.from_protobuf(encoded, limits)
    huge = rsa.RSAPublicNumbers(65537, (1 << 8199) + 1).public_key()
    with pytest.raises(PublicKeyError, match="8200 bits, limits 2048 to 8192"):
        PublicKey.from_protobuf(message(0, spki(huge)))
    small = rsa.RSAPublicNumbers(65537, (1 << 1023) + 1).public_key()
    with pytest.raises(PublicKeyError, match="1024 bits"):
        PublicKey.from_protobuf(message(0, spki(small)))


def test_sec_4_5_rsa_key_with_a_huge_exponent_is_refused() -> None:
    key = rsa.RSAPublicNumbers((1 << 200) + 1, (1 << 2047) + 1).public_key()
    with pytest.raises(PublicKeyError, match="exponent of 201 bits, limit 31"):
        PublicKey.from_protobuf(message(0, spki(key)))


def test_sec_4_5_point_off_the_curve_is_refused() -> None:
    # x³ + 7 is not a square for x = 5.
    with pytest.raises(PublicKeyError, match="not a point of the curve"):
        PublicKey.from_protobuf(message(2, b"\x02" + (5).to_bytes(32, "big")))
    good = bytearray(key_vectors.ECDSA_PUBLIC)
    good[-1] ^= 1
    with pytest.raises(PublicKeyError, match="bad ECDSA key"):
        PublicKey.from_protobuf(bytes(good))


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02" * 32, b"\x04" + bytes(64)])
def test_secp256k1_key_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(PublicKeyError, match="secp256k1"):
        PublicKey.from_protobuf(message(2, data))


def test_der_of_another_kind_of_key_is_refused(rsa_key: rsa.RSAPrivateKey) -> None:
    ecdsa = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(PublicKeyError, match="another kind"):
        PublicKey.from_protobuf(message(0, ecdsa))
    with pytest.raises(PublicKeyError, match="another kind"):
        PublicKey.from_protobuf(message(3, spki(rsa_key.public_key())))
    other = dsa.generate_private_key(1024).public_key()
    with pytest.raises(PublicKeyError, match="another kind"):
        PublicKey.from_protobuf(message(0, spki(other)))


def test_sec_4_5_point_off_the_curve_verifies_nothing() -> None:
    encoded = PublicKey(KeyType.ED25519, (2).to_bytes(32, "little")).to_protobuf()
    with pytest.raises(PublicKeyError, match="not on the curve"):
        PublicKey.from_protobuf(encoded)
    key = PublicKey.from_protobuf(encoded, will_verify=True)
    assert not key.verify(bytes(64), b"anything")
    for fault in (bytes(32), b"\xff" * 32, bytes(31)):
        bad = PublicKey(KeyType.ED25519, fault).to_protobuf()
        with pytest.raises(PublicKeyError, match=r"order|canonical|31 bytes"):
            PublicKey.from_protobuf(bad, will_verify=True)


def test_ecdsa_key_on_an_unknown_curve_is_refused() -> None:
    data = spki(ec.generate_private_key(ec.SECP256K1()).public_key())
    with pytest.raises(PublicKeyError, match="secp256k1 not supported"):
        PublicKey.from_protobuf(message(3, data))


def test_sec_2_der_that_is_not_canonical_is_refused() -> None:
    compressed = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        )
    )
    algorithm = key_vectors.ECDSA_PUBLIC[6:27]
    data = b"\x30\x39" + algorithm + b"\x03\x22\x00" + compressed
    with pytest.raises(PublicKeyError, match="encoding is not canonical"):
        PublicKey.from_protobuf(message(3, data))
    for junk in (b"", b"\x30", key_vectors.ECDSA_PUBLIC[4:] + b"\0"):
        with pytest.raises(PublicKeyError):
            PublicKey.from_protobuf(message(3, junk))


@given(st.binary(max_size=100), st.integers(0, 3))
def test_any_bytes_are_a_key_or_refused(data: bytes, kind: int) -> None:
    try:
        key = PublicKey.from_protobuf(message(kind, data))
    except PublicKeyError:
        return
    assert key.data == data


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        key_vectors.ED25519_PUBLIC,
        key_vectors.ED25519_PRIVATE[:-1],
        message(0, bytes(64)),
        message(1, bytes(64)),
        message(1, bytes(63)),
        message(1, key_vectors.ED25519_PRIVATE[4:] + bytes(32)),
    ],
)
def test_malformed_private_key_is_refused(encoded: bytes) -> None:
    with pytest.raises(PublicKeyError):
        PrivateKey.from_protobuf(encoded)


def test_seed_of_another_size_is_refused() -> None:
    with pytest.raises(PublicKeyError, match="seed of 31 bytes, expected 32"):
        PrivateKey.from_seed(bytes(31))


def test_key_is_made_once_and_then_loaded(tmp_path) -> None:
    path = tmp_path / "agent" / "identity.key"
    made = PrivateKey.load_or_create(path)
    assert path.read_bytes() == made.to_protobuf()
    assert PrivateKey.load_or_create(str(path)).peer_id == made.peer_id
    assert PrivateKey.load(path).peer_id == made.peer_id


def test_loading_a_missing_key_is_an_error(tmp_path) -> None:
    with pytest.raises(KeyFileError, match="no such file"):
        PrivateKey.load(tmp_path / "identity.key")


@pytest.mark.parametrize("keep", [1, 40, 67])
def test_key_1_half_written_key_is_an_error_and_stays(tmp_path, keep: int) -> None:
    path = tmp_path / "identity.key"
    part = PrivateKey.generate().to_protobuf()[:keep]
    path.write_bytes(part)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not an identity key"):
        PrivateKey.load_or_create(path)
    assert path.read_bytes() == part


def test_key_is_the_same_before_and_after_it_was_used() -> None:
    fresh = PublicKey(KeyType.ED25519, ED25519_DATA)
    used = PublicKey.from_protobuf(fresh.to_protobuf())
    assert fresh == used
    assert hash(fresh) == hash(used)
    assert repr(fresh) == repr(used)
