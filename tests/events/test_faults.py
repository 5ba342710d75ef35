from __future__ import annotations

from functools import partial

from praxis_fast.events.faults import FaultLimiter, handler_name


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_limiter_lets_a_cause_through_once_a_second_and_counts_the_rest() -> None:
    clock = Clock()
    limiter = FaultLimiter(clock)
    assert [limiter.admit("a") for _ in range(3)] == [0, None, None]
    assert limiter.admit("b") == 0
    clock.now += 1.0
    assert limiter.admit("a") == 2
    clock.now += 1.0
    assert limiter.admit("a") == 0


def test_limiter_is_bounded_when_causes_are_many() -> None:
    limiter = FaultLimiter(Clock())
    assert all(limiter.admit(number) == 0 for number in range(1000))
    assert len(limiter._causes) <= 256


def test_handler_name_tells_functions_and_objects() -> None:
    assert handler_name(handler_name) == "praxis_fast.events.faults.handler_name"
    assert handler_name(partial(print)).endswith("partial")
    assert handler_name(Clock()).endswith("test_faults.Clock")
