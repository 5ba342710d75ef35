from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import Event, EventFilter
from praxis_fast.events.journal.ring import OVERHEAD, Journal, ResetError
from praxis_fast.limits import JournalLimits


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bus() -> EventBus:
    return EventBus(epoch="e1")


def journal_of(bus: EventBus, clock: Any = float, **limits: Any) -> Journal:
    return Journal(bus, JournalLimits(**limits), encode=orjson.dumps, clock=clock)


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


def reason(journal: Journal, token: str) -> str:
    with pytest.raises(ResetError) as caught:
        journal.since(token)
    return caught.value.reason


def test_ws_9_since_is_the_exact_continuation_when_in_the_buffer(
    bus: EventBus,
) -> None:
    journal = journal_of(bus)
    for n in range(5):
        bus.publish("task.started" if n % 2 else "task.failed", {"n": n})
    assert seqs(journal.since("e1-2")) == [3, 4, 5]
    assert seqs(journal.since("e1-0", EventFilter(event_types="task.started"))) == [
        *(2, 4),
    ]
    assert journal.since("e1-5") == []
    assert journal.token == "e1-5"


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("e1-1", "evicted"),
        ("e1-0", "evicted"),
        ("e1-6", "future"),
        (f"e1-{'9' * 5000}", "future"),
        ("e2-4", "epoch"),
        ("4", "malformed"),
        ("e1-", "malformed"),
        ("e1--1", "epoch"),
        ("e1-²", "malformed"),
        ("", "malformed"),
    ],
)
def test_ws_9_since_tells_why_there_is_no_continuation(
    bus: EventBus, token: str, expected: str
) -> None:
    journal = journal_of(bus, max_events=3)
    for _ in range(5):
        bus.publish("my.type")
    assert reason(journal, token) == expected
    assert seqs(journal.since("e1-2")) == [3, 4, 5]


def test_ws_9_events_leave_by_age(bus: EventBus, clock: Clock) -> None:
    journal = journal_of(bus, clock, max_age=600.0)
    bus.publish("my.type")
    clock.now += 300
    bus.publish("my.type")
    clock.now += 301
    assert reason(journal, "e1-0") == "evicted"
    assert seqs(journal.since("e1-1")) == [2]
    clock.now += 1000
    assert journal.since("e1-2") == []
    assert (len(journal), journal.size, journal.first) == (0, 0, 3)


def test_ws_9_events_leave_by_bytes(bus: EventBus) -> None:
    journal = journal_of(bus, max_bytes=3 * (OVERHEAD + 100))
    for _ in range(10):
        bus.publish("my.type", {"text": "x" * 80})
    assert len(journal) == 3
    assert journal.size <= 3 * (OVERHEAD + 100)
    bus.publish("my.type", {"text": "x" * 10_000})
    assert (len(journal), journal.size, journal.last) == (0, 0, 11)
    assert reason(journal, "e1-10") == "evicted"


def test_data_is_as_it_was_when_published(bus: EventBus) -> None:
    journal = journal_of(bus)
    data = {"n": [1]}
    event = bus.publish("my.type", data)
    data["n"].append(2)
    (kept,) = journal.since("e1-0")
    assert orjson.dumps(kept.to_message()["payload"]) == b'{"n":[1]}'
    assert (kept.id, kept.time, kept.seq) == (event.id, event.time, event.seq)
    assert journal.sealed(event) is kept
    newer = bus.publish("my.type")
    assert journal.sealed(event) is event
    assert journal.sealed(newer).id == newer.id


def test_event_without_json_form_is_kept_as_it_is(bus: EventBus) -> None:
    journal = journal_of(bus)
    event = bus.publish("my.type", {"x": object()})
    assert journal.since("e1-0") == [event]
    assert journal.sealed(event) is event


def test_filter_of_users_code_reads_the_data(bus: EventBus) -> None:
    class Even(EventFilter):
        def matches(self, event: Event) -> bool:
            return super().matches(event) and event.data["n"] % 2 == 0

    journal = journal_of(bus)
    for n in range(4):
        bus.publish("my.type", {"n": n})
    assert seqs(journal.since("e1-0", Even())) == [1, 3]


