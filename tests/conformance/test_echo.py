"""A slice of the conformance suite over real sockets, with frames made by hand.

The numbers are the sections of the Autobahn test suite, which `make autobahn` runs.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import websockets

from tests.conformance.echo_server import echo_server
from tests.conftest import cuts

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1 = 0x40
HEAD = (
    b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# RFC 6455, 1.3.
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def said(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as the client sends it; nothing about it needs to be allowed."""
    size, mask = len(data), b"\x5a\x00\xc3\x7f"
    masked = bytes(byte ^ mask[i & 3] for i, byte in enumerate(data))
    return header(opcode, size, 0x80, fin=fin, rsv=rsv) + mask + masked


def heard(opcode: int, data: bytes = b"") -> bytes:
    """A frame as it must come back."""
    return header(opcode, len(data), 0) + data


def header(
    opcode: int, size: int, masked: int, *, fin: bool = True, rsv: int = 0
) -> bytes:
    first = fin << 7 | rsv | opcode
    if size < 126:
        return struct.pack("!BB", first, masked | size)
    if size < 65536:
        return struct.pack("!BBH", first, masked | 126, size)
    return struct.pack("!BBQ", first, masked | 127, size)


def fragments(data: bytes, size: int, opcode: int = TEXT) -> bytes:
    """A message in frames of at most this size."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    last = len(parts) - 1
    return b"".join(
        said(CONT if at else opcode, part, fin=at == last)
        for at, part in enumerate(parts)
    )


def goodbye(code: int) -> bytes:
    return struct.pack("!H", code)


# One server for all: it has to stand them one after another anyway.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def url() -> AsyncIterator[str]:
    async with echo_server() as served:
        yield served


class Talk:
    """One connection after its handshake; a plain socket, which loses nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def begin(cls, url: str) -> Talk:
        parts = urlsplit(url)
        talk = cls(socket.create_connection((parts.hostname, parts.port)))
        talk._socket.setblocking(False)
        answer = b""
        await talk._send([HEAD])
        while b"\r\n\r\n" not in answer:
            answer += await talk._receive()
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert ACCEPTED in answer
        return talk

    async def ask(self, pieces: list[bytes], size: int) -> bytes:
        """What the server answers, of this many bytes."""
        await self._send(pieces)
        told = b""
        while len(told) < size and (more := await self._receive()):
            told += more
        return told

    async def end(self, pieces: list[bytes]) -> bytes:
        """Everything that the server says until it ends the connection."""
        with suppress(ConnectionError):
            await self._send(pieces)
        told = b""
        # It need not read what comes after its end; the kernel says so with a reset.
        with suppress(ConnectionResetError):
            while more := await self._receive():
                told += more
        self._socket.close()
        return told

    async def _send(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            await self._loop.sock_sendall(self._socket, piece)
            await asyncio.sleep(0)

    async def _receive(self) -> bytes:
        async with asyncio.timeout(30):
            return await self._loop.sock_recv(self._socket, 65536)


def chunkings(data: bytes) -> list[list[bytes]]:
    """Whole, at random places, and byte by byte where that is not for ever."""
    bytewise = [data[at : at + 1] for at in range(len(data))]
    found = [[data], cuts(data, random.Random(len(data)))]
    return [*found, bytewise] if len(data) < 400 else found


END = said(CLOSE, goodbye(1000))
ENDED = heard(CLOSE, goodbye(1000))

SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536)
GOOD = [
    *(
        (f"1.1 text of {size}", said(TEXT, b"*" * size), heard(TEXT, b"*" * size))
        for size in SIZES
    ),
    *(
        (f"1.2 data of {size}", said(BINARY, b"\xfe" * size), heard(2, b"\xfe" * size))
        for size in SIZES
    ),
    ("2.1 ping", said(PING), heard(PONG)),
    ("2.3 ping of bytes", said(PING, b"\0\xff\xfe"), heard(PONG, b"\0\xff\xfe")),
    ("2.4 ping of 125", said(PING, bytes(125)), heard(PONG, bytes(125))),
    ("2.7 pong", said(PONG, b"never asked") + said(PING), heard(PONG)),
    (
        "2.10 pings in order",
        b"".join(said(PING, b"%d" % n) for n in range(10)),
        b"".join(heard(PONG, b"%d" % n) for n in range(10)),
    ),
    ("5.3 fragments", fragments(b"fragment", 4), heard(TEXT, b"fragment")),
    (
        "5.6 ping amid fragments",
        said(TEXT, b"a", fin=False) + said(PING, b"p") + said(CONT, b"b"),
        heard(PONG, b"p") + heard(TEXT, b"ab"),
    ),
    (
        "6.1 empty fragments",
        said(TEXT, fin=False) + said(CONT, b"x", fin=False) + said(CONT),
        heard(TEXT, b"x"),
    ),
    (
        "6.2 text cut in every character",
        fragments("Hello-µ@ßöäüàá-\U0001f4e1".encode(), 1),
        heard(TEXT, "Hello-µ@ßöäüàá-\U0001f4e1".encode()),
    ),
    *(
        (f"6.22 U+{ord(char):X}", said(TEXT, char.encode()), heard(1, char.encode()))
        for char in "\0\x7f\x80߿ࠀ\ud7ff\ue000￾￿\U00010000\U0010ffff"
    ),
    ("10.1 many fragments", fragments(b"x" * 65536, 1300), heard(TEXT, b"x" * 65536)),
]


