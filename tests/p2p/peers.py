"""Peers that never were, for the tests of discovery."""

from __future__ import annotations

import hashlib

from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.peer_id import PeerID


def peer(number: int) -> PeerID:
    """A peer id, always the same one for a number."""
    return PeerID.from_bytes(
        b"\x12\x20" + hashlib.sha256(bytes([number % 256])).digest()
    )


def many_peers(count: int) -> list[PeerID]:
    return [
        PeerID.from_bytes(b"\x12\x20" + number.to_bytes(32, "big"))
        for number in range(count)
    ]


def at(host: str, port: int = 4001) -> Multiaddr:
    return Multiaddr.parse(f"/ip4/{host}/tcp/{port}")
