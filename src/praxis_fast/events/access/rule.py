"""One rule of the access policy: who is allowed or denied which events."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from praxis_fast.errors import UsageError
from praxis_fast.events.filter import any_glob, any_source, tag_holds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set
    from ipaddress import IPv4Network, IPv6Network

    from praxis_fast.events.access.principal import Principal
    from praxis_fast.events.event import Event
    from praxis_fast.events.filter import TagRule

    Network = IPv4Network | IPv6Network

# The tags that say where an event belongs and how sensitive it is.
SEGMENT, DOMAIN, SENSITIVITY = "segment", "domain", "sensitivity"
LIMITING = (SEGMENT, DOMAIN, SENSITIVITY)

# The keys of event data that hold addresses of the event's peer.
_ADDRESS_KEYS = ("addresses", "address", "listen_addresses", "addr")
_MAX_ADDRESSES = 64

Names = frozenset[str] | None


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who (roles, names, networks) and which events (all else); a missing one is any.

    `deny` hides what it covers. What an `allow` covers is seen by those it names, and
    by nobody else unless another `allow` names them.
    """

    effect: Literal["allow", "deny"]
    roles: Names = None
    names: Names = None
    """Names and globs of principals."""
    networks: Names = None
    """Where they connect from, such as `10.0.0.0/8`."""
    types: Names = None
    """Names and globs, as in a filter."""
    tags: frozenset[str] = frozenset()
    """`name` or `name:value`; the event has them all."""
    sources: Names = None
    peers: Names = None
    tasks: Names = None
    segments: Names = None
    """Names and globs of the segments an event is about."""
    domains: Names = None
    """Domains; those below them are meant too."""
    sensitivity: Names = None
    """Values of the tag `sensitivity`."""

    def is_about(self, principal: Principal, held: Set[str]) -> bool:
        """Whether it is about this principal; `held` are the roles that count.

        An `allow` counts what the roles inherit, a `deny` only the roles as given:
        what is denied to users is not denied to admins.
        """
        roles = held if self.effect == "allow" else principal.roles
        return (
            (self.roles is None or not self.roles.isdisjoint(roles))
            and (self.names is None or any_glob(self.names, principal.name))
            and (self.networks is None or is_within(principal.address, self.networks))
        )

    def covers(self, event: Event, segments: Segments) -> bool:
        """Whether the event is one of those it is about."""
        return (
            (self.types is None or any_glob(self.types, event.type))
            and (self.peers is None or event.peer_id in self.peers)
            and (self.tasks is None or event.task_id in self.tasks)
            and (self.sources is None or any_source(self.sources, event.source))
            and all(tag_holds(tag_rule(text), event) for text in self.tags)
            and (
                self.sensitivity is None
                or label(event, SENSITIVITY) in self.sensitivity
            )
            and (self.domains is None or is_below(label(event, DOMAIN), self.domains))
            and (self.segments is None or segments.meet(event, self.segments))
        )

    @property
    def is_about_types_alone(self) -> bool:
        """Whether nothing but its type decides if an event is covered."""
        rest = (self.peers, self.tasks, self.sources, self.sensitivity, self.domains)
        return (
            not self.tags
            and self.segments is None
            and not any(names is not None for names in rest)
        )


class Segments:
    """Which network segments an event is about.

    Its tag `segment` says so; without one the addresses of its peer do, for the
    segments whose networks are known here.
    """

    def __init__(self, networks: Mapping[str, Iterable[str]] | None = None) -> None:
        self._networks = {
            name: tuple(network_of(text) for text in texts)
            for name, texts in (networks or {}).items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Segments) and self._networks == other._networks

    def __hash__(self) -> int:
        return hash(frozenset(self._networks))

    @property
    def reads_data(self) -> bool:
        """Whether addresses are looked for."""
        return bool(self._networks)

    def of(self, event: Event) -> Set[str]:
        """Their names; none for an event that belongs nowhere in particular."""
        told = label(event, SEGMENT)
        if told is not None:
            return {told}
        hosts = _hosts(event.data) if self._networks else ()
        return {
            name
            for name, networks in self._networks.items()
            if any(_holds(network, host) for network in networks for host in hosts)
        }

    def meet(self, event: Event, patterns: frozenset[str]) -> bool:
        """Whether one of them is one of these names or globs."""
        return any(any_glob(patterns, name) for name in self.of(event))


def label(event: Event, name: str) -> str | None:
    """A tag's value; publishers may have put anything there."""
    value = event.tags.get(name)
    return None if value is None else str(value)


def tag_rule(text: str) -> TagRule:
    """A filter's rule for `name` or `name:value`."""
    name, colon, value = text.partition(":")
    return (name, value) if colon else text


def is_below(domain: str | None, domains: Iterable[str]) -> bool:
    """Whether a domain is one of these, or below one; case does not count."""
    if domain is None:
        return False
    name = domain.lower().rstrip(".")
    return any(
        name == one or name.endswith(f".{one}")
        for one in (text.lower().strip(".") for text in domains)
    )


@lru_cache(maxsize=1024)
def network_of(text: str) -> Network:
    """The network of `10.0.0.0/8`; UsageError for anything else."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise UsageError(f"network {text[:64]!r}: {error}") from None


def is_within(address: str | None, networks: Iterable[str]) -> bool:
    """Whether the address is in one of the networks; no address is in none."""
    return address is not None and any(
        _holds(network_of(text), address) for text in networks
    )


def _holds(network: Network, host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.version == network.version and address in network


def _hosts(data: Any) -> set[str]:
    """The IP addresses in what an event tells of its peer, multiaddrs or plain."""
    if not isinstance(data, dict):
        return set()
    found: set[str] = set()
    for key in _ADDRESS_KEYS:
        value = data.get(key)
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, (list, tuple)):
            found |= {_host(str(text)) for text in texts[:_MAX_ADDRESSES]}
    return found


def _host(text: str) -> str:
    """`10.0.0.5` out of `/ip4/10.0.0.5/tcp/4001`."""
    parts = text.split("/", 3)
    return parts[2] if len(parts) > 2 and parts[1] in ("ip4", "ip6") else text
