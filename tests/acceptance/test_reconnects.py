"""A slice of the run with a million events; each part of the oracle is tried too."""

from __future__ import annotations

import pytest

from tests.acceptance.reconnects import run
from tests.acceptance.sequence import Choice, Record


async def test_ws_9_who_comes_back_misses_nothing_unsaid() -> None:
    outcome = await run(20_000, 300)
    print(outcome)
    assert outcome.reconnects >= 300
    assert outcome.delivered > 50_000


def record() -> Record:
    return Record("one", [2, 5, 7, 9])


def test_the_oracle_takes_what_is_exact() -> None:
    told = record()
    told.heartbeat(1)
    told.event(2, 2)
    told.gap(5, 7, 2)
    assert told.next == 9
    told.reset("evicted", 12)
    assert told.is_complete
    assert (told.events, told.dropped, told.skipped) == (1, 2, 1)


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("event", (5, 5)),
        ("event", (2, 3)),
        ("heartbeat", (2,)),
        ("gap", (5, 7, 2)),
        ("gap", (2, 6, 2)),
        ("gap", (2, 5, 1)),
    ],
)
def test_the_oracle_refuses_what_is_not(method: str, told: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        getattr(record(), method)(*told)


def test_every_condition_chooses_fewer() -> None:
    everything = Choice().expected(1000)
    assert everything == list(range(1, 1001))
    narrow = Choice("abc", (1, 2, 3), 1, red=True).expected(1000)
    for wider in (Choice("abc"), Choice(tasks=(1, 2, 3)), Choice(priority=1)):
        assert set(narrow) < set(wider.expected(1000)) < set(everything)
