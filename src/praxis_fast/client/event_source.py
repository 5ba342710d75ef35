"""One response of Server-Sent Events from an agent."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httptools

from praxis_fast.client.address import shown_url
from praxis_fast.client.refusal import refusal
from praxis_fast.client.sse_parser import SSEParser
from praxis_fast.errors import (
    ConnectionLostError,
    NetworkError,
    ProtocolError,
    UsageError,
    WrongServerError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxis_fast.client.sse_parser import Frame

READ_SIZE = 64 * 1024

# An agent says something every 15 s.
SILENCE = 45.0

MAX_REFUSAL = 64 * 1024


class EventSource:
    """An open stream, with the methods of Socket; it has nothing to send."""

    def __init__(
        self, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._url = shown_url(url)
        self._reader = reader
        self._writer = writer
        self._http = httptools.HttpResponseParser(self)
        self._parser = SSEParser()
        self._frames: deque[Frame] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._reason = ""
        self._body = bytearray()
        self._is_answered = self._is_over = False
        self._fault: ProtocolError | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        types: Sequence[str],
        since: str | None,
        token: str | None,
        timeout: float,
    ) -> EventSource:
        """Ask for events; errors are those of Socket, UsageError for unknown types."""
        parts = urlsplit(url)
        is_secure = parts.scheme == "https"
        port = parts.port or (443 if is_secure else 80)
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(
                    parts.hostname, port, ssl=is_secure or None
                )
                source = cls(url, reader, writer)
                try:
                    writer.write(_request(url, types, since, token))
                    await source._begin()
                except BaseException:
                    source.abort()
                    raise
        except OSError as error:
            raise NetworkError(
                f"no agent answers at {shown_url(url)} ({error})"
            ) from error
        return source

    async def receive(self) -> dict[str, Any]:
        """The next message; nothing is lost when this is cancelled.

        A frame without data tells how far the agent is, as `heartbeat`.
        """
        while not self._frames:
            await self._read()
        frame = self._frames.popleft()
        if frame.data is None:
            return {"type": "heartbeat", "payload": {"since": frame.id}}
        try:
            message = json.loads(frame.data)
        except (ValueError, RecursionError) as error:
            raise self._odd() from error
        if not isinstance(message, dict) or "type" not in message:
            raise self._odd()
        return message

    async def send(self, text: str) -> None:
        """Nothing is ever sent over this one."""
        raise UsageError("server-sent events go one way")

    async def close(self) -> None:
        """End the response; leaves nothing open."""
        self.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # it was broken already

    def abort(self) -> None:
        """End it at once."""
        self._writer.transport.abort()

    # what the HTTP parser calls

    def on_status(self, status: bytes) -> None:
        self._reason = status.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._is_answered = True

    def on_body(self, body: bytes) -> None:
        if not self._is_open:
            self._body += body[: MAX_REFUSAL - len(self._body)]
            return
        try:
            self._frames += self._parser.receive_data(body)
        except ProtocolError as error:
            self._fault = error

    def on_message_complete(self) -> None:
        self._is_over = True

    # inside

    @property
    def _is_open(self) -> bool:
        kind = self._headers.get(b"content-type", b"")
        is_stream = kind.partition(b";")[0].strip().lower() == b"text/event-stream"
        return self._is_answered and self._http.get_status_code() == 200 and is_stream

    async def _begin(self) -> None:
        """Wait for the first frame: then the agent has us among its clients."""
        while not self._is_answered or (self._is_open and not self._frames):
            await self._read()
        if self._is_open:
            return
        while not self._is_over and len(self._body) < MAX_REFUSAL:
            try:
                await self._read()
            except ConnectionLostError:
                break
        status, body = self._http.get_status_code(), bytes(self._body)
        if status == 400 and b"unknown event types" in body:
            raise UsageError(f"{self._url}: {body.decode(errors='replace')}")
        raise refusal(self._url, status, self._reason, body)

    async def _read(self) -> None:
        if self._is_over:
            raise ConnectionLostError(f"{self._url} ended the stream")
        try:
            async with asyncio.timeout(SILENCE):
                data = await self._reader.read(READ_SIZE)
        except TimeoutError as error:
            raise ConnectionLostError(f"{self._url} fell silent") from error
        except OSError as error:
            raise ConnectionLostError(
                f"the connection to {self._url} broke ({error})"
            ) from error
        if not data:
            raise ConnectionLostError(f"the connection to {self._url} broke")
        try:
            self._http.feed_data(data)
        except httptools.HttpParserError as error:
            raise WrongServerError(f"{self._url} does not speak HTTP") from error
        if self._fault is not None:
            raise ConnectionLostError(f"{self._url}: {self._fault}") from self._fault

    def _odd(self) -> WrongServerError:
        return WrongServerError(f"{self._url} does not answer like an agent")


def _request(
    url: str, types: Sequence[str], since: str | None, token: str | None
) -> bytes:
    parts = urlsplit(url)
    names = ",".join(quote(name, safe="*.") for name in types)
    query = "&".join(filter(None, [parts.query, f"types={names}"]))
    lines = [
        f"GET {parts.path}?{query} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Accept: text/event-stream",
        "Cache-Control: no-store",
    ]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if since is not None:
        lines.append(f"Last-Event-ID: {since}")
    return "\r\n".join([*lines, "", ""]).encode()
