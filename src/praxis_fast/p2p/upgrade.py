"""From a bare TCP connection to a secured, multiplexed one, as a sans-IO machine.

    security ──"/noise" agreed──► handshake ──► muxer ──"/yamux/1.0.0" agreed──► done
    (multistream)                 (Noise XX)  │ (multistream inside Noise)         ▲
                                              └── agreed inside the handshake ─────┘

Any stage's bytes may come in one packet with the next stage's (docs/peers.md), so
what a stage leaves over is fed to the next one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from praxis_fast.errors import MultistreamError, NoiseError
from praxis_fast.wire.multistream import MultistreamInitiator, MultistreamResponder
from praxis_fast.wire.noise import NoiseHandshake

if TYPE_CHECKING:
    from praxis_fast.limits import SecurityLimits
    from praxis_fast.wire.keys import PrivateKey, PublicKey
    from praxis_fast.wire.noise import NoiseTransport, StaticKey
    from praxis_fast.wire.peer_id import PeerID

NOISE = "/noise"
YAMUX = "/yamux/1.0.0"


class Stage(StrEnum):
    """How far an upgrade has come."""

    SECURITY = "security negotiation"
    HANDSHAKE = "noise handshake"
    MUXER = "muxer negotiation"
    DONE = "done"


class Upgrade:
    """The upgrade of one connection; any ProtocolError is its end."""

    __slots__ = (
        "_handshake",
        "_initiator",
        "_limits",
        "_negotiation",
        "_out",
        "leftover",
        "remote_key",
        "remote_peer",
        "stage",
        "transport",
    )

    def __init__(
        self,
        *,
        initiator: bool,
        key: PrivateKey | StaticKey,
        expected_peer: PeerID | None,
        limits: SecurityLimits,
    ) -> None:
        self.stage = Stage.SECURITY
        self.transport: NoiseTransport | None = None
        self.remote_peer: PeerID | None = None
        self.remote_key: PublicKey | None = None
        self.leftover: list[bytes] = []
        self._initiator = initiator
        self._limits = limits
        self._negotiation = self._negotiate(NOISE)
        self._handshake = NoiseHandshake(
            initiator=initiator,
            key=key,
            expected_peer=expected_peer,
            muxers=(YAMUX,),
            limits=limits,
        )
        self._out = bytearray()
        self._collect()
        if initiator:
            # Behind the only proposal, a round trip early: a refusal is the end anyway.
            self._out += self._handshake.data_to_send()

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the socket; `stage` and `leftover` say what they led to."""
        if self.stage is Stage.SECURITY:
            data = self._on_security(data)
        if self.stage is Stage.HANDSHAKE:
            data = self._on_handshake(data)
        if self.stage is Stage.MUXER:
            self._on_muxer(data)
        elif self.stage is Stage.DONE and data:
            self.leftover += self._decrypt(data)

    def data_to_send(self) -> bytes:
        """Everything waiting to be written to the socket."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def _negotiate(self, protocol: str) -> MultistreamInitiator | MultistreamResponder:
        if self._initiator:
            return MultistreamInitiator((protocol,), limits=self._limits)
        return MultistreamResponder((protocol,), limits=self._limits)

    def _on_security(self, data: bytes) -> bytes:
        """Agree on Noise; returns the bytes behind the agreement."""
        self._negotiation.receive_data(data)
        self._collect()
        if not self._is_agreed(NOISE):
            return b""
        self.stage = Stage.HANDSHAKE
        self._out += self._handshake.data_to_send()
        return self._negotiation.leftover

    def _on_handshake(self, data: bytes) -> bytes:
        """Run the handshake; returns the ciphertext behind it."""
        handshake = self._handshake
        if data:
            handshake.receive_data(data)
            self._out += handshake.data_to_send()
        if not handshake.done:
            return b""
        self.transport = handshake.transport()
        self.remote_peer = handshake.remote_peer
        self.remote_key = handshake.remote_key
        if handshake.muxer is not None:
            self.stage = Stage.DONE
        else:
            self.stage = Stage.MUXER
            self._negotiation = self._negotiate(YAMUX)
            self._collect()
        return handshake.leftover

    def _on_muxer(self, data: bytes) -> None:
        """Agree on yamux inside the secure channel."""
        plaintexts = self._decrypt(data)
        if plaintexts:
            self._negotiation.receive_data(b"".join(plaintexts))
            self._collect()
        if self._is_agreed(YAMUX):
            self.stage = Stage.DONE
            if self._negotiation.leftover:
                self.leftover.append(self._negotiation.leftover)

    def _decrypt(self, data: bytes) -> list[bytes]:
        if self.transport is None:
            raise NoiseError("data for a channel that is not there yet")
        return self.transport.receive_data(data) if data else []

    def _is_agreed(self, protocol: str) -> bool:
        negotiation = self._negotiation
        if isinstance(negotiation, MultistreamInitiator) and negotiation.failed:
            raise MultistreamError(f"peer does not speak {protocol}")
        return negotiation.protocol is not None

    def _collect(self) -> None:
        """Take what the negotiation wants sent, encrypted once there is a channel."""
        data = self._negotiation.data_to_send()
        if not data:
            return
        self._out += data if self.transport is None else self.transport.send_data(data)
