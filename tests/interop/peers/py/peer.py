"""A py-libp2p peer driven by JSON lines on stdin, each answered by one on stdout.

Runs in an environment of its own: see requirements.txt beside it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import multiaddr
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService, handle_ping
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr

ECHO = TProtocol("/echo/1.0.0")
CARD = TProtocol("/praxis/card/1.0.0")
PING = TProtocol("/ipfs/ping/1.0.0")
CHUNK = 64 * 1024


class Program:
    """One host and the commands that drive it."""

    def __init__(self) -> None:
        self.host = new_host(key_pair=create_new_key_pair(), muxer_preference="YAMUX")
        self.cards: list[dict[str, Any]] = []

    def card(self) -> bytes:
        # py-libp2p's own users (the Praxis Python SDK) write no newline and peer_id.
        card = {
            "name": "py",
            "version": "1.0.0",
            "peer_id": str(self.host.get_id()),
            "capabilities": ["p2p"],
            "tools": [],
            "timestamp": int(time.time()),
        }
        return json.dumps(card).encode()

    async def swap_cards(self, stream: Any, first: bool) -> dict[str, Any]:
        if first:
            await stream.write(self.card())
        theirs = json.loads(await stream.read(4096))
        if not first:
            await stream.write(self.card())
        await stream.close()
        return dict(theirs)

    async def on_echo(self, stream: Any) -> None:
        try:
            while data := await stream.read(CHUNK):
                await stream.write(data)
        except StreamEOF:
            pass
        await stream.close()

    async def on_card(self, stream: Any) -> None:
        self.cards.append(await self.swap_cards(stream, True))

    async def echo(self, peer: ID, data: bytes) -> bool:
        stream = await self.host.new_stream(peer, [ECHO])
        answer = bytearray()

        async def read() -> None:
            while len(answer) < len(data):
                answer.extend(await stream.read(CHUNK))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for start in range(0, len(data), CHUNK):
                await stream.write(data[start : start + CHUNK])
        await stream.close()
        return bytes(answer) == data

    async def streams(self, peer: ID, count: int, parallel: int) -> int:
        numbers = iter(range(count))
        good = 0

        async def worker() -> None:
            nonlocal good
            for number in numbers:
                same = await self.echo(peer, b"stream %d" % number)
                good += same

        async with trio.open_nursery() as nursery:
            for _ in range(parallel):
                nursery.start_soon(worker)
        return good

    async def run(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request["command"]
        if command == "dial":
            info = info_from_p2p_addr(multiaddr.Multiaddr(request["addr"]))
            await self.host.connect(info)
            return {"peer_id": str(info.peer_id)}
        if command == "cards":
            return {"cards": self.cards}
        peer = ID.from_string(request["peer_id"])
        if command == "ping":
            rtts = await PingService(self.host).ping(peer)
            return {"rtt": rtts[0] / 1e3}
        if command == "identify":
            # py-libp2p keeps the protocols an identify told, not the agent version.
            store = self.host.get_peerstore()
            with trio.fail_after(30):
                while not (protocols := store.get_protocols(peer)):
                    await trio.sleep(0.05)
            return {"protocols": list(protocols)}
        if command == "echo":
            size = request["size"]
            data = (b"praxis-fast " * (size // 12 + 1))[:size]
            return {"equal": await self.echo(peer, data), "size": size}
        if command == "streams":
            good = await self.streams(peer, request["count"], request["parallel"])
            return {"good": good}
        if command == "card":
            stream = await self.host.new_stream(peer, [CARD])
            return {"card": await self.swap_cards(stream, request["write_first"])}
        if command == "hangup":
            await self.host.disconnect(peer)
            return {}
        raise ValueError(f"unknown command {command!r}")

    async def answer(self, request: dict[str, Any]) -> None:
        try:
            result = await self.run(request)
        except Exception as error:
            result = {"error": repr(error)}
        say({"id": request["id"], **result})

    async def main(self) -> None:
        listen = [multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]
        async with self.host.run(listen_addrs=listen), trio.open_nursery() as nursery:
            nursery.start_soon(self.host.get_peerstore().start_cleanup_task, 60)
            self.host.set_stream_handler(ECHO, self.on_echo)
            self.host.set_stream_handler(CARD, self.on_card)
            self.host.set_stream_handler(PING, handle_ping)
            addrs = [str(addr) for addr in self.host.get_addrs()]
            say({"peer_id": str(self.host.get_id()), "addrs": addrs})
            async for line in trio.wrap_file(sys.stdin):
                nursery.start_soon(self.answer, json.loads(line))
            nursery.cancel_scope.cancel()


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


trio.run(Program().main)
