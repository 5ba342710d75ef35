"""The secure channel: Noise XX with libp2p identities.

libp2p specification noise/README.md; The Noise Protocol Framework revision 34, names in
comments are its own. Pattern XX, X25519, ChaCha20-Poly1305, SHA-256, empty prologue:

    initiator                         responder
    e                     ──────►
                          ◄──────     e, ee, s, es, payload(identity, signature, muxers)
    s, se, payload        ──────►

Every message, in the handshake and after it, follows its length in two bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from praxis_fast.errors import NoiseError, ProtobufError, PublicKeyError
from praxis_fast.limits import SecurityLimits
from praxis_fast.wire.keys import PublicKey
from praxis_fast.wire.protobuf import as_bytes, as_text, encode_bytes, read_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxis_fast.wire.keys import PrivateKey
    from praxis_fast.wire.peer_id import PeerID

PROTOCOL_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
SIGNATURE_PREFIX: Final = b"noise-libp2p-static-key:"

KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
LENGTH_SIZE: Final = 2
MAX_MESSAGE: Final = 65535
MAX_PLAINTEXT: Final = MAX_MESSAGE - TAG_SIZE
# Noise §5.1: the nonce 2^64-1 is reserved, so this is the last one used.
MAX_NONCE: Final = 2**64 - 2

# Field numbers of NoiseHandshakePayload and NoiseExtensions.
IDENTITY_KEY: Final = 1
IDENTITY_SIGNATURE: Final = 2
EXTENSIONS: Final = 4
STREAM_MUXERS: Final = 2


class CipherState:
    """One direction's key and nonce; dead after the first failure (SEC-6)."""

    __slots__ = ("_cipher", "_nonce")

    def __init__(self, key: bytes, nonce: int = 0) -> None:
        self._cipher: ChaCha20Poly1305 | None = ChaCha20Poly1305(key)
        self._nonce = nonce

    def encrypt(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        cipher, nonce = self._next()
        return cipher.encrypt(nonce, plaintext, associated)

    def encrypt_into(
        self, plaintext: bytes | memoryview, target: bytearray | memoryview
    ) -> None:
        """Encrypt into a buffer TAG_SIZE longer than the plaintext."""
        cipher, nonce = self._next()
        cipher.encrypt_into(nonce, plaintext, None, target)

    def decrypt(self, ciphertext: bytes | memoryview, associated: bytes = b"") -> bytes:
        cipher, nonce = self._next()
        try:
            return cipher.decrypt(nonce, ciphertext, associated)
        except InvalidTag as error:
            self._cipher = None
            raise NoiseError(
                f"message of {len(ciphertext)} bytes does not decrypt"
            ) from error

    def _next(self) -> tuple[ChaCha20Poly1305, bytes]:
        """The cipher and its next nonce: 4 zero bytes, then 8 little-endian."""
        if self._cipher is None:
            raise NoiseError("the channel is dead after a failed decryption")
        if self._nonce > MAX_NONCE:
            self._cipher = None
            raise NoiseError(f"nonce {MAX_NONCE} reached, the key is used up")
        nonce = (self._nonce << 32).to_bytes(12, "little")
        self._nonce += 1
        return self._cipher, nonce


class SymmetricState:
    """Noise §5.2: the chaining key, the transcript hash and the current cipher."""

    __slots__ = ("_chaining_key", "_cipher", "hash")

    def __init__(self) -> None:
        # The name is exactly as long as the hash, so it is the first hash itself.
        self.hash = PROTOCOL_NAME
        self._chaining_key = PROTOCOL_NAME
        self._cipher: CipherState | None = None
        self.mix_hash(b"")  # the empty prologue

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = _derive(self._chaining_key, material)
        self._cipher = CipherState(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        if self._cipher is None:
            ciphertext = plaintext
        else:
            ciphertext = self._cipher.encrypt(plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        if self._cipher is None:
            plaintext = ciphertext
        else:
            plaintext = self._cipher.decrypt(ciphertext, self.hash)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """The initiator's and the responder's sending ciphers."""
        first, second = _derive(self._chaining_key, b"")
        return CipherState(first), CipherState(second)


class Payload(NamedTuple):
    """What a handshake message proves and offers."""

    identity_key: bytes
    signature: bytes
    muxers: tuple[str, ...]

    def encode(self) -> bytes:
        extensions = b"".join(
            encode_bytes(STREAM_MUXERS, muxer.encode()) for muxer in self.muxers
        )
        return (
            encode_bytes(IDENTITY_KEY, self.identity_key)
            + encode_bytes(IDENTITY_SIGNATURE, self.signature)
            + (encode_bytes(EXTENSIONS, extensions) if extensions else b"")
        )

    @classmethod
    def decode(cls, data: bytes) -> Payload:
        """NoiseError when it is malformed or proves nothing."""
        try:
            fields = {field.number: field for field in read_fields(data)}
            extensions = as_bytes(fields[EXTENSIONS]) if EXTENSIONS in fields else b""
            muxers = tuple(
                as_text(field)
                for field in read_fields(extensions)
                if field.number == STREAM_MUXERS
            )
            for number, name in (
                (IDENTITY_KEY, "identity key"),
                (IDENTITY_SIGNATURE, "signature"),
            ):
                if number not in fields:
                    raise NoiseError(f"handshake payload has no {name}")
            return cls(
                as_bytes(fields[IDENTITY_KEY]),
                as_bytes(fields[IDENTITY_SIGNATURE]),
                muxers,
            )
        except ProtobufError as error:
            raise NoiseError(f"malformed handshake payload: {error}") from error


class NoiseHandshake:
    """One side of the handshake.

    After a NoiseError the machine is dead. `static_key` and `ephemeral_key` (32 random
    bytes each, fresh for every handshake) are arguments for the sake of test vectors.
    """

    __slots__ = (
        "_buffer",
        "_ciphers",
        "_ephemeral",
        "_error",
        "_expected_peer",
        "_initiator",
        "_key",
        "_limits",
        "_muxers",
        "_out",
        "_remote_ephemeral",
        "_state",
        "_static",
        "_step",
        "muxer",
        "remote_key",
        "remote_peer",
    )

    def __init__(
        self,
        *,
        initiator: bool,
        key: PrivateKey,
        expected_peer: PeerID | None = None,
        muxers: Sequence[str] = ("/yamux/1.0.0",),
        limits: SecurityLimits | None = None,
        static_key: bytes | None = None,
        ephemeral_key: bytes | None = None,
    ) -> None:
        self._initiator = initiator
        self._key = key
        self._expected_peer = expected_peer
        self._muxers = tuple(muxers)
        self._limits = limits or SecurityLimits()
        self._static = _private(static_key)
        self._ephemeral = _private(ephemeral_key)
        self._state = SymmetricState()
        self._remote_ephemeral: X25519PublicKey | None = None
        self._ciphers: tuple[CipherState, CipherState] | None = None
        self._buffer = bytearray()
        self._out = bytearray()
        self._error: NoiseError | None = None
        # The number of messages seen, sent and received; the third ends it.
        self._step = 0
        self.muxer: str | None = None
        """The muxer agreed inside the handshake, or None."""
        self.remote_key: PublicKey | None = None
        """The key the peer has proven to own."""
        self.remote_peer: PeerID | None = None
        """The peer's proven id."""
        if initiator:
            self._write_first()

    @property
    def done(self) -> bool:
        """Whether both sides have proven who they are."""
        return self._ciphers is not None

    @property
    def leftover(self) -> bytes:
        """Ciphertext that came behind the last handshake message."""
        return bytes(self._buffer) if self.done else b""

    def data_to_send(self) -> bytes:
        """Messages waiting to be written."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Take bytes in any chunking; NoiseError ends the handshake."""
        if self._error is not None:
            raise self._error
        self._buffer += data
        try:
            while not self.done and (message := self._take_message()) is not None:
                self._on_message(message)
        except NoiseError as error:
            self._error = error
            raise

    def transport(self) -> NoiseTransport:
        """The channel, once the handshake is done; `leftover` is its first input."""
        if self._ciphers is None:
            raise NoiseError("the handshake is not done")
        initiator, responder = self._ciphers
        if self._initiator:
            return NoiseTransport(initiator, responder)
        return NoiseTransport(responder, initiator)

    def _take_message(self) -> bytes | None:
        """The next whole message; its length is judged before its body arrives."""
        if len(self._buffer) < LENGTH_SIZE:
            return None
        size = int.from_bytes(self._buffer[:LENGTH_SIZE], "big")
        if size > self._limits.max_handshake:
            raise NoiseError(
                f"handshake message of {size} bytes, limit {self._limits.max_handshake}"
            )
        end = LENGTH_SIZE + size
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[LENGTH_SIZE:end])
        del self._buffer[:end]
        return message

    def _on_message(self, message: bytes) -> None:
        self._step += 1
        if self._initiator:
            self._read_second(message)
            self._write_third()
        elif self._step == 1:
            self._read_first(message)
            self._write_second()
        else:
            self._read_third(message)

    def _write_first(self) -> None:
        self._send(self._write_ephemeral() + self._state.encrypt_and_hash(b""))
        self._step += 1

    def _read_first(self, message: bytes) -> None:
        payload = self._read_ephemeral(message)
        self._state.decrypt_and_hash(payload)

    def _write_second(self) -> None:
        message = self._write_ephemeral()
        self._mix(self._ephemeral, self._remote_ephemeral)  # ee
        message += self._state.encrypt_and_hash(_public(self._static))  # s
        self._mix(self._static, self._remote_ephemeral)  # es
        self._send(message + self._state.encrypt_and_hash(self._payload()))
        self._step += 1

    def _read_second(self, message: bytes) -> None:
        rest = self._read_ephemeral(message)
        self._mix(self._ephemeral, self._remote_ephemeral)  # ee
        static, rest = self._read_static(rest)
        self._mix(self._ephemeral, static)  # es
        self._verify(static, self._state.decrypt_and_hash(rest))

    def _write_third(self) -> None:
        message = self._state.encrypt_and_hash(_public(self._static))  # s
        self._mix(self._static, self._remote_ephemeral)  # se
        self._send(message + self._state.encrypt_and_hash(self._payload()))
        self._step += 1
        self._ciphers = self._state.split()

    def _read_third(self, message: bytes) -> None:
        static, rest = self._read_static(message)
        self._mix(self._ephemeral, static)  # se
        self._verify(static, self._state.decrypt_and_hash(rest))
        self._ciphers = self._state.split()

    def _write_ephemeral(self) -> bytes:
        public = _public(self._ephemeral)
        self._state.mix_hash(public)
        return public

    def _read_ephemeral(self, message: bytes) -> bytes:
        """Read e; returns what follows it."""
        if len(message) < KEY_SIZE:
            raise NoiseError(
                f"handshake message of {len(message)} bytes, at least {KEY_SIZE} needed"
            )
        public = message[:KEY_SIZE]
        self._remote_ephemeral = X25519PublicKey.from_public_bytes(public)
        self._state.mix_hash(public)
        return message[KEY_SIZE:]

    def _read_static(self, message: bytes) -> tuple[X25519PublicKey, bytes]:
        """Read s; returns it and what follows it."""
        size = KEY_SIZE + TAG_SIZE
        if len(message) < size:
            raise NoiseError(
                f"handshake message of {len(message)} bytes, at least {size} needed"
            )
        public = self._state.decrypt_and_hash(message[:size])
        return X25519PublicKey.from_public_bytes(public), message[size:]

    def _mix(self, private: X25519PrivateKey, public: X25519PublicKey | None) -> None:
        """MixKey(DH(private, public)); an all-zero secret is refused (SEC-4)."""
        if public is None:
            raise NoiseError("handshake message out of order")
        try:
            self._state.mix_key(private.exchange(public))
        except ValueError as error:
            raise NoiseError("the peer's key gives an all-zero secret") from error

    def _payload(self) -> bytes:
        signed = SIGNATURE_PREFIX + _public(self._static)
        return Payload(
            self._key.public_key.to_protobuf(), self._key.sign(signed), self._muxers
        ).encode()

    def _verify(self, static: X25519PublicKey, data: bytes) -> None:
        """Hold the peer's payload against its static key and the id we dialled."""
        payload = Payload.decode(data)
        try:
            key = PublicKey.from_protobuf(payload.identity_key, self._limits)
        except PublicKeyError as error:
            raise NoiseError(f"the peer's identity key is refused: {error}") from error
        signed = SIGNATURE_PREFIX + static.public_bytes_raw()
        if not key.verify(payload.signature, signed):
            raise NoiseError("the peer's signature does not fit its identity key")
        if self._expected_peer is not None and key.peer_id != self._expected_peer:
            raise NoiseError(
                f"the peer is {key.peer_id}, expected {self._expected_peer}"
            )
        self.muxer = self._agree_on_muxer(payload.muxers)
        self.remote_key = key
        self.remote_peer = key.peer_id

    def _agree_on_muxer(self, theirs: Sequence[str]) -> str | None:
        """connections/inlined-muxer-negotiation.md: the initiator's first that fits."""
        if not self._muxers or not theirs:
            return None
        ours = self._muxers
        wanted, offered = (ours, theirs) if self._initiator else (theirs, ours)
        for muxer in wanted:
            if muxer in offered:
                return muxer
        raise NoiseError(f"no muxer in common: ours {list(ours)}, theirs {len(theirs)}")

    def _send(self, message: bytes) -> None:
        self._out += len(message).to_bytes(LENGTH_SIZE, "big") + message


class NoiseTransport:
    """The channel after the handshake; dead after any failure.

    Messages are kept full, and never empty: py-libp2p takes an empty one for the end.
    """

    __slots__ = ("_buffer", "_error", "_receive", "_send")

    def __init__(self, send: CipherState, receive: CipherState) -> None:
        self._send = send
        self._receive = receive
        self._buffer = bytearray()
        self._error: NoiseError | None = None

    def send_data(self, data: bytes | bytearray | memoryview) -> bytearray:
        """The data as encrypted messages, in one buffer ready to be written."""
        view = memoryview(data)
        size = len(view)
        count = -(-size // MAX_PLAINTEXT)
        out = bytearray(size + count * (LENGTH_SIZE + TAG_SIZE))
        target = memoryview(out)
        pos = 0
        for start in range(0, size, MAX_PLAINTEXT):
            chunk = view[start : start + MAX_PLAINTEXT]
            length = len(chunk) + TAG_SIZE
            target[pos : pos + LENGTH_SIZE] = length.to_bytes(LENGTH_SIZE, "big")
            pos += LENGTH_SIZE
            self._send.encrypt_into(chunk, target[pos : pos + length])
            pos += length
        return out

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The plaintexts of all messages that are whole now."""
        if self._error is not None:
            raise self._error
        plaintexts: list[bytes] = []
        try:
            self._read(memoryview(data), plaintexts)
        except NoiseError as error:
            self._error = error
            raise
        return plaintexts

    def _read(self, view: memoryview, plaintexts: list[bytes]) -> None:
        """First end the message begun earlier, then read from the data itself."""
        pos = self._complete(view, plaintexts) if self._buffer else 0
        while len(view) - pos >= LENGTH_SIZE:
            end = pos + LENGTH_SIZE + _length(view[pos], view[pos + 1])
            if end > len(view):
                break
            plaintexts.append(self._receive.decrypt(view[pos + LENGTH_SIZE : end]))
            pos = end
        self._buffer += view[pos:]

    def _complete(self, view: memoryview, plaintexts: list[bytes]) -> int:
        """Fill up the buffered message; returns how much of the data it took."""
        buffer = self._buffer
        pos = min(max(0, LENGTH_SIZE - len(buffer)), len(view))
        buffer += view[:pos]
        if len(buffer) < LENGTH_SIZE:
            return pos
        missing = LENGTH_SIZE + _length(buffer[0], buffer[1]) - len(buffer)
        taken = view[pos : pos + missing]
        buffer += taken
        if len(taken) == missing:
            self._buffer = bytearray()
            plaintexts.append(self._receive.decrypt(memoryview(buffer)[LENGTH_SIZE:]))
        return pos + len(taken)


def _length(high: int, low: int) -> int:
    """A message's length; shorter than its tag it holds no plaintext at all."""
    size = high << 8 | low
    if size < TAG_SIZE:
        raise NoiseError(f"message of {size} bytes, at least {TAG_SIZE} needed")
    return size


def _derive(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Noise §4.3 HKDF with two outputs."""
    secret = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")


def _private(seed: bytes | None) -> X25519PrivateKey:
    if seed is None:
        return X25519PrivateKey.generate()
    return X25519PrivateKey.from_private_bytes(seed)


def _public(private: X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()
