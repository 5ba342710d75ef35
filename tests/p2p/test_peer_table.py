"""The peer table: states, order of events, bounds and pace, on times handed in."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from praxis_fast.errors import UsageError
from praxis_fast.limits import DiscoveryLimits, Limits
from praxis_fast.p2p.peer_record import (
    Dial,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerForgotten,
    PeerState,
)
from praxis_fast.p2p.peer_table import TRANSITIONS, Cause, PeerTable
from tests.p2p.peers import at, many_peers, peer

ANN, BOB, EVE = peer(1), peer(2), peer(3)
WALL = 1_700_000_000.0
HOME = at("192.0.2.1")
MOVED = at("192.0.2.2")


def make_table(**changes: Any) -> PeerTable:
    limits = Limits(discovery=replace(DiscoveryLimits(), **changes))
    return PeerTable(limits, 0.0, rng=random.Random(1), wall_clock=lambda: WALL)


def kinds(events: list[Any]) -> list[type]:
    return [type(event) for event in events]


def dials(table: PeerTable, now: float, busy: int = 0) -> list[Dial]:
    return [e for e in table.on_deadline(now, busy) if isinstance(e, Dial)]


def test_peer_is_discovered_then_dialled_then_connected() -> None:
    table = make_table()
    (found,) = table.hint(ANN, [HOME], 1.0)
    assert isinstance(found, PeerDiscovered)
    assert found.record.addresses == (f"{HOME}/p2p/{ANN}",)
    assert found.record.found_at == WALL
    assert found.record.source == "mdns"
    (dial,) = dials(table, 1.0)
    assert dial == Dial(ANN, (HOME.with_peer(ANN),))
    assert table.state(ANN) is PeerState.DIALING
    (connected,) = table.connected(ANN, 2.0, HOME)
    assert isinstance(connected, PeerConnected)
    assert connected.record.is_connected
    assert connected.record.connected_at == WALL


def test_peer_is_discovered_once_when_announced_again() -> None:
    table = make_table()
    assert kinds(table.hint(ANN, [HOME], 0.0)) == [PeerDiscovered]
    assert table.hint(ANN, [HOME], 5.0) == []
    assert table.hint(ANN, [MOVED], 10.0) == []


def test_inbound_peer_is_discovered_then_connected() -> None:
    table = make_table()
    events = table.connected(ANN, 0.0)
    assert kinds(events) == [PeerDiscovered, PeerConnected]
    assert events[0].record.source == "inbound"


def test_inbound_while_dialling_ends_the_dial() -> None:
    table = make_table()
    table.hint(ANN, [HOME], 0.0)
    dials(table, 0.0)
    assert kinds(table.connected(ANN, 1.0)) == [PeerConnected]
    table.dial_failed(ANN, 2.0)
    assert table.state(ANN) is PeerState.CONNECTED


def test_lost_peer_is_disconnected_and_redialled() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0)
    dials(table, 0.0)
    table.connected(ANN, 0.0, HOME)
    (lost,) = table.disconnected(ANN, "reset", 100.0)
    assert lost == PeerDisconnected(table.snapshot()[0], "reset")
    assert table.state(ANN) is PeerState.DISCONNECTED
    assert dials(table, 100.5) == []
    assert [d.peer_id for d in dials(table, 103.0)] == [ANN]


def test_peer_is_idle_and_not_redialled_when_we_closed() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0)
    dials(table, 0.0)
    table.connected(ANN, 0.0, HOME)
    assert kinds(table.disconnected(ANN, "asked", 1.0, asked=True)) == [
        PeerDisconnected
    ]
    assert table.state(ANN) is PeerState.IDLE
    table.hint(ANN, [HOME], 10.0)
    assert dials(table, 200.0) == []
    table.add(ANN, [HOME], 201.0)
    assert len(dials(table, 201.0)) == 1


def test_lost_peer_that_comes_back_by_itself_is_connected() -> None:
    table = make_table()
    table.connected(ANN, 0.0)
    table.disconnected(ANN, "reset", 1.0)
    assert kinds(table.connected(ANN, 2.0)) == [PeerConnected]


@pytest.mark.parametrize("state", list(PeerState))
@pytest.mark.parametrize("cause", list(Cause))
def test_transitions_are_those_of_the_design(state: PeerState, cause: Cause) -> None:
    design = {
        PeerState.IDLE: {PeerState.DIALING, PeerState.CONNECTED},
        PeerState.DIALING: {PeerState.CONNECTED, PeerState.IDLE},
        PeerState.CONNECTED: {PeerState.DISCONNECTED, PeerState.IDLE},
        PeerState.DISCONNECTED: {PeerState.DIALING, PeerState.IDLE},
    }
    target = TRANSITIONS.get((state, cause))
    assert target is None or target in design[state]
    assert {TRANSITIONS.get((state, c)) for c in Cause} - {None} == design[state]


def test_change_is_an_error_when_it_is_not_in_the_table() -> None:
    table = make_table()
    with pytest.raises(UsageError, match="no peer"):
        table.disconnected(ANN, "reset", 0.0)
    table.connected(ANN, 0.0)
    with pytest.raises(UsageError, match="is connected: a connection is up"):
        table.connected(ANN, 0.0)
    table.disconnected(ANN, "reset", 0.0)
    with pytest.raises(UsageError, match="is disconnected: the connection failed"):
        table.disconnected(ANN, "reset", 0.0)


def test_dsc_5_stale_peer_is_forgotten_and_a_new_discovery_later() -> None:
    table = make_table()
    table.hint(ANN, [HOME], 0.0)
    dials(table, 0.0)
    table.dial_failed(ANN, 1.0)
    assert PeerForgotten not in kinds(table.on_deadline(299.0))
    table.dial_failed(ANN, 300.0)
    assert PeerForgotten in kinds(table.on_deadline(310.0))
    assert ANN not in table
    assert kinds(table.hint(ANN, [HOME], 311.0)) == [PeerDiscovered]


def test_lost_peer_is_idle_when_stale() -> None:
    table = make_table()
    table.connected(ANN, 0.0)
    table.disconnected(ANN, "reset", 10.0)
    (forgotten,) = table.on_deadline(310.0)
    assert isinstance(forgotten, PeerForgotten)
    assert forgotten.record.state is PeerState.IDLE


def test_connected_peer_never_gets_stale() -> None:
    table = make_table()
    table.connected(ANN, 0.0)
    for now in range(0, 3600, 10):
        assert table.on_deadline(float(now)) == []
    table.disconnected(ANN, "reset", 3600.0)
    assert PeerForgotten not in kinds(table.on_deadline(3800.0))


def test_checks_come_at_their_interval() -> None:
    table = make_table()
    assert table.next_deadline() == 10.0
    table.on_deadline(10.0)
    assert table.next_deadline() == 20.0


def test_bootstrap_peer_is_redialled_for_ever() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0, pinned=True)
    assert table.snapshot()[0].source == "bootstrap"
    now = 0.0
    for _ in range(20):
        assert [d.peer_id for d in dials(table, now)] == [ANN]
        table.dial_failed(ANN, now)
        now += 300.0
    assert ANN in table


def test_con_4_pauses_grow_with_jitter_up_to_their_bound() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0, pinned=True)
    now = 0.0
    for failures in range(1, 14):
        assert len(dials(table, now)) == 1
        table.dial_failed(ANN, now)
        longest = min(300.0, 2.0**failures)
        assert dials(table, now + longest / 2 - 0.01) == []
        now += longest


def test_con_4_pauses_begin_anew_after_a_steady_connection() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0)
    for now in (0.0, 300.0, 600.0):
        dials(table, now)
        table.dial_failed(ANN, now)
        table.hint(ANN, [HOME], now)
    table.connected(ANN, 700.0)
    table.disconnected(ANN, "reset", 800.0)
    assert len(dials(table, 802.0)) == 1


def test_dsc_2_hint_never_replaces_a_verified_address() -> None:
    table = make_table()
    table.hint(ANN, [HOME], 0.0)
    dials(table, 0.0)
    table.connected(ANN, 0.0, HOME)
    table.disconnected(ANN, "reset", 1.0)
    crowd = [at("203.0.113.9", port) for port in range(1, 100)]
    table.hint(ANN, crowd, 60.0)
    addresses = table.snapshot()[0].addresses
    assert addresses[0] == f"{HOME}/p2p/{ANN}"
    assert len(addresses) == 20
    (dial,) = dials(table, 60.0)
    assert dial.addresses[0] == HOME.with_peer(ANN)


def test_dsc_2_hint_never_replaces_an_address_the_user_gave() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0)
    table.hint(ANN, [MOVED], 10.0)
    assert table.snapshot()[0].addresses == (
        f"{HOME}/p2p/{ANN}",
        f"{MOVED}/p2p/{ANN}",
    )


def test_id_3_hints_are_replaced_and_bounded() -> None:
    table = make_table()
    table.hint(ANN, [at("192.0.2.1", port) for port in range(1, 200)], 0.0)
    assert len(table.snapshot()[0].addresses) == 20
    table.hint(ANN, [MOVED], 10.0)
    assert table.snapshot()[0].addresses == (f"{MOVED}/p2p/{ANN}",)


def test_id_3_candidates_are_bounded_and_the_oldest_makes_room() -> None:
    table = make_table(max_candidates=3, candidate_rate=100.0)
    peers = many_peers(4)
    for number, peer_id in enumerate(peers[:3]):
        table.hint(peer_id, [], float(number))
    table.hint(peers[0], [], 10.0)
    events = table.hint(peers[3], [], 11.0)
    assert kinds(events) == [PeerForgotten, PeerDiscovered]
    assert events[0].record.id == peers[1]
    assert len(table) == 3


def test_id_3_proven_peers_are_bounded() -> None:
    table = make_table(max_peers=2)
    for number, peer_id in enumerate(many_peers(5)):
        table.connected(peer_id, float(number))
        table.disconnected(peer_id, "reset", float(number))
    assert len(table) == 2


def test_dsc_2_flood_of_new_peers_is_held_to_its_rate() -> None:
    table = make_table()
    found = [e for p in many_peers(500) for e in table.hint(p, [HOME], 0.0)]
    assert len(found) == 20
    assert table.refused == 480
    found = [e for p in many_peers(500) for e in table.hint(p, [HOME], 1.0)]
    assert len(found) == 20


def test_dsc_2_flood_never_pushes_out_a_proven_or_bootstrap_peer() -> None:
    table = make_table(max_candidates=4, candidate_rate=1e6)
    table.connected(ANN, 0.0)
    table.add(BOB, [HOME], 0.0, pinned=True)
    for peer_id in many_peers(100):
        table.hint(peer_id, [], 1.0)
    assert ANN in table
    assert BOB in table
    assert len(table) == 5


def test_dsc_2_no_more_than_eight_dials_at_once() -> None:
    table = make_table()
    for number, peer_id in enumerate(many_peers(20)):
        table.hint(peer_id, [at(f"192.0.2.{number}")], 0.0)
    first = dials(table, 0.0)
    assert len(first) == 8
    assert dials(table, 1.0) == []
    assert table.next_deadline() == 10.0
    table.dial_failed(first[0].peer_id, 1.0)
    assert len(dials(table, 1.0)) == 1
    assert dials(table, 1.0, busy=8) == []


def test_dsc_2_known_peers_are_dialled_before_announced_ones() -> None:
    table = make_table(max_dials=1)
    table.hint(EVE, [MOVED], 0.0)
    table.add(ANN, [HOME], 1.0)
    assert [d.peer_id for d in dials(table, 1.0)] == [ANN]


def test_dsc_2_one_address_is_dialled_three_times_a_minute() -> None:
    table = make_table()
    # Many made-up peers at the address of a third host, each at another port.
    for number, peer_id in enumerate(many_peers(10)):
        table.hint(peer_id, [at("198.51.100.1", 1 + number)], 0.0)
    assert len(dials(table, 0.0)) == 3
    assert dials(table, 30.0) == []
    assert table.next_deadline() <= 60.0
    assert len(dials(table, 60.0)) == 3


def test_dsc_2_agents_on_loopback_have_an_address_each() -> None:
    table = make_table()
    for number, peer_id in enumerate(many_peers(5)):
        table.hint(peer_id, [at("127.0.0.1", 4001 + number)], 0.0)
    assert len(dials(table, 0.0)) == 5


def test_dsc_2_spoofed_addresses_do_not_hurry_dials_over_the_pace() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0)
    count = 0
    for second in range(600):
        table.hint(ANN, [at("203.0.113.1", 1 + second)], float(second))
        count += len(dials(table, float(second)))
        table.dial_failed(ANN, float(second))
    # Three a minute, and the first pauses of the backoff are shorter than that.
    assert count <= 30 + 6


def test_dsc_3_goodbye_is_ignored_while_connected() -> None:
    table = make_table()
    table.hint(ANN, [HOME], 0.0)
    table.connected(ANN, 0.0)
    table.goodbye(ANN, 1.0)
    assert table.on_deadline(10.0) == []
    assert table.state(ANN) is PeerState.CONNECTED


def test_dsc_3_goodbye_of_an_unproven_peer_forgets_it_at_the_next_check() -> None:
    table = make_table()
    table.hint(ANN, [HOME], 0.0)
    table.goodbye(ANN, 1.0)
    assert dials(table, 1.0) == []
    assert kinds(table.on_deadline(10.0)) == [PeerForgotten]


def test_dsc_7_peer_that_comes_and_goes_is_one_peer() -> None:
    table = make_table()
    events = []
    for now in range(100):
        events += table.hint(ANN, [HOME], now + 0.0)
        events += table.on_deadline(now + 0.2)
        table.goodbye(ANN, now + 0.5)
        table.dial_failed(ANN, now + 0.6)
    assert kinds(events).count(PeerDiscovered) == kinds(events).count(PeerForgotten) + 1
    assert kinds(events).count(PeerDiscovered) == 1


def test_dsc_7_addresses_change_once_in_two_seconds() -> None:
    table = make_table()
    table.hint(ANN, [HOME], 0.0)
    table.hint(ANN, [MOVED], 1.0)
    assert table.snapshot()[0].addresses == (f"{HOME}/p2p/{ANN}",)
    table.hint(ANN, [MOVED], 2.0)
    assert table.snapshot()[0].addresses == (f"{MOVED}/p2p/{ANN}",)


def test_peer_at_a_new_address_is_dialled_before_its_pause_is_over() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0, pinned=True)
    now = 0.0
    for _ in range(10):
        dials(table, now)
        table.dial_failed(ANN, now)
        now += 300.0
    table.dial_failed(ANN, now)
    dials(table, now)
    table.dial_failed(ANN, now)
    table.hint(ANN, [MOVED], now + 30.0)
    assert [d.peer_id for d in dials(table, now + 30.0)] == [ANN]


def test_identified_addresses_are_kept_for_the_next_dial() -> None:
    table = make_table()
    table.connected(ANN, 0.0)
    table.identified(ANN, [HOME], 0.0)
    table.identified(EVE, [HOME], 0.0)
    table.disconnected(ANN, "reset", 1.0)
    assert [d.addresses for d in dials(table, 5.0)] == [(HOME.with_peer(ANN),)]


def test_forgotten_peer_is_dialled_no_more() -> None:
    table = make_table()
    table.add(ANN, [HOME], 0.0, pinned=True)
    assert kinds(table.forget(ANN)) == [PeerForgotten]
    assert table.forget(ANN) == []
    assert dials(table, 1.0) == []
    table.connected(BOB, 0.0)
    assert table.forget(BOB) == []
    table.disconnected(BOB, "reset", 1.0)


def test_peer_without_an_address_is_not_dialled() -> None:
    table = make_table()
    table.connected(ANN, 0.0)
    table.disconnected(ANN, "reset", 1.0)
    assert dials(table, 200.0) == []


class TableMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: the law of the events holds."""

    PEERS = many_peers(8)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.table = make_table(max_candidates=4, max_peers=4, max_dials=2)
        self.known: set[str] = set()
        self.up: set[str] = set()
        self.dialling: set[str] = set()

    def take(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Dial):
                assert event.peer_id in self.known
                assert event.peer_id not in self.up | self.dialling
                assert event.addresses
                self.dialling.add(event.peer_id)
                continue
            key = event.record.id
            if isinstance(event, PeerDiscovered):
                assert key not in self.known
                self.known.add(key)
            elif isinstance(event, PeerConnected):
                assert key in self.known
                assert key not in self.up
                self.up.add(key)
            elif isinstance(event, PeerDisconnected):
                assert key in self.up
                self.up.remove(key)
            else:
                assert key in self.known
                assert key not in self.up | self.dialling
                self.known.remove(key)

    @rule(number=st.integers(0, 7), host=st.integers(1, 4), count=st.integers(0, 30))
    def hint(self, number: int, host: int, count: int) -> None:
        addrs = [at(f"192.0.2.{host}", port + 1) for port in range(count)]
        self.take(self.table.hint(self.PEERS[number], addrs, self.now))

    @rule(number=st.integers(0, 7), pinned=st.booleans())
    def add(self, number: int, pinned: bool) -> None:
        self.take(self.table.add(self.PEERS[number], [HOME], self.now, pinned=pinned))

    @rule(number=st.integers(0, 7))
    def goodbye(self, number: int) -> None:
        self.table.goodbye(self.PEERS[number], self.now)

    @rule(number=st.integers(0, 7))
    def forget(self, number: int) -> None:
        self.take(self.table.forget(self.PEERS[number]))

    @rule(number=st.integers(0, 7), inbound=st.booleans())
    def connect(self, number: int, inbound: bool) -> None:
        peer_id = self.PEERS[number]
        if peer_id not in self.up:
            address = None if inbound else HOME
            self.take(self.table.connected(peer_id, self.now, address))
            self.dialling.discard(peer_id)

    @precondition(lambda self: self.up)
    @rule(data=st.data(), asked=st.booleans())
    def disconnect(self, data: st.DataObject, asked: bool) -> None:
        peer_id = data.draw(st.sampled_from(sorted(self.up)))
        self.take(self.table.disconnected(peer_id, "gone", self.now, asked=asked))

    @precondition(lambda self: self.dialling)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        peer_id = data.draw(st.sampled_from(sorted(self.dialling)))
        self.table.dial_failed(peer_id, self.now)
        self.dialling.remove(peer_id)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 11.0, 70.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.table.on_deadline(self.now))

    @invariant()
    def table_agrees(self) -> None:
        records = {record.id: record for record in self.table.snapshot()}
        assert set(records) == self.known
        assert {key for key, r in records.items() if r.is_connected} == self.up
        dialling = {k for k, r in records.items() if r.state is PeerState.DIALING}
        assert dialling == self.dialling
        assert len(dialling) <= 2
        assert all(len(record.addresses) <= 20 for record in records.values())


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
