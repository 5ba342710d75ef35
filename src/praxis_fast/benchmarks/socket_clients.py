"""Many WebSocket clients in one process that read and count, and do nothing else."""

from __future__ import annotations

import base64
import math
import os
import selectors
import socket
import sys
import time
from struct import Struct
from typing import Any, Final

import orjson

from praxis_fast.benchmarks.program import allow_many_sockets, say

READ: Final = 256 * 1024
SENT: Final = b'"sent":'
TIMEOUT: Final = 60.0

# Linux tells when it took the last byte of what is read: on loopback, from the server.
STAMPS: Final = 35 if sys.platform == "linux" else None
STAMP: Final = Struct("qq")
SPACE: Final = socket.CMSG_SPACE(STAMP.size)

# The kernel begins to stamp a moment after it is asked to.
SETTLING: Final = 0.05


class Client:
    """One connection: counts the frames that came, across any chunking."""

    __slots__ = ("count", "rest", "skip", "socket")

    def __init__(self, connection: socket.socket, rest: bytes) -> None:
        self.socket = connection
        self.count = 0
        self.skip = 0  # bytes of the present frame's payload still to come
        self.rest = b""  # a header that is not complete
        self.receive(rest)

    def receive(self, data: bytes) -> None:
        """Count the frames that begin here; unmasked ones, as servers send them."""
        if self.rest:
            data, self.rest = self.rest + data, b""
        pos, end = self.skip, len(data)
        while pos + 4 <= end:
            length, header = data[pos + 1], 2
            if length == 126:
                length, header = data[pos + 2] << 8 | data[pos + 3], 4
            elif length == 127:
                raise ValueError("frame of more than 65535 bytes")
            self.count += data[pos] & 8 == 0  # heartbeats and the like do not count
            pos += header + length
        if pos < end:
            self.rest, pos = data[pos:], end
        self.skip = pos - end


class Ages:
    """How old events were when read, and when the kernel had the last copy."""

    def __init__(self) -> None:
        self._read: list[int] = []
        self._last: dict[int, int] = {}
        self._offset = time.time_ns() - time.monotonic_ns()

    def read(self, connection: socket.socket) -> bytes:
        """What has come, after a look at the clocks."""
        data, notes, _, _ = connection.recvmsg(READ, SPACE)
        if data:
            self._read.append(time.monotonic_ns() - sent_at(data))
        if notes:
            seconds, nanoseconds = STAMP.unpack(notes[0][2])
            taken = seconds * 10**9 + nanoseconds - self._offset
            sent = sent_at(data, data.rindex(SENT))
            self._last[sent] = max(self._last.get(sent, 0), taken)
        return data

    def message(self) -> dict[str, Any]:
        """Quantiles of both; of the second there are none where no kernel tells."""
        last = [taken - sent for sent, taken in self._last.items()]
        return {"ages": quantiles(self._read), "last": quantiles(last) if last else {}}


class Clients:
    """All clients of this process."""

    def __init__(self) -> None:
        self._all: list[Client] = []
        self._selector = selectors.DefaultSelector()

    def connect(
        self, port: int, path: str, first: str, greetings: int, count: int
    ) -> dict[str, Any]:
        """Connect so many; returns when each has had its greetings."""
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
            client = self.greet(connection, port, path, first, greetings)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, client)
            self._all.append(client)
        return {"count": len(self._all)}

    def greet(
        self,
        connection: socket.socket,
        port: int,
        path: str,
        first: str,
        greetings: int,
    ) -> Client:
        """A client that has had its greetings and no event yet."""
        rest = shake_hands(connection, port, path)
        if first:
            connection.sendall(masked(first.encode()))
        client = Client(connection, rest)
        while client.count < greetings or client.skip:
            client.receive(connection.recv(READ))
        client.count = 0
        return client

    def stamp(self, on: bool) -> dict[str, Any]:
        """Have the kernel note when it took what clients read, or not any more."""
        if STAMPS is not None:
            for client in self._all:
                client.socket.setsockopt(socket.SOL_SOCKET, STAMPS, on)
            time.sleep(SETTLING)
        return {}

    def wait(self, frames: int, ages: bool = False) -> dict[str, Any]:
        """Read until every client has had so many frames since the last time.

        With `ages`, how old events were, in nanoseconds.
        """
        missing, found = len(self._all), Ages()
        while missing:
            ready = self._selector.select(TIMEOUT)
            if not ready:
                raise TimeoutError(f"{missing} clients lack events")
            for key, _ in ready:
                client: Client = key.data
                data = found.read(client.socket) if ages else client.socket.recv(READ)
                if not data:
                    raise ConnectionError("a client was hung up on")
                before = client.count
                client.receive(data)
                missing -= before < frames <= client.count
        for client in self._all:
            client.count -= frames
        return found.message() if ages else {}

    def close(self) -> dict[str, Any]:
        """Hang up."""
        for client in self._all:
            self._selector.unregister(client.socket)
            client.socket.close()
        self._all.clear()
        return {}


def shake_hands(connection: socket.socket, port: int, path: str) -> bytes:
    """The opening handshake; returns what came after it."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(READ)
        if not more:
            raise ConnectionError("hung up on in the handshake")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 101 " not in head.split(b"\r\n")[0]:
        raise ConnectionError(head.split(b"\r\n")[0].decode())
    return rest


def masked(text: bytes) -> bytes:
    """A short text frame as clients send it; the mask is all zeros."""
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


def sent_at(data: bytes, start: int = 0) -> int:
    """When the first event in there, from `start` on, was published."""
    start = data.index(SENT, start) + len(SENT)
    return int(data[start : data.index(b",", start)])


def quantiles(found: list[int]) -> dict[str, int]:
    """The median and the slow end."""
    found.sort()
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    ranks = {name: math.ceil(share * len(found)) for name, share in shares.items()}
    return {name: found[rank - 1] for name, rank in ranks.items()}


def run(clients: Clients) -> None:
    """Do as we are told."""
    allow_many_sockets()
    say({})
    for line in sys.stdin.buffer:
        request = orjson.loads(line)
        number, command = request.pop("id"), request.pop("command")
        try:
            answer = getattr(clients, command)(**request)
        except Exception as error:  # the other end is told, and decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        say({"id": number, **answer})


if __name__ == "__main__":
    run(Clients())
