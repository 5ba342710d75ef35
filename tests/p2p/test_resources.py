"""Which connections are admitted, counted exactly (CON-2)."""

from __future__ import annotations

import pytest

from praxis_fast.errors import ResourceLimitError
from praxis_fast.limits import ConnectionLimits
from praxis_fast.p2p import resources as resources_module
from praxis_fast.p2p.resources import Resources


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(**limits: object) -> tuple[Resources, Clock]:
    clock = Clock()
    return Resources(ConnectionLimits(**limits), clock), clock  # type: ignore[arg-type]


def test_con_2_slots_are_given_back_once_however_often_released() -> None:
    resources, _ = make()
    first = resources.admit_inbound("192.0.2.1")
    second = resources.admit_outbound()
    assert (resources.connections, resources.upgrading) == (2, 1)
    first.secured()
    first.secured()
    assert (resources.connections, resources.upgrading) == (2, 0)
    for slot in (first, first, second, second):
        slot.release()
    assert (resources.connections, resources.upgrading) == (0, 0)
    assert not resources.by_address


def test_con_2_the_total_is_bounded_for_both_directions() -> None:
    resources, _ = make(max_connections=2)
    slot = resources.admit_inbound("192.0.2.1")
    resources.admit_outbound()
    for admit in (resources.admit_outbound, lambda: resources.admit_inbound("::1")):
        with pytest.raises(ResourceLimitError, match="2 connections, limit 2"):
            admit()
    slot.release()
    resources.admit_outbound()


def test_con_2_those_not_yet_secured_are_bounded() -> None:
    resources, _ = make(max_upgrading=1)
    slot = resources.admit_inbound("127.0.0.1")
    with pytest.raises(ResourceLimitError, match="1 connections not yet secured"):
        resources.admit_inbound("127.0.0.1")
    slot.secured()
    resources.admit_inbound("127.0.0.1").release()
    assert resources.upgrading == 0
    assert resources.connections == 1


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (("192.0.2.1", "192.0.2.1"), "192.0.2.2"),
        (("::ffff:192.0.2.1", "192.0.2.1"), "192.0.2.2"),
        (("2001:db8:0:1::1", "2001:db8:0:ff::2"), "2001:db8:0:100::1"),
        (("fe80::1%eth0", "fe80::2%eth1"), "fe80:0:0:100::1"),
    ],
)
def test_con_2_an_address_has_few_places(same: tuple[str, str], other: str) -> None:
    resources, _ = make(max_per_address=2)
    slots = [resources.admit_inbound(host) for host in same]
    with pytest.raises(ResourceLimitError, match=r"2 connections from .*, limit 2"):
        resources.admit_inbound(same[0])
    resources.admit_inbound(other)
    for slot in slots:
        slot.release()
    resources.admit_inbound(same[0])


def test_con_2_an_address_may_not_come_too_often() -> None:
    resources, clock = make(open_burst=3, open_rate=0.5)
    for _ in range(3):
        resources.admit_inbound("192.0.2.1").release()
    with pytest.raises(ResourceLimitError, match=r"limit 0\.5 a second"):
        resources.admit_inbound("192.0.2.1")
    resources.admit_inbound("192.0.2.2").release()
    clock.now += 2.0
    resources.admit_inbound("192.0.2.1").release()
    assert resources.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_con_2_loopback_is_exempt_unless_told_otherwise(host: str) -> None:
    resources, _ = make(max_per_address=1)
    for _ in range(20):
        resources.admit_inbound(host)
    strict, _ = make(max_per_address=1, exempt_loopback=False)
    strict.admit_inbound(host)
    with pytest.raises(ResourceLimitError):
        strict.admit_inbound(host)


def test_con_2_remembered_addresses_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resources_module, "MAX_BUCKETS", 3)
    resources, _ = make(open_burst=1)
    for number in range(4):
        resources.admit_inbound(f"192.0.2.{number}").release()
    resources.admit_inbound("192.0.2.0").release()  # forgotten, so new again
    with pytest.raises(ResourceLimitError):
        resources.admit_inbound("192.0.2.3")
