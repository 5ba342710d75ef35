"""A py-libp2p peer for the benches of links; see praxis_fast.benchmarks.link_peer."""

from __future__ import annotations

import json
import sys
import time
from struct import Struct
from typing import Any

import multiaddr
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import handle_ping
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr

ECHO = TProtocol("/echo/1.0.0")
BENCH = TProtocol("/praxis/bench/1.0.0")
IDENTIFY = TProtocol("/ipfs/id/1.0.0")
PING = TProtocol("/ipfs/ping/1.0.0")
PIECE = 64 * 1024
SIZES = Struct(">QQ")

# Seconds between dials to a peer that is tired of us.
RESTS = (0.1, 0.5, 1.0, 2.0, 4.0)


async def give(stream: Any, size: int) -> None:
    piece = bytes(PIECE)
    while size:
        await stream.write(piece[:size])
        size -= min(size, PIECE)


async def take(stream: Any, size: int) -> bytes:
    data = b""
    while size:
        data = await stream.read(min(size, PIECE))
        if not data:
            raise EOFError(f"{size} bytes are missing")
        size -= len(data)
    return data


async def read_exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.read(size - len(data))
        if not more:
            raise EOFError(f"{size - len(data)} bytes are missing")
        data += more
    return data


async def read_all(stream: Any) -> bytes:
    data = b""
    try:
        while more := await stream.read(PIECE):
            data += more
    except StreamEOF:
        pass
    return data


async def on_echo(stream: Any) -> None:
    try:
        while data := await stream.read(PIECE):
            await stream.write(data)
    except StreamEOF:
        pass
    await stream.close()


async def on_bench(stream: Any) -> None:
    header = await read_exactly(stream, SIZES.size)
    up, down = SIZES.unpack(header)
    await take(stream, up)
    await stream.write(header[:8])
    await give(stream, down)
    await stream.close()


class Peer:
    """A host and the commands that drive it."""

    def __init__(self) -> None:
        self.host = new_host(key_pair=create_new_key_pair(), muxer_preference="YAMUX")

    async def cpu(self) -> dict[str, Any]:
        return {"seconds": time.process_time()}

    async def dial(self, addr: str, count: int) -> dict[str, Any]:
        info = info_from_p2p_addr(multiaddr.Multiaddr(addr))
        seconds = []
        while len(seconds) < count:
            if seconds:
                await self.host.disconnect(info.peer_id)
            seconds.append(await self.dial_once(info))
        return {"seconds": seconds, "peer_id": str(info.peer_id)}

    async def dial_once(self, info: Any) -> float:
        """Seconds; a peer that hangs up on whoever dials often gets a rest."""
        for rest in RESTS:
            start = time.perf_counter()
            try:
                await self.host.connect(info)
                # Its own identify tells nobody when it is done.
                stream = await self.host.new_stream(info.peer_id, [IDENTIFY])
                if await read_all(stream):
                    return time.perf_counter() - start
            except Exception as error:
                print(repr(error), file=sys.stderr)
            await trio.sleep(rest)
        raise EOFError(f"no identify in {len(RESTS)} dials")

    async def hangup(self, peer_id: str) -> dict[str, Any]:
        await self.host.disconnect(ID.from_string(peer_id))
        return {}

    async def ping(self, peer_id: str, count: int) -> dict[str, Any]:
        stream, seconds = (
            await self.host.new_stream(ID.from_string(peer_id), [PING]),
            [],
        )
        for _ in range(count):
            start = time.perf_counter()
            await stream.write(bytes(32))
            await read_exactly(stream, 32)
            seconds.append(time.perf_counter() - start)
        await stream.close()
        return {"seconds": seconds}

    async def transfer(self, peer_id: str, up: int, down: int) -> dict[str, Any]:
        stream = await self.host.new_stream(ID.from_string(peer_id), [BENCH])
        start = time.perf_counter()
        await stream.write(SIZES.pack(up, down))
        await give(stream, up)
        await read_exactly(stream, 8)
        await take(stream, down)
        seconds = time.perf_counter() - start
        await stream.close()
        return {"seconds": seconds}

    async def streams(self, peer_id: str, count: int, parallel: int) -> dict[str, Any]:
        peer, left = ID.from_string(peer_id), iter(range(count))

        async def work() -> None:
            for number in left:
                text = b"stream %d" % number
                stream = await self.host.new_stream(peer, [ECHO])
                await stream.write(text)
                if await read_exactly(stream, len(text)) != text:
                    raise EOFError("another answer")
                await stream.close()

        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(parallel):
                nursery.start_soon(work)
        return {"seconds": time.perf_counter() - start}

    async def answer(self, request: dict[str, Any]) -> None:
        number, command = request.pop("id"), request.pop("command")
        try:
            result = await getattr(self, command)(**request)
        except Exception as error:
            result = {"error": repr(error)}
        say({"id": number, **result})

    async def main(self) -> None:
        listen = [multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]
        async with self.host.run(listen_addrs=listen):
            self.host.set_stream_handler(ECHO, on_echo)
            self.host.set_stream_handler(BENCH, on_bench)
            self.host.set_stream_handler(PING, handle_ping)
            addrs = [str(addr) for addr in self.host.get_addrs()]
            say({"peer_id": str(self.host.get_id()), "addrs": addrs})
            async for line in trio.wrap_file(sys.stdin):
                await self.answer(json.loads(line))


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


trio.run(Peer().main)
