"""py-libp2p's yamux session over bytes in memory; a pass for each line on stdin.

The first argument is a file of frames for stream 1, the second how many bytes of
stream data are in there; each pass is answered by that number when it was read. With
a third argument the data is JSON texts, and the answer is how many were decoded.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.stream_muxer.yamux.yamux import Yamux

SYN = struct.pack(">BBHII", 0, 1, 1, 1, 0)
PIECE = 64 * 1024


class Memory:
    """A secured connection that has what was put in, and drops what is written."""

    def __init__(self) -> None:
        self.data = memoryview(SYN)
        self.fresh = trio.Event()

    def put(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.fresh.set()

    async def read(self, n: int) -> bytes:
        while not self.data:
            self.fresh = trio.Event()
            await self.fresh.wait()
        piece, self.data = self.data[:n], self.data[n:]
        return bytes(piece)

    async def write(self, data: bytes) -> None:
        pass

    async def close(self) -> None:
        pass

    def get_remote_address(self) -> None:
        return None


class Counter:
    """Counts bytes."""

    def __init__(self) -> None:
        self.found = 0

    def feed(self, data: bytes) -> None:
        self.found += len(data)


class Decoder:
    """Decodes the texts of a stream and counts them."""

    def __init__(self) -> None:
        self.found = 0
        self._rest = ""
        self._decode = json.JSONDecoder().raw_decode

    def feed(self, data: bytes) -> None:
        text, pos = self._rest + data.decode(), 0
        while pos < len(text):
            try:
                _, pos = self._decode(text, pos)
            except json.JSONDecodeError:
                break
            self.found += 1
        self._rest = text[pos:]


async def main(data: bytes, size: int, kind: type[Counter | Decoder]) -> None:
    memory = Memory()
    peer = ID.from_pubkey(create_new_key_pair().public_key)
    session = Yamux(memory, peer, is_initiator=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.start)
        stream = await session.accept_stream()
        async for _ in trio.wrap_file(sys.stdin):
            memory.put(data)
            left, use = size, kind()
            while left:
                piece = await stream.read(PIECE)
                left -= len(piece)
                use.feed(piece)
            print(use.found, flush=True)
        nursery.cancel_scope.cancel()


trio.run(
    main,
    Path(sys.argv[1]).read_bytes(),
    int(sys.argv[2]),
    Decoder if sys.argv[3:] else Counter,
)
