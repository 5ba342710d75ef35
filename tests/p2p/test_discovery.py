"""Discovery over a host that only pretends, and over real hosts on loopback."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from praxis_fast.errors import (
    AddressError,
    ConfigError,
    DialError,
    NetworkError,
    UsageError,
)
from praxis_fast.limits import Limits
from praxis_fast.p2p import mdns as mdns_module
from praxis_fast.p2p.discovery import Discovery
from praxis_fast.p2p.link import ASKED
from praxis_fast.p2p.peer_record import PeerRecord, PeerState
from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.peer_id import PeerID
from tests.p2p.multicast import eventually
from tests.p2p.peers import at, many_peers, peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OURS, ANN, BOB = peer(0), peer(1), peer(2)
HOME, AWAY = at("192.0.2.1"), at("192.0.2.2")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeHost:
    """Dials as it is told to, and tells its observers as the real one does."""

    def __init__(self) -> None:
        self.peer_id = OURS
        self.addrs = [f"{at('127.0.0.1')}/p2p/{OURS}"]
        self.observers: list[Any] = []
        self.up: list[PeerID] = []
        self.dialled: list[PeerID | Multiaddr] = []
        self.answers: dict[Multiaddr, PeerID] = {}
        self.hang = False
        self.dialling = 0

    def add_observer(self, observer: Any) -> None:
        self.observers.append(observer)

    def remove_observer(self, observer: Any) -> None:
        self.observers.remove(observer)

    def peers(self) -> list[PeerID]:
        return list(self.up)

    def is_connected(self, peer_id: PeerID) -> bool:
        return peer_id in self.up

    async def connect_peer(self, peer_id: PeerID, addrs: Any) -> PeerID:
        self.dialled.append(peer_id)
        return await self._dial(list(addrs), peer_id)

    async def connect(self, addr: Multiaddr) -> PeerID:
        self.dialled.append(addr)
        return await self._dial([addr], None)

    async def _dial(self, addrs: list[Multiaddr], wanted: PeerID | None) -> PeerID:
        self.dialling += 1
        try:
            await asyncio.sleep(3600 if self.hang else 0)
        finally:
            self.dialling -= 1
        for addr in addrs:
            found = self.answers.get(addr.without_peer())
            if found is not None and wanted in (None, found):
                self.connect_now(found, addr)
                return found
        raise DialError("nobody there")

    def connect_now(self, peer_id: PeerID, addr: Multiaddr | None = None) -> None:
        info = SimpleNamespace(
            peer_id=peer_id,
            address=str((addr or at("192.0.2.9", 50_000)).without_peer()),
            inbound=addr is None,
        )
        if peer_id not in self.up:
            self.up.append(peer_id)
            for observer in list(self.observers):
                observer.on_connected(peer_id, info)

    def lose(self, peer_id: PeerID, reason: str = "reset by peer") -> None:
        self.up.remove(peer_id)
        for observer in list(self.observers):
            observer.on_disconnected(peer_id, reason)


class Diary:
    """Writes down what it is told of peers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, PeerID]] = []
        self.records: list[PeerRecord] = []

    def on_peer_discovered(self, record: PeerRecord) -> None:
        self.write("discovered", record)

    def on_peer_connected(self, record: PeerRecord) -> None:
        self.write("connected", record)

    def on_peer_disconnected(self, record: PeerRecord, reason: str) -> None:
        self.write(f"disconnected: {reason}", record)

    def write(self, what: str, record: PeerRecord) -> None:
        self.lines.append((what, record.id))
        self.records.append(record)


class World:
    """A discovery with everything around it pretended."""

    def __init__(self, **options: Any) -> None:
        self.host = FakeHost()
        self.clock = Clock()
        self.diary = Diary()
        self.discovery = Discovery(
            cast("Any", self.host),
            enable_mdns=False,
            clock=self.clock,
            wall_clock=lambda: 1_700_000_000.0,
            rng=random.Random(1),
            **options,
        )
        self.discovery.add_observer(self.diary)

    async def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.discovery._changed.set()
        for _ in range(10):
            await asyncio.sleep(0)

    def hear(self, peer_id: PeerID, *addrs: Multiaddr) -> None:
        self.discovery._on_found(peer_id, list(addrs))


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    made = World(**options)
    async with made.discovery:
        yield made
    assert made.host.observers == []
    assert made.host.dialling == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_announced_peer_is_discovered_dialled_and_connected() -> None:
    async with world() as w:
        w.host.answers[HOME] = ANN
        w.hear(ANN, HOME)
        await eventually(lambda: len(w.diary.lines) == 2)
        assert w.diary.lines == [("discovered", ANN), ("connected", ANN)]
        (record,) = w.discovery.snapshot()
        assert record.state is PeerState.CONNECTED
        assert record.addresses == (f"{HOME}/p2p/{ANN}",)
        assert record.found_at == record.connected_at == 1_700_000_000.0
        assert w.discovery.record(ANN) == record


