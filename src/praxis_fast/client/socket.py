"""One WebSocket to an agent, with our errors in place of the library's."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
)

from praxis_fast.client.address import shown_url
from praxis_fast.client.refusal import refusal
from praxis_fast.errors import (
    ConnectionLostError,
    NetworkError,
    WrongServerError,
)

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

# A message longer than this is no event of ours.
MAX_MESSAGE = 64 * 1024 * 1024

# Our goodbye waits for the agent's no longer than this.
CLOSE_TIMEOUT = 2.0


class _Connect(connect):
    """Follows no redirects: agents send none, and a token is for whom it was given."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class Socket:
    """An open connection; ConnectionLostError once it is gone."""

    def __init__(
        self, url: str, connection: ClientConnection, heartbeat: float
    ) -> None:
        self._url = url
        self._connection = connection
        self._heartbeat = heartbeat

    @classmethod
    async def open(
        cls, url: str, *, token: str | None, timeout: float, heartbeat: float
    ) -> Socket:
        """Connect; AccessDeniedError, WrongServerError, or NetworkError to try again.

        An agent that says nothing for one heartbeat is asked for a sign of life, and
        without one for another it counts as gone. Time in which nobody waits for a
        message does not count: what the agent says then is not read.
        """
        shown = shown_url(url)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            connection = await _Connect(
                url,
                additional_headers=headers,
                # The agent is our neighbour: no proxy stands between.
                proxy=None,
                # Costs both sides more than a network between neighbours does.
                compression=None,
                max_size=MAX_MESSAGE,
                open_timeout=timeout,
                close_timeout=CLOSE_TIMEOUT,
                ping_interval=None,
            )
        except InvalidStatus as error:
            answer = error.response
            raise refusal(
                *(shown, answer.status_code, answer.reason_phrase),
                bytes(answer.body or b""),
            ) from error
        except (OSError, InvalidMessage) as error:
            raise NetworkError(f"no agent answers at {shown} ({error})") from error
        except InvalidHandshake as error:
            raise WrongServerError(f"{shown} is no event stream ({error})") from error
        return cls(shown, connection, heartbeat)

    async def receive(self) -> dict[str, Any]:
        """The next message; nothing is lost when this is cancelled."""
        try:
            text = await self._receive()
        except ConnectionClosed as error:
            raise self._lost(error) from error
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._odd() from error
        if not isinstance(message, dict) or "type" not in message:
            raise self._odd()
        return message

    async def _receive(self) -> bytes:
        pong: asyncio.Future[float] | None = None
        while True:
            try:
                async with asyncio.timeout(self._heartbeat):
                    return await self._connection.recv(decode=False)
            except TimeoutError:
                if pong is not None and not pong.done():
                    raise ConnectionLostError(f"{self._url} fell silent") from None
                pong = asyncio.ensure_future(await self._connection.ping())

    async def send(self, text: str) -> None:
        """Send one message."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise self._lost(error) from error

    async def close(self) -> None:
        """Say goodbye; leaves nothing open."""
        await self._connection.close()

    def abort(self) -> None:
        """End it without a goodbye."""
        self._connection.transport.abort()

    def _lost(self, error: ConnectionClosed) -> ConnectionLostError:
        frame = error.rcvd
        if frame is None:
            return ConnectionLostError(f"the connection to {self._url} broke")
        told = f"{frame.code} {frame.reason}".strip()
        return ConnectionLostError(f"{self._url} closed the connection ({told})")

    def _odd(self) -> WrongServerError:
        return WrongServerError(f"{self._url} does not answer like an agent")
