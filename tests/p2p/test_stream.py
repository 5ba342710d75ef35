"""Streams: half-close, reset, back-pressure, cancelling, misuse."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from praxis_fast.errors import (
    ConnectionLostError,
    ResourceLimitError,
    StreamResetError,
    UsageError,
)
from praxis_fast.limits import INITIAL_WINDOW, KIB, MIB, Limits, MuxerLimits
from praxis_fast.p2p.channel import BUFFER_SIZE
from praxis_fast.p2p.link import READ_BUFFER
from praxis_fast.p2p.stream import LARGE_READ
from tests.p2p import raw_peer as raw
from tests.p2p.network import ECHO, eventually, make, pair, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praxis_fast.p2p.host import Host
    from praxis_fast.p2p.stream import Stream

HOLD = "/hold/1"


class Held:
    """A handler that keeps its stream for the test to use."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.done = asyncio.Event()

    async def __call__(self, stream: Stream) -> None:
        self.streams.append(stream)
        await self.done.wait()

    async def next(self) -> Stream:
        await eventually(lambda: self.streams)
        return self.streams.pop(0)


@asynccontextmanager
async def held(**settings: object) -> AsyncIterator[tuple[Host, Host, Held]]:
    """A pair whose second host keeps the streams opened on HOLD."""
    async with pair(**settings) as (first, second):
        holder = Held()
        second.handle(HOLD, holder)
        try:
            yield first, second, holder
        finally:
            holder.done.set()


@asynccontextmanager
async def both_ends(
    **settings: object,
) -> AsyncIterator[tuple[Stream, Stream]]:
    """Both ends of one stream."""
    async with (
        held(**settings) as (first, second, holder),
        await first.open_stream(second.peer_id, [HOLD]) as near,
    ):
        await near.write(b"")
        yield near, await holder.next()


async def test_each_direction_ends_by_itself_when_half_closed() -> None:
    async with both_ends() as (near, far):
        await near.write(b"question")
        await near.close_write()
        assert await far.read_exactly(8) == b"question"
        assert await far.read() == b""
        assert await far.read() == b""
        await far.write(b"an")
        await far.write(b"swer")
        await far.close_write()
        assert await near.read_exactly(6) == b"answer"
        assert await near.read() == b""
        with pytest.raises(UsageError, match="closed for writing"):
            await near.write(b"more")


async def test_both_ends_hear_when_reset() -> None:
    async with both_ends() as (near, far):
        reading = asyncio.create_task(far.read())
        await near.write(b"")
        await near.reset()
        with pytest.raises(StreamResetError):
            await reading
        for stream in (near, far):
            with pytest.raises(StreamResetError):
                await stream.read()
            with pytest.raises(StreamResetError):
                await stream.write(b"x")
            await stream.close()
            await stream.reset()


async def test_a_reset_behind_an_end_is_not_taken_for_the_whole() -> None:
    async with both_ends() as (near, far):
        await near.write(b"part")
        await near.close_write()
        await eventually(lambda: far.is_ended)
        await near.reset()
        await eventually(lambda: not far.is_open)
        with pytest.raises(StreamResetError):
            await far.read()


async def test_what_came_before_the_link_was_lost_can_be_read() -> None:
    async with held() as (first, second, holder):
        whole = await first.open_stream(second.peer_id, [HOLD])
        await whole.write(b"whole")
        await whole.close_write()
        part = await first.open_stream(second.peer_id, [HOLD])
        await part.write(b"part")
        far_whole, far_part = await holder.next(), await holder.next()
        if far_whole.id > far_part.id:
            far_whole, far_part = far_part, far_whole
        await eventually(lambda: far_whole.is_ended and far_part.unread == 4)
        await first.disconnect(second.peer_id)
        await eventually(lambda: not second.peers())
        assert await far_whole.read() == b"whole"
        assert await far_whole.read() == b""
        assert await far_part.read() == b"part"
        with pytest.raises(ConnectionLostError):
            await far_part.read()
        with pytest.raises(ConnectionLostError):
            await far_part.write(b"x")


async def test_reads_return_what_is_asked_for_whatever_the_pieces() -> None:
    async with both_ends() as (near, far):
        data = hashlib.shake_128(b"pieces").digest(100_000)
        sizes = [1, 2, 3, 500, 511, 512, 513, 700, 16_000, 40_000]
        pos = 0
        for size in sizes:
            await near.write(data[pos : pos + size])
            await eventually(lambda: far.unread == pos + size)  # noqa: B023
            pos += size
        got = b""
        for size in (1, 4, 0, 600, 1200, 3, 50_000):
            piece = await far.read(size)
            assert len(piece) == min(size, pos - len(got))
            got += piece
        got += await far.read_exactly(pos - len(got))
        assert got == data[:pos]


