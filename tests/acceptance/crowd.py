"""Many subscribers in one process that read as fast as they can, driven line by line.

All want the same events and so must read the same bytes: a checksum of each is compared
with the first one's, whose bytes are looked at event by event.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
import zlib
from contextlib import suppress
from typing import Any

from praxis_fast.benchmarks import program
from praxis_fast.benchmarks.process import Process
from praxis_fast.benchmarks.socket_clients import (
    Client,
    quantiles,
    sent_at,
    shake_hands,
)
from tests.acceptance.frames import Frames, decode
from tests.acceptance.sequence import Choice, Record

READ = 256 * 1024
TIMEOUT = 60.0
LAST = 128  # bytes kept to tell how a connection ended


class Member(Client):
    """Counts the frames that come, and sums up their bytes."""

    __slots__ = ("crc", "last", "size")

    def __init__(self, connection: socket.socket, rest: bytes) -> None:
        self.crc = self.size = 0
        super().__init__(connection, rest)

    def receive(self, data: bytes) -> None:
        self.crc = zlib.crc32(data, self.crc)
        self.size += len(data)
        self.last = data[-LAST:]
        super().receive(data)


class Crowd:
    """What may be asked of all of them."""

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._heard = bytearray()
        self._ages: list[int] = []
        self._selector = selectors.DefaultSelector()

    async def connect(self, port: int, path: str, count: int) -> dict[str, Any]:
        """So many more."""
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
            member = Member(connection, shake_hands(connection, port, path))
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, member)
            self._members.append(member)
        return {"count": len(self._members)}

    async def wait(self, frames: int) -> dict[str, Any]:
        """Until each has had so many in all."""
        missing = sum(member.count < frames for member in self._members)
        while missing:
            ready = self._selector.select(TIMEOUT)
            if not ready:
                raise TimeoutError(f"{missing} subscribers lack events")
            for key, _ in ready:
                member: Member = key.data
                missing -= self._read(member, frames)
        return {}

    async def ages(self) -> dict[str, Any]:
        """How old events were when they were read, in nanoseconds; since last asked."""
        ages, self._ages = self._ages, []
        return quantiles(ages)

    async def compare(self, count: int) -> dict[str, Any]:
        """How many read the same, byte by byte, and whether it was right."""
        first = self._members[0]
        same = [
            (member.crc, member.size) == (first.crc, first.size)
            for member in self._members
        ]
        record = Record("first", Choice().expected(count))
        for _, body in Frames().receive_data(bytes(self._heard)):
            message = decode(body)
            record.event(message.seq, message.payload.n)
        return {"same": sum(same), "is_complete": record.is_complete}

    def _read(self, member: Member, frames: int) -> bool:
        """Whether this was the last that it lacked."""
        before = member.count
        data = member.socket.recv(READ)
        if not data:
            raise ConnectionError(f"a subscriber was hung up on after {member.last!r}")
        with suppress(ValueError):  # of an event that is cut there is no time
            self._ages.append(time.monotonic_ns() - sent_at(data))
        if member is self._members[0]:
            self._heard += data
        member.receive(data)
        return before < frames <= member.count


def start() -> Process:
    """A crowd that is not connected yet."""
    return Process([sys.executable, "-m", "tests.acceptance.crowd"])


async def main() -> None:
    crowd = Crowd()
    commands = (crowd.connect, crowd.wait, crowd.ages, crowd.compare)
    await program.serve({}, {command.__name__: command for command in commands})


if __name__ == "__main__":
    program.run(main)
