"""The Noise objects against the vectors of two other implementations."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from praxis_fast.errors import NoiseError
from praxis_fast.wire.noise_state import (
    NONCE_END,
    PROTOCOL_NAME,
    CipherState,
    HandshakeState,
)
from tests.wire import noise_vectors

VECTORS = [
    (noise_vectors.CACOPHONY, noise_vectors.CACOPHONY_MESSAGES),
    (noise_vectors.SNOW, noise_vectors.SNOW_MESSAGES),
]

# The points of small order on Curve25519: cr.yp.to/ecdh.html#validate.
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def private(text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(text))


def pair(vector: dict[str, str]) -> tuple[HandshakeState, HandshakeState]:
    prologue = bytes.fromhex(vector["init_prologue"])
    initiator, responder = (
        HandshakeState(
            initiator=side == "init",
            static=private(vector[f"{side}_static"]),
            ephemeral=private(vector[f"{side}_ephemeral"]),
            prologue=prologue,
        )
        for side in ("init", "resp")
    )
    return initiator, responder


def fresh(*, initiator: bool) -> HandshakeState:
    return HandshakeState(
        initiator=initiator,
        static=X25519PrivateKey.generate(),
        ephemeral=X25519PrivateKey.generate(),
    )


def test_name_is_pinned() -> None:
    assert PROTOCOL_NAME == b"Noise_XX_25519_ChaChaPoly_SHA256"
    assert len(PROTOCOL_NAME) == 32


@pytest.mark.parametrize(("vector", "messages"), VECTORS, ids=["cacophony", "snow"])
def test_published_vectors_are_met(
    vector: dict[str, str], messages: list[tuple[str, str]]
) -> None:
    initiator, responder = pair(vector)
    sides = [initiator, responder]
    for number, (payload, ciphertext) in enumerate(messages[:3]):
        writer, reader = sides[number % 2], sides[1 - number % 2]
        message = writer.write_message(bytes.fromhex(payload))
        assert message.hex() == ciphertext
        assert reader.read_message(message).hex() == payload
    assert initiator.is_done
    assert responder.is_done
    assert initiator.hash == responder.hash
    assert initiator.hash.hex() == vector.get("handshake_hash", initiator.hash.hex())
    ciphers = [initiator.split(), responder.split()]
    for number, (payload, ciphertext) in enumerate(messages[3:], start=3):
        sender, receiver = ciphers[number % 2][0], ciphers[1 - number % 2][1]
        sealed = sender.encrypt(bytes.fromhex(payload))
        assert sealed.hex() == ciphertext
        assert receiver.decrypt(sealed).hex() == payload


def test_sec_7_messages_out_of_order_are_refused() -> None:
    initiator, responder = fresh(initiator=True), fresh(initiator=False)
    with pytest.raises(NoiseError, match="out of order"):
        responder.write_message(b"")
    with pytest.raises(NoiseError, match="out of order"):
        initiator.read_message(bytes(32))
    first = initiator.write_message(b"")
    with pytest.raises(NoiseError, match="out of order"):
        initiator.write_message(b"")
    responder.read_message(first)
    with pytest.raises(NoiseError, match="out of order"):
        responder.read_message(first)


def test_sec_7_repeated_message_is_refused() -> None:
    initiator, responder = fresh(initiator=True), fresh(initiator=False)
    first = initiator.write_message(b"")
    responder.read_message(first)
    responder.write_message(b"")
    with pytest.raises(NoiseError):
        responder.read_message(first)


@pytest.mark.parametrize("size", [0, 31])
def test_sec_3_truncated_first_message_is_refused(size: int) -> None:
    with pytest.raises(NoiseError, match="at least"):
        fresh(initiator=False).read_message(bytes(size))


@pytest.mark.parametrize("size", [0, 31, 32, 79, 80, 95])
def test_sec_3_truncated_second_message_is_refused(size: int) -> None:
    initiator, responder = fresh(initiator=True), fresh(initiator=False)
    responder.read_message(initiator.write_message(b""))
    message = responder.write_message(b"")
    assert len(message) == 96
    with pytest.raises(NoiseError):
        initiator.read_message(message[:size])


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_sec_4_5_key_of_small_order_is_refused(point: bytes) -> None:
    responder = fresh(initiator=False)
    responder.read_message(point)
    with pytest.raises(NoiseError, match="small order"):
        responder.write_message(b"")


def test_sec_6_cipher_is_dead_after_a_failure() -> None:
    sender, receiver = CipherState(bytes(32)), CipherState(bytes(32))
    first, second = sender.encrypt(b"one"), sender.encrypt(b"two")
    with pytest.raises(NoiseError, match="does not decrypt"):
        receiver.decrypt(first[:-1] + bytes([first[-1] ^ 1]))
    for message in (first, second):
        with pytest.raises(NoiseError, match="dead after a failure"):
            receiver.decrypt(message)


def test_sec_6_last_nonce_is_never_used() -> None:
    sender, receiver = CipherState(bytes(32)), CipherState(bytes(32))
    sender.nonce = receiver.nonce = 2**64 - 2
    assert receiver.decrypt(sender.encrypt(b"last")) == b"last"
    assert sender.nonce == NONCE_END
    for step in (sender.encrypt, receiver.decrypt):
        with pytest.raises(NoiseError, match="18446744073709551615 is the last one"):
            step(b"x" * 16)
        with pytest.raises(NoiseError, match="dead after a failure"):
            step(b"x" * 16)
