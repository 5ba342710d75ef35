"""Peers that break the rules, one raw socket each: one log line and one error told,
that connection or stream closed, every other unharmed, nothing left."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.errors import DialError, NetworkError
from praxis_fast.limits import (
    ConnectionLimits,
    IdentifyLimits,
    Limits,
    MuxerLimits,
    ProcessLimits,
    SecurityLimits,
)
from praxis_fast.p2p.identify import IDENTIFY
from praxis_fast.p2p.ping import PING as PING_PROTOCOL
from praxis_fast.wire.identify import Identify
from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.noise import NoiseHandshake
from praxis_fast.wire.protobuf import encode_varint
from tests.p2p import raw_peer as raw
from tests.p2p.network import (
    ECHO,
    PATIENCE,
    Recorder,
    eventually,
    key,
    make,
    running,
)
from tests.p2p.raw_peer import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praxis_fast.p2p.host import Host
    from praxis_fast.p2p.stream import Stream

GO_AWAY_1 = raw.frame(raw.GO_AWAY, 0, 0, 1)
RAW_ID = key(raw.NUMBER).peer_id


@asynccontextmanager
async def attacked(
    caplog: pytest.LogCaptureFixture, **limits: Any
) -> AsyncIterator[tuple[Host, Recorder]]:
    """A host with an honest peer, whose stream must live through the attack."""
    host = make(1, limits=Limits(**limits))
    honest = make(2)
    async with running(host, honest) as (heard, _):
        await honest.connect(host.addrs[0])
        assert await honest.identify(host.peer_id) is not None
        await eventually(lambda: host.identity(honest.peer_id) is not None)
        stream = await honest.open_stream(host.peer_id, [ECHO])
        await stream.write(b"before")
        assert await stream.read_exactly(6) == b"before"
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="praxis_fast"):
            yield host, heard
        await stream.write(b"after")
        assert await stream.read_exactly(5) == b"after"
        await stream.close()
        assert await honest.ping(host.peer_id) > 0
        assert host.peers() == [honest.peer_id]


def told_once(
    heard: Recorder, caplog: pytest.LogCaptureFixture, kind: str, text: str
) -> None:
    """One error event and one log line, saying the same."""
    assert [error[0] for error in heard.errors] == [kind]
    assert text in heard.errors[0][2]
    (record,) = caplog.records
    assert text in record.getMessage()


async def dial_in(host: Host) -> RawPeer:
    """A raw peer, connected and asked for its identity."""
    peer = await RawPeer.dial(host.addrs[0])
    await eventually(lambda: host.is_connected(RAW_ID))
    return peer


# -- the multiplexer -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        pytest.param(
            raw.opening(1) + raw.frame(raw.DATA, 0, 1, 0xFFFFFFFF),
            "frame of 4294967295 bytes on stream 1, limit 262144",
            id="mux_1-four-gibibytes",
        ),
        pytest.param(
            raw.frame(raw.DATA, raw.SYN, 1, 262_145),
            "frame of 262145 bytes on stream 1, limit 262144",
            id="mux_2-more-than-the-window-with-syn",
        ),
        pytest.param(raw.opening(2), "stream 2", id="mux_6-wrong-parity"),
        pytest.param(
            raw.opening(1) + raw.opening(1), "stream 1 opened twice", id="mux_6-reuse"
        ),
        pytest.param(
            raw.opening(1)
            + raw.frame(raw.WINDOW, raw.FIN, 1, 0)
            + raw.data(1, b"more"),
            "data on stream 1 after its end",
            id="mux_9-data-after-fin",
        ),
        pytest.param(b"\x01" + raw.opening(1)[1:], "version 1", id="mux_10-version"),
        pytest.param(raw.frame(9, 0, 1, 0), "type 9", id="mux_10-type"),
        pytest.param(
            raw.opening(1) + raw.frame(raw.WINDOW, 0, 1, 0xFFFFFFFF),
            "limit 4294967295",
            id="mux_3-window-overflow",
        ),
    ],
)
async def test_mux_a_bad_frame_ends_the_connection(
    caplog: pytest.LogCaptureFixture, attack: bytes, text: str
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        peer.say(attack)
        assert await peer.is_hung_up_on()
        assert GO_AWAY_1 in peer.heard
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "muxer", text)
        assert [gone for gone, _ in heard.disconnected] == [RAW_ID]
        await peer.close()


async def test_mux_3_a_storm_of_control_frames_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        peer.say(raw.frame(raw.WINDOW, 0, 999, 1) * 20_000)
        assert await peer.is_hung_up_on()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "muxer", "control frames")
        await peer.close()


async def test_mux_4_a_ping_flood_by_a_peer_that_never_reads_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        for value in range(50):
            peer.say(raw.frame(raw.PING, raw.SYN, 0, value) * 1000)
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "muxer", "limit")
        await peer.close()


async def test_mux_5_a_stream_flood_is_reset_above_the_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = MuxerLimits(max_streams=50, max_backlog=20)
    async with attacked(caplog, muxer=limits) as (host, heard):
        peer = await dial_in(host)
        peer.say(b"".join(raw.opening(number) for number in range(1, 2001, 2)))
        await peer.hear(raw.frame(raw.WINDOW, raw.RST, 1999, 0))
        (link,) = host.links(RAW_ID)
        assert link.num_streams <= 21  # with the identify stream of ours
        assert not heard.errors
        await peer.close()
        await eventually(lambda: host.resources.connections == 1)


async def test_mux_5_reset_churn_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        for number in range(1, 8001, 2):
            peer.say(raw.opening(number) + raw.frame(raw.WINDOW, raw.RST, number, 0))
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "muxer", "resets a second")
        await peer.close()


async def test_mux_7_a_stream_nobody_reads_stalls_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stuck = asyncio.Event()

    async def never_read(stream: Stream) -> None:
        await stuck.wait()

    async with attacked(caplog) as (host, heard):
        host.handle("/stuck/1", never_read)
        peer = await dial_in(host)
        peer.say(raw.opening(1) + raw.data(1, raw.proposal("/stuck/1")))
        await peer.hear(raw.line("/stuck/1"))
        room = 262_144 - len(raw.proposal("/stuck/1"))
        peer.say(raw.data(1, bytes(room)))
        peer.say(raw.opening(3) + raw.data(3, raw.proposal(ECHO) + b"flows"))
        await peer.hear(b"flows")
        (link,) = host.links(RAW_ID)
        assert link.num_streams == 3
        assert not heard.errors
        stuck.set()
        await peer.close()
        await eventually(lambda: host.resources.connections == 1)


async def test_memory_of_all_links_is_bounded_and_the_greediest_pays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stuck = asyncio.Event()

    async def never_read(stream: Stream) -> None:
        await stuck.wait()

    limits = ProcessLimits(buffer_pool=1024 * 1024)
    async with attacked(caplog, process=limits) as (host, heard):
        host.handle("/stuck/1", never_read)
        peer = await dial_in(host)
        for number in range(1, 11, 2):
            peer.say(raw.opening(number) + raw.data(number, raw.proposal("/stuck/1")))
            peer.say(raw.data(number, bytes(250_000)))
        assert await peer.is_hung_up_on()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "memory", "limit 1048576 for all links together")
        stuck.set()
        await eventually(lambda: host.pool.held == 0)
        await peer.close()


async def test_a_stream_that_never_ends_is_cut_when_its_reader_has_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leave(stream: Stream) -> None:
        await stream.read(1)

    limits = MuxerLimits(max_window=262_144)
    async with attacked(caplog, muxer=limits) as (host, heard):
        host.handle("/leave/1", leave)
        peer = await dial_in(host)
        peer.say(raw.opening(1) + raw.data(1, raw.proposal("/leave/1")))
        await peer.hear(raw.line("/leave/1"))
        body = bytes(65_507)
        for _ in range(16):  # twice what may be under way
            await peer.may_send(1, len(body))
            if raw.frame(raw.WINDOW, raw.RST, 1, 0) in peer.heard:
                break
            peer.say(raw.data(1, body))
        await peer.hear(raw.frame(raw.WINDOW, raw.RST, 1, 0))
        assert not heard.errors
        await peer.close()
        await eventually(lambda: host.resources.connections == 1)


# -- the secure channel ----------------------------------------------------------------


async def test_sec_3_a_flipped_bit_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        assert peer.noise is not None
        message = bytearray(peer.noise.send_data(raw.opening(1)))
        message[-1] ^= 1
        peer.writer.write(bytes(message))
        assert await peer.is_hung_up_on()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "security", "does not decrypt")
        await peer.close()


@pytest.mark.parametrize(
    ("attack", "kind", "text"),
    [
        pytest.param(b"\xff" * 64, "negotiation", "limit 1024", id="sec_1-long-length"),
        pytest.param(
            raw.line("/multistream/1.0.0") + raw.line("/none") * 40,
            "negotiation",
            "33 proposals, limit 32",
            id="sec_1-endless-proposals",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" + b" " * 64,
            "negotiation",
            "line without a newline",
            id="sec_1-http",
        ),
        pytest.param(
            raw.proposal("/noise") + b"\xff\xff" + bytes(100),
            "security",
            "handshake message of 65535 bytes, limit 8192",
            id="sec_3-handshake-too-long",
        ),
        pytest.param(
            raw.proposal("/noise") + b"\x00\x20" + bytes(32),
            "security",
            "all-zero",
            id="sec_4-all-zero-secret",
        ),
        pytest.param(
            raw.proposal("/noise") + b"\x00\x20" + b"\x09" * 32 + b"\x00\x10" * 9,
            "security",
            "handshake message of 16 bytes",
            id="sec_7-short-third-message",
        ),
    ],
)
async def test_sec_a_bad_upgrade_ends_the_connection(
    caplog: pytest.LogCaptureFixture, attack: bytes, kind: str, text: str
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await RawPeer.connect(host.addrs[0])
        peer.writer.write(attack)
        assert await peer.is_hung_up_on()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, kind, text)
        assert host.resources.upgrading == 0
        await peer.close()


async def test_sec_2_nobody_may_come_with_our_own_identity(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await RawPeer.dial(host.addrs[0], number=1)
        assert await peer.is_hung_up_on()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "security", "our own identity")
        await peer.close()


# -- connections -----------------------------------------------------------------------

QUICK = ConnectionLimits(stage_timeout=0.2, upgrade_timeout=0.5)


def silent_in_the_handshake() -> bytes:
    handshake = NoiseHandshake(
        initiator=True, key=key(raw.NUMBER), limits=SecurityLimits()
    )
    return raw.proposal("/noise") + handshake.data_to_send()


@pytest.mark.parametrize(
    ("said", "stage"),
    [
        pytest.param(b"", "security negotiation", id="at-once"),
        pytest.param(
            raw.line("/multistream/1.0.0"), "security negotiation", id="header"
        ),
        pytest.param(raw.proposal("/noise"), "noise handshake", id="agreed"),
        pytest.param(silent_in_the_handshake(), "noise handshake", id="handshake"),
    ],
)
async def test_con_1_silence_ends_the_connection(
    caplog: pytest.LogCaptureFixture, said: bytes, stage: str
) -> None:
    async with attacked(caplog, connections=QUICK) as (host, heard):
        peer = await RawPeer.connect(host.addrs[0])
        peer.writer.write(said)
        assert await peer.is_hung_up_on()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "timeout", f"{stage} not done in 0.2 s")
        await peer.close()


async def test_con_1_silence_in_the_muxer_negotiation_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog, connections=QUICK) as (host, heard):
        peer = await RawPeer.connect(host.addrs[0])
        handshake = NoiseHandshake(
            initiator=True, key=key(raw.NUMBER), muxers=(), limits=SecurityLimits()
        )
        agreed = raw.proposal("/noise")
        peer.writer.write(agreed + handshake.data_to_send())
        assert await peer.reader.readexactly(len(agreed)) == agreed
        while not handshake.done:
            handshake.receive_data(await peer.reader.read(4096))
            peer.writer.write(handshake.data_to_send())
        assert await peer.is_hung_up_on()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "timeout", "muxer negotiation not done in 0.2 s")
        await peer.close()


async def test_con_1_one_byte_at_a_time_does_not_put_the_end_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog, connections=QUICK) as (host, heard):
        peer = await RawPeer.connect(host.addrs[0])

        async def drip() -> None:
            for byte in raw.proposal("/noise") * 1000:
                peer.writer.write(bytes((byte,)))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await peer.is_hung_up_on()
        dripping.cancel()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "timeout", "security negotiation not done in 0.2 s")
        await peer.close()


async def test_con_1_a_dialled_peer_that_says_nothing_is_given_up() -> None:
    host = make(1, limits=Limits(connections=QUICK))
    async with running(host) as (heard,):
        accepted: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(
            lambda _, writer: accepted.append(writer), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NetworkError, match="security negotiation not done"):
            await host.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{RAW_ID}")
        assert [kind for kind, *_ in heard.errors] == ["timeout"]
        server.close()
        for writer in accepted:
            writer.close()


async def test_con_2_a_flood_is_refused_and_counted_exactly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = replace(QUICK, max_upgrading=10, stage_timeout=2.0, upgrade_timeout=2.0)
    async with attacked(caplog, connections=limits) as (host, heard):
        flood = [await RawPeer.connect(host.addrs[0]) for _ in range(100)]
        ended = await asyncio.gather(*(peer.is_hung_up_on() for peer in flood))
        assert all(ended)
        await eventually(lambda: host.resources.connections == 1)
        assert host.resources.upgrading == 0
        assert host.observers.counts["refused"] == 90
        assert host.observers.counts["timeout"] == 10
        # Told as rarely as logged: a flood costs one event a second.
        assert len([1 for kind, *_ in heard.errors if kind == "refused"]) < 10
        for peer in flood:
            await peer.close()


async def test_con_2_one_address_has_few_connections(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = ConnectionLimits(max_per_address=3, exempt_loopback=False)
    async with attacked(caplog, connections=limits) as (host, heard):
        good = [await RawPeer.dial(host.addrs[0]) for _ in range(2)]
        bad = await RawPeer.connect(host.addrs[0])
        assert await bad.is_hung_up_on()
        told_once(heard, caplog, "refused", "3 connections from 127.0.0.1, limit 3")
        for peer in (*good, bad):
            await peer.close()
        await eventually(lambda: host.resources.connections == 1)


async def test_con_3_nothing_is_accepted_while_descriptors_are_short(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = socket.socket()
    lowest = probe.fileno()
    probe.close()
    # The host's listener, both ends of the honest connection, and some more.
    limits = ConnectionLimits(reserved_descriptors=soft - lowest - 12)
    async with attacked(caplog, connections=limits) as (host, heard):
        flood = [await RawPeer.connect(host.addrs[0]) for _ in range(20)]
        await eventually(lambda: heard.errors)
        assert heard.errors[0][0] == "descriptors"
        for peer in flood:
            await peer.close()
        await eventually(lambda: host.resources.connections == 1)
        late = make(3)
        async with running(late), asyncio.timeout(PATIENCE):
            # Refused as long as the rest of the flood is being accepted.
            while not late.peers():
                with suppress(DialError):
                    await late.connect(host.addrs[0])
        await eventually(lambda: len(host.peers()) == 1)


async def test_con_4_a_peer_that_falls_silent_is_one_disconnect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = ConnectionLimits(ping_interval=0.1, dead_after=0.4)
    async with attacked(caplog, connections=limits) as (host, heard):
        peer = await dial_in(host)
        assert await peer.is_hung_up_on()
        await eventually(lambda: host.resources.connections == 1)
        told_once(heard, caplog, "timeout", "nothing heard for 0.4 seconds")
        assert [gone for gone, _ in heard.disconnected] == [RAW_ID]
        await peer.close()


async def test_con_5_a_connection_reset_in_a_frame_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    read: list[bytes] = []

    async def collect(stream: Stream) -> None:
        while piece := await stream.read():
            read.append(piece)

    async with attacked(caplog) as (host, heard):
        host.handle("/collect/1", collect)
        peer = await dial_in(host)
        peer.say(raw.opening(1) + raw.data(1, raw.proposal("/collect/1")))
        await peer.hear(raw.line("/collect/1"))
        peer.say(raw.frame(raw.DATA, 0, 1, 1000, b"half"))
        await eventually(lambda: read == [b"half"])
        tcp = peer.writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        peer.writer.transport.abort()
        await eventually(lambda: heard.disconnected)
        await eventually(lambda: host.resources.connections == 1)
        assert not heard.errors


# -- streams ---------------------------------------------------------------------------


async def test_sec_1_a_stream_that_never_agrees_is_reset(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = ConnectionLimits(negotiation_timeout=0.3)
    async with attacked(caplog, connections=limits) as (host, heard):
        peer = await dial_in(host)
        peer.say(raw.opening(1) + raw.data(1, raw.line("/multistream/1.0.0")))
        await peer.hear(raw.frame(raw.WINDOW, raw.RST, 1, 0))
        await eventually(
            lambda: [1 for *_, text in heard.errors if "agreed in 0.3 s" in text]
        )
        assert host.is_connected(RAW_ID)
        await peer.close()
        await eventually(lambda: not host.is_connected(RAW_ID))


async def test_sec_1_a_stream_with_a_bad_line_is_reset(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        peer.say(raw.opening(1) + raw.data(1, b"\xff\xff\xff\xff"))
        await peer.hear(raw.frame(raw.WINDOW, raw.RST, 1, 0))
        told_once(heard, caplog, "negotiation", "limit 1024")
        assert host.is_connected(RAW_ID)
        await peer.close()
        await eventually(lambda: not host.is_connected(RAW_ID))


async def answer_identify(peer: RawPeer, message: bytes) -> None:
    """Take the identify stream the host opened (2) and answer with these bytes."""
    await peer.hear(raw.line(IDENTIFY))
    peer.say(raw.frame(raw.WINDOW, raw.ACK, 2, 0) + raw.data(2, raw.proposal(IDENTIFY)))
    peer.say(raw.data(2, message))


async def test_id_1_an_endless_identify_closes_its_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        message = Identify(protocols=("/x",) * 100).encode()
        await answer_identify(peer, (encode_varint(len(message)) + message) * 20)
        await eventually(lambda: heard.errors)
        told_once(heard, caplog, "identify", "limit")
        await peer.hear(raw.frame(raw.WINDOW, raw.RST, 2, 0))
        assert host.is_connected(RAW_ID)
        assert host.identity(RAW_ID) is None
        await peer.close()
        await eventually(lambda: not host.is_connected(RAW_ID))


async def test_id_1_a_slow_identify_closes_its_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog, identify=IdentifyLimits(timeout=0.3)) as (host, heard):
        peer = await dial_in(host)
        await answer_identify(peer, b"\x05")
        assert await host.identify(RAW_ID) is None
        await eventually(lambda: heard.errors)
        told_once(heard, caplog, "identify", "no identify in 0.3 s")
        assert host.is_connected(RAW_ID)
        await peer.close()
        await eventually(lambda: not host.is_connected(RAW_ID))


async def test_id_2_an_identify_with_another_key_is_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        message = Identify(
            agent_version="praxis-fast/9",
            public_key=key(3).public_key.to_protobuf(),
            protocols=(ECHO,),
        ).encode()
        await answer_identify(peer, encode_varint(len(message)) + message)
        peer.say(raw.frame(raw.WINDOW, raw.FIN, 2, 0))
        await eventually(lambda: heard.errors)
        told_once(heard, caplog, "identify", "not the peer's own")
        assert host.identity(RAW_ID) is None
        assert not [one for one, _ in heard.identified if one == RAW_ID]
        await peer.close()
        await eventually(lambda: not host.is_connected(RAW_ID))


async def test_pings_are_answered_when_cut_in_two_and_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attacked(caplog) as (host, heard):
        peer = await dial_in(host)
        peer.say(raw.opening(1) + raw.data(1, raw.proposal(PING_PROTOCOL) + b"a" * 20))
        peer.say(raw.data(1, b"b" * 12 + b"c" * 32))
        await peer.hear(b"a" * 20 + b"b" * 12)
        await peer.hear(b"c" * 32)
        assert not heard.errors
        await peer.close()
        await eventually(lambda: not host.is_connected(RAW_ID))


async def test_everything_at_once_hurts_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Many attackers side by side, then nothing is left of them."""
    limits = replace(QUICK, stage_timeout=1.0, upgrade_timeout=1.0)
    attacks = [
        raw.opening(1) + raw.frame(raw.DATA, 0, 1, 0xFFFFFFFF),
        raw.frame(raw.PING, raw.SYN, 0, 7) * 20_000,
        raw.opening(2),
        b"\x07" * 12,
    ]
    async with attacked(caplog, connections=limits) as (host, _):

        async def attack(number: int) -> None:
            address = Multiaddr.parse(host.addrs[0])
            if number % 5 == 4:
                peer = await RawPeer.connect(str(address))
                peer.writer.write(b"\xff" * 100)
            else:
                peer = await RawPeer.dial(str(address), number=1000 + number)
                peer.say(attacks[number % 5])
            assert await peer.is_hung_up_on()
            await peer.close()

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(attack(number) for number in range(60)))
        await eventually(lambda: host.resources.connections == 1)
