"""Which connections may be opened, counted exactly (docs/limits.md CON-2)."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING

from praxis_fast.errors import ResourceLimitError
from praxis_fast.p2p.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.limits import ConnectionLimits

# Addresses whose rate is remembered; the longest unseen one is forgotten first.
MAX_BUCKETS = 4096


class Slot:
    """One counted connection; given back exactly once however often asked."""

    __slots__ = ("_is_open", "_is_upgrading", "_key", "_resources")

    def __init__(self, resources: Resources, key: str | None, *, inbound: bool) -> None:
        self._resources = resources
        self._key = key
        self._is_open = True
        self._is_upgrading = inbound

    def secured(self) -> None:
        """The connection is upgraded; strangers may use its place."""
        if self._is_upgrading:
            self._is_upgrading = False
            self._resources.upgrading -= 1

    def release(self) -> None:
        """The connection is gone."""
        if self._is_open:
            self._is_open = False
            self.secured()
            self._resources.give_back(self._key)


class Resources:
    """Counts connections in all, not yet secured, and by address."""

    def __init__(self, limits: ConnectionLimits, clock: Callable[[], float]) -> None:
        self.connections = 0
        self.upgrading = 0
        self.by_address: Counter[str] = Counter()
        self._limits = limits
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def admit_inbound(self, host: str) -> Slot:
        """A place for a connection from this address, or ResourceLimitError."""
        self._check_total()
        if self.upgrading >= self._limits.max_upgrading:
            raise ResourceLimitError(
                f"{self.upgrading} connections not yet secured, "
                f"limit {self._limits.max_upgrading}"
            )
        key = self._key(host)
        if key is not None:
            self._check_address(key)
            self.by_address[key] += 1
        self.connections += 1
        self.upgrading += 1
        return Slot(self, key, inbound=True)

    def admit_outbound(self) -> Slot:
        """A place for a connection we dial, or ResourceLimitError."""
        self._check_total()
        self.connections += 1
        return Slot(self, None, inbound=False)

    def give_back(self, key: str | None) -> None:
        """A slot is free again; called by the slot."""
        self.connections -= 1
        if key is None:
            return
        self.by_address[key] -= 1
        if not self.by_address[key]:
            del self.by_address[key]

    def _check_total(self) -> None:
        if self.connections >= self._limits.max_connections:
            raise ResourceLimitError(
                f"{self.connections} connections, limit {self._limits.max_connections}"
            )

    def _check_address(self, key: str) -> None:
        count = self.by_address.get(key, 0)
        if count >= self._limits.max_per_address:
            raise ResourceLimitError(
                f"{count} connections from {key}, limit {self._limits.max_per_address}"
            )
        now = self._clock()
        if not self._bucket(key, now).take(now):
            raise ResourceLimitError(
                f"more than {self._limits.open_burst} connections at once from {key}, "
                f"limit {self._limits.open_rate:g} a second"
            )

    def _bucket(self, key: str, now: float) -> TokenBucket:
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            bucket = TokenBucket(self._limits.open_rate, self._limits.open_burst, now)
            if len(self._buckets) >= MAX_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = bucket
        return bucket

    def _key(self, host: str) -> str | None:
        """What counts as one address: an IPv4 address or an IPv6 /56."""
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if address.is_loopback and self._limits.exempt_loopback:
            return None
        if isinstance(address, ipaddress.IPv4Address):
            return str(address)
        return str(ipaddress.ip_network((address, 56), strict=False))
