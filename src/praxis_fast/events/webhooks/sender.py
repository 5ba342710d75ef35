"""Sends one webhook request, through the address gate (HK-1..4)."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from praxis_fast import __version__
from praxis_fast.errors import UsageError, WebhookRefusedError
from praxis_fast.events.webhooks.retry import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from praxis_fast.events.webhooks.address_gate import AddressGate
    from praxis_fast.limits import WebhookLimits

    Resolve = Callable[[str, int], Awaitable[list[str]]]

USER_AGENT = f"praxis-fast/{__version__}"

# An answer's body tells us nothing; this long it may keep its connection alive.
_READ_TIMEOUT = 1.0

_NO_AIOHTTP = "webhooks need aiohttp: pip install 'praxis-fast[webhooks]'"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: a status, or why there is none."""

    status: int | None = None
    error: str | None = None
    retry_after: float | None = None
    """Seconds the receiver asked us to wait."""
    reason: str = "other"
    """Without a status: timeout, connection, refused or other."""

    @property
    def is_success(self) -> bool:
        """Whether the receiver took the message."""
        return self.status is not None and 200 <= self.status < 300


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class WebhookClient:
    """Posts to endpoints, follows nothing, and reads little of what they answer.

    Every connection is made to an address the gate has seen; there is no other way out:
    no redirects, no proxies, no cookies.
    """

    def __init__(
        self,
        gate: AddressGate,
        limits: WebhookLimits,
        *,
        resolve: Resolve = resolve,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._gate = gate
        self._limits = limits
        self._resolve = resolve
        self._wall_clock = wall_clock
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Get ready; UsageError when aiohttp is not installed."""
        try:
            # Imported here: most agents send no webhooks, and it is a heavy import.
            import aiohttp
        except ImportError as error:
            raise UsageError(_NO_AIOHTTP) from error
        connector = aiohttp.TCPConnector(
            socket_factory=self._make_socket, limit=self._limits.total
        )
        # `total` is kept by `post` itself, which also covers reading the answer.
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._limits.connect_timeout
            ),
            trust_env=False,
            auto_decompress=False,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close every connection; may be called twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def check(self, url: str) -> None:
        """Refuse a URL by its text and by every address its host has now."""
        target = self._gate.check_url(url)
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError
            raise WebhookRefusedError(
                f"webhook host {target.host} cannot be resolved"
            ) from error
        for address in addresses:
            self._gate.check_address(address, target.port)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one message; what goes wrong is in the answer."""
        import aiohttp

        if self._session is None:
            raise UsageError("the webhook client is not open")
        limits = self._limits
        try:
            self._gate.check_url(url)
            async with asyncio.timeout(
                limits.connect_timeout + limits.response_timeout
            ):
                return await self._post(self._session, url, headers, body)
        except TimeoutError:
            return Answer(error="no answer in time", reason="timeout")
        except aiohttp.ClientConnectorError as error:
            text = f"not connected: {error.os_error}"[:512]
            return Answer(error=text, reason="connection")
        except aiohttp.InvalidURL:
            # It would quote the URL, and tokens like to stand in queries.
            return Answer(error="refused: webhook url is malformed", reason="refused")
        except WebhookRefusedError as error:
            return Answer(error=f"refused: {error}"[:512], reason="refused")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(error=f"{type(error).__name__}: {error}"[:512])

    async def _post(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        async with session.post(
            url, data=body, headers=headers, allow_redirects=False
        ) as response:
            answer = Answer(
                status=response.status,
                retry_after=parse_retry_after(
                    response.headers.get("Retry-After"), self._wall_clock()
                ),
            )
            await self._read_little(response)
        return answer

    async def _read_little(self, response: aiohttp.ClientResponse) -> None:
        """Empty a short answer, so that its connection can be used again.

        The status has told all that matters: an answer that is long, slow or broken
        costs its connection and nothing else.
        """
        import aiohttp

        left = self._limits.max_response
        try:
            async with asyncio.timeout(_READ_TIMEOUT):
                while left > 0 and (data := await response.content.read(left)):
                    left -= len(data)
        except (TimeoutError, aiohttp.ClientError):
            left = 0
        if left <= 0:
            response.close()

    def _make_socket(self, address_info: Any) -> socket.socket:
        """A socket for this address and no other; called for each try to connect."""
        family, kind, protocol, _, address = address_info
        try:
            self._gate.check_address(str(address[0]), int(address[1]))
        except WebhookRefusedError as error:
            # aiohttp goes on to the next address, as after any failure to connect.
            raise OSError(str(error)) from error
        return socket.socket(family, kind, protocol)
