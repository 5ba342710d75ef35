"""Finding out where to dial, and racing the attempts."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from praxis_fast.errors import DialError, NoiseError, ResourceLimitError
from praxis_fast.limits import ConnectionLimits, Limits
from praxis_fast.p2p import dial
from praxis_fast.p2p.dial import Target, race, resolve
from praxis_fast.p2p.link import Link
from praxis_fast.wire.multiaddr import Multiaddr
from tests.p2p.network import ECHO, eventually, key, make, running

PEER = key(9).peer_id


def addresses(*texts: str) -> list[Multiaddr]:
    return [Multiaddr.parse(text) for text in texts]


async def test_resolve_takes_families_in_turns_and_each_target_once() -> None:
    found = await resolve(
        addresses(
            "/ip6/::1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/::2/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            f"/ip4/127.0.0.1/tcp/2/p2p/{PEER}",
            "/ip4/127.0.0.1/udp/3/quic-v1",
        )
    )
    assert [(target.ip, target.port) for target in found] == [
        ("::1", 1),
        ("127.0.0.1", 1),
        ("::2", 1),
        ("127.0.0.1", 2),
    ]
    assert found[0].address == "/ip6/::1/tcp/1"


async def test_resolve_looks_names_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, socket.AddressFamily]] = []

    async def look_up(
        host: str,
        port: int,
        *,
        family: socket.AddressFamily,
        type: int,  # noqa: A002
    ) -> list[tuple[Any, ...]]:
        asked.append((host, family))
        if host == "nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, type, 6, "", ("192.0.2.7", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    found = await resolve(
        addresses(
            "/dns4/one.example/tcp/1",
            "/dns6/two.example/tcp/2",
            "/dns/three.example/tcp/3",
            "/dns4/nowhere.example/tcp/4",
        )
    )
    assert [target.port for target in found] == [1, 2, 3]
    assert asked == [
        ("one.example", socket.AF_INET),
        ("two.example", socket.AF_INET6),
        ("three.example", socket.AF_UNSPEC),
        ("nowhere.example", socket.AF_INET),
    ]
    with pytest.raises(DialError, match=r"nowhere\.example.*name or service not known"):
        await resolve(addresses("/dns4/nowhere.example/tcp/4"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/dnsaddr/example.org", "dnsaddr needs a TXT look-up"),
        ("/ip4/127.0.0.1/udp/1/quic-v1", "not a TCP address"),
        ("/ip4/127.0.0.1/tcp/1/ws", "not a TCP address"),
        (f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/p2p-circuit", "not a TCP address"),
    ],
)
async def test_resolve_refuses_what_it_cannot_dial(text: str, reason: str) -> None:
    with pytest.raises(DialError, match=reason):
        await resolve(addresses(text))


async def test_resolve_refuses_nothing() -> None:
    with pytest.raises(DialError, match="no address to dial"):
        await resolve([])


class FakeLink:
    """Enough of a link for a race."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ended: list[str] = []

    def end(self, reason: str) -> None:
        self.ended.append(reason)


class Attempts:
    """What happens at each port: a link when let, or an error."""

    def __init__(self, **outcomes: BaseException) -> None:
        self.errors = {int(name[1:]): error for name, error in outcomes.items()}
        self.started: list[int] = []
        self.links: dict[int, FakeLink] = {}
        self.may_end: dict[int, asyncio.Event] = {}
        self.cancelled: list[int] = []

    async def __call__(self, target: Target) -> Link:
        self.started.append(target.port)
        if target.port in self.errors:
            raise self.errors[target.port]
        event = self.may_end.setdefault(target.port, asyncio.Event())
        try:
            await event.wait()
        except asyncio.CancelledError:
            self.cancelled.append(target.port)
            raise
        self.links[target.port] = FakeLink(target.port)
        return cast(Link, self.links[target.port])


TARGETS = [Target("127.0.0.1", port) for port in (1, 2, 3)]


async def test_race_starts_the_next_at_once_when_one_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dial, "STAGGER", 3600.0)
    attempts = Attempts(
        p1=ConnectionRefusedError(111, "Connection refused"),
        p2=NoiseError("the peer is another"),
    )
    racing = asyncio.create_task(race(TARGETS, attempts))
    await eventually(lambda: attempts.started == [1, 2, 3])
    attempts.may_end[3].set()
    assert cast(FakeLink, await racing).port == 3


