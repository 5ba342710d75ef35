"""A link's ends: draining, going away, a peer that never reads, its own work."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from praxis_fast.errors import ConnectionLostError, NegotiationError, NetworkError
from praxis_fast.limits import KIB, MIB, ConnectionLimits, Limits
from tests.p2p import raw_peer as raw
from tests.p2p.network import ECHO, PATIENCE, eventually, key, make, pair, running
from tests.p2p.raw_peer import RawPeer

if TYPE_CHECKING:
    from praxis_fast.p2p.stream import Stream

RAW_ID = key(raw.NUMBER).peer_id
GONE_0 = raw.frame(raw.GO_AWAY, 0, 0, 0)


async def test_go_away_is_sent_when_a_host_closes() -> None:
    host = make(1)
    async with running(host) as (heard,):
        peer = await RawPeer.dial(host.addrs[0])
        await eventually(lambda: host.is_connected(RAW_ID))
        await host.close()
        assert await peer.is_hung_up_on()
        assert peer.heard.endswith(GONE_0)
        assert heard.disconnected == [(RAW_ID, "shutting down")]
        await peer.close()


async def test_open_streams_may_end_when_the_peer_goes_away_in_peace() -> None:
    host = make(1)
    async with running(host) as (heard,):
        peer = await RawPeer.dial(host.addrs[0])
        await peer.hear(raw.line("/ipfs/id/1.0.0"))
        peer.say(raw.opening(1) + raw.data(1, raw.proposal(ECHO) + b"one"))
        await peer.hear(b"one")
        peer.say(raw.frame(raw.WINDOW, raw.RST, 2, 0) + GONE_0)
        peer.say(raw.data(1, b"two"))
        await peer.hear(b"two")
        with pytest.raises(NetworkError):
            await host.open_stream(RAW_ID, [ECHO])
        assert host.is_connected(RAW_ID)
        peer.say(raw.frame(raw.WINDOW, raw.FIN, 1, 0))
        assert await peer.is_hung_up_on()
        await eventually(lambda: heard.disconnected)
        assert heard.disconnected == [(RAW_ID, "the peer went away")]
        assert not [kind for kind, *_ in heard.errors if kind == "muxer"]
        await peer.close()


async def test_a_dialer_that_waits_for_our_header_gets_it() -> None:
    host = make(1)
    async with running(host):
        peer = await RawPeer.connect(host.addrs[0])
        header = raw.line("/multistream/1.0.0")
        async with asyncio.timeout(PATIENCE):
            assert await peer.reader.readexactly(len(header)) == header
        await peer.close()


async def test_a_handlers_first_words_leave_in_the_frame_of_the_agreement() -> None:
    host = make(1)
    async with running(host):
        peer = await RawPeer.dial(host.addrs[0])
        peer.say(raw.opening(1) + raw.data(1, raw.proposal(ECHO) + b"one"))
        await peer.hear(raw.proposal(ECHO) + b"one")
        await peer.close()


async def test_a_go_away_with_a_code_is_an_error() -> None:
    host = make(1)
    async with running(host) as (heard,):
        peer = await RawPeer.dial(host.addrs[0])
        await peer.hear(raw.line("/ipfs/id/1.0.0"))
        peer.say(raw.frame(raw.GO_AWAY, 0, 0, 2))
        assert await peer.is_hung_up_on()
        await eventually(lambda: heard.disconnected)
        assert [kind for kind, *_ in heard.errors] == ["muxer"]
        assert "code 2" in heard.errors[0][2]
        await peer.close()


async def test_draining_refuses_new_streams_and_has_its_time() -> None:
    stuck = asyncio.Event()

    async def hang(stream: Stream) -> None:
        await stuck.wait()

    limits = Limits(connections=ConnectionLimits(drain_timeout=0.5))
    host = make(1, limits=limits)
    host.handle("/hang/1", hang)
    async with running(host):
        peer = await RawPeer.dial(host.addrs[0])
        peer.say(raw.opening(1) + raw.data(1, raw.proposal("/hang/1")))
        await peer.hear(raw.line("/hang/1"))
        closing = asyncio.create_task(host.close())
        await asyncio.sleep(0)
        peer.say(raw.opening(3) + raw.data(3, raw.proposal(ECHO)))
        await peer.hear(raw.frame(raw.WINDOW, raw.RST, 3, 0))
        await closing
        assert await peer.is_hung_up_on()
        await peer.close()


async def test_an_idle_handler_does_not_hold_a_closing_host_up() -> None:
    async with pair() as (first, second):
        stream = await first.open_stream(second.peer_id, [ECHO])
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        async with asyncio.timeout(5):  # the drain timeout is 10
            await second.close()


async def test_a_handler_that_will_not_end_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = asyncio.Event()

    async def stubborn(stream: Stream) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    limits = Limits(connections=ConnectionLimits(drain_timeout=0.2))
    first, second = make(1), make(2, limits=limits)
    second.handle("/stubborn/1", stubborn)
    async with running(first, second):
        await first.connect(second.addrs[0])
        stream = await first.open_stream(second.peer_id, ["/stubborn/1", "/none"])
        with caplog.at_level(logging.WARNING):
            await second.close()
        release.set()
        assert "1 connections still have work that does not end" in caplog.text
        with pytest.raises(ConnectionLostError):
            await stream.read()


async def test_memory_is_bounded_when_the_peer_never_reads_its_socket() -> None:
    async def pour(stream: Stream) -> None:
        while True:
            await stream.write(bytes(64 * KIB))

    limits = Limits(connections=ConnectionLimits(drain_timeout=0.2))
    host, honest = make(1, limits=limits), make(2)
    host.handle("/pour/1", pour)
    async with running(host, honest) as (heard, _):
        await honest.connect(host.addrs[0])
        peer = await RawPeer.dial(host.addrs[0])
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.say(raw.opening(1) + raw.frame(raw.WINDOW, 0, 1, 1024 * MIB))
        peer.say(raw.data(1, raw.proposal("/pour/1")))
        await eventually(lambda: host.links(RAW_ID))
        (link,) = host.links(RAW_ID)
        await eventually(lambda: link.is_paused)
        await eventually(lambda: link.pending_out >= 256 * KIB)
        assert link.pending_out < 256 * KIB + 128 * KIB
        assert await honest.ping(host.peer_id) > 0
        # What is not read is given up when the host closes.
        await host.close()
        assert heard.disconnected[-1][0] in (RAW_ID, honest.peer_id)
        await peer.close()


async def test_writers_go_on_when_the_peer_reads_again() -> None:
    size = 32 * MIB

    async def pour(stream: Stream) -> None:
        await stream.write(bytes(size))

    host = make(1)
    host.handle("/pour/1", pour)
    async with running(host):
        peer = await RawPeer.dial(host.addrs[0])
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.say(raw.opening(1) + raw.frame(raw.WINDOW, 0, 1, 1024 * MIB))
        peer.say(raw.data(1, raw.proposal("/pour/1")))
        await eventually(lambda: host.links(RAW_ID))
        (link,) = host.links(RAW_ID)
        await eventually(lambda: link.is_paused)
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.hear(raw.frame(raw.WINDOW, raw.FIN, 1, 0))
        assert len(peer.heard) > size
        await peer.close()


async def test_a_stream_is_refused_when_its_handler_went_in_between() -> None:
    host = make(1)
    async with running(host):
        peer = await RawPeer.dial(host.addrs[0])
        host.unhandle(ECHO)
        peer.say(raw.opening(1) + raw.data(1, raw.proposal(ECHO)))
        await peer.hear(raw.line("na"))
        await peer.close()


async def test_an_unanswered_negotiation_has_its_time() -> None:
    limits = Limits(connections=ConnectionLimits(negotiation_timeout=0.2))
    host = make(1, limits=limits)
    async with running(host):
        peer = await RawPeer.dial(host.addrs[0])
        await eventually(lambda: host.is_connected(RAW_ID))
        with pytest.raises(NegotiationError, match=r"no protocol agreed .* in 0\.2 s"):
            await host.open_stream(RAW_ID, ["/one/1", "/two/1"])
        with pytest.raises(NetworkError):
            await host.ping(RAW_ID)
        await peer.close()


async def test_a_cancelled_opening_resets_its_stream() -> None:
    host = make(1)
    async with running(host):
        peer = await RawPeer.dial(host.addrs[0])
        await peer.hear(raw.line("/ipfs/id/1.0.0"))
        opening = asyncio.create_task(host.open_stream(RAW_ID, ["/one/1", "/two/1"]))
        await peer.hear(raw.line("/one/1"))
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await peer.hear(raw.frame(raw.WINDOW, raw.RST, 4, 0))
        await peer.close()


async def test_work_of_a_link_ends_with_it_and_fails_alone() -> None:
    ended = asyncio.Event()

    async def wait_long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail(error: Exception) -> None:
        raise error

    first, second = make(1), make(2)
    async with running(first, second) as (heard, _):
        await first.connect(second.addrs[0])
        (link,) = first.links(second.peer_id)
        link.spawn("work", wait_long)
        link.spawn("work", fail, RuntimeError("broken"))
        link.spawn("work", fail, NetworkError("expected"))
        await eventually(lambda: len(heard.errors) == 2)
        assert {text for *_, text in heard.errors} == {"broken", "expected"}
        assert await first.ping(second.peer_id) > 0
        assert link.rtt > 0
        await first.disconnect(second.peer_id)
        await ended.wait()
        with pytest.raises(ConnectionLostError):
            await link.open_stream([ECHO], lazy=False)