async def test_inbound_peer_is_discovered_then_connected() -> None:
    async with world() as w:
        w.host.connect_now(ANN)
        assert w.diary.lines == [("discovered", ANN), ("connected", ANN)]
        assert w.diary.records[0].source == "inbound"


async def test_bootstrap_peer_is_dialled_at_once_and_for_ever() -> None:
    async with world(bootstrap=[f"{HOME}/p2p/{ANN}"]) as w:
        await w.pass_time(0.0)
        assert w.host.dialled == [ANN]
        for count in range(2, 12):
            await w.pass_time(301.0)
            assert w.host.dialled == [ANN] * count
        w.host.answers[HOME] = ANN
        await w.pass_time(301.0)
        assert w.diary.lines == [("discovered", ANN), ("connected", ANN)]


async def test_nameless_bootstrap_address_is_dialled_and_learned() -> None:
    async with world(bootstrap=[str(HOME)]) as w:
        await w.pass_time(0.0)
        assert w.host.dialled == [HOME]
        w.host.answers[HOME] = ANN
        await w.pass_time(2.0)
        assert w.diary.lines == [("discovered", ANN), ("connected", ANN)]
        await w.pass_time(1000.0)
        assert w.host.dialled == [HOME, HOME]


async def test_nameless_bootstrap_address_is_redialled_when_lost() -> None:
    async with world(bootstrap=[str(HOME)]) as w:
        w.host.answers[HOME] = ANN
        await w.pass_time(0.0)
        w.host.answers[HOME] = BOB
        w.host.lose(ANN)
        await w.pass_time(3.0)
        await w.pass_time(3.0)
        assert ("connected", BOB) in w.diary.lines


async def test_our_own_bootstrap_address_is_passed_over() -> None:
    async with world(bootstrap=[f"{HOME}/p2p/{OURS}"]) as w:
        await w.pass_time(0.0)
        assert w.host.dialled == []
        assert w.discovery.snapshot() == []


@pytest.mark.parametrize("wrong", ["junk", "/ip4/192.0.2.1/tcp/0"])
def test_wrong_bootstrap_address_is_refused_before_the_start(wrong: str) -> None:
    with pytest.raises(ConfigError, match=f"bootstrap_nodes: '{wrong}'"):
        World(bootstrap=[wrong])


async def test_lost_peer_is_redialled_and_told_once_per_change() -> None:
    async with world() as w:
        w.host.answers[HOME] = ANN
        w.hear(ANN, HOME)
        await w.pass_time(0.0)
        w.host.lose(ANN)
        assert w.diary.lines[-1] == ("disconnected: reset by peer", ANN)
        await w.pass_time(3.0)
        assert [line for line, _ in w.diary.lines] == [
            "discovered",
            "connected",
            "disconnected: reset by peer",
            "connected",
        ]


async def test_peer_we_disconnect_is_idle_and_not_redialled() -> None:
    async with world() as w:
        w.host.answers[HOME] = ANN
        w.hear(ANN, HOME)
        await w.pass_time(0.0)
        w.host.lose(ANN, ASKED)
        await w.pass_time(200.0)
        assert w.host.dialled == [ANN]
        assert w.discovery.snapshot()[0].state is PeerState.IDLE


async def test_con_6_inbound_during_our_dial_is_one_connected_event() -> None:
    async with world() as w:
        w.host.hang = True
        w.hear(ANN, HOME)
        await w.pass_time(0.0)
        assert w.discovery.snapshot()[0].state is PeerState.DIALING
        w.host.connect_now(ANN)
        w.host.connect_now(ANN)
        assert w.diary.lines == [("discovered", ANN), ("connected", ANN)]


