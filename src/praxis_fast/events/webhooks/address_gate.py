"""Which addresses webhooks may be sent to: nothing inside our own networks (HK-1..3).

A URL is judged twice: when its endpoint is registered, and again at each connection, by
the very address the socket is about to connect to. A name that resolves to something
else meanwhile gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from praxis_fast.errors import WebhookRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from urllib.parse import SplitResult

DEFAULT_PORTS = (443, 8443)
MAX_URL = 2048

# Public by the registry and yet not to be reached from inside: anycast 6to4 relays, a
# cloud's host agent, and what IANA keeps for protocols.
_REFUSED_V4 = tuple(
    map(ip_network, ("192.88.99.0/24", "168.63.129.16/32", "192.0.0.0/24"))
)
# Global unicast, without what carries an IPv4 address inside (6to4, Teredo) and without
# documentation. NAT64, mapped, site-local and the rest are not in it at all.
_GLOBAL_V6 = ip_network("2000::/3")
_REFUSED_V6 = tuple(
    map(ip_network, ("2002::/16", "2001::/23", "2001:db8::/32", "3fff::/20"))
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads."""

    host: str
    port: int


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is a single machine of the public internet."""
    if isinstance(address, IPv4Address):
        is_odd = address.is_multicast or any(address in net for net in _REFUSED_V4)
        return address.is_global and not is_odd
    return address in _GLOBAL_V6 and not any(address in net for net in _REFUSED_V6)


class AddressGate:
    """Refuses URLs and addresses with WebhookRefusedError.

    `allow_loopback` is for development: this machine at any port, without TLS too.
    """

    def __init__(
        self, *, ports: Iterable[int] = DEFAULT_PORTS, allow_loopback: bool = False
    ) -> None:
        self._ports = frozenset(ports)
        self._allow_loopback = allow_loopback

    def check_url(self, url: str) -> Target:
        """Where the URL leads, as far as its text tells."""
        parts = _split(url)
        host = parts.hostname or ""
        is_local = self._allow_loopback and _names_loopback(host)
        if parts.scheme != "https" and not (is_local and parts.scheme == "http"):
            raise WebhookRefusedError(f"webhook url is {parts.scheme}, not https")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = _literal(host)
        if address is not None:
            self.check_address(host, port)
        elif not is_local:
            self._check_port(port)
        return Target(host, port)

    def check_address(self, address: str, port: int) -> None:
        """Refuse an address that is about to be connected to."""
        found = ip_address(address)
        if self._allow_loopback and found.is_loopback:
            return
        if not is_public(found):
            raise WebhookRefusedError(f"address {address} is not public")
        self._check_port(port)

    def _check_port(self, port: int) -> None:
        if port not in self._ports:
            allowed = ", ".join(map(str, sorted(self._ports)))
            raise WebhookRefusedError(f"webhook port {port} is not one of {allowed}")


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL:
        raise WebhookRefusedError(f"webhook url of {len(url)} bytes, limit {MAX_URL}")
    # Parsers differ about backslashes, blanks and letters of other alphabets.
    if not all("!" <= sign <= "~" and sign not in '\\"<>^`{|}' for sign in url):
        raise WebhookRefusedError("webhook url has signs that do not belong in a url")
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise WebhookRefusedError("webhook url is malformed") from error
    if not is_whole or parts.scheme not in ("http", "https"):
        raise WebhookRefusedError("webhook url is not https://host/path")
    if "@" in parts.netloc:
        raise WebhookRefusedError("webhook url holds a user; use headers or a secret")
    if parts.fragment:
        raise WebhookRefusedError("webhook url has a fragment")
    return parts


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address written in a URL; spellings that only some understand are refused."""
    try:
        address = ip_address(host)
    except ValueError:
        pass
    else:
        if getattr(address, "scope_id", None) is None:
            return address
        raise WebhookRefusedError(f"webhook host {host[:64]!r} names an interface")
    # `2130706433`, `0x7f.1`, `127.1`, `0177.0.0.1`: the last part is a number.
    last = host.rstrip(".").rpartition(".")[2]
    if last.isdigit() or last.startswith("0x") or "%" in host or ":" in host:
        raise WebhookRefusedError(f"webhook host {host[:64]!r} is an odd address")
    return None


def _names_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
