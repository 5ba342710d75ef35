"""A praxis-fast host as a program, for the benches of whole links.

`/praxis/bench/1.0.0`: the dialer says two numbers of 8 bytes, how much it sends and how
much it wants, and sends; the listener answers with the first number when it has read
that much, and with what is wanted. All limits stay on, as they are by default.
"""

from __future__ import annotations

import asyncio
import gc
import time
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from praxis_fast.benchmarks import program
from praxis_fast.p2p import ping
from praxis_fast.p2p.host import Host

if TYPE_CHECKING:
    from praxis_fast.p2p.stream import Stream

ECHO: Final = "/echo/1.0.0"
BENCH: Final = "/praxis/bench/1.0.0"
IDLE: Final = "/praxis/idle/1.0.0"

PIECE: Final = 64 * 1024
SIZES: Final = Struct(">QQ")
COUNT: Final = Struct(">Q")

# Seconds between dials to a peer that is tired of us.
RESTS: Final = (0.1, 0.5, 1.0, 2.0, 4.0)


async def on_echo(stream: Stream) -> None:
    """Send everything back."""
    while data := await stream.read(PIECE):
        await stream.write(data)


async def on_idle(stream: Stream) -> None:
    """Wait for what never comes."""
    await stream.write(await stream.read_exactly(1))
    await stream.read()


async def on_bench(stream: Stream) -> None:
    """Take as much as is sent, give as much as is wanted."""
    up, down = SIZES.unpack(await stream.read_exactly(SIZES.size))
    await take(stream, up)
    await stream.write(COUNT.pack(up))
    await give(stream, down)


async def take(stream: Stream, size: int) -> None:
    """Read so many bytes."""
    while size:
        data = await stream.read(size)
        if not data:
            raise EOFError(f"{size} bytes are missing")
        size -= len(data)


async def give(stream: Stream, size: int) -> None:
    """Write so many bytes."""
    piece = bytes(PIECE)
    whole, rest = divmod(size, PIECE)
    for _ in range(whole):
        await stream.write(piece)
    await stream.write(piece[:rest])


class Peer:
    """A host and the commands that drive it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._hung_up = asyncio.Event()
        self._others: list[Host] = []
        self._streams: list[Stream] = []

    async def dial(self, addr: str, count: int) -> dict[str, Any]:
        """Connect and learn who it is, again and again; the last link stays."""
        seconds = [await self._dial(addr)]
        while len(seconds) < count:
            await self.hangup(*self._host.peers())
            seconds.append(await self._dial(addr))
        (peer_id,) = self._host.peers()
        return {"seconds": seconds, "peer_id": peer_id}

    async def _dial(self, addr: str) -> float:
        """Seconds; a peer that hangs up on whoever dials often gets a rest."""
        for rest in RESTS:
            start = time.perf_counter()
            peer_id = await self._host.connect(addr)
            if await self._host.identify(peer_id) is not None:
                return time.perf_counter() - start
            await asyncio.sleep(rest)
        raise EOFError(f"no identify from {addr} in {len(RESTS)} dials")

    async def hangup(self, peer_id: str) -> dict[str, Any]:
        """Disconnect, and wait until that is done."""
        self._hung_up.clear()
        await self._host.disconnect(peer_id)
        await self._hung_up.wait()
        return {}

    def on_disconnected(self, peer_id: str, reason: str) -> None:
        """The host tells us."""
        self._hung_up.set()

    async def ping(self, peer_id: str, count: int) -> dict[str, Any]:
        """Round trips, on one stream."""
        async with await self._host.open_stream(peer_id, [ping.PING]) as stream:
            return {"seconds": [await ping.measure(stream) for _ in range(count)]}

    async def transfer(self, peer_id: str, up: int, down: int) -> dict[str, Any]:
        """Send so much, then get so much, on one stream."""
        async with await self._host.open_stream(peer_id, [BENCH]) as stream:
            start = time.perf_counter()
            await stream.write(SIZES.pack(up, down))
            await give(stream, up)
            if COUNT.unpack(await stream.read_exactly(COUNT.size)) != (up,):
                raise EOFError("not all was read")
            await take(stream, down)
            return {"seconds": time.perf_counter() - start}

    async def streams(self, peer_id: str, count: int, parallel: int) -> dict[str, Any]:
        """Open a stream, have a few bytes echoed, close it: so many times."""
        left = iter(range(count))

        async def work() -> None:
            for number in left:
                text = b"stream %d" % number
                async with await self._host.open_stream(peer_id, [ECHO]) as stream:
                    await stream.write(text)
                    if await stream.read_exactly(len(text)) != text:
                        raise EOFError("another answer")

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(parallel)))
        return {"seconds": time.perf_counter() - start}

    async def idle_links(self, addr: str, count: int) -> dict[str, Any]:
        """Connect so many hosts, one link each, and keep them."""
        for _ in range(count):
            host = Host()
            await host.start()
            self._others.append(host)
            await host.identify(await host.connect(addr))
        return {}

    async def idle_streams(self, peer_id: str, count: int) -> dict[str, Any]:
        """Open so many streams on one link and keep them; with our own memory."""
        await self.open_idle(peer_id, 10)
        gc.collect()
        before = program.resident()
        await self.open_idle(peer_id, count)
        gc.collect()
        return {"bytes": program.resident() - before}

    async def open_idle(self, peer_id: str, count: int) -> None:
        """Open streams that are left alone."""
        for _ in range(count):
            stream = await self._host.open_stream(peer_id, [IDLE])
            await stream.write(b"x")  # or the peer would not hear of it
            await stream.read_exactly(1)
            self._streams.append(stream)

    async def release(self) -> dict[str, Any]:
        """Let go of all that is idle."""
        await asyncio.gather(*(stream.reset() for stream in self._streams))
        await asyncio.gather(*(host.close() for host in self._others))
        self._streams.clear()
        self._others.clear()
        return {}


async def main() -> None:
    """Listen and do as we are told."""
    listen = ["/ip4/127.0.0.1/tcp/0"]
    async with Host(listen=listen) as host:
        host.handle(ECHO, on_echo)
        host.handle(BENCH, on_bench)
        host.handle(IDLE, on_idle)
        peer = Peer(host)
        host.add_observer(peer)
        names = "dial hangup ping transfer streams idle_links idle_streams release"
        await program.serve(
            {"peer_id": str(host.peer_id), "addrs": host.addrs},
            {name: getattr(peer, name) for name in names.split()},
        )
        await peer.release()


if __name__ == "__main__":
    program.run(main)
