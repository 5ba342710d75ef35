"""nats-server as a row of the socket benches.

    python -m bench.nats.program server PROGRAM tcp|websocket
    python -m bench.nats.program clients

The first starts nats-server and publishes over a connection of its own; CPU and memory
are those of nats-server alone. The second are the clients: they subscribe, and count
bytes, since all messages are of one length and several may share a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from praxis_fast.benchmarks import program
from praxis_fast.benchmarks.socket_clients import (
    READ,
    Client,
    Clients,
    masked,
    run,
    shake_hands,
)
from praxis_fast.benchmarks.socket_server import encode, event_data

if TYPE_CHECKING:
    import socket

# An event as large as the gateway's, with room for a longer clock.
PAYLOAD = 360
MESSAGE = len(f"MSG t 1 {PAYLOAD}\r\n") + PAYLOAD + len("\r\n")
SUBSCRIBE = b'CONNECT {"verbose":false}\r\nSUB t 1\r\nPING\r\n'
CONFIG = """
listen: "127.0.0.1:-1"
max_connections: 100000
ping_interval: "1h"
websocket { listen: "127.0.0.1:-1", no_tls: true, compression: false }
"""
PATIENCE = 100


class Server:
    """A running nats-server and a connection to publish over."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int]):
        self._process, self.ports = process, ports
        self._number = 1_000_000

    async def connect(self) -> None:
        address = "127.0.0.1", self.ports["nats"]
        self._reader, self._writer = await asyncio.open_connection(*address)
        self._writer.write(b'CONNECT {"verbose":false}\r\n')
        await self._flush()

    async def burst(self, turns: int, per_turn: int, clients: int) -> dict[str, Any]:
        """So many events in each of so many turns."""
        for _ in range(turns):
            self._writer.write(b"".join(self._event() for _ in range(per_turn)))
            await self._flush()
        return {}

    async def pace(self, events: int, interval: float) -> dict[str, Any]:
        """One event each interval."""
        due = time.monotonic()
        for _ in range(events):
            self._writer.write(self._event())
            due += interval
            await asyncio.sleep(due - time.monotonic())
        return {}

    async def cpu(self) -> dict[str, Any]:
        # The number Linux gives to the CPU clock of a process.
        return {"seconds": time.clock_gettime(~self._process.pid << 3 | 2)}

    async def memory(self) -> dict[str, Any]:
        return {"bytes": program.resident(self._process.pid)}

    def _event(self) -> bytes:
        self._number += 1
        text = encode(self._number, event_data(self._number)).ljust(PAYLOAD)
        return b"PUB t %d\r\n%s\r\n" % (len(text), text)

    async def _flush(self) -> None:
        """Until the server has seen all of it."""
        self._writer.write(b"PING\r\n")
        while b"PONG" not in await self._reader.readline():
            pass


async def serve(command: str, kind: str) -> None:
    """Start it and do as we are told."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nats.conf"
        config.write_text(f'{CONFIG}ports_file_dir: "{folder}"\n')
        process = await asyncio.create_subprocess_exec(
            command, "-c", str(config), stdin=asyncio.subprocess.DEVNULL
        )
        try:
            server = Server(process, await find_ports(Path(folder)))
            await server.connect()
            names = "burst pace cpu memory"
            await program.serve(
                {
                    "port": server.ports[kind],
                    "path": "/",
                    "first": "" if kind == "nats" else kind,
                    "greetings": 0,
                },
                {name: getattr(server, name) for name in names.split()},
            )
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def find_ports(folder: Path) -> dict[str, int]:
    """The ports it listens on, when it says so."""
    for _ in range(PATIENCE):
        if found := read_ports(folder):
            return found
        await asyncio.sleep(0.05)
    raise TimeoutError("nats-server does not say where it listens")


def read_ports(folder: Path) -> dict[str, int]:
    """Port by door, as far as its file is written."""
    for path in folder.glob("*.ports"):
        if text := path.read_bytes():
            told = orjson.loads(text)
            return {kind: int(told[kind][0].rpartition(":")[2]) for kind in told}
    return {}


class Subscriber(Client):
    """Counts the messages of a plain connection."""

    __slots__ = ("size",)

    def __init__(self, connection: socket.socket) -> None:
        self.size = 0
        super().__init__(connection, b"")

    def receive(self, data: bytes) -> None:
        self.add(len(data))

    def add(self, size: int) -> None:
        """So many more bytes of messages."""
        self.size += size
        whole, self.size = divmod(self.size, MESSAGE)
        self.count += whole


class FramedSubscriber(Subscriber):
    """The same in WebSocket frames."""

    __slots__ = ()

    def receive(self, data: bytes) -> None:
        if self.rest:
            data, self.rest = self.rest + data, b""
        pos, end = min(self.skip, len(data)), len(data)
        self.skip -= pos
        self.add(pos)
        while pos < end:
            length = frame_length(data, pos)
            if length is None:
                self.rest = data[pos:]
                return
            header, size = length
            here = min(size, end - pos - header)
            self.add(here)
            self.skip = size - here
            pos += header + here


def frame_length(data: bytes, pos: int) -> tuple[int, int] | None:
    """Bytes of the frame's header and of what follows; None when it is cut."""
    if pos + 2 > len(data):
        return None
    size = data[pos + 1]
    extended = {126: 2, 127: 8}.get(size, 0)
    if pos + 2 + extended > len(data):
        return None
    if extended:
        size = int.from_bytes(data[pos + 2 : pos + 2 + extended])
    return 2 + extended, size


class Subscribers(Clients):
    """Clients of nats-server; `first` says whether over WebSocket."""

    def greet(
        self,
        connection: socket.socket,
        port: int,
        path: str,
        first: str,
        greetings: int,
    ) -> Client:
        if first:
            data = shake_hands(connection, port, path)
            connection.sendall(masked(SUBSCRIBE))
        else:
            data = b""
            connection.sendall(SUBSCRIBE)
        while not data.endswith(b"PONG\r\n"):
            data += connection.recv(READ)
        return FramedSubscriber(connection) if first else Subscriber(connection)


def main() -> None:
    if sys.argv[1] == "clients":
        run(Subscribers())
        return
    _, _, command, kind = sys.argv
    program.run(lambda: serve(command, kind))


if __name__ == "__main__":
    main()