def test_journal_that_begins_later_knows_only_what_follows(bus: EventBus) -> None:
    bus.publish("my.type")
    journal = journal_of(bus)
    bus.publish("my.type")
    assert seqs(journal.since("e1-1")) == [2]
    assert reason(journal, "e1-0") == "evicted"
    journal.close()
    bus.publish("my.type")
    assert (journal.last, len(journal)) == (2, 0)


def test_read_begins_anew_when_numbers_are_missing(bus: EventBus) -> None:
    journal = journal_of(bus)
    bus.publish("my.type")
    journal._on_event(Event("my.type", seq=5))
    assert (journal.first, journal.last) == (5, 5)
    assert reason(journal, "e1-1") == "evicted"


def test_read_goes_on_in_pages_and_tells_what_it_missed(bus: EventBus) -> None:
    journal = journal_of(bus, max_events=4)
    for _ in range(4):
        bus.publish("my.type")
    events, position = journal.read(0, None, 3)
    assert (seqs(events), position) == ([1, 2, 3], 3)
    assert journal.read(4)[1] == 4
    for _ in range(4):
        bus.publish("my.type")
    with pytest.raises(ResetError, match="evicted"):
        journal.read(position)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(["a.x", "a.y", "b.x"])),
        st.tuples(st.just("nest"), st.sampled_from(["a.x", "b.x"])),
        st.tuples(st.just("read"), st.integers(1, 4)),
        st.tuples(st.just("leave"), st.just(0)),
        st.tuples(st.just("come"), st.just(0)),
    ),
    max_size=60,
)


@given(steps=STEPS, size=st.integers(1, 12))
def test_ws_9_seam_neither_loses_nor_repeats_an_event(
    steps: list[tuple[str, Any]], size: int
) -> None:
    """A subscriber comes, goes and comes back; its record is the filtered sequence.

    Where the journal no longer has what it needs it is told so, and goes on from there.
    """
    bus = EventBus(epoch="e1")
    wanted = EventFilter(event_types={"a.*"})
    everything: list[tuple[int, str]] = []
    bus.add_sink(lambda event: everything.append((event.seq, event.type)))
    # What is published during delivery has a number before it reaches the journal.
    nested: list[str] = []

    def publish_nested(_: Event) -> None:
        if nested:
            bus.publish(nested.pop())

    bus.add_sink(publish_nested)
    journal = journal_of(bus, max_events=size)
    client = Client(journal, wanted)
    bus.add_sink(client.on_event)
    for step, value in steps:
        if step == "publish":
            bus.publish(value)
        elif step == "nest":
            nested.append(value)
            bus.publish("a.x")
        elif step == "read":
            client.read(value)
        elif step == "leave":
            client.leave()
        else:
            client.come()
    client.come()
    while not client.is_live:
        client.read(3)
    lost = {seq for first, last in client.resets for seq in range(first, last + 1)}
    expected = [
        seq for seq, kind in everything if kind.startswith("a.") and seq not in lost
    ]
    assert client.record == expected


class Client:
    """Follows the steps that the journal's theory of operation describes."""

    def __init__(self, journal: Journal, wanted: EventFilter) -> None:
        self.journal = journal
        self.wanted = wanted
        self.record: list[int] = []
        self.resets: list[tuple[int, int]] = []
        self.is_live = True
        self.is_here = True
        self.position = 0

    def on_event(self, event: Event) -> None:
        if self.is_live and self.is_here:
            if self.wanted.matches(event):
                self.record.append(event.seq)
            self.position = event.seq

    def leave(self) -> None:
        self.is_here = self.is_live = False

    def come(self) -> None:
        if self.is_here:
            return
        self.is_here = True
        try:
            self.position = self.journal.position(f"e1-{self.position}")
        except ResetError:
            self._reset()

    def read(self, count: int) -> None:
        if not self.is_here or self.is_live:
            return
        try:
            events, self.position = self.journal.read(self.position, self.wanted, count)
        except ResetError:
            self._reset()
            return
        self.record += [event.seq for event in events]
        self.is_live = self.position == self.journal.last

    def _reset(self) -> None:
        self.resets.append((self.position + 1, self.journal.last))
        self.position = self.journal.last
