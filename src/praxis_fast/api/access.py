"""Who may talk to us at all: Host, Origin and the bearer token (WS-2, HTTP-5)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no answer but this one."""

    status: int
    message: str

    @property
    def title(self) -> str:
        """The short name of what went wrong."""
        return HTTPStatus(self.status).phrase.lower()


def is_loopback(host: str) -> bool:
    """Whether the name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
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


class Access:
    """Decides about a request by its headers alone.

    A page of another site must not reach us through its visitor's browser: the Host
    must be ours (else a name of theirs was rebound to our address), and an Origin,
    which every browser sends, must be the same host and port or listed. No Origin means
    no browser, and is allowed.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        token: str | None = None,
    ) -> None:
        self._hosts = tuple(name.lower() for name in (host, *hosts))
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._token = None if token is None else token.encode()

    def refuse(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        *,
        local: str | None = None,
        query: bytes = b"",
    ) -> Refusal | None:
        """Why the request is refused; None when it is welcome.

        `local` is the address of ours that the client connected to.
        """
        hosts = header_values(headers, b"host")
        host = split_host(hosts[0].lower()) if len(hosts) == 1 else None
        if host is None:
            return Refusal(400, "exactly one valid host header is needed")
        if not self._is_ours(host[0], local):
            return Refusal(403, f"host {host[0][:128]} is not served here")
        origins = header_values(headers, b"origin")
        if origins and not (len(origins) == 1 and self._is_friend(origins[0], host)):
            return Refusal(403, f"origin {origins[0][:128]} is not allowed")
        if self._token is not None and not self._has_token(headers, query):
            return Refusal(401, "a valid bearer token is needed")
        return None

    def role(self) -> str:
        """The role of whoever was let in."""
        return "guest" if self._token is None else "admin"

    def _is_ours(self, name: str, local: str | None) -> bool:
        return (
            is_loopback(name)
            or name == local
            or any(fnmatchcase(name, pattern) for pattern in self._hosts)
        )

    def _is_friend(self, origin: str, host: tuple[str, int | None]) -> bool:
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

    def _has_token(self, headers: Sequence[tuple[bytes, bytes]], query: bytes) -> bool:
        """Whether the token stands in `Authorization`, or in `?token=` (browsers cannot
        set headers on a WebSocket)."""
        assert self._token is not None
        given = [
            value.partition(" ")[2].strip()
            for value in header_values(headers, b"authorization")
            if value[:7].lower() == "bearer "
        ]
        given += parse_qs(query.decode("latin-1")).get("token", [])
        # Every candidate is compared in full, so that time tells nothing.
        results = [
            hmac.compare_digest(text.encode("utf-8", "replace"), self._token)
            for text in given
        ]
        return any(results)