async def test_small_pieces_that_nobody_reads_are_gathered() -> None:
    async with both_ends() as (near, far):
        count = 100_000
        for _ in range(count):
            await near.write(b"x")
        await eventually(lambda: far.unread == count)
        assert await far.read_exactly(50_001) == b"x" * 50_001
        assert await far.read() == b"x" * 49_999


async def test_read_exactly_takes_more_than_a_window() -> None:
    async with both_ends() as (near, far):
        data = hashlib.shake_128(b"window").digest(3 * MIB)
        reading = asyncio.create_task(far.read_exactly(len(data)))
        await near.write(data)
        assert await reading == data


async def test_read_exactly_loses_nothing_when_cancelled_or_ended() -> None:
    async with both_ends() as (near, far):
        reading = asyncio.create_task(far.read_exactly(10))
        await near.write(b"12345")
        await eventually(lambda: far.unread == 5)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await near.write(b"678")
        await near.close_write()
        with pytest.raises(asyncio.IncompleteReadError) as raised:
            await far.read_exactly(10)
        assert raised.value.partial == b"12345678"


async def test_a_cancelled_write_sends_nothing_twice() -> None:
    async with both_ends() as (near, far):
        data = hashlib.shake_128(b"cancel").digest(MIB)
        writing = asyncio.create_task(near.write(data))
        await eventually(lambda: near.is_writing)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await near.close_write()
        got = bytearray()
        while piece := await far.read():
            got += piece
        assert 0 < len(got) < len(data)
        assert data.startswith(got)


async def test_one_task_reads_and_one_writes() -> None:
    async with both_ends() as (near, far):
        reading = asyncio.create_task(far.read())
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="already being read"):
            await far.read()
        writing = asyncio.create_task(near.write(bytes(MIB)))
        await eventually(lambda: near.is_writing)
        with pytest.raises(UsageError, match="already being written"):
            await near.write(b"x")
        assert await reading
        writing.cancel()


async def test_mux_7_only_the_unread_stream_stalls() -> None:
    """A reader that does not read: memory bounded, the others flow."""
    async with held() as (first, second, holder):
        stuck = await first.open_stream(second.peer_id, [HOLD])
        writing = asyncio.create_task(stuck.write(bytes(8 * MIB)))
        far = await holder.next()
        # The negotiation took a little of the window.
        await eventually(lambda: far.unread > INITIAL_WINDOW - KIB)
        async with await first.open_stream(second.peer_id, [ECHO]) as flowing:
            for _ in range(64):
                await flowing.write(bytes(64 * KIB))
                assert len(await flowing.read_exactly(64 * KIB)) == 64 * KIB
        assert far.unread <= INITIAL_WINDOW
        assert not writing.done()
        (link,) = first.links(second.peer_id)
        assert link.pending_out < 2 * INITIAL_WINDOW
        total = 0
        while total < 8 * MIB:
            total += len(await far.read())
        await writing
        await stuck.close()


async def test_mux_8_memory_comes_back_when_unread_streams_end() -> None:
    async with held(limits=Limits(muxer=MuxerLimits(max_unread=4 * MIB))) as (
        first,
        second,
        holder,
    ):
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            streams = [
                await first.open_stream(second.peer_id, [HOLD]) for _ in range(40)
            ]
            writing = [
                asyncio.create_task(stream.write(bytes(INITIAL_WINDOW - KIB)))
                for stream in streams
            ]
            await asyncio.gather(*writing, return_exceptions=True)
            held_back = [stream for stream in holder.streams if stream.is_open]
            assert sum(stream.unread for stream in held_back) <= 4 * MIB
            for stream in streams:
                await stream.reset()
            await eventually(lambda: not any(s.is_open for s in holder.streams))
            holder.streams.clear()
            holder.done.set()
            del streams, writing, held_back
            # Each host keeps a buffer that it sends with.
            most = MIB + 2 * BUFFER_SIZE
            await eventually(lambda: tracemalloc.get_traced_memory()[0] - before < most)
        finally:
            tracemalloc.stop()
        assert await first.ping(second.peer_id) > 0


async def test_what_comes_after_close_is_thrown_away() -> None:
    async with both_ends() as (near, far):
        await far.write(b"unread")
        await eventually(lambda: near.unread == 6)
        await near.close()
        await far.write(bytes(MIB))
        await far.close_write()
        assert await far.read() == b""
        await eventually(lambda: near.unread == 0 and not near.is_open)
        with pytest.raises(UsageError, match="is closed"):
            await near.read()