async def test_connection_told_twice_is_one_change() -> None:
    async with world() as w:
        w.host.connect_now(ANN)
        w.host.up.clear()
        w.host.connect_now(ANN)
        w.host.lose(ANN)
        w.host.up.append(ANN)
        w.host.lose(ANN)
        assert [line for line, _ in w.diary.lines] == [
            "discovered",
            "connected",
            "disconnected: reset by peer",
        ]


async def test_peers_connected_before_the_start_are_told() -> None:
    made = World()
    made.host.up.append(ANN)
    async with made.discovery:
        assert made.diary.lines == [("discovered", ANN), ("connected", ANN)]


async def test_added_peer_is_dialled() -> None:
    async with world() as w:
        w.host.answers[HOME] = ANN
        w.discovery.add(ANN, [str(HOME)])
        await w.pass_time(0.0)
        assert w.diary.records[0].source == "manual"
        assert w.diary.lines[-1] == ("connected", ANN)


async def test_wrong_addition_is_an_error() -> None:
    async with world() as w:
        with pytest.raises(AddressError):
            w.discovery.add(ANN, ["junk"])
        with pytest.raises(UsageError, match="itself"):
            w.discovery.add(OURS, [str(HOME)])


async def test_forgotten_peer_is_not_dialled() -> None:
    async with world() as w:
        w.discovery.add(ANN, [HOME])
        w.discovery.forget(ANN)
        await w.pass_time(0.0)
        assert w.host.dialled == []
        assert w.discovery.snapshot() == []


async def test_stale_peer_is_a_new_discovery() -> None:
    async with world() as w:
        w.hear(ANN, HOME)
        await w.pass_time(0.0)
        for _ in range(3):
            await w.pass_time(200.0)
        assert w.discovery.snapshot() == []
        w.hear(ANN, HOME)
        assert w.diary.lines == [("discovered", ANN), ("discovered", ANN)]


async def test_identified_addresses_are_dialled_after_an_inbound_connection() -> None:
    async with world() as w:
        w.host.answers[HOME] = ANN
        w.host.connect_now(ANN)
        listed = (HOME.to_bytes(), b"\xff\xff", at("0.0.0.0").to_bytes())
        w.discovery.on_identified(
            ANN, cast("Any", SimpleNamespace(listen_addrs=listed))
        )
        w.host.lose(ANN)
        await w.pass_time(3.0)
        assert w.diary.lines[-1] == ("connected", ANN)
        assert w.discovery.snapshot()[0].addresses == (f"{HOME}/p2p/{ANN}",)


async def test_dsc_2_dials_at_once_are_bounded_with_bootstrap_counted() -> None:
    async with world(bootstrap=[str(HOME), str(AWAY)]) as w:
        w.host.hang = True
        for number, peer_id in enumerate(many_peers(15)):
            w.hear(peer_id, at(f"198.51.100.{number}"))
        await w.pass_time(0.0)
        assert len(w.host.dialled) == 8
        assert w.host.dialled[:2] == [HOME, AWAY]


async def test_dsc_3_goodbye_is_ignored_while_connected() -> None:
    async with world() as w:
        w.host.connect_now(ANN)
        w.discovery._on_goodbye(ANN)
        await w.pass_time(20.0)
        assert w.discovery.snapshot()[0].is_connected


async def test_dsc_2_announcements_of_known_peers_wake_nobody() -> None:
    async with world() as w:
        w.hear(ANN, HOME)
        await w.pass_time(0.0)
        w.clock.now += 0.5
        w.hear(ANN, HOME)
        assert not w.discovery._changed.is_set()
        w.clock.now += 30.0
        w.hear(ANN, AWAY)
        assert w.discovery._changed.is_set()


async def test_loop_that_breaks_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    made = World()
    monkeypatch.setattr(made.discovery, "_begin_dials", broken)
    async with made.discovery:
        await made.pass_time(0.0)
    assert "discovery dials no more" in caplog.text


async def test_dial_ends_at_its_timeout() -> None:
    base = Limits()
    limits = replace(base, connections=replace(base.connections, dial_timeout=0.01))
    async with world(limits=limits, bootstrap=[str(AWAY)]) as w:
        w.host.hang = True
        w.hear(ANN, HOME)
        await eventually(lambda: len(w.host.dialled) == 2 and not w.host.dialling)
        assert w.discovery.snapshot()[0].state is PeerState.IDLE


