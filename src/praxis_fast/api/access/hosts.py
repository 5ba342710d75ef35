"""Which hosts and origins a request may name (WS-2)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def is_loopback(host: str) -> bool:
    """Whether the name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        # An IPv4 client of a socket for both.
        return ip_address(host.removeprefix("::ffff:")).is_loopback
    except ValueError:
        return False


def split_host(text: str) -> tuple[str, int | None] | None:
    """The name and port of a Host header; None when it is malformed."""
    if not text or any(sign in text for sign in "/@?#\\ \t"):
        return None
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname.rstrip("."), port) if parts.hostname else None


def header_values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Every value of a header; `headers` have lower-case names."""
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


class Hosts:
    """Knows our names, and the origins that are friends."""

    def __init__(
        self, host: str, hosts: Iterable[str] = (), origins: Iterable[str] = ()
    ) -> None:
        self._hosts = tuple(name.lower() for name in (host, *hosts))
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def is_ours(self, name: str, local: str | None) -> bool:
        """Whether a host is us; `local` is our address that was connected to."""
        return (
            is_loopback(name)
            or name == local
            or any(fnmatchcase(name, pattern) for pattern in self._hosts)
        )

    def is_friend(self, origin: str, host: tuple[str, int | None]) -> bool:
        """Whether pages of an origin may talk to us at this host and port."""
        origin = origin.lower().rstrip("/")
        if origin in self._origins or "*" in self._origins:
            return True
        scheme, _, rest = origin.partition("://")
        theirs = split_host(rest)
        if theirs is None or scheme not in _DEFAULT_PORTS:
            return False
        default = _DEFAULT_PORTS[scheme]
        return (theirs[1] or default) == (host[1] or default) and (
            theirs[0] == host[0] or (is_loopback(theirs[0]) and is_loopback(host[0]))
        )