async def test_a_waiting_reader_hears_when_its_stream_is_closed() -> None:
    async with both_ends() as (near, _):
        reading = asyncio.create_task(near.read())
        await eventually(lambda: near.is_waiting)
        await near.close()
        with pytest.raises(UsageError, match="is closed"):
            await reading


async def test_streams_end_as_their_blocks_do() -> None:
    async with held() as (first, second, holder):
        async with await first.open_stream(second.peer_id, [HOLD]) as good:
            await good.write(b"x")
        far = await holder.next()
        assert await far.read() == b"x"
        assert await far.read() == b""
        bad = await first.open_stream(second.peer_id, [HOLD])
        await bad.write(b"x")
        far = await holder.next()
        with pytest.raises(RuntimeError, match="inside"):
            await fail_inside(bad)
        await eventually(lambda: not far.is_open)
        with pytest.raises(StreamResetError):
            await far.read()


async def fail_inside(stream: Stream) -> None:
    async with stream:
        raise RuntimeError("inside")


async def test_many_writers_share_a_link() -> None:
    """More data than the socket takes, from many tasks: all arrives, nobody starves."""
    async with pair() as (first, second):
        got: list[int] = []

        async def count(stream: Stream) -> None:
            total = 0
            while piece := await stream.read():
                total += len(piece)
            got.append(total)

        second.handle("/count/1", count)

        async def send() -> None:
            async with await first.open_stream(second.peer_id, ["/count/1"]) as stream:
                for _ in range(20):
                    await stream.write(bytes(10_000))

        await asyncio.gather(*(send() for _ in range(100)))
        await eventually(lambda: len(got) == 100)
        assert set(got) == {200_000}


async def test_opening_waits_when_too_many_are_not_acknowledged() -> None:
    limits = Limits(muxer=MuxerLimits(max_backlog=4, max_streams=50))
    async with held(limits=limits) as (first, second, _):
        streams = await asyncio.gather(
            *(first.open_stream(second.peer_id, [HOLD]) for _ in range(40))
        )
        assert len({stream.id for stream in streams}) == 40
        for stream in streams:
            await stream.reset()


async def test_opening_is_refused_when_too_many_are_open() -> None:
    base = Limits(muxer=MuxerLimits(max_streams=10))
    limits = Limits(
        muxer=base.muxer,
        connections=type(base.connections)(negotiation_timeout=0.3),
    )
    first, second, holder = make(1, limits=limits), make(2), Held()
    second.handle(HOLD, holder)
    async with running(first, second):
        await first.connect(second.addrs[0])
        await first.identify(second.peer_id)
        (link,) = first.links(second.peer_id)
        await eventually(lambda: not link.num_streams)
        streams = [await first.open_stream(second.peer_id, [HOLD]) for _ in range(10)]
        with pytest.raises(ResourceLimitError, match="10 streams open, limit 10"):
            await first.open_stream(second.peer_id, [HOLD])
        waiting = asyncio.create_task(first.open_stream(second.peer_id, [HOLD]))
        await asyncio.sleep(0)
        await streams[0].reset()
        (await waiting).abort(StreamResetError("over"))
        holder.done.set()


async def test_a_read_of_much_gives_a_piece_at_a_time() -> None:
    size = 200 * KIB
    async with held() as (first, second, holder):
        stream = await first.open_stream(second.peer_id, [HOLD])
        await stream.write(bytes(size))
        served = await holder.next()
        await eventually(lambda: served.unread == size)
        sizes = []
        while sum(sizes) < size:
            sizes.append(len(await served.read()))
        assert max(sizes) <= LARGE_READ
        assert len(sizes) < 8
        await stream.write(bytes(size))
        assert await served.read_exactly(size) == bytes(size)
        await stream.close()


async def test_what_came_is_read_before_more_is_taken_from_the_socket() -> None:
    held: list[int] = []
    host = make(1)
    left = 16

    async def take(stream: Stream) -> None:
        nonlocal left
        while await stream.read():
            held.append(host.pool.held)
        left -= 1

    host.handle(HOLD, take)
    async with running(host):
        peer = await raw.RawPeer.dial(host.addrs[0])
        for number in range(1, 2 * left, 2):
            peer.say(raw.opening(number) + raw.data(number, raw.proposal(HOLD)))
            peer.say(raw.data(number, bytes(60_000)) * 4)
            peer.say(raw.frame(raw.WINDOW, raw.FIN, number, 0))
        await eventually(lambda: not left)
        assert max(held) <= 3 * READ_BUFFER
        await peer.close()
