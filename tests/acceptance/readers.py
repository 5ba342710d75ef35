"""Subscribers that lose their connection on purpose and come back.

The raw ones know the two protocols only as far as our server speaks them, and nothing
of our own client, which is the third kind.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import socket
import zlib
from typing import Any
from urllib.parse import urlsplit

import httptools

from praxis_fast.client import Backoff, EventStream, Gap, Reset, StreamedEvent
from praxis_fast.errors import ConnectionLostError
from tests.acceptance.frames import COMPRESSED, TEXT, Frames, decode
from tests.acceptance.sequence import EPOCH, Choice, Record

# What is read at once: at most this, at random, so that frames are cut anywhere.
READ = 2 * 64 * 1024

# Away so many seconds, at most: mostly for a moment, now and then for long.
AWAY, LONG_AWAY, LONG = 0.02, 1.0, 0.01

# Some read nothing for this long after one read in so many, and have small buffers.
ASLEEP, SLEEPY, SMALL = 1.0, 0.002, 16 * 1024


class Reader:
    """One subscriber, whose connection breaks so many times, anywhere."""

    kind = ""

    def __init__(
        self, url: str, number: int, choice: Choice, count: int, breaks: int
    ) -> None:
        self.name = f"{self.kind} {number}"
        self.reconnects = 0
        self._choice = choice
        self._random = random.Random(number)
        expected = choice.expected(count)
        self.record = Record(self.name, expected)
        # The numbers after which it breaks, the first one last.
        self._cuts = sorted(self._random.choices(expected, k=breaks), reverse=True)
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._url = url
        # Whoever wants everything also dawdles, and so is left behind.
        self._is_sleepy = choice == Choice()

    async def run(self) -> None:
        """Until it has everything and came back as often as it had to."""
        while not self.record.is_complete or self._cuts:
            await self._follow()
            self.reconnects += 1
            is_long = self._random.random() < LONG
            await asyncio.sleep(
                self._random.random() * (LONG_AWAY if is_long else AWAY)
            )
        self.reconnects -= 1

    @property
    def since(self) -> str:
        """Where to go on."""
        return f"{EPOCH}-{self.record.position}"

    @property
    def must_leave(self) -> bool:
        """Whether the connection is to break here, or there is nothing more to come."""
        if self._cuts and self.record.position >= self._cuts[-1]:
            self._cuts.pop()
            return True
        return self.record.is_complete

    async def _follow(self) -> None:
        """One connection, until it breaks or is broken."""
        reader, writer = await self._connect()
        try:
            writer.write(self._request())
            head = await reader.readuntil(b"\r\n\r\n")
            self._begin(head)
            if self.record.is_complete:
                # It was told of a gap or reset over its last breaks.
                self._cuts.pop()
                return
            while data := await reader.read(self._random.randrange(1, READ)):
                if self._receive(data):
                    break
                if self._is_sleepy and self._random.random() < SLEEPY:
                    await asyncio.sleep(ASLEEP)
        except (ConnectionResetError, asyncio.IncompleteReadError):
            pass  # broken at the server's end
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = socket.socket()
        if self._is_sleepy:
            # Or the kernel would read on for us.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        connection.setblocking(False)
        address = (self._host, self._port)
        await asyncio.get_running_loop().sock_connect(connection, address)
        return await asyncio.open_connection(sock=connection, limit=SMALL)

    def _request(self) -> bytes:
        raise NotImplementedError

    def _begin(self, head: bytes) -> None:
        raise NotImplementedError

    def _receive(self, data: bytes) -> bool:
        """True when the connection is to break here: the rest is as if never read."""
        raise NotImplementedError

    def _take(self, text: bytes) -> None:
        message = decode(text)
        told = message.payload
        match message.type:
            case "gap":
                self.record.gap(told.first, told.last, told.dropped)
            case "reset":
                self.record.reset(told.reason, told.seq)
            case "heartbeat":
                self.record.heartbeat(int(told.since.rpartition("-")[2]))
            case "resumed":
                assert told.first == self.record.position + 1, self.name
            case _:
                assert message.epoch == EPOCH, self.name
                self.record.event(message.seq, told.n)


class SocketReader(Reader):
    """A WebSocket on `/events`, compressed for every other one."""

    kind = "websocket"

    def _request(self) -> bytes:
        self._frames = Frames()
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET /events?{self._choice.query}&since={self.since} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        ]
        if self._random.random() < 0.5:
            lines.append("Sec-WebSocket-Extensions: permessage-deflate")
        return "\r\n".join([*lines, "", ""]).encode()

    def _begin(self, head: bytes) -> None:
        assert b" 101 " in head, head

    def _receive(self, data: bytes) -> bool:
        for first, body in self._frames.receive_data(data):
            if first == COMPRESSED:
                body = zlib.decompressobj(-15).decompress(body + b"\0\0\xff\xff")
            elif first != TEXT:
                continue
            self._take(body)
            if self.must_leave:
                return True
        return False


class SourceReader(Reader):
    """Server-Sent Events, with `Last-Event-ID` as a browser sends it."""

    kind = "sse"

    def _request(self) -> bytes:
        self._buffer = b""
        self._http = httptools.HttpResponseParser(self)
        return "\r\n".join(
            [
                f"GET /events/stream?{self._choice.query} HTTP/1.1",
                f"Host: {self._host}:{self._port}",
                f"Last-Event-ID: {self.since}",
                *("", ""),
            ]
        ).encode()

    def _begin(self, head: bytes) -> None:
        assert b" 200 " in head, head
        self._http.feed_data(head)

    def on_body(self, data: bytes) -> None:
        self._buffer += data

    def _receive(self, data: bytes) -> bool:
        self._http.feed_data(data)
        *frames, self._buffer = self._buffer.split(b"\n\n")
        for frame in frames:
            self._take_frame(frame)
            if self.must_leave:
                return True
        return False

    def _take_frame(self, frame: bytes) -> None:
        lines = dict(line.split(b": ", 1) for line in frame.split(b"\n"))
        text = lines.get(b"data")
        told = lines.get(b"id")
        if text is not None:
            self._take(text)
            assert told == self.since.encode(), (self.name, told, self.since)
        elif told is not None:
            self.record.heartbeat(int(told.rpartition(b"-")[2]))


class StreamReader(Reader):
    """`praxis_fast.client`, by WebSocket and by Server-Sent Events in turn.

    It knows types only, and its connection is broken under it.
    """

    kind = "client"

    async def run(self) -> None:
        while not self.record.is_complete:
            try:
                await self._follow()
            except ConnectionLostError:
                # Broken at the server's end before it was answered: the first time,
                # that is for the caller to know.
                self.reconnects += 1

    async def _follow(self) -> None:
        path = self._random.choice(["/events", "/ws", "/events/stream"])
        url = self._url + path
        if not path.endswith("stream"):
            url = url.replace("http", "ws")
        stream = EventStream(
            url,
            types=[self._choice.types],
            since=self.since,
            backoff=Backoff(0.001, 0.05),
            on_lost=self._on_lost,
        )
        async with stream:
            while not self.record.is_complete:
                self._take_item(await anext(stream), stream)
                if self.must_leave and not self.record.is_complete:
                    if self._random.random() < 0.2:
                        self.reconnects += 1
                        return
                    assert stream._socket is not None
                    stream._socket.abort()

    def _on_lost(self, error: Any) -> None:
        self.reconnects += 1

    def _take_item(self, item: Any, stream: EventStream) -> None:
        match item:
            case StreamedEvent():
                self.record.event(item.seq, item.payload["n"])
            case Gap():
                self.record.gap(item.first, item.last, item.dropped)
            case Reset():
                self.record.reset(item.reason, present(stream))


def present(stream: EventStream) -> int:
    """Where a stream goes on that has just said Reset."""
    match next(iter(stream._items), None):
        case StreamedEvent() as event:
            return event.seq - 1
        case Gap(first):
            return first - 1
    assert stream.position is not None
    return int(stream.position.rpartition("-")[2])