@pytest.mark.parametrize(
    ("data", "back"), [pytest.param(*case, id=name) for name, *case in GOOD]
)
async def test_what_is_said_comes_back(url: str, data: bytes, back: bytes) -> None:
    talk = await Talk.begin(url)
    for pieces in chunkings(data):
        assert await talk.ask(pieces, len(back)) == back
    assert await talk.end([END]) == ENDED


BAD = [
    *(
        (f"3 reserved bits {rsv}", said(TEXT, b"x", rsv=rsv << 4), 1002)
        for rsv in range(1, 8)
    ),
    *(
        (f"4 opcode {opcode}", said(opcode, b"x"), 1002)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ),
    ("2.5 ping of 126", said(PING, bytes(126)), 1002),
    ("5.1 ping in two", said(PING, b"a", fin=False) + said(CONT, b"b"), 1002),
    ("5.9 continuation of nothing", said(CONT, b"x"), 1002),
    ("5.18 text amid fragments", said(TEXT, b"a", fin=False) + said(TEXT, b"b"), 1002),
    ("1 no mask", heard(TEXT, b"x"), 1002),
    *(
        (f"6 utf-8 {text.hex()}", said(TEXT, text), 1007)
        for text in (
            b"\x80",
            b"\xc0\x80",
            b"\xc1\xbf",
            b"\xe0\x80\xaf",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xf0\x80\x80\x80",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xfe",
            b"\xff",
            b"\xce\xba\xe1",
        )
    ),
    ("6.3 fragments", fragments(b"\xce\xba\xed\xa0\x80end", 2), 1007),
    ("7.3 close of one byte", said(CLOSE, b"\x03"), 1002),
    ("7.3 close of 126 bytes", said(CLOSE, goodbye(1000) + bytes(124)), 1002),
    ("7.5 reason", said(CLOSE, goodbye(1000) + b"\xce\xba\xed\xa0\x80"), 1007),
    *(
        (f"7.9 code {code}", said(CLOSE, goodbye(code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
]


@pytest.mark.parametrize(
    ("data", "code"), [pytest.param(*case, id=name) for name, *case in BAD]
)
async def test_ws_1_4_a_violation_ends_it(url: str, data: bytes, code: int) -> None:
    for pieces in chunkings(data):
        talk = await Talk.begin(url)
        assert await talk.ask([said(TEXT, b"good")], 6) == heard(TEXT, b"good")
        answer = await talk.end([*pieces, END])
        assert answer[:2] == bytes((0x80 | CLOSE, len(answer) - 2))
        assert answer[2:4] == goodbye(code)


CLOSES = [
    ("7.3 no code", b""),
    ("7.3 reason of 123", goodbye(1000) + b"*" * 123),
    *(
        (f"7.7 code {code}", goodbye(code))
        for code in (
            *(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011),
            *(3000, 3999, 4000, 4999),
        )
    ),
]


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in CLOSES])
async def test_a_close_frame_is_echoed(url: str, body: bytes) -> None:
    late = said(TEXT, b"late") + said(PING)
    amid = said(TEXT, b"a", fin=False) + said(CLOSE, body) + said(CONT, b"b")
    for data in (said(CLOSE, body), said(CLOSE, body) + late, amid):
        talk = await Talk.begin(url)
        assert await talk.end([data]) == heard(CLOSE, body)


@pytest.mark.parametrize("size", [16, 1024, 65536])
async def test_compressed_messages_come_back(url: str, size: int) -> None:
    rng = random.Random(size)
    async with websockets.connect(url, proxy=None) as client:
        assert client.protocol.extensions
        for _ in range(20):
            text = "".join(rng.choices('{"event": 1}', k=size))
            data = rng.randbytes(size)
            await client.send([text[: size // 3], text[size // 3 :]])
            await client.send(data)
            assert await client.recv() == text
            assert await client.recv() == data


async def test_compression_nobody_agreed_to_ends_it(url: str) -> None:
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(b"hello") + deflater.flush(zlib.Z_SYNC_FLUSH)
    talk = await Talk.begin(url)
    answer = await talk.end([said(TEXT, packed[:-4], rsv=RSV1)])
    assert answer[2:4] == goodbye(1002)
