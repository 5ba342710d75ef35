"""The upgrade machine, both ends, with and without the early muxer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praxis_fast.errors import MultistreamError, NoiseError
from praxis_fast.limits import SecurityLimits
from praxis_fast.p2p.upgrade import Stage, Upgrade
from praxis_fast.wire.multistream import MultistreamInitiator, MultistreamResponder
from praxis_fast.wire.noise import NoiseHandshake
from tests.p2p.network import key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMITS = SecurityLimits()


def make(*, initiator: bool, number: int, expected: int | None = None) -> Upgrade:
    peer = None if expected is None else key(expected).peer_id
    return Upgrade(
        initiator=initiator, key=key(number), expected_peer=peer, limits=LIMITS
    )


def feed(machine: Upgrade, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        machine.receive_data(piece)


def test_both_ends_agree_in_any_chunking(
    chunkings: Callable[[bytes], list[list[bytes]]],
) -> None:
    for index in range(len(chunkings(b""))):
        near = make(initiator=True, number=1, expected=2)
        far = make(initiator=False, number=2)
        while Stage.DONE not in (near.stage, far.stage) or near.stage != far.stage:
            feed(far, chunkings(near.data_to_send())[index])
            feed(near, chunkings(far.data_to_send())[index])
        assert near.remote_peer == key(2).peer_id
        assert far.remote_peer == key(1).peer_id
        assert near.remote_key == key(2).public_key
        assert near.transport is not None
        assert far.transport is not None
        secret = near.transport.send_data(b"behind")
        assert far.transport.receive_data(secret) == [b"behind"]


def test_the_handshake_begins_behind_the_proposal() -> None:
    near, far = make(initiator=True, number=1), make(initiator=False, number=2)
    turns = 0
    while near.stage is not Stage.DONE:
        far.receive_data(near.data_to_send())
        near.receive_data(far.data_to_send())
        turns += 1
    assert turns == 1


def test_what_comes_behind_the_handshake_is_left_over() -> None:
    near, far = make(initiator=True, number=1), make(initiator=False, number=2)
    while near.stage is not Stage.DONE:
        far.receive_data(near.data_to_send())
        near.receive_data(far.data_to_send())
    assert near.transport is not None
    last = near.data_to_send()
    far.receive_data(last + near.transport.send_data(b"frames"))
    assert far.stage is Stage.DONE
    assert far.leftover == [b"frames"]
    far.receive_data(near.transport.send_data(b"more"))
    assert far.leftover == [b"frames", b"more"]


class LateMuxer:
    """A peer that knows nothing of muxers in the handshake, as py and rust are."""

    def __init__(self, *, initiator: bool) -> None:
        ends = MultistreamInitiator if initiator else MultistreamResponder
        self.ends = ends
        self.negotiation = ends(("/noise",), limits=LIMITS)
        self.handshake = NoiseHandshake(
            initiator=initiator, key=key(3), muxers=(), limits=LIMITS
        )

    def secure(self, other: Upgrade) -> None:
        """Agree on Noise and run the handshake."""
        while self.negotiation.protocol is None:
            other.receive_data(self.negotiation.data_to_send())
            self.negotiation.receive_data(other.data_to_send())
        other.receive_data(self.negotiation.data_to_send())
        self.handshake.receive_data(self.negotiation.leftover)
        while not self.handshake.done or other.stage is not Stage.MUXER:
            other.receive_data(self.handshake.data_to_send())
            if not self.handshake.done:
                self.handshake.receive_data(other.data_to_send())
        self.transport = self.handshake.transport()

    def agree(self, other: Upgrade, protocol: str, behind: bytes = b"") -> None:
        """Negotiate the muxer inside the channel, with data right behind."""
        negotiation = self.ends((protocol,), limits=LIMITS)
        early = self.handshake.leftover
        while negotiation.protocol is None:
            plain = self.transport.receive_data(early + other.data_to_send())
            early = b""
            negotiation.receive_data(b"".join(plain))
            words = negotiation.data_to_send()
            if negotiation.protocol is not None:
                words += behind
            if words:
                other.receive_data(self.transport.send_data(words))
            if getattr(negotiation, "failed", False):
                return


@pytest.mark.parametrize("initiator", [True, False])
def test_the_muxer_is_agreed_behind_the_handshake_when_the_peer_does_so(
    initiator: bool,
) -> None:
    peer, ours = LateMuxer(initiator=initiator), make(initiator=not initiator, number=1)
    peer.secure(ours)
    assert ours.stage is Stage.MUXER
    peer.agree(ours, "/yamux/1.0.0", b"" if initiator else b"frames")
    assert ours.stage is Stage.DONE
    assert ours.leftover == ([] if initiator else [b"frames"])
    assert ours.remote_peer == key(3).peer_id


def test_another_muxer_is_refused() -> None:
    peer, ours = LateMuxer(initiator=True), make(initiator=False, number=1)
    peer.secure(ours)
    peer.agree(ours, "/mplex/6.7.0")
    assert ours.stage is Stage.MUXER


def test_a_peer_without_noise_is_refused() -> None:
    ours = make(initiator=True, number=1)
    responder = MultistreamResponder(("/tls/1.0.0",), limits=LIMITS)
    # It takes the handshake behind the proposal for a bad line, and has answered.
    with pytest.raises(MultistreamError, match="line"):
        responder.receive_data(ours.data_to_send())
    with pytest.raises(MultistreamError, match="does not speak /noise"):
        ours.receive_data(responder.data_to_send())


def test_sec_2_another_peer_is_refused_before_any_muxer_byte() -> None:
    near, far = (
        make(initiator=True, number=1, expected=3),
        make(initiator=False, number=2),
    )
    far.receive_data(near.data_to_send())
    with pytest.raises(NoiseError, match="expected"):
        near.receive_data(far.data_to_send())
    assert near.stage is Stage.HANDSHAKE
    assert near.transport is None
