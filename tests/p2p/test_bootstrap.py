"""Bootstrap addresses: what is refused, and when the nameless ones are dialled."""

from __future__ import annotations

import random

import pytest

from praxis_fast.errors import ConfigError
from praxis_fast.limits import ConnectionLimits
from praxis_fast.p2p.bootstrap import Bootstrap
from tests.p2p.peers import at, peer

ANN, BOB = peer(1), peer(2)
HOME, AWAY = at("192.0.2.1"), at("192.0.2.2")


def make(*addresses: object) -> Bootstrap:
    return Bootstrap(
        [str(address) for address in addresses], ConnectionLimits(), random.Random(1)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "junk",
        "/ip4/192.0.2.1",
        "/ip4/192.0.2.1/tcp/0",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip4/192.0.2.300/tcp/4001",
        "/ip4/192.0.2.1/tcp/4001/p2p/junk",
        "192.0.2.1:4001",
    ],
)
def test_wrong_address_is_a_clear_error(wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(HOME, wrong)
    assert str(caught.value).startswith(f"bootstrap_nodes: {wrong!r}: ")


def test_named_addresses_are_grouped_by_peer() -> None:
    bootstrap = make(
        HOME.with_peer(ANN),
        AWAY.with_peer(ANN),
        HOME.with_peer(ANN),
        HOME.with_peer(BOB),
    )
    assert bootstrap.peers == {
        ANN: (HOME.with_peer(ANN), AWAY.with_peer(ANN)),
        BOB: (HOME.with_peer(BOB),),
    }
    assert bootstrap.next_deadline() is None
    assert bootstrap.on_deadline(0.0, 8) == []


def test_nameless_address_is_dialled_at_once_and_then_learned() -> None:
    bootstrap = make(HOME)
    assert bootstrap.next_deadline() == 0.0
    assert bootstrap.on_deadline(5.0, 8) == [HOME]
    assert bootstrap.next_deadline() is None
    bootstrap.learned(HOME, ANN)
    assert bootstrap.on_deadline(1000.0, 8) == []


def test_con_4_nameless_address_is_redialled_for_ever_with_growing_pauses() -> None:
    bootstrap = make(HOME)
    now = 0.0
    for failures in range(1, 30):
        assert bootstrap.on_deadline(now, 8) == [HOME]
        bootstrap.failed(HOME, now)
        due = bootstrap.next_deadline()
        assert due is not None
        longest = min(300.0, 2.0**failures)
        assert longest / 2 <= due - now <= longest
        now = due


def test_address_is_redialled_when_its_peer_is_lost() -> None:
    bootstrap = make(HOME)
    bootstrap.on_deadline(0.0, 8)
    bootstrap.learned(HOME, ANN)
    bootstrap.lost(BOB, 10.0)
    assert bootstrap.next_deadline() is None
    bootstrap.lost(ANN, 10.0)
    due = bootstrap.next_deadline()
    assert due is not None
    assert 11.0 <= due <= 12.0
    bootstrap.found(ANN)
    assert bootstrap.next_deadline() is None


def test_address_is_learned_anew_when_another_peer_answers() -> None:
    bootstrap = make(HOME)
    bootstrap.on_deadline(0.0, 8)
    bootstrap.learned(HOME, ANN)
    bootstrap.lost(ANN, 10.0)
    assert bootstrap.on_deadline(20.0, 8) == [HOME]
    bootstrap.learned(HOME, BOB)
    bootstrap.lost(ANN, 30.0)
    assert bootstrap.next_deadline() is None


def test_dsc_2_no_more_dials_than_are_free() -> None:
    bootstrap = make(*(at("192.0.2.1", port) for port in range(1, 6)))
    assert bootstrap.on_deadline(0.0, 0) == []
    assert len(bootstrap.on_deadline(0.0, 2)) == 2
    assert len(bootstrap.on_deadline(0.0, 8)) == 3
