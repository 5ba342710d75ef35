"""Noise: the handshake, what it carries, and the channel, before a peer that lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from praxis_fast.errors import NoiseError
from praxis_fast.wire.keys import PrivateKey
from praxis_fast.wire.noise import SIGNATURE_PREFIX, NoiseHandshake, StaticKey
from praxis_fast.wire.noise_state import CipherState, HandshakeState
from praxis_fast.wire.noise_transport import NoiseTransport
from praxis_fast.wire.protobuf import encode_bytes
from tests.fuzz.target import ParserTarget, Target, attempt, same_for_every_cut
from tests.wire.key_vectors import ECDSA_PUBLIC, RSA_PUBLIC, SECP256K1_PUBLIC

ALICE = PrivateKey.from_seed(bytes(range(32)))
BOB = PrivateKey.from_seed(bytes(range(1, 33)))
YAMUX, MPLEX = b"/yamux/1.0.0", b"/mplex/6.7.0"
STATIC, EPHEMERAL = bytes([3]) * 32, bytes([4]) * 32


def ours(*, initiator: bool) -> NoiseHandshake:
    """The end under test; always with the same keys."""
    return NoiseHandshake(
        initiator=initiator,
        key=StaticKey(ALICE, bytes([1]) * 32),
        ephemeral_key=bytes([2]) * 32,
    )


def theirs(*, initiator: bool) -> HandshakeState:
    """The other end, which may put anything into its messages."""
    return HandshakeState(
        initiator=initiator,
        static=X25519PrivateKey.from_private_bytes(STATIC),
        ephemeral=X25519PrivateKey.from_private_bytes(EPHEMERAL),
    )


def payload(key: bytes, muxers: bytes) -> bytes:
    static = X25519PrivateKey.from_private_bytes(STATIC).public_key().public_bytes_raw()
    signature = BOB.sign(SIGNATURE_PREFIX + static)
    return encode_bytes(1, key) + encode_bytes(2, signature) + encode_bytes(4, muxers)


GOOD = payload(BOB.public_key.to_protobuf(), encode_bytes(2, YAMUX))


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


class NoiseWire(ParserTarget):
    """The bytes of a handshake; the first one chooses which end we are."""

    name = "noise-wire"
    share = 0.2
    tokens = (b"\0\0", b"\0\x20", b"\x20\0", b"\x20\x01", b"\xff\xff", bytes(32))

    def seeds(self) -> Sequence[bytes]:
        them, us = theirs(initiator=True), ours(initiator=False)
        first = framed(them.write_message(b""))
        us.receive_data(first)
        them.read_message(us.data_to_send()[2:])
        called = first + framed(them.write_message(GOOD))
        them, us = theirs(initiator=False), ours(initiator=True)
        them.read_message(us.data_to_send()[2:])
        answered = framed(them.write_message(GOOD))
        return [b"\0" + called, b"\0" + called + b"leftover", b"\1" + answered]

    def check(self, data: bytes) -> None:
        initiator = bool(data and data[0] & 1)

        def run(chunks: list[bytes]) -> Any:
            end = ours(initiator=initiator)
            error = attempt(NoiseError, feed, end, chunks)
            assert error is None or not end.data_to_send()
            peer = end.remote_peer
            assert peer == (BOB.peer_id if end.done else None)
            return str(error), end.done, end.muxer, end.leftover, end.data_to_send()

        same_for_every_cut(run, data[1:])


def feed(end: NoiseHandshake, chunks: list[bytes]) -> None:
    for chunk in chunks:
        end.receive_data(chunk)


class NoisePayload(ParserTarget):
    """What a handshake message carries, well encrypted."""

    name = "noise-payload"
    share = 0.1
    tokens = (
        *(encode_bytes(2, name) for name in (YAMUX, MPLEX)),
        ECDSA_PUBLIC,
        b"\x22",
    )

    def seeds(self) -> Sequence[bytes]:
        keys = (RSA_PUBLIC, ECDSA_PUBLIC, SECP256K1_PUBLIC)
        muxers = encode_bytes(2, MPLEX) + encode_bytes(2, YAMUX)
        return [GOOD, *(payload(key, muxers) for key in keys)]

    def check(self, data: bytes) -> None:
        us, them = ours(initiator=True), theirs(initiator=False)
        them.read_message(us.data_to_send()[2:])
        message = framed(them.write_message(data))
        error = attempt(NoiseError, us.receive_data, message)
        assert us.done == (error is None)
        # Only he has signed the other end's static key.
        assert us.remote_peer == (BOB.peer_id if us.done else None)


class NoiseChannel(ParserTarget):
    """Ciphertext that was tampered with: no plaintext but what was sent, in order."""

    name = "noise-channel"
    tokens = (b"\0\0", b"\0\x0f", b"\0\x10", b"\xff\xff", bytes(16))
    plaintexts = (b"one", b"two" * 30, b"", b"three")

    def seeds(self) -> Sequence[bytes]:
        cipher = CipherState(bytes(32))
        messages = [framed(cipher.encrypt(text)) for text in self.plaintexts]
        return [b"".join(messages), b"".join(messages[:2]), messages[0]]

    def check(self, data: bytes) -> None:
        def run(chunks: list[bytes]) -> Any:
            channel = NoiseTransport(CipherState(bytes(32)), CipherState(bytes(32)))
            found: list[bytes] = []
            error = attempt(NoiseError, receive, channel, chunks, found)
            if error is not None:
                found += error.plaintexts
                again = attempt(NoiseError, channel.receive_data, b"")
                assert isinstance(again, NoiseError)
            return str(error), found

        _, found = same_for_every_cut(run, data)
        sent = [text for text in self.plaintexts if text]
        assert found == sent[: len(found)]


def receive(channel: NoiseTransport, chunks: list[bytes], found: list[bytes]) -> None:
    for chunk in chunks:
        found += channel.receive_data(chunk)


NOISE: tuple[type[Target], ...] = (NoiseWire, NoisePayload, NoiseChannel)
