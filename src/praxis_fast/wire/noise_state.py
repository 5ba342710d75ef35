"""Noise_XX_25519_ChaChaPoly_SHA256: the objects of the Noise specification, rev. 34.

Section numbers are those of that document. Nothing here knows of libp2p.
"""

from __future__ import annotations

import hashlib
import hmac
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from praxis_fast.errors import NoiseError

PROTOCOL_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_SIZE: Final = 32
TAG_SIZE: Final = 16

# §12, ChaChaPoly: 32 zero bits, then the counter, little-endian.
pack_nonce = Struct("<4xQ").pack

# §5.1: the nonce 2**64-1 is reserved, so this is the first one that may not be used.
NONCE_END: Final = 2**64 - 1

# §7.5, pattern XX: what each message carries before its payload.
XX: Final = (("e",), ("e", "ee", "s", "es"), ("s", "se"))

# Each with an empty payload: keys, and a tag behind what is encrypted already.
MIN_SIZES: Final = (32, 32 + 48 + 16, 48 + 16)


class CipherState:
    """§5.1: one direction's key and counter; dead after any failure."""

    __slots__ = ("_cipher", "_is_dead", "nonce")

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._is_dead = False
        self.nonce = 0

    def encrypt(
        self, plaintext: bytes | bytearray | memoryview, ad: bytes | None = None
    ) -> bytes:
        """Ciphertext and tag."""
        return self._cipher.encrypt(self._next_nonce(), plaintext, ad)

    def encrypt_into(self, plaintext: memoryview, buf: memoryview) -> None:
        """Ciphertext and tag into a buffer of exactly their size."""
        self._cipher.encrypt_into(self._next_nonce(), plaintext, None, buf)

    def decrypt(
        self, ciphertext: bytes | bytearray | memoryview, ad: bytes | None = None
    ) -> bytes:
        """The plaintext; NoiseError, for good, when the tag is wrong."""
        nonce = self._next_nonce()
        try:
            return self._cipher.decrypt(nonce, ciphertext, ad)
        except InvalidTag as error:
            raise self._die(len(ciphertext)) from error

    def decrypt_into(self, ciphertext: memoryview, buf: memoryview) -> None:
        """Like `decrypt`, into a buffer of exactly the plaintext's size."""
        nonce = self.nonce
        if self._is_dead or nonce >= NONCE_END:
            self._next_nonce()  # says why there is none
        self.nonce = nonce + 1
        try:
            self._cipher.decrypt_into(pack_nonce(nonce), ciphertext, None, buf)
        except InvalidTag as error:
            raise self._die(len(ciphertext)) from error

    def _die(self, size: int) -> NoiseError:
        self._is_dead = True
        return NoiseError(f"message of {size} bytes does not decrypt")

    def _next_nonce(self) -> bytes:
        """The next nonce, each used once."""
        if self._is_dead:
            raise NoiseError("cipher is dead after a failure")
        nonce = self.nonce
        if nonce >= NONCE_END:
            self._is_dead = True
            raise NoiseError(f"nonce {nonce} is the last one, never used")
        self.nonce = nonce + 1
        return pack_nonce(nonce)