async def test_race_starts_the_next_when_one_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dial, "STAGGER", 0.01)
    attempts = Attempts()
    racing = asyncio.create_task(race(TARGETS, attempts))
    await eventually(lambda: attempts.started == [1, 2, 3])
    attempts.may_end[2].set()
    assert cast(FakeLink, await racing).port == 2
    assert sorted(attempts.cancelled) == [1, 3]


async def test_race_ends_a_loser_that_had_won_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dial, "STAGGER", 0.01)
    attempts = Attempts()
    racing = asyncio.create_task(race(TARGETS[:2], attempts))
    await eventually(lambda: attempts.started == [1, 2])
    for event in attempts.may_end.values():
        event.set()
    winner = cast(FakeLink, await racing)
    (loser,) = [link for link in attempts.links.values() if link is not winner]
    assert winner.ended == []
    assert loser.ended == ["another address was quicker"]


async def test_race_says_what_every_attempt_met() -> None:
    attempts = Attempts(
        p1=ConnectionRefusedError(111, "Connection refused"),
        p2=NoiseError("the peer is another"),
        p3=OSError("odd"),
    )
    with pytest.raises(DialError) as raised:
        await race(TARGETS, attempts)
    assert str(raised.value) == (
        "/ip4/127.0.0.1/tcp/1: connection refused; "
        "/ip4/127.0.0.1/tcp/2: the peer is another; "
        "/ip4/127.0.0.1/tcp/3: odd"
    )


async def test_race_does_not_hide_a_fault_of_ours() -> None:
    with pytest.raises(ZeroDivisionError):
        await race(TARGETS, Attempts(p1=ZeroDivisionError()))


async def test_a_dial_falls_back_to_the_address_that_answers() -> None:
    first, second = make(1), make(2)
    async with running(first, second):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            dead = f"/ip4/127.0.0.1/tcp/{closed.getsockname()[1]}"
            assert await first.connect_peer(
                second.peer_id, [dead, second.addrs[0]]
            ) == (second.peer_id)
        stream = await first.open_stream(second.peer_id, ECHO)
        await stream.reset()


async def test_a_dial_has_its_time() -> None:
    limits = Limits(connections=ConnectionLimits(dial_timeout=0.2))
    host = make(1, limits=limits)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        port = silent.getsockname()[1]
        async with running(host):
            with pytest.raises(DialError, match=f"no answer from {PEER} in 0.2 s"):
                await host.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{PEER}")
            assert host.resources.connections == 0


async def test_a_dial_ends_when_nobody_waits_for_it_any_more() -> None:
    host = make(1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        port = silent.getsockname()[1]
        async with running(host) as (heard,):
            dials = [
                asyncio.create_task(
                    host.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{PEER}")
                )
                for _ in range(2)
            ]
            await eventually(lambda: host.resources.connections == 1)
            for task in dials:
                task.cancel()
            await asyncio.gather(*dials, return_exceptions=True)
            await eventually(lambda: host.resources.connections == 0)
            assert not heard.errors


async def test_callers_hear_it_when_the_host_closes_while_they_dial() -> None:
    host = make(1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        port = silent.getsockname()[1]
        async with running(host):
            dialling = asyncio.create_task(
                host.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{PEER}")
            )
            await eventually(lambda: host.resources.connections == 1)
            await host.close()
            with pytest.raises(DialError, match="given up"):
                await dialling


async def test_con_3_a_dial_leaves_descriptors_in_reserve() -> None:
    limits = Limits(connections=ConnectionLimits(reserved_descriptors=2**30))
    first, second = make(1, limits=limits, listen=()), make(2)
    async with running(first, second):
        with pytest.raises(DialError, match="descriptor limit 1 reached"):
            await first.connect(second.addrs[0])
        assert first.resources.connections == 0


async def test_con_2_a_dial_counts_too() -> None:
    limits = Limits(connections=ConnectionLimits(max_connections=1))
    first, second, third = make(1, limits=limits), make(2), make(3)
    async with running(first, second, third):
        await first.connect(second.addrs[0])
        with pytest.raises(DialError, match="1 connections, limit 1"):
            await first.connect(third.addrs[0])
        with pytest.raises(ResourceLimitError):
            first.resources.admit_outbound()
