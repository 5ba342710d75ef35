"""A peer that says exactly what a test tells it to."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Self

from praxis_fast.limits import SecurityLimits
from praxis_fast.p2p.upgrade import Stage, Upgrade
from praxis_fast.wire.multiaddr import Multiaddr
from tests.p2p.network import PATIENCE, key

if TYPE_CHECKING:
    from praxis_fast.wire.noise import NoiseTransport

HEADER = struct.Struct(">BBHII")
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
# The seed of every raw peer's key; no host of the tests has it.
NUMBER = 4711


def frame(
    kind: int, flags: int, stream_id: int, length: int, body: bytes = b""
) -> bytes:
    """A yamux frame, right or wrong."""
    return HEADER.pack(0, kind, flags, stream_id, length) + body


def data(stream_id: int, body: bytes, flags: int = 0) -> bytes:
    """A yamux data frame."""
    return frame(DATA, flags, stream_id, len(body), body)


def opening(stream_id: int) -> bytes:
    """A stream opened as most peers do."""
    return frame(WINDOW, SYN, stream_id, 0)


def line(text: str) -> bytes:
    """A multistream line."""
    return bytes((len(text) + 1,)) + text.encode() + b"\n"


def proposal(protocol: str) -> bytes:
    """The multistream header and one protocol."""
    return line("/multistream/1.0.0") + line(protocol)


class RawPeer:
    """A TCP connection to a host, upgraded as far as wanted."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.noise: NoiseTransport | None = None
        self.heard = bytearray()
        self.sent = 0

    @classmethod
    async def connect(cls, addr: str) -> Self:
        """Only the TCP connection."""
        address = Multiaddr.parse(addr)
        return cls(*await asyncio.open_connection(address.host[1], address.port))

    @classmethod
    async def dial(cls, addr: str, number: int = NUMBER) -> Self:
        """A secured connection, ready for yamux frames."""
        peer = await cls.connect(addr)
        upgrade = Upgrade(
            initiator=True,
            key=key(number),
            expected_peer=None,
            limits=SecurityLimits(),
        )
        while upgrade.stage is not Stage.DONE:
            peer.writer.write(upgrade.data_to_send())
            received = await peer.reader.read(65536)
            assert received, "hung up on while upgrading"
            upgrade.receive_data(received)
        peer.writer.write(upgrade.data_to_send())
        peer.noise = upgrade.transport
        for plaintext in upgrade.leftover:
            peer.heard += plaintext
        return peer

    def say(self, plaintext: bytes) -> None:
        """Send bytes inside the secure channel."""
        assert self.noise is not None
        self.writer.write(self.noise.send_data(plaintext))

    async def hear(self, wanted: bytes) -> None:
        """Read until these bytes came."""
        start = 0
        async with asyncio.timeout(PATIENCE):
            while self.heard.find(wanted, start) < 0:
                start = max(0, len(self.heard) - len(wanted))
                assert await self._read(), f"ended without {wanted!r}"

    async def may_send(self, stream_id: int, size: int) -> None:
        """Read until the host lets us send as much, or has reset the stream."""
        async with asyncio.timeout(PATIENCE):
            while self._granted(stream_id) < self.sent + size:
                if frame(WINDOW, RST, stream_id, 0) in self.heard:
                    return
                assert await self._read(), "hung up on while sending"
        self.sent += size

    def _granted(self, stream_id: int) -> int:
        """All credit so far; only for a host that sends no data but negotiations."""
        total, pos = 262_144, 0
        while pos + HEADER.size <= len(self.heard):
            _, kind, _, number, length = HEADER.unpack_from(self.heard, pos)
            pos += HEADER.size + (length if kind == DATA else 0)
            if kind == WINDOW and number == stream_id:
                total += length
        return total

    async def is_hung_up_on(self) -> bool:
        """Read to the end."""
        async with asyncio.timeout(PATIENCE):
            while await self._read():
                continue
        return True

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return

    async def _read(self) -> bool:
        try:
            received = await self.reader.read(65536)
        except ConnectionError:
            return False
        if self.noise is not None and received:
            for plaintext in self.noise.receive_data(received):
                self.heard += plaintext
        return bool(received)
