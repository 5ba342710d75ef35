"""How often an address may show a wrong credential (HTTP-5)."""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.limits import HTTPLimits

    Proof = tuple[str, bytes]

# One customer's network, as for connections of peers.
_IPV6_PREFIX = 56

# Credentials remembered as right, over all addresses. Once there are so many, whoever
# has more than a share makes room itself: one token may come from many addresses, and
# a web token can be spelled in many ways.
_MAX_PROVEN = 4096
_SHARE = 256


def network_key(address: str | None) -> str:
    """Whose failures count together: an IPv4 address, an IPv6 network."""
    try:
        host = ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(host, IPv6Address):
        return str(host)
    if host.ipv4_mapped is not None:
        return str(host.ipv4_mapped)
    return str(ip_network((host, _IPV6_PREFIX), strict=False))


class FailedLogins:
    """Counts failures for each address, with a rate that forgives.

    A credential that was right from an address before is let through however often
    others fail there: behind one address, or on this machine, are many.
    """

    def __init__(self, limits: HTTPLimits, clock: Callable[[], float]) -> None:
        self._burst = limits.failed_logins
        self._rate = limits.failed_logins / 60.0
        self._max = limits.max_failing_addresses
        self._clock = clock
        # What is left of the allowance, and when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        # Whose each is, and those of each; the oldest first.
        self._proven: OrderedDict[Proof, str] = OrderedDict()
        self._shares: dict[str, OrderedDict[Proof, None]] = {}

    def __len__(self) -> int:
        return len(self._left)

    def wait(self, address: str | None) -> int | None:
        """Whole seconds until the address may try again; None when it may now."""
        left = self._allowance(network_key(address))
        return None if left >= 1 else math.ceil((1 - left) / self._rate)

    def add(self, address: str | None, count: int = 1) -> None:
        """The address showed so many wrong credentials."""
        if count == 0:
            return
        key = network_key(address)
        left = self._allowance(key)
        self._left[key] = (max(0.0, left - count), self._clock())
        self._left.move_to_end(key)
        if len(self._left) > self._max:
            self._left.popitem(last=False)

    def prove(self, address: str | None, digest: bytes, holder: str) -> None:
        """The address showed a right one, which is this holder's."""
        proof = (network_key(address), digest)
        self._forget(proof)
        self._proven[proof] = holder
        share = self._shares.setdefault(holder, OrderedDict())
        share[proof] = None
        if len(self._proven) > _MAX_PROVEN:
            self._forget(next(iter(share if len(share) > _SHARE else self._proven)))

    def is_proven(self, address: str | None, digest: bytes) -> bool:
        """Whether the address showed this one before, and it was right."""
        return (network_key(address), digest) in self._proven

    def _forget(self, proof: Proof) -> None:
        holder = self._proven.pop(proof, None)
        if holder is not None:
            share = self._shares[holder]
            del share[proof]
            if not share:
                del self._shares[holder]

    def _allowance(self, key: str) -> float:
        left, at = self._left.get(key, (float(self._burst), 0.0))
        return min(float(self._burst), left + (self._clock() - at) * self._rate)
