"""Ping: 32 bytes there and back, as often as wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from praxis_fast.errors import ConnectionLostError, NetworkError
from praxis_fast.p2p import ping
from tests.p2p.network import key, make, pair, running

if TYPE_CHECKING:
    from praxis_fast.p2p.stream import Stream


async def test_ping_measures_as_often_as_wanted_on_one_stream() -> None:
    async with pair() as (first, second):
        async with await first.open_stream(second.peer_id, [ping.PING]) as stream:
            for _ in range(5):
                assert await ping.measure(stream) > 0
        assert await second.ping(first.peer_id) > 0


async def test_answers_may_be_cut_in_two() -> None:
    async with (
        pair() as (first, second),
        await first.open_stream(second.peer_id, [ping.PING]) as stream,
    ):
        await stream.write(b"a" * 20)
        await asyncio.sleep(0.01)
        await stream.write(b"a" * 12)
        assert await stream.read_exactly(32) == b"a" * 32


async def test_an_idle_ping_stream_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "IDLE_TIMEOUT", 0.05)
    first, second = make(1), make(2)
    async with running(first, second) as (_, heard):
        await first.connect(second.addrs[0])
        stream = await first.open_stream(second.peer_id, [ping.PING])
        assert await ping.measure(stream) > 0
        assert await stream.read() == b""
        await stream.close()
        assert not heard.errors


async def test_pings_put_the_end_of_an_idle_stream_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ping, "IDLE_TIMEOUT", 1.0)
    monkeypatch.setattr(ping, "RENEWAL", 0.1)
    async with (
        pair() as (first, second),
        await first.open_stream(second.peer_id, [ping.PING]) as stream,
    ):
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.5
        while loop.time() < end:
            assert await ping.measure(stream) > 0
            await asyncio.sleep(0.01)


async def test_a_wrong_or_missing_answer_is_an_error() -> None:
    async def lie(stream: Stream) -> None:
        await stream.read_exactly(32)
        await stream.write(bytes(32))

    async def leave(stream: Stream) -> None:
        await stream.read_exactly(32)

    async with pair() as (first, second):
        second.handlers[ping.PING] = lie
        with pytest.raises(NetworkError, match="with other bytes"):
            await first.ping(second.peer_id)
        second.handlers[ping.PING] = leave
        with pytest.raises(NetworkError, match="without an answer"):
            await first.ping(second.peer_id)


async def test_a_stranger_cannot_be_pinged() -> None:
    host = make(1)
    async with running(host):
        with pytest.raises(ConnectionLostError, match="not connected"):
            await host.ping(key(9).peer_id)
