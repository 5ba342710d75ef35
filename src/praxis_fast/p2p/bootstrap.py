"""The addresses a host is told to begin with, and when to dial the nameless ones.

An address with a /p2p/ part names its peer: the peer table dials and redials it. One
without is dialled here, and whoever answers is its peer from then on; it is dialled
again, for ever and with growing pauses, whenever that peer is not connected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from praxis_fast.errors import AddressError, ConfigError
from praxis_fast.p2p.announcement import is_dialable
from praxis_fast.p2p.backoff import Backoff
from praxis_fast.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from praxis_fast.limits import ConnectionLimits
    from praxis_fast.wire.peer_id import PeerID

KEY = "bootstrap_nodes"


@dataclass(slots=True)
class Nameless:
    """An address whose peer is learned by dialling it."""

    addr: Multiaddr
    peer_id: PeerID | None = None
    failures: int = 0
    next_dial: float | None = 0.0  # None while dialling and while connected


class Bootstrap:
    """The parsed addresses, and the schedule of those without a peer id.

    ConfigError when an address is malformed or cannot be dialled.
    """

    def __init__(
        self,
        addresses: Iterable[str | Multiaddr],
        limits: ConnectionLimits,
        rng: Random,
    ) -> None:
        self._backoff = Backoff(limits.backoff_min, limits.backoff_max, rng)
        self._named: dict[PeerID, tuple[Multiaddr, ...]] = {}
        self._nameless: dict[Multiaddr, Nameless] = {}
        for given in addresses:
            addr = parse_address(given)
            peer_id = addr.peer_id
            if peer_id is None:
                self._nameless[addr] = Nameless(addr)
            elif addr not in self._named.get(peer_id, ()):
                self._named[peer_id] = (*self._named.get(peer_id, ()), addr)

    @property
    def peers(self) -> dict[PeerID, tuple[Multiaddr, ...]]:
        """The peers named in advance, with their addresses."""
        return dict(self._named)

    def next_deadline(self) -> float | None:
        """When an address is due; None when none waits."""
        waiting = [n.next_dial for n in self._nameless.values()]
        return min((at for at in waiting if at is not None), default=None)

    def on_deadline(self, now: float, free: int) -> list[Multiaddr]:
        """The addresses to dial now, at most `free`; each is reported back once."""
        due = [
            n
            for n in self._nameless.values()
            if n.next_dial is not None and n.next_dial <= now
        ]
        due.sort(key=lambda nameless: nameless.next_dial or 0.0)
        for nameless in due[: max(0, free)]:
            nameless.next_dial = None
        return [nameless.addr for nameless in due[: max(0, free)]]

    def learned(self, addr: Multiaddr, peer_id: PeerID) -> None:
        """The dial led to this peer, which is connected."""
        nameless = self._nameless[addr]
        nameless.peer_id = peer_id
        nameless.failures = 0

    def failed(self, addr: Multiaddr, now: float) -> None:
        """The dial led nowhere."""
        self._postpone(self._nameless[addr], now)

    def lost(self, peer_id: PeerID, now: float) -> None:
        """The peer is not connected any more: its address is dialled again."""
        for nameless in self._nameless.values():
            if nameless.peer_id == peer_id and nameless.next_dial is None:
                self._postpone(nameless, now)

    def found(self, peer_id: PeerID) -> None:
        """The peer is connected again, by another way: no need to dial."""
        for nameless in self._nameless.values():
            if nameless.peer_id == peer_id:
                nameless.failures = 0
                nameless.next_dial = None

    def _postpone(self, nameless: Nameless, now: float) -> None:
        nameless.failures += 1
        nameless.next_dial = now + self._backoff.pause(nameless.failures)


def parse_address(given: str | Multiaddr) -> Multiaddr:
    """A bootstrap address, or a ConfigError that quotes it."""
    try:
        addr = given if isinstance(given, Multiaddr) else Multiaddr.parse(given)
    except AddressError as error:
        raise ConfigError(f"{str(given)!r}: {error}", key=KEY) from error
    if not is_dialable(addr):
        raise ConfigError(
            f"{str(given)!r}: not an address of a tcp listener, like"
            " /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW...",
            key=KEY,
        )
    return addr
