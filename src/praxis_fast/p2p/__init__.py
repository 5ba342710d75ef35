"""The libp2p-compatible host (contract: these names)."""

from praxis_fast.p2p.host import Host
from praxis_fast.p2p.link import Link
from praxis_fast.p2p.stream import Stream
from praxis_fast.wire.keys import PrivateKey, PublicKey
from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.peer_id import PeerID

__all__ = [
    "Host",
    "Link",
    "Multiaddr",
    "PeerID",
    "PrivateKey",
    "PublicKey",
    "Stream",
]
