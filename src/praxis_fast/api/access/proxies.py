"""For whom a proxy in front of us asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from praxis_fast.api.access.hosts import header_values

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = b"x-forwarded-for"


class Proxies:
    """The proxies that uvicorn was told to believe (`--forwarded-allow-ips`).

    It asks them about plain requests only; our WebSockets go past it, and are judged
    here by its own rules.
    """

    def __init__(self, trusted: list[str] | str) -> None:
        self._trusted = ProxyHeadersMiddleware(_nothing, trusted).trusted_hosts

    def client_of(
        self, address: str | None, headers: Sequence[tuple[bytes, bytes]]
    ) -> str | None:
        """Whose request it is that came from this address."""
        told = header_values(headers, HEADER)
        if not told or address not in self._trusted:
            return address
        return self._trusted.get_trusted_client_address(", ".join(told))[0] or address


async def _nothing(*_call: Any) -> None:
    """Stands where the application would be."""
