from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.events.webhooks.lanes import Lanes, Slot


def numbers(slots: list[Slot]) -> list[int]:
    return [slot.number for slot in slots]


def test_hk_7_one_in_flight_per_lane_in_order() -> None:
    lanes = Lanes(4, 64)
    for number in (1, 2, 3):
        lanes.add("e", "t", number)
    for number in (1, 2, 3):
        (slot,) = lanes.take(0.0)
        assert slot[:3] == ("e", "t", number)
        assert lanes.take(0.0) == []
        lanes.finish(slot)
    assert (lanes.take(0.0), lanes.waiting("e"), lanes.in_flight) == ([], 0, 0)
    assert not lanes._sides


def test_hk_7_retry_holds_up_its_own_lane_only() -> None:
    lanes = Lanes(4, 64)
    lanes.add("e", "a", 1)
    lanes.add("e", "a", 2)
    lanes.add("e", "b", 3)
    a, b = lanes.take(0.0)
    lanes.retry(a, 5.0)
    lanes.finish(b)
    assert lanes.take(4.9) == []
    assert lanes.next_deadline() == 5.0
    (again,) = lanes.take(5.0)
    assert again.number == 1
    lanes.finish(again)
    assert numbers(lanes.take(5.0)) == [2]


def test_hk_7_endpoint_that_is_full_holds_up_nobody_else() -> None:
    lanes = Lanes(2, 64)
    for number in range(5):
        lanes.add("slow", str(number), number)
    lanes.add("other", "t", 99)
    slots = lanes.take(0.0)
    assert numbers(slots) == [0, 1, 99]
    assert lanes.next_deadline() is None
    lanes.finish(slots[0])
    assert numbers(lanes.take(0.0)) == [2]
    assert lanes.in_flight == 3


def test_total_is_bounded() -> None:
    lanes = Lanes(4, 3)
    for number in range(10):
        lanes.add(f"e{number}", "", number)
    slots = lanes.take(0.0)
    assert (numbers(slots), lanes.next_deadline()) == ([0, 1, 2], None)
    lanes.finish(slots[1])
    assert numbers(lanes.take(0.0)) == [3]


def test_dropped_endpoint_is_forgotten_whatever_is_in_flight() -> None:
    lanes = Lanes(2, 64)
    for number in range(4):
        lanes.add("e", str(number), number)
    first, second = lanes.take(0.0)
    lanes.drop("e")
    lanes.drop("unknown")
    assert lanes.waiting("e") == 0
    lanes.add("e", "0", 0)
    lanes.retry(first, 9.0)
    (again,) = lanes.take(0.0)
    assert again.number == 0
    lanes.finish(second)
    assert lanes.waiting("e") == 1
    lanes.finish(again)
    assert (lanes.take(99.0), lanes.in_flight, lanes._sides) == ([], 0, {})
    lanes.add("e", "0", 1)
    lanes.drop("e")
    assert (lanes.take(0.0), lanes._sides) == ([], {})


@given(st.integers(0, 10**6))
def test_every_message_is_sent_in_order_within_the_bounds(seed: int) -> None:
    rng = random.Random(seed)
    lanes = Lanes(2, 5)
    running: list[Slot] = []
    done: dict[tuple[str, str], list[int]] = {}
    total, now, left = rng.randrange(1, 40), 0.0, 0
    for number in range(total):
        lanes.add(rng.choice("abcd"), rng.choice("xyz"), number)
    while left < total:
        running += lanes.take(now)
        assert len(running) == lanes.in_flight <= 5
        assert max(Counter(slot.endpoint for slot in running).values(), default=0) <= 2
        assert max(Counter(slot[:2] for slot in running).values(), default=0) <= 1
        if not running:
            now = lanes.next_deadline() or 0.0
            continue
        slot = running.pop(rng.randrange(len(running)))
        if rng.random() < 0.3:
            lanes.retry(slot, now + rng.random())
        else:
            lanes.finish(slot)
            done.setdefault(slot[:2], []).append(slot.number)
            left += 1
    assert all(sent == sorted(sent) for sent in done.values())
    assert not lanes._sides