async def test_close_cancels_dials_under_way() -> None:
    async with world(bootstrap=[str(HOME)]) as w:
        w.host.hang = True
        w.hear(ANN, AWAY)
        await w.pass_time(0.0)
        assert w.host.dialling == 2


async def test_observer_that_fails_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Diary):
        def write(self, what: str, record: PeerRecord) -> None:
            raise RuntimeError("broken")

    made = World()
    broken, second = Broken(), Diary()
    made.discovery.remove_observer(made.diary)
    made.discovery.add_observer(broken)
    made.discovery.add_observer(second)
    async with made.discovery:
        made.host.connect_now(ANN)
    assert [line for line, _ in second.lines] == ["discovered", "connected"]
    assert "a peer observer failed" in caplog.text


async def test_events_caused_by_an_observer_come_after_its_own() -> None:
    class Meddler(Diary):
        def write(self, what: str, record: PeerRecord) -> None:
            super().write(what, record)
            if self.lines == [("discovered", ANN)]:
                made.host.connect_now(BOB)

    made = World()
    meddler, second = Meddler(), Diary()
    made.discovery.add_observer(meddler)
    made.discovery.add_observer(second)
    async with made.discovery:
        made.host.connect_now(ANN)
    assert meddler.lines == second.lines
    assert second.lines == [
        ("discovered", ANN),
        ("connected", ANN),
        ("discovered", BOB),
        ("connected", BOB),
    ]


async def test_discovery_starts_once_and_again_after_its_end() -> None:
    made = World()
    async with made.discovery:
        with pytest.raises(UsageError, match="already started"):
            await made.discovery.start()
    async with made.discovery:
        made.host.connect_now(ANN)
    await made.discovery.close()
    assert made.diary.lines == [("discovered", ANN), ("connected", ANN)]


async def test_missing_multicast_is_one_warning_and_bootstrap_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(interface: str) -> None:
        raise OSError(19, "No such device", interface)

    monkeypatch.setattr(mdns_module, "join_group", refuse)
    caplog.set_level(logging.WARNING)
    host = FakeHost()
    host.answers[HOME] = ANN
    discovery = Discovery(cast("Any", host), bootstrap=[f"{HOME}/p2p/{ANN}"])
    async with discovery:
        assert isinstance(discovery.mdns_error, NetworkError)
        await eventually(lambda: host.is_connected(ANN))
    (record,) = caplog.records
    assert "multicast is not available" in record.message
    assert "only bootstrap addresses" in record.message


async def test_dials_not_yet_begun_are_given_back_when_closed() -> None:
    made = World(bootstrap=[str(HOME)])
    async with made.discovery:
        made.hear(ANN, AWAY)
        made.discovery._begin_dials()
    assert made.host.dialled == []
    (record,) = made.discovery.snapshot()
    assert record.state is PeerState.IDLE


async def test_dial_that_breaks_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(peer_id: PeerID, addrs: Any) -> PeerID:
        raise RuntimeError("broken")

    async with world() as w:
        monkeypatch.setattr(w.host, "connect_peer", broken)
        w.hear(ANN, HOME)
        await w.pass_time(0.0)
        assert w.discovery.snapshot()[0].state is PeerState.IDLE
        assert "the dial of" in caplog.text


async def test_peers_that_came_and_went_while_stopped_are_told() -> None:
    made = World()
    async with made.discovery:
        made.host.connect_now(ANN)
    made.host.lose(ANN)
    made.host.connect_now(BOB)
    async with made.discovery:
        assert made.diary.lines == [
            ("discovered", ANN),
            ("connected", ANN),
            ("disconnected: gone while discovery was stopped", ANN),
            ("discovered", BOB),
            ("connected", BOB),
        ]


async def test_what_the_host_tells_is_heard_until_the_end() -> None:
    made = World()
    async with made.discovery:
        made.host.connect_now(ANN)
        await made.discovery.rest()
        made.host.lose(ANN)
        assert [name.split(":")[0] for name, _ in made.diary.lines] == [
            "discovered",
            "connected",
            "disconnected",
        ]
        told = len(made.diary.lines)
        await made.discovery.start()
        made.host.connect_now(BOB)
        assert len(made.diary.lines) == told + 2
    made.host.lose(BOB)
    assert len(made.diary.lines) == told + 2