class SymmetricState:
    """§5.2: the chaining key, the hash of all said so far, and the cipher."""

    __slots__ = ("_chaining_key", "_cipher", "hash")

    def __init__(self) -> None:
        # §5.2: the name has exactly HASHLEN bytes and stands for its own hash.
        self.hash = PROTOCOL_NAME
        self._chaining_key = PROTOCOL_NAME
        self._cipher: CipherState | None = None

    def mix_key(self, material: bytes) -> None:
        """A new chaining key and cipher out of a shared secret."""
        self._chaining_key, key = _expand(self._chaining_key, material)
        self._cipher = CipherState(key)

    def mix_hash(self, data: bytes) -> None:
        """Bind everything that follows to the data."""
        self.hash = hashlib.sha256(self.hash + data).digest()

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Encrypted as soon as there is a key."""
        data = plaintext
        if self._cipher is not None:
            data = self._cipher.encrypt(plaintext, self.hash)
        self.mix_hash(data)
        return data

    def decrypt_and_hash(self, data: bytes) -> bytes:
        """The other end of `encrypt_and_hash`."""
        plaintext = data
        if self._cipher is not None:
            plaintext = self._cipher.decrypt(data, self.hash)
        self.mix_hash(data)
        return plaintext

    @property
    def tag_size(self) -> int:
        """How much longer encrypting makes the data at present."""
        return 0 if self._cipher is None else TAG_SIZE

    def split(self) -> tuple[CipherState, CipherState]:
        """The transport ciphers: the initiator's direction, then the responder's."""
        first, second = _expand(self._chaining_key, b"")
        return CipherState(first), CipherState(second)


class HandshakeState:
    """§5.3 for the pattern XX: writes and reads the three messages in turn."""

    __slots__ = (
        "_ephemeral",
        "_is_initiator",
        "_remote_ephemeral",
        "_static",
        "_step",
        "_symmetric",
        "remote_static",
    )

    def __init__(
        self,
        *,
        initiator: bool,
        static: X25519PrivateKey,
        ephemeral: X25519PrivateKey,
        prologue: bytes = b"",
    ) -> None:
        self._is_initiator = initiator
        self._static = static
        self._ephemeral = ephemeral
        self._remote_ephemeral = b""
        self.remote_static = b""
        self._step = 0
        self._symmetric = SymmetricState()
        self._symmetric.mix_hash(prologue)

    @property
    def is_done(self) -> bool:
        """Whether all three messages are through."""
        return self._step == len(XX)

    @property
    def is_our_turn(self) -> bool:
        """Whether the next message is ours to write."""
        return not self.is_done and (self._step % 2 == 0) == self._is_initiator

    @property
    def hash(self) -> bytes:
        """The handshake hash (§11.2, channel binding)."""
        return self._symmetric.hash

    def write_message(self, payload: bytes) -> bytes:
        """The next message, carrying the payload."""
        if not self.is_our_turn:
            raise NoiseError("handshake message out of order")
        message = b"".join(self._write(word) for word in XX[self._step])
        self._step += 1
        return message + self._symmetric.encrypt_and_hash(payload)

    def read_message(self, message: bytes) -> bytes:
        """The payload of the next message."""
        if self.is_our_turn or self.is_done:
            raise NoiseError("handshake message out of order")
        needed = MIN_SIZES[self._step]
        if len(message) < needed:
            raise NoiseError(
                f"handshake message of {len(message)} bytes, at least {needed} needed"
            )
        for word in XX[self._step]:
            message = self._read(word, message)
        self._step += 1
        return self._symmetric.decrypt_and_hash(message)

    def split(self) -> tuple[CipherState, CipherState]:
        """The ciphers for sending and for receiving."""
        first, second = self._symmetric.split()
        return (first, second) if self._is_initiator else (second, first)

    def _write(self, word: str) -> bytes:
        if word == "e":
            public = self._ephemeral.public_key().public_bytes_raw()
            self._symmetric.mix_hash(public)
            return public
        if word == "s":
            public = self._static.public_key().public_bytes_raw()
            return self._symmetric.encrypt_and_hash(public)
        self._mix_shared(word)
        return b""

    def _read(self, word: str, message: bytes) -> bytes:
        """Take what the word stands for; returns the rest of the message."""
        if word == "e":
            self._remote_ephemeral, message = message[:KEY_SIZE], message[KEY_SIZE:]
            self._symmetric.mix_hash(self._remote_ephemeral)
        elif word == "s":
            size = KEY_SIZE + self._symmetric.tag_size
            self.remote_static = self._symmetric.decrypt_and_hash(message[:size])
            message = message[size:]
        else:
            self._mix_shared(word)
        return message

    def _mix_shared(self, word: str) -> None:
        """The word names the initiator's key, then the responder's."""
        ours, theirs = (word[0], word[1]) if self._is_initiator else (word[1], word[0])
        private = self._ephemeral if ours == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self.remote_static
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            # RFC 7748 §6.1: a key of small order makes the secret all zero.
            raise NoiseError("key of small order, all-zero secret") from error
        self._symmetric.mix_key(shared)


def _expand(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """§4.3: HKDF with two outputs."""
    key = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(key, b"\x01", "sha256")
    return first, hmac.digest(key, first + b"\x02", "sha256")
