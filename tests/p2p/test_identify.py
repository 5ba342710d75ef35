"""Identify: told at once, pushed on change, merged, never about somebody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praxis_fast.limits import IdentifyLimits, Limits
from praxis_fast.p2p.identify import IDENTIFY, IDENTIFY_PUSH
from praxis_fast.wire.identify import Identify, IdentifyReader
from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.protobuf import encode_varint
from tests.p2p import raw_peer as raw
from tests.p2p.network import ECHO, eventually, key, make, running
from tests.p2p.raw_peer import RawPeer

if TYPE_CHECKING:
    from praxis_fast.p2p.host import Host

RAW_ID = key(raw.NUMBER).peer_id


def message(**fields: object) -> bytes:
    encoded = Identify(**fields).encode()  # type: ignore[arg-type]
    return encode_varint(len(encoded)) + encoded


async def identified(host: Host, *protocols: str) -> RawPeer:
    """A raw peer that answered the host's question, slow to end its stream."""
    peer = await RawPeer.dial(host.addrs[0])
    await peer.hear(raw.line(IDENTIFY))
    peer.say(raw.frame(raw.WINDOW, raw.ACK, 2, 0))
    peer.say(raw.data(2, raw.proposal(IDENTIFY)))
    told = message(
        agent_version="other/1",
        protocols=(IDENTIFY, IDENTIFY_PUSH, *protocols),
        listen_addrs=(Multiaddr.parse("/ip4/192.0.2.1/tcp/4001").to_bytes(),),
    )
    peer.say(raw.data(2, told) + raw.frame(raw.WINDOW, raw.FIN, 2, 0))
    assert await host.identify(RAW_ID) is not None
    return peer


async def test_the_answer_says_who_we_are_and_how_we_see_the_peer() -> None:
    host = make(1)
    async with running(host):
        peer = await identified(host)
        pos = len(peer.heard)
        peer.say(raw.opening(1) + raw.data(1, raw.proposal(IDENTIFY)))
        await peer.hear(raw.frame(raw.WINDOW, raw.FIN, 1, 0))
        body = bytes(peer.heard[pos:])
        start = body.index(raw.line(IDENTIFY)) + len(raw.line(IDENTIFY))
        start += raw.HEADER.size * (body[start : start + 2] == b"\x00\x00")
        reader = IdentifyReader(IdentifyLimits())
        reader.receive_data(body[start : body.rindex(raw.HEADER.pack(0, 1, 4, 1, 0))])
        said = reader.receive_eof()
        assert said.protocol_version == "ipfs/0.1.0"
        assert said.public_key == host.key.public_key.to_protobuf()
        assert ECHO in said.protocols
        assert [str(Multiaddr.from_bytes(addr)) for addr in said.listen_addrs] == [
            addr.rpartition("/p2p/")[0] for addr in host.addrs
        ]
        assert said.observed_addr is not None
        name = peer.writer.get_extra_info("sockname")
        seen = Multiaddr.from_bytes(said.observed_addr)
        assert seen == Multiaddr.tcp(name[0], name[1])
        await peer.close()


async def test_a_push_changes_what_it_says_and_nothing_else() -> None:
    host = make(1)
    async with running(host) as (heard,):
        peer = await identified(host, "/old/1")
        peer.say(raw.opening(1) + raw.data(1, raw.proposal(IDENTIFY_PUSH)))
        peer.say(raw.data(1, message(protocols=("/new/1",))))
        peer.say(raw.frame(raw.WINDOW, raw.FIN, 1, 0))
        await eventually(lambda: len(heard.identified) == 2)
        said = host.identity(RAW_ID)
        assert said is not None
        assert said.protocols == ("/new/1",)
        assert said.agent_version == "other/1"
        assert len(said.listen_addrs) == 1
        # The same once more is no news.
        peer.say(raw.opening(3) + raw.data(3, raw.proposal(IDENTIFY_PUSH)))
        peer.say(raw.data(3, message(protocols=("/new/1",))))
        peer.say(raw.frame(raw.WINDOW, raw.FIN, 3, 0))
        await peer.hear(raw.frame(raw.WINDOW, raw.FIN, 3, 0))
        assert len(heard.identified) == 2
        await peer.close()


async def test_id_1_pushes_at_once_are_bounded() -> None:
    host = make(1)
    async with running(host) as (heard,):
        peer = await identified(host)
        for number in range(1, 11, 2):
            peer.say(raw.opening(number))
            peer.say(raw.data(number, raw.proposal(IDENTIFY_PUSH)))
        await peer.hear(raw.frame(raw.WINDOW, raw.RST, 9, 0))
        assert "4 pushes at once, limit 4" in heard.errors[0][2]
        assert host.is_connected(RAW_ID)
        await peer.close()


async def test_changes_are_pushed_to_those_who_take_pushes() -> None:
    host = make(1)
    async with running(host):
        peer = await identified(host)
        host.handle("/one/1", host.handlers[ECHO])
        host.handle("/two/1", host.handlers[ECHO])
        await peer.hear(raw.line(IDENTIFY_PUSH))
        await peer.hear(b"/two/1")
        assert peer.heard.count(raw.line(IDENTIFY_PUSH)) == 1
        await peer.close()


async def test_a_change_before_the_peer_is_known_is_pushed_later() -> None:
    host = make(1)
    async with running(host):
        peer = await RawPeer.dial(host.addrs[0])
        await peer.hear(raw.line(IDENTIFY))
        host.handle("/late/1", host.handlers[ECHO])
        await asyncio.sleep(0)
        peer.say(raw.frame(raw.WINDOW, raw.ACK, 2, 0))
        peer.say(raw.data(2, raw.proposal(IDENTIFY)))
        peer.say(raw.data(2, message(protocols=(IDENTIFY_PUSH,))))
        peer.say(raw.frame(raw.WINDOW, raw.FIN, 2, 0))
        await peer.hear(b"/late/1")
        await peer.close()


async def test_a_peer_that_never_ends_the_answer_is_no_error() -> None:
    host = make(1, limits=Limits(identify=IdentifyLimits(timeout=0.3)))
    async with running(host) as (heard,):
        peer = await identified(host)
        peer.say(raw.opening(1) + raw.data(1, raw.proposal(IDENTIFY)))
        await peer.hear(raw.frame(raw.WINDOW, raw.FIN, 1, 0))
        (link,) = host.links(RAW_ID)
        await asyncio.sleep(0.4)
        assert not link.was_told
        assert not heard.errors
        await peer.close()


async def test_identify_of_a_stranger_is_nothing() -> None:
    host = make(1)
    async with running(host):
        assert await host.identify(RAW_ID) is None
        assert host.identity(RAW_ID) is None
        assert host.links(RAW_ID) == []
