"""Hosts on loopback: connecting, streams, what observers hear, what is left."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from praxis_fast import __version__
from praxis_fast.errors import (
    ConnectionLostError,
    DialError,
    NegotiationError,
    NetworkError,
    UsageError,
)
from praxis_fast.p2p.host import Host
from praxis_fast.p2p.stream import Stream
from tests.p2p.network import (
    ECHO,
    LOOPBACK,
    echo,
    eventually,
    key,
    make,
    nothing_left,
    pair,
    running,
)

TEN_MEGABYTES = 10_000_000


async def exchange(host: Host, peer: str, data: bytes) -> bytes:
    """Send data to the echo and read it back, both at once."""
    async with await host.open_stream(peer, [ECHO]) as stream:

        async def send() -> None:
            await stream.write(data)
            await stream.close_write()

        sending = asyncio.create_task(send())
        answer = bytearray()
        while piece := await stream.read(65536):
            answer += piece
        await sending
        return bytes(answer)


async def test_example_of_the_design_works() -> None:
    async with (
        Host(key(1), listen=[LOOPBACK]) as server,
        Host(key(2)) as host,
    ):
        server.handle(ECHO, echo)
        peer_id = await host.connect(server.addrs[0])
        stream = await host.open_stream(peer_id, [ECHO])
        await stream.write(b"hello")
        await stream.close_write()
        assert await stream.read() == b"hello"
        assert await stream.read() == b""
        await stream.close()
        assert (stream.protocol, stream.peer_id) == (ECHO, server.peer_id)
        assert await host.ping(peer_id) > 0
        await host.disconnect(peer_id)
        assert not host.is_connected(peer_id)


async def test_both_directions_at_once_when_ten_megabytes_are_echoed() -> None:
    async with pair() as (first, second):
        data = hashlib.shake_128(b"both").digest(TEN_MEGABYTES)
        answers = await asyncio.gather(
            exchange(first, second.peer_id, data),
            exchange(second, first.peer_id, data),
        )
        assert all(answer == data for answer in answers)


async def test_a_thousand_streams_when_opened_one_after_another() -> None:
    async with pair() as (first, second):
        for number in range(1000):
            text = b"stream %d" % number
            assert await exchange(first, second.peer_id, text) == text
        assert not first.links(second.peer_id)[0].num_streams


async def test_many_streams_when_opened_at_once() -> None:
    async with pair() as (first, second):
        texts = [b"stream %d" % number for number in range(600)]
        answers = await asyncio.gather(
            *(exchange(first, second.peer_id, text) for text in texts)
        )
        assert answers == texts


async def test_hosts_identify_each_other_when_connected() -> None:
    first, second = make(1), make(2)
    async with running(first, second) as (heard, heard_too):
        await first.connect(second.addrs[0])
        said = await first.identify(second.peer_id)
        assert said is not None
        assert said.agent_version == f"praxis-fast/{__version__}"
        assert set(said.protocols) >= {ECHO, "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"}
        assert said.public_key == second.key.public_key.to_protobuf()
        assert len(said.listen_addrs) == 1
        await eventually(lambda: heard_too.identified)
        assert [peer for peer, _ in heard.identified] == [second.peer_id]
        assert [info.inbound for info in heard.connected] == [False]
        assert [info.inbound for info in heard_too.connected] == [True]
        await first.disconnect(second.peer_id)
        await eventually(lambda: heard_too.disconnected)
        assert heard.disconnected == [(second.peer_id, "asked to")]
        assert [peer for peer, _ in heard_too.disconnected] == [first.peer_id]
        assert not heard.errors
        assert not heard_too.errors


async def test_new_protocols_are_pushed_when_handlers_change() -> None:
    async with pair() as (first, second):
        second.handle("/new/1", echo)
        second.unhandle(ECHO)

        def knows() -> bool:
            said = first.identity(second.peer_id)
            return said is not None and "/new/1" in said.protocols

        await eventually(knows)
        said = first.identity(second.peer_id)
        assert said is not None
        assert ECHO not in said.protocols
        stream = await first.open_stream(second.peer_id, ["/new/1"])
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        await stream.close()


async def test_open_stream_refuses_when_no_protocol_is_spoken() -> None:
    async with pair() as (first, second):
        with pytest.raises(NegotiationError):
            await first.open_stream(second.peer_id, ["/none/1", "/none/2"])
        stream = await first.open_stream(second.peer_id, ["/none/1", ECHO])
        assert stream.protocol == ECHO
        await stream.reset()
        assert await first.ping(second.peer_id) > 0


async def test_a_lazy_stream_fails_when_the_handler_is_gone() -> None:
    async with pair() as (first, second):
        del second.handlers[ECHO]  # as if the push were still under way
        stream = await first.open_stream(second.peer_id, [ECHO])
        await stream.write(b"lost")
        with pytest.raises(NegotiationError):
            await stream.read()
        assert await first.ping(second.peer_id) > 0


@pytest.mark.parametrize("one", range(1, 11))
async def test_con_6_one_link_survives_when_both_dial(one: int) -> None:
    first, second = make(one), make(one + 1)
    async with running(first, second) as recorders:
        await asyncio.gather(
            first.connect(second.addrs[0]), second.connect(first.addrs[0])
        )
        answers = await asyncio.gather(
            *(exchange(first, second.peer_id, b"1") for _ in range(20)),
            *(exchange(second, first.peer_id, b"2") for _ in range(20)),
        )
        assert answers == [b"1"] * 20 + [b"2"] * 20
        await eventually(lambda: len(first.links(second.peer_id)) == 1)
        await eventually(lambda: len(second.links(first.peer_id)) == 1)
        smaller = min(first, second, key=lambda host: host.peer_id.multihash)
        other = second if smaller is first else first
        (link,) = smaller.links(other.peer_id)
        (same,) = other.links(smaller.peer_id)
        assert (link.inbound, same.inbound) == (False, True)
        for recorder in recorders:
            assert len(recorder.connected) == 1
            assert not recorder.disconnected
            assert not recorder.errors


async def test_con_6_no_stream_is_lost_when_links_are_settled() -> None:
    """Streams opened all the time, on whichever link, each answered."""
    first, second = make(1), make(2)

    async def work(host: Host, peer: Host) -> int:
        done = 0
        while done < 50:
            assert await exchange(host, peer.peer_id, b"work") == b"work"
            done += 1
        return done

    async with running(first, second) as recorders:
        for _ in range(10):
            await asyncio.gather(
                first.connect(second.addrs[0]), second.connect(first.addrs[0])
            )
            await asyncio.gather(work(first, second), work(second, first))
            await eventually(lambda: len(first.links(second.peer_id)) == 1)
            await eventually(lambda: len(second.links(first.peer_id)) == 1)
            await first.disconnect(second.peer_id)
            await eventually(lambda: not second.peers())
        for recorder in recorders:
            assert len(recorder.connected) == 10
            assert not recorder.errors


async def test_con_6_the_newer_link_is_used_when_the_older_may_be_dead() -> None:
    """A peer that crashed unnoticed and came back dials again."""
    now = [1000.0]
    host, peer, back = make(2, clock=lambda: now[0]), make(1), make(1)
    if host.peer_id.multihash > peer.peer_id.multihash:
        host, peer, back = make(1, clock=lambda: now[0]), make(2), make(2)
    async with running(host, peer, back) as (heard, *_):
        await host.connect(peer.addrs[0])
        await host.identify(peer.peer_id)
        now[0] += 31.0
        await back.connect(host.addrs[0])
        await eventually(lambda: len(host.links(peer.peer_id)) == 2)
        older, newer = host.links(peer.peer_id)
        await eventually(lambda: older.is_retired)
        assert not newer.is_retired
        stream = await host.open_stream(peer.peer_id, [ECHO])
        assert stream.link is newer
        await stream.reset()
        await peer.close()
        await eventually(lambda: host.links(peer.peer_id) == [newer])
        assert len(heard.connected) == 1
        assert not heard.disconnected


async def test_con_6_both_links_stay_when_the_peer_is_other_software() -> None:
    first, second = make(1), make(2, agent_version="other/1")
    async with running(first, second) as (heard, _):
        await asyncio.gather(
            first.connect(second.addrs[0]), second.connect(first.addrs[0])
        )
        await eventually(lambda: len(first.links(second.peer_id)) == 2)
        await first.identify(second.peer_id)
        newest = first.links(second.peer_id)[-1]
        stream = await first.open_stream(second.peer_id, [ECHO])
        assert stream.link is newest
        await stream.reset()
        assert len(heard.connected) == 1


async def test_wrong_peer_is_refused_when_another_id_was_dialled() -> None:
    first, second, third = make(1), make(2), make(3)
    async with running(first, second, third) as (heard, heard_too, _):
        addr = second.addrs[0].replace(second.peer_id, third.peer_id)
        with pytest.raises(DialError, match=f"expected {third.peer_id}"):
            await first.connect(addr)
        assert [kind for kind, *_ in heard.errors] == ["security"]
        assert not heard.connected
        await eventually(lambda: heard_too.errors)
        assert not heard_too.connected
        assert not first.peers()
        assert await first.connect(second.addrs[0]) == second.peer_id


async def test_a_host_does_not_dial_itself() -> None:
    host = make(1)
    async with running(host):
        with pytest.raises(DialError, match="itself"):
            await host.connect(host.addrs[0])
        with pytest.raises(DialError, match="our own identity"):
            await host.connect(host.addrs[0].rpartition("/p2p/")[0])
        assert not host.peers()


async def test_one_dial_is_shared_when_many_connect() -> None:
    first, second = make(1), make(2)
    async with running(first, second) as (heard, _):
        await asyncio.gather(*(first.connect(second.addrs[0]) for _ in range(20)))
        assert len(first.links(second.peer_id)) == 1
        assert len(heard.connected) == 1
        bare = second.addrs[0].rpartition("/p2p/")[0]
        assert await first.connect(bare) == second.peer_id
        assert len(first.links(second.peer_id)) == 1


async def test_the_dial_goes_on_when_one_of_its_callers_gives_up() -> None:
    first, second = make(1), make(2)
    async with running(first, second):
        hasty = asyncio.create_task(first.connect(second.addrs[0]))
        patient = asyncio.create_task(first.connect(second.addrs[0]))
        await asyncio.sleep(0)
        hasty.cancel()
        assert await patient == second.peer_id
        with pytest.raises(asyncio.CancelledError):
            await hasty


async def test_addresses_are_expanded_when_all_interfaces_are_listened_on() -> None:
    host = make(1, listen=["/ip4/0.0.0.0/tcp/0"])
    other = make(2)
    async with running(host, other):
        assert any(addr.startswith("/ip4/127.0.0.1/tcp/") for addr in host.addrs)
        assert not any("0.0.0.0" in addr for addr in host.addrs)
        assert all(addr.endswith(f"/p2p/{host.peer_id}") for addr in host.addrs)
        assert await other.connect(host.addrs) == host.peer_id


async def test_ipv6_is_listened_on_and_dialled() -> None:
    host, other = make(1, listen=["/ip6/::1/tcp/0"]), make(2)
    async with running(host, other):
        assert host.addrs[0].startswith("/ip6/::1/tcp/")
        assert await other.connect(host.addrs[0]) == host.peer_id


async def test_a_taken_port_is_a_clear_error_when_started() -> None:
    first = make(1)
    async with running(first):
        second = Host(listen=[LOOPBACK, first.addrs[0].rpartition("/p2p/")[0]])
        with pytest.raises(NetworkError, match="address already in use"):
            await second.start()
        assert second.addrs == []


async def test_observers_hear_one_disconnect_when_the_peer_vanishes() -> None:
    first, second = make(1), make(2)
    async with running(first, second) as (heard, heard_too):
        await first.connect(second.addrs[0])
        stream = await first.open_stream(second.peer_id, [ECHO])
        await stream.write(b"x")
        assert await stream.read_exactly(1) == b"x"
        await second.close()
        await eventually(lambda: heard.disconnected)
        with pytest.raises(ConnectionLostError):
            await stream.read()
        assert len(heard.disconnected) == len(heard_too.disconnected) == 1
        assert not heard.errors
        with pytest.raises(ConnectionLostError):
            await first.open_stream(second.peer_id, [ECHO])


async def test_a_failing_observer_or_handler_hurts_nobody_else() -> None:
    class Broken:
        def on_connected(self, *_: object) -> None:
            raise RuntimeError("broken observer")

    async def fail(stream: Stream) -> None:
        await stream.read_exactly(1)
        raise RuntimeError("broken handler")

    first, second = make(1), make(2)
    second.handle("/fail/1", fail)
    second.add_observer(Broken())
    async with running(first, second) as (_, heard):
        await first.connect(second.addrs[0])
        good = await first.open_stream(second.peer_id, [ECHO])
        bad = await first.open_stream(second.peer_id, ["/fail/1"])
        await bad.write(b"x")
        with pytest.raises(NetworkError):
            await bad.read()
        await eventually(lambda: heard.errors)
        assert [kind for kind, *_ in heard.errors] == ["handler"]
        assert "broken handler" in heard.errors[0][2]
        await good.write(b"still there")
        assert await good.read_exactly(11) == b"still there"
        await good.close()


async def test_close_waits_for_a_busy_handler() -> None:
    started, done = asyncio.Event(), asyncio.Event()

    async def slow(stream: Stream) -> None:
        started.set()
        await done.wait()
        await stream.write(b"done")

    first, second = make(1), make(2)
    second.handle("/slow/1", slow)
    async with running(first, second):
        await first.connect(second.addrs[0])
        stream = await first.open_stream(second.peer_id, ["/slow/1"])
        await started.wait()
        closing = asyncio.create_task(second.close())
        await asyncio.sleep(0)
        done.set()
        assert await stream.read_exactly(4) == b"done"
        await closing


async def test_two_hundred_hosts_leave_nothing_when_they_go_down() -> None:
    async with nothing_left():
        hosts = [make(number) for number in range(1, 201)]
        await asyncio.gather(*(host.start() for host in hosts))
        dials = [
            hosts[index].connect(hosts[(index + step) % len(hosts)].addrs[0])
            for index in range(len(hosts))
            for step in (1, 7, 31, 77)
        ]
        await asyncio.gather(*dials)
        for index, host in enumerate(hosts):
            peer = hosts[(index + 31) % len(hosts)]
            assert await exchange(host, peer.peer_id, b"hello") == b"hello"
        await asyncio.gather(*(host.close() for host in hosts))
        for host in hosts:
            assert host.resources.connections == 0
            assert host.pool.held == 0


async def test_usage_is_checked() -> None:
    host = make(1)
    with pytest.raises(UsageError, match="not started"):
        await host.connect(f"{LOOPBACK}/p2p/{make(2).peer_id}")
    async with running(host):
        with pytest.raises(UsageError, match="already started"):
            await host.start()
        with pytest.raises(UsageError, match="does not start with /"):
            host.handle("echo", echo)
        with pytest.raises(UsageError, match="2 peers"):
            await host.connect(
                [f"{LOOPBACK}/p2p/{make(number).peer_id}" for number in (2, 3)]
            )
        with pytest.raises(DialError, match="dnsaddr"):
            await host.connect(f"/dnsaddr/example.org/p2p/{make(2).peer_id}")
