"""The Noise handshake of libp2p: proves peer ids and agrees on the muxer.

libp2p specification, noise/README.md and connections/inlined-muxer-negotiation.md.

    initiator                          responder
        │ e ──────────────────────────────► │
        │ ◄────────── e, ee, s, es, payload │   identity key, signature, muxers
        │ s, se, payload ─────────────────► │   the same of the initiator
      done                                done

Everything behind the last message belongs to the channel: `leftover`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from praxis_fast.errors import NoiseError, ProtobufError, PublicKeyError, UsageError
from praxis_fast.limits import SecurityLimits
from praxis_fast.wire.keys import PublicKey
from praxis_fast.wire.noise_state import HandshakeState
from praxis_fast.wire.noise_transport import (
    LENGTH_SIZE,
    MAX_MESSAGE,
    MAX_PLAINTEXT,
    NoiseTransport,
)
from praxis_fast.wire.protobuf import as_bytes, as_text, encode_bytes, read_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxis_fast.wire.keys import PrivateKey
    from praxis_fast.wire.peer_id import PeerID

__all__ = [
    "MAX_MESSAGE",
    "MAX_PLAINTEXT",
    "NoiseHandshake",
    "NoiseTransport",
    "StaticKey",
]

SIGNATURE_PREFIX: Final = b"noise-libp2p-static-key:"

# NoiseHandshakePayload and NoiseExtensions of the specification.
IDENTITY_KEY: Final = 1
IDENTITY_SIG: Final = 2
EXTENSIONS: Final = 4
STREAM_MUXERS: Final = 2


class StaticKey:
    """Our key in the Noise layer, and the proof that our identity vouches for it.

    One may serve all handshakes of a process: each has an ephemeral key of its own.
    """

    __slots__ = ("private", "proof")

    def __init__(self, key: PrivateKey, private: bytes | None = None) -> None:
        self.private = _private(private)
        """The X25519 key."""
        signed = SIGNATURE_PREFIX + self.private.public_key().public_bytes_raw()
        identity = encode_bytes(IDENTITY_KEY, key.public_key.to_protobuf())
        self.proof = identity + encode_bytes(IDENTITY_SIG, key.sign(signed))
        """The fields of a payload that hold the identity and its signature."""


class NoiseHandshake:
    """One end of the handshake; any NoiseError is its end.

    `remote_key`, `remote_peer` and `muxer` are None until `done`; `muxer` stays None
    when one of the two did not offer any inside the handshake.
    """

    __slots__ = (
        "_buf",
        "_expected_peer",
        "_is_dead",
        "_is_initiator",
        "_limits",
        "_muxers",
        "_out",
        "_state",
        "_static",
        "_transport",
        "done",
        "muxer",
        "remote_key",
        "remote_peer",
    )

    def __init__(
        self,
        *,
        initiator: bool,
        key: PrivateKey | StaticKey,
        expected_peer: PeerID | None = None,
        muxers: Sequence[str] = ("/yamux/1.0.0",),
        limits: SecurityLimits | None = None,
        ephemeral_key: bytes | None = None,
    ) -> None:
        self.done = False
        self.remote_key: PublicKey | None = None
        self.remote_peer: PeerID | None = None
        self.muxer: str | None = None
        self._is_initiator = initiator
        self._expected_peer = expected_peer
        self._muxers = tuple(muxers)
        self._limits = limits or SecurityLimits()
        self._static = key if isinstance(key, StaticKey) else StaticKey(key)
        self._state = HandshakeState(
            initiator=initiator,
            static=self._static.private,
            ephemeral=_private(ephemeral_key),
        )
        self._transport: NoiseTransport | None = None
        self._buf = bytearray()
        self._out = bytearray()
        self._is_dead = False
        if initiator:
            self._write(b"")

    @property
    def leftover(self) -> bytes:
        """What came behind the last message: the channel's first bytes."""
        return bytes(self._buf) if self.done else b""

    def transport(self) -> NoiseTransport:
        """The channel that the handshake made."""
        if not self.done:
            raise UsageError("there is no channel before the handshake is done")
        if self._transport is None:
            self._transport = NoiseTransport(*self._state.split())
        return self._transport

    def data_to_send(self) -> bytes:
        """Everything waiting to be sent."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the other end; NoiseError ends the handshake."""
        if self._is_dead:
            raise NoiseError("handshake is over after an error")
        self._buf += data
        try:
            while not self.done:
                message = self._next_message()
                if message is None:
                    return
                self._on_message(message)
        except NoiseError:
            self._is_dead = True
            self._out.clear()
            raise

    def _next_message(self) -> bytes | None:
        if len(self._buf) < LENGTH_SIZE:
            return None
        size = self._buf[0] << 8 | self._buf[1]
        if size > self._limits.max_handshake:
            raise NoiseError(
                f"handshake message of {size} bytes, limit {self._limits.max_handshake}"
            )
        end = LENGTH_SIZE + size
        if len(self._buf) < end:
            return None
        message = bytes(self._buf[LENGTH_SIZE:end])
        del self._buf[:end]
        return message

    def _on_message(self, message: bytes) -> None:
        payload = self._state.read_message(message)
        if not self._state.remote_static:
            # Message 1 proves nothing yet; whatever it carries is not looked at.
            self._write(self._payload())
            return
        key, peer, muxer = self._check_payload(payload)
        if self._is_initiator:
            self._write(self._payload())
        self.remote_key, self.remote_peer, self.muxer = key, peer, muxer
        self.done = True

    def _write(self, payload: bytes) -> None:
        message = self._state.write_message(payload)
        self._out += len(message).to_bytes(LENGTH_SIZE, "big") + message

    def _payload(self) -> bytes:
        """Our identity key, its signature over our static key, our muxers."""
        payload = self._static.proof
        muxers = (encode_bytes(STREAM_MUXERS, name.encode()) for name in self._muxers)
        extensions = b"".join(muxers)
        return payload + encode_bytes(EXTENSIONS, extensions) if extensions else payload

    def _check_payload(self, payload: bytes) -> tuple[PublicKey, PeerID, str | None]:
        """Who the other end proved to be, and the muxer both want."""
        try:
            encoded, signature, muxers = _read_payload(payload)
            key = PublicKey.from_protobuf(encoded, self._limits, will_verify=True)
        except (ProtobufError, PublicKeyError) as error:
            raise NoiseError(f"bad handshake payload: {error}") from error
        if not key.verify(signature, SIGNATURE_PREFIX + self._state.remote_static):
            raise NoiseError("signature of the identity key is wrong")
        peer = key.peer_id
        if self._expected_peer is not None and peer != self._expected_peer:
            raise NoiseError(f"peer is {peer}, expected {self._expected_peer}")
        return key, peer, self._choose_muxer(muxers)

    def _choose_muxer(self, theirs: list[str]) -> str | None:
        """The first of the initiator's muxers that both have."""
        if not theirs or not self._muxers:
            return None
        ours = list(self._muxers)
        wanted, offered = (ours, theirs) if self._is_initiator else (theirs, ours)
        for name in wanted:
            if name in offered:
                return name
        raise NoiseError("no muxer in common")


def _private(data: bytes | None) -> X25519PrivateKey:
    if data is None:
        return X25519PrivateKey.generate()
    return X25519PrivateKey.from_private_bytes(data)


def _read_payload(payload: bytes) -> tuple[bytes, bytes, list[str]]:
    """Identity key, signature and muxers of a payload."""
    key = signature = b""
    muxers: list[str] = []
    for field in read_fields(payload):
        if field.number == IDENTITY_KEY:
            key = as_bytes(field)
        elif field.number == IDENTITY_SIG:
            signature = as_bytes(field)
        elif field.number == EXTENSIONS:
            muxers += [
                as_text(inner)
                for inner in read_fields(as_bytes(field))
                if inner.number == STREAM_MUXERS
            ]
    if not key or not signature:
        raise ProtobufError("identity key or signature is missing")
    return key, signature, muxers
