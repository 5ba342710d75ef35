"""One document of a web server, fetched on the loop.

A thread that reads could be held by a server that sends a byte now and then; this ends
when its caller no longer waits.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httptools

if TYPE_CHECKING:
    from urllib.parse import SplitResult

# Status line and headers, together with what frames the body.
_MAX_HEAD = 64 * 1024
_READ = 64 * 1024


async def fetch(url: str, limit: int) -> bytes:
    """The body of the answer; OSError when it is not 200, broken, or over the limit.

    No proxies and no redirects: what is configured is where we go.
    """
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    port = parts.port or (443 if is_secure else 80)
    # It reads all certificates of this machine.
    trust = await asyncio.to_thread(ssl.create_default_context) if is_secure else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=trust)
    try:
        writer.write(_request(parts))
        return await _receive(reader, limit)
    finally:
        writer.transport.abort()


def _request(parts: SplitResult) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Accept: application/json\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


class _Answer:
    def __init__(self) -> None:
        self.body = bytearray()
        self.is_whole = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_whole = True


async def _receive(reader: asyncio.StreamReader, limit: int) -> bytes:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    size = 0
    while not answer.is_whole and (data := await reader.read(_READ)):
        size += len(data)
        if size > limit + _MAX_HEAD:
            raise OSError(f"over {limit} bytes")
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # The text has what the other side wrote.
            raise OSError(f"broken answer: {type(error).__name__}") from error
    # Without a length the end of the connection is the end of the body.
    if (status := parser.get_status_code()) != 200:
        raise OSError(f"status {status}")
    if len(answer.body) > limit:
        raise OSError(f"over {limit} bytes")
    return bytes(answer.body)
