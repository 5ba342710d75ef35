"""How often an address is dialled."""

from __future__ import annotations

from praxis_fast.p2p import dial_budget
from praxis_fast.p2p.dial_budget import MAX_KEYS, DialBudget, budget_key
from praxis_fast.wire.multiaddr import Multiaddr
from tests.p2p.peers import at, peer

HOME = at("192.0.2.1")


def test_dsc_2_three_dials_a_minute_to_one_address() -> None:
    budget = DialBudget(3)
    for now in (0.0, 10.0, 20.0):
        assert budget.frees_at(HOME, now) == now
        budget.spend(HOME, now)
    assert budget.frees_at(HOME, 30.0) == 60.0
    assert budget.frees_at(HOME, 60.0) == 60.0
    budget.spend(HOME, 60.0)
    assert budget.frees_at(HOME, 61.0) == 70.0
    assert budget.frees_at(at("192.0.2.2"), 61.0) == 61.0


def test_dsc_2_port_and_peer_id_make_no_other_address() -> None:
    key = budget_key(HOME)
    assert key == budget_key(at("192.0.2.1", 5))
    assert key == budget_key(HOME.with_peer(peer(1)))
    assert key != budget_key(at("192.0.2.2"))


def test_dsc_2_port_counts_on_loopback() -> None:
    assert budget_key(at("127.0.0.1", 1)) != budget_key(at("127.0.0.1", 2))
    six = [Multiaddr.parse(f"/ip6/::1/tcp/{port}") for port in (1, 2)]
    assert budget_key(six[0]) != budget_key(six[1])


def test_dsc_2_memory_is_bounded() -> None:
    budget = DialBudget(1)
    for number in range(MAX_KEYS):
        budget.spend(at(f"198.51.{number // 256}.{number % 256}"), float(number) / 1e3)
    assert budget.frees_at(HOME, 5.0) == dial_budget.WINDOW
    assert budget.frees_at(HOME, 60.0) == 60.0


def test_dials_are_forgotten_after_a_minute() -> None:
    budget = DialBudget(3)
    budget.spend(HOME, 0.0)
    assert budget.frees_at(HOME, 100.0) == 100.0
    assert not budget._times
