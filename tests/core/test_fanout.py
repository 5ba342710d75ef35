"""The fan-out: what each subscriber receives, counted frame by frame."""

from __future__ import annotations

import gc
import random
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from praxis_fast.errors import UsageError
from tests.conftest import has_core, load_backend

if TYPE_CHECKING:
    from types import SimpleNamespace

POLICIES = ["disconnect", "drop_oldest", "coalesce"]
TOPICS = [None, None, "a", "b", "c"]


def make_frame(seq: int, size: int) -> bytes:
    """A frame that tells its number; the size is at least 6."""
    return f"<{seq:04}".encode().ljust(size - 1, b".") + b">"


def read_seqs(data: bytes) -> list[int]:
    """The numbers of the frames joined in the data."""
    return [int(part[1:5]) for part in data.split(b">") if part]


class Model:
    """What one subscriber has to receive: a queue of (seq, size, topic) or gaps."""

    def __init__(self, group: str, bounds: tuple[int, int], policy: str) -> None:
        self.queue: list[tuple[int, int, str | None] | tuple[int]] = []
        self.move(group, bounds, policy)
        self.unwritten = 0
        self.received: list[int] = []
        self.expected: list[int] = []
        self.lost: list[int] = []
        self.last_seq = 0

    def move(self, group: str, bounds: tuple[int, int], policy: str) -> None:
        self.group = group
        self.max_bytes, self.max_events = bounds
        self.policy = policy
        self.is_coalescing = False

    def frames(self) -> list[tuple[int, int, str | None]]:
        return [item for item in self.queue if len(item) == 3]

    def is_over(self) -> bool:
        frames = self.frames()
        size = sum(size for _, size, _ in frames)
        return size > self.max_bytes or len(frames) > self.max_events

    def drop(self, seq: int) -> None:
        self.queue = [(seq,) if item[0] == seq else item for item in self.queue]

    def coalesce(self) -> None:
        newest = {topic: seq for seq, _, topic in self.frames()}
        for seq, _, topic in self.frames():
            if topic is not None and newest[topic] != seq:
                self.drop(seq)

    def publish(self, seq: int, size: int, topic: str | None) -> bool:
        """Take a frame; False when the subscriber is ended."""
        self.expected.append(seq)
        self.queue.append((seq, size, topic))
        if self.is_coalescing:
            self.coalesce()
        if self.is_over():
            if self.policy == "disconnect":
                return False
            if self.policy == "coalesce":
                self.is_coalescing = True
                self.coalesce()
            while self.is_over():
                self.drop(self.frames()[0][0])
        return True

    def take_gaps(self) -> list[tuple[int, int, int]]:
        """The gaps in the queue, neighbours merged; the frames stay."""
        gaps: list[tuple[int, int, int]] = []
        is_open = False
        for item in self.queue:
            if len(item) == 1 and is_open:
                first, _, count = gaps.pop()
                gaps.append((first, item[0], count + 1))
            elif len(item) == 1:
                gaps.append((item[0], item[0], 1))
            is_open = len(item) == 1
        self.lost += [item[0] for item in self.queue if len(item) == 1]
        self.queue = list(self.frames())
        self.is_coalescing = self.is_coalescing and bool(self.queue)
        return gaps

    def serve(self) -> tuple[list[tuple[int, int, int]], list[int]]:
        """The gaps and the frames of one turn."""
        gaps = self.take_gaps()
        frames = self.frames()
        self.queue = []
        self.is_coalescing = False
        seqs = [seq for seq, _, _ in frames]
        self.unwritten = sum(size for _, size, _ in frames)
        self.received += seqs
        if seqs:
            self.last_seq = seqs[-1]
        return gaps, seqs


keys = st.integers(0, 5)
bounds = st.tuples(st.sampled_from([10, 40, 80, 1000]), st.sampled_from([1, 3, 5, 40]))
groups = st.sampled_from(["g", "h"])


class Traffic(RuleBasedStateMachine):
    """Frames and gaps of every subscriber are exactly what was published to it."""

    backend: SimpleNamespace

    def __init__(self) -> None:
        super().__init__()
        self.fanout = self.backend.Fanout()
        self.models: dict[int, Model] = {}
        self.expelled: list[tuple[int, int]] = []
        self.seq = 0

    @rule(key=keys, group=groups, bounds=bounds, policy=st.sampled_from(POLICIES))
    def subscribe(
        self, key: int, group: str, bounds: tuple[int, int], policy: str
    ) -> None:
        self.fanout.subscribe(
            key, group, max_bytes=bounds[0], max_events=bounds[1], policy=policy
        )
        if key in self.models:
            self.models[key].move(group, bounds, policy)
        else:
            self.models[key] = Model(group, bounds, policy)
            self.models[key].last_seq = self.seq

    @rule(key=keys)
    def unsubscribe(self, key: int) -> None:
        self.fanout.unsubscribe(key)
        self.models.pop(key, None)

    @rule(
        size=st.integers(6, 60),
        to=st.sampled_from([("g",), ("h",), ("g", "h"), (), ("nobody", "g")]),
        topic=st.sampled_from(TOPICS),
        count=st.sampled_from([1, 1, 2, 7]),
    )
    def publish(self, size: int, to: tuple[str], topic: str | None, count: int) -> None:
        for _ in range(count):
            self.seq += 1
            data = make_frame(self.seq, size)
            self.fanout.publish(data, to, self.seq, topic=topic)
            for key, model in list(self.models.items()):
                if model.group in to and not model.publish(self.seq, size, topic):
                    self.expelled.append((key, model.last_seq))
                    del self.models[key]

    @rule(budget=st.sampled_from([None, None, 1, 2, 3]))
    def flush(self, budget: int | None) -> None:
        handed = self.fanout.flush(budget)
        assert budget is None or len(handed) <= budget
        assert len({key for key, _ in handed}) == len(handed)
        for key, data in handed:
            model = self.models[key]
            assert model.unwritten == 0
            gaps, seqs = model.serve()
            assert self.fanout.gaps(key) == gaps
            assert read_seqs(data) == seqs
            assert gaps or seqs
            assert self.fanout.gaps(key) == []
        if budget is None:
            assert not self.fanout.has_pending
            assert not any(
                model.queue and not model.unwritten for model in self.models.values()
            )

    @rule(key=keys)
    def flush_key(self, key: int) -> None:
        data = self.fanout.flush_key(key)
        model = self.models.get(key)
        if data is None:
            assert model is None or model.unwritten or not model.queue
            return
        assert model is not None
        assert model.unwritten == 0
        gaps, seqs = model.serve()
        assert self.fanout.gaps(key) == gaps
        assert read_seqs(data) == seqs
        assert gaps or seqs

    @rule(key=keys)
    def drop(self, key: int) -> None:
        lost = self.fanout.drop(key)
        model = self.models.get(key)
        if model is None or not model.queue:
            assert lost is None
            return
        numbers = [item[0] for item in model.queue]
        assert lost == (numbers[0], numbers[-1], len(numbers))
        model.lost += numbers
        model.queue = []
        model.is_coalescing = False
        assert self.fanout.gaps(key) == []
        assert not self.fanout.is_waiting(key)

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def written(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[key]
        n = data.draw(st.sampled_from([0, 1, model.unwritten]))
        n = min(n, model.unwritten)
        self.fanout.written(key, n)
        model.unwritten -= n

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def gaps(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.models)))
        assert self.fanout.gaps(key) == self.models[key].take_gaps()

    @rule()
    def take_expelled(self) -> None:
        assert sorted(self.fanout.expelled()) == sorted(self.expelled)
        self.expelled.clear()

    @invariant()
    def everything_is_received_or_waiting_or_lost(self) -> None:
        assert len(self.fanout) == len(self.models)
        for key, model in self.models.items():
            assert key in self.fanout
            assert self.fanout.is_waiting(key) == bool(model.queue)
            waiting = [item[0] for item in model.queue]
            assert sorted(model.received + model.lost + waiting) == model.expected

    @invariant()
    def whoever_can_be_served_will_be(self) -> None:
        if any(model.queue and not model.unwritten for model in self.models.values()):
            assert self.fanout.has_pending

    @invariant()
    def memory_is_what_is_waited_for(self) -> None:
        waiting = {
            seq: size
            for model in self.models.values()
            for seq, size, _ in model.frames()
        }
        # A log is trimmed to what its slowest subscriber may still ask for.
        least = sum(waiting.values())
        assert least <= self.fanout.pending_bytes <= self.most(least)

    def most(self, least: int) -> int:
        if self.backend.name == "pure" or not least:
            return least
        return least + 2 * 1000


def test_ws_8_each_subscriber_gets_exactly_its_frames_and_gaps(
    backend: SimpleNamespace,
) -> None:
    machine = type("Traffic", (Traffic,), {"backend": backend})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=250, stateful_step_count=60, deadline=None),
    )


@pytest.fixture
def fanout(backend: SimpleNamespace) -> Any:
    return backend.Fanout()


def test_level_subscribers_get_the_same_object_joined_once(fanout: Any) -> None:
    for key in range(5):
        fanout.subscribe(key, "g")
    fanout.publish(b"one", ["g"], 1)
    fanout.publish(b"two", ["g"], 2)
    handed = fanout.flush()
    assert [data for _, data in handed] == [b"onetwo"] * 5
    assert len({id(data) for _, data in handed}) == 1
    assert not fanout.has_pending
    assert fanout.flush() == []


def test_a_single_frame_is_handed_out_as_it_is(fanout: Any) -> None:
    fanout.subscribe("a", "g")
    fanout.subscribe("b", "h")
    frame = b"frame of one"
    fanout.publish(frame, ("g", "h"), 1)
    assert all(data is frame for _, data in fanout.flush())


def test_level_subscribers_get_the_same_object_over_several_slices(
    fanout: Any,
) -> None:
    for key in range(5):
        fanout.subscribe(key, "g")
    for seq in (1, 2):
        fanout.publish(b"frame", ["g"], seq)
    handed = fanout.flush(2)
    assert fanout.has_pending
    handed += fanout.flush(2)
    handed += fanout.flush(2)
    assert not fanout.has_pending
    assert {key for key, _ in handed} == set(range(5))
    assert len({id(data) for _, data in handed}) == 1


def test_a_subscriber_with_unwritten_bytes_is_handed_nothing_more(fanout: Any) -> None:
    fanout.subscribe("a", "g")
    fanout.publish(b"one", ["g"], 1)
    assert fanout.flush() == [("a", b"one")]
    fanout.publish(b"two", ["g"], 2)
    assert fanout.flush() == []
    fanout.written("a", 2)
    assert fanout.flush() == []
    fanout.publish(b"three", ["g"], 3)
    assert fanout.flush() == []
    assert fanout.pending_bytes == 8
    fanout.written("a", 1)
    assert fanout.has_pending
    assert fanout.flush() == [("a", b"twothree")]
    assert fanout.pending_bytes == 0


def test_writing_more_than_was_handed_out_counts_as_all_of_it(fanout: Any) -> None:
    fanout.subscribe("a", "g")
    fanout.publish(b"one", ["g"], 1)
    fanout.flush()
    fanout.written("a", 100)
    fanout.publish(b"two", ["g"], 2)
    assert fanout.flush() == [("a", b"two")]


def test_others_never_wait_for_a_slow_subscriber(fanout: Any) -> None:
    fanout.subscribe("slow", "g")
    fanout.subscribe("quick", "g")
    for seq in range(1, 20):
        fanout.publish(b"frame", ["g"], seq)
        handed = dict(fanout.flush())
        assert handed["quick"] == b"frame"
        fanout.written("quick", 5)
    fanout.written("slow", 5)
    assert fanout.flush() == [("slow", b"frame" * 18)]


def test_subscribers_get_only_what_came_after_them(fanout: Any) -> None:
    fanout.subscribe("a", "g")
    fanout.publish(b"one", ["g"], 1)
    fanout.subscribe("b", "g")
    fanout.publish(b"two", ["g"], 2)
    assert sorted(fanout.flush()) == [("a", b"onetwo"), ("b", b"two")]


def test_ws_8_disconnect_ends_a_slow_subscriber_and_says_where_it_was(
    fanout: Any,
) -> None:
    fanout.publish(b"before", ["g"], 7)
    fanout.subscribe("a", "g", max_events=2, policy="disconnect")
    fanout.subscribe("never", "g", max_bytes=4, policy="disconnect")
    fanout.publish(b"eight", ["g"], 8)
    assert fanout.flush() == [("a", b"eight")]
    assert fanout.expelled() == [("never", 7)]
    for seq in (9, 10):
        fanout.publish(b"more", ["g"], seq)
    assert "a" in fanout
    fanout.publish(b"over", ["g"], 11)
    assert "a" not in fanout
    assert fanout.expelled() == [("a", 8)]
    assert fanout.expelled() == []
    assert fanout.flush() == []
    assert fanout.pending_bytes == 0
    fanout.written("a", 5)
    assert fanout.gaps("a") == []


def test_ws_8_drop_oldest_tells_the_exact_gap(fanout: Any) -> None:
    fanout.subscribe("a", "g", max_events=2)
    fanout.publish(b"first", ["g"], 3)
    assert fanout.flush() == [("a", b"first")]
    for seq in (5, 8, 9, 12):
        fanout.publish(b"%02d" % seq, ["g"], seq)
    fanout.written("a", 5)
    assert fanout.flush() == [("a", b"0912")]
    assert fanout.has_gaps
    assert fanout.gaps("a") == [(5, 8, 2)]
    assert fanout.gaps("a") == []
    assert not fanout.has_gaps


def test_drop_oldest_hands_out_nothing_but_the_gap_when_a_frame_is_too_large(
    fanout: Any,
) -> None:
    fanout.subscribe("a", "g", max_bytes=4)
    fanout.publish(b"ok", ["g"], 1)
    fanout.publish(b"large", ["g"], 2)
    assert fanout.flush() == [("a", b"")]
    assert fanout.gaps("a") == [(1, 2, 2)]
    assert not fanout.has_pending
    fanout.publish(b"fine", ["g"], 3)
    assert fanout.flush() == [("a", b"fine")]


def test_coalesce_keeps_the_newest_frame_of_each_topic(fanout: Any) -> None:
    fanout.subscribe("a", "g", max_events=3, policy="coalesce")
    for seq, topic in enumerate("xyxyz", 1):
        fanout.publish(b"%d%s" % (seq, topic.encode()), ["g"], seq, topic=topic)
    assert fanout.flush() == [("a", b"3x4y5z")]
    assert fanout.gaps("a") == [(1, 2, 2)]
    fanout.written("a", 6)
    for seq, topic in enumerate("xxx", 6):
        fanout.publish(b"%d%s" % (seq, topic.encode()), ["g"], seq, topic=topic)
    assert fanout.flush() == [("a", b"6x7x8x")]
    assert fanout.gaps("a") == []


def test_coalescing_ends_when_only_a_gap_waited_and_is_told(fanout: Any) -> None:
    fanout.subscribe("a", "g", max_bytes=10, policy="coalesce")
    fanout.publish(b"x" * 11, ["g"], 1, topic="one")
    assert fanout.gaps("a") == [(1, 1, 1)]
    fanout.publish(b"two", ["g"], 2, topic="one")
    fanout.publish(b"three", ["g"], 3, topic="one")
    assert fanout.flush() == [("a", b"twothree")]


def test_coalesce_drops_the_oldest_when_topics_are_too_many(fanout: Any) -> None:
    fanout.subscribe("a", "g", max_events=2, policy="coalesce")
    for seq, topic in enumerate(["x", None, "y", "x"], 1):
        fanout.publish(b"%d" % seq, ["g"], seq, topic=topic)
    assert fanout.flush() == [("a", b"34")]
    assert fanout.gaps("a") == [(1, 2, 2)]


def test_one_subscriber_is_served_out_of_its_turn_and_nobody_else(fanout: Any) -> None:
    for key in range(5):
        fanout.subscribe(key, "g")
    for seq in (1, 2):
        fanout.publish(b"frame", ["g"], seq)
    data = fanout.flush_key(3)
    assert data == b"frameframe"
    assert fanout.flush_key(3) is None
    handed = fanout.flush()
    assert {key for key, _ in handed} == {0, 1, 2, 4}
    assert all(other is data for _, other in handed)
    fanout.publish(b"more", ["g"], 3)
    assert fanout.flush_key(3) is None
    fanout.written(3, 10)
    assert fanout.flush_key(3) == b"more"
    assert fanout.flush_key("nobody") is None


def test_one_subscriber_served_alone_is_told_its_gap(fanout: Any) -> None:
    fanout.subscribe("a", "g", max_events=1)
    for seq in (1, 2, 3):
        fanout.publish(b"%d" % seq, ["g"], seq)
    assert fanout.flush_key("a") == b"3"
    assert fanout.gaps("a") == [(1, 2, 2)]
    assert fanout.flush() == []
    assert fanout.pending_bytes == 0


def test_what_waits_for_one_subscriber_is_dropped_as_one_gap(fanout: Any) -> None:
    fanout.subscribe("a", "g", max_events=2)
    fanout.subscribe("b", "g")
    assert fanout.drop("a") is fanout.drop("nobody") is None
    for seq in (1, 2, 3, 4):
        fanout.publish(b"%d" % seq, ["g"], seq)
    assert fanout.drop("a") == (1, 4, 4)
    assert fanout.drop("a") is None
    assert fanout.flush() == [("b", b"1234")]
    assert fanout.pending_bytes == 0
    fanout.publish(b"5", ["g"], 5)
    assert fanout.flush() == [("a", b"5")]
    fanout.written("b", 4)
    assert fanout.drop("b") == (5, 5, 1)
    assert fanout.flush() == []


class Lazy:
    """What came to each subscriber of one twin, asked for as seldom as can be."""

    def __init__(self, backend: SimpleNamespace, filters: list[int]) -> None:
        self.fanout = backend.Fanout()
        self.data: dict[int, bytes] = {}
        self.gaps: dict[int, list[tuple[int, int, int]]] = {}
        self.waiting: dict[int, int] = {}
        self.gone: list[tuple[int, int]] = []
        for key, group in enumerate(filters):
            self.fanout.subscribe(
                key, group, max_events=5 + key % 7 * 4, policy=POLICIES[key % 3]
            )

    def flush(self, budget: int | None) -> None:
        while self.fanout.has_pending:
            for key, data in self.fanout.flush(budget):
                assert key not in self.waiting
                if self.fanout.has_gaps and (gaps := self.fanout.gaps(key)):
                    self.gaps[key] = self.gaps.get(key, []) + gaps
                self.data[key] = self.data.get(key, b"") + data
                self.waiting[key] = len(data)

    def write(self, key: int) -> None:
        self.fanout.written(key, self.waiting.pop(key, 0))

    def end(self) -> Any:
        while self.fanout.has_pending or self.waiting:
            self.flush(None)
            for key in list(self.waiting):
                self.write(key)
        gone = sorted(self.gone + self.fanout.expelled())
        queued, waiting = self.fanout.queued, self.fanout.pending_bytes
        return self.data, self.gaps, gone, queued, waiting


def test_ws_8_twins_agree_when_nobody_looks_between_publishing_and_flushing(
    seed: random.Random,
) -> None:
    """The work put off by `publish` is done before it could be missed."""
    twins = [load_backend("pure"), *([load_backend("core")] if has_core() else [])]
    for _ in range(150):
        filters = [seed.randrange(8) for _ in range(24)]
        lazies = [Lazy(twin, filters) for twin in twins]
        tuples = [tuple(seed.sample(range(8), n)) for n in (1, 3, 8)]
        budget, seq = seed.choice([None, None, 1, 5, 9]), 0
        for _ in range(40):
            to, count = seed.choice(tuples), seed.choice([1, 1, 2, 16, 20])
            for _ in range(count):
                seq += 1
                data, topic = make_frame(seq, 10), seed.choice([None, "a", "b"])
                for lazy in lazies:
                    lazy.fanout.publish(data, to, seq, topic=topic)
            writers = seed.sample(range(24), seed.choice([0, 12, 24]))
            moves = seed.choice([None, None, None, seed.randrange(24)])
            is_flushed, is_asked = seed.random() < 0.7, seed.random() < 0.2
            for lazy in lazies:
                if is_flushed:
                    lazy.flush(budget)
                for key in writers:
                    lazy.write(key)
                if moves is not None and moves in lazy.fanout:
                    lazy.fanout.subscribe(moves, seq % 8, max_events=7)
                if is_asked:
                    lazy.gone += lazy.fanout.expelled()
        first, *others = [lazy.end() for lazy in lazies]
        assert all(other == first for other in others)
        assert first[-1] == 0


def test_groups_that_are_level_share_one_joined_piece(backend: SimpleNamespace) -> None:
    fanout, groups = backend.Fanout(), ("g", "h", "i")
    for key, group in enumerate("gghi"):
        fanout.subscribe(key, group)
    for seq in range(3):
        fanout.publish(b"%d" % seq, groups, seq)
    handed = fanout.flush()
    assert handed == [(key, b"012") for key in range(4)]
    assert len({id(data) for _, data in handed}) == 1
    assert fanout.pending_bytes == 0


def test_frames_are_counted_for_each_subscriber(fanout: Any) -> None:
    for key in range(3):
        fanout.subscribe(key, "h" if key else "g")
    groups = ("g", "h", "nobody")
    for seq in range(40):
        fanout.publish(b"x", groups, seq)
        if seq == 20:
            assert fanout.queued == 21 * 3
    fanout.flush()
    fanout.publish(b"x", ("g",), 40)
    fanout.flush()
    assert fanout.queued == 40 * 3 + 1


def test_a_subscriber_that_moves_keeps_what_waits_and_what_is_unwritten(
    fanout: Any,
) -> None:
    fanout.subscribe("a", "g")
    fanout.publish(b"one", ["g"], 1)
    fanout.flush()
    fanout.publish(b"two", ["g"], 2)
    fanout.subscribe("a", "h", max_events=3)
    fanout.publish(b"no", ["g"], 3)
    fanout.publish(b"four", ["h"], 4)
    assert fanout.flush() == []
    fanout.written("a", 3)
    assert fanout.flush() == [("a", b"twofour")]
    fanout.written("a", 7)
    fanout.publish(b"five", ["h"], 5)
    assert fanout.flush() == [("a", b"five")]


def test_unsubscribing_between_slices_hurts_nobody_else(
    backend: SimpleNamespace, seed: random.Random
) -> None:
    for _ in range(50):
        fanout = backend.Fanout()
        for key in range(20):
            fanout.subscribe(key, "g")
        fanout.publish(b"frame", ["g"], 1)
        served: set[int] = set()
        gone: set[int] = set()
        while fanout.has_pending:
            handed = {key for key, _ in fanout.flush(3)}
            assert not handed & (gone | served)
            served |= handed
            for key in seed.sample(range(20), 2):
                fanout.unsubscribe(key)
                gone.add(key)
        assert served | gone == set(range(20))


def test_slices_reach_everybody_while_frames_keep_coming(fanout: Any) -> None:
    for key in range(10):
        fanout.subscribe(key, "g" if key % 2 else "h")
    counts = dict.fromkeys(range(10), 0)
    for seq in range(1, 101):
        fanout.publish(b"x", ["g", "h"], seq)
        for key, data in fanout.flush(4):
            counts[key] += len(data)
            fanout.written(key, len(data))
    assert min(counts.values()) > 90


def test_a_matched_group_is_a_group_for_the_fanout(backend: SimpleNamespace) -> None:
    matcher, fanouts = backend.Matcher(), [backend.Fanout(), backend.Fanout()]

    class Everything:
        event_types = source_patterns = peers = tasks = min_priority = role = None
        required_tags = excluded_tags = frozenset[str]()
        overrides_matches = False

    group = matcher.add("a", Everything())
    for number, fanout in enumerate(fanouts):
        fanout.subscribe("a", group)
        fanout.publish(b"%d" % number, (group,), 1)
    assert [fanout.flush() for fanout in fanouts] == [[("a", b"0")], [("a", b"1")]]
    fanouts[0].unsubscribe("a")
    fanouts[1].written("a", 1)
    for fanout in fanouts:
        fanout.publish(b"again", (group,), 2)
    assert fanouts[0].flush() == []
    assert fanouts[1].flush() == [("a", b"again")]
    fanouts[0].subscribe("b", group)
    fanouts[0].publish(b"new", (group,), 3)
    assert fanouts[0].flush() == [("b", b"new")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 0}, "max_bytes of 0, at least 1"),
        ({"max_events": -1}, "max_events of -1, at least 1"),
        (
            {"policy": "wait"},
            "policy 'wait' is not one of disconnect, drop_oldest, coalesce",
        ),
    ],
)
def test_subscribe_refuses_what_cannot_work(
    fanout: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        fanout.subscribe("a", "g", **options)
    assert str(caught.value) == message
    assert len(fanout) == 0


@pytest.mark.parametrize(
    ("frame", "seq", "topic", "message"),
    [
        ("text", 9, None, "frame must be bytes, not str"),
        (bytearray(b"x"), 9, None, "frame must be bytes, not bytearray"),
        (b"", 9, None, "frame is empty"),
        (b"x", 4, None, "sequence 4 after 5"),
        (b"x", 9, 7, "topic must be a str, not int"),
    ],
)
def test_publish_refuses_what_cannot_work(
    fanout: Any, frame: Any, seq: int, topic: Any, message: str
) -> None:
    fanout.subscribe("a", "g")
    fanout.publish(b"x", ["g"], 5)
    with pytest.raises(UsageError) as caught:
        fanout.publish(frame, ["g"], seq, topic=topic)
    assert str(caught.value) == message
    assert fanout.flush() == [("a", b"x")]


def test_flush_and_written_refuse_what_cannot_work(fanout: Any) -> None:
    fanout.subscribe("a", "g")
    with pytest.raises(UsageError, match=r"^budget of 0, at least 1$"):
        fanout.flush(0)
    with pytest.raises(UsageError, match=r"^-1 bytes written, at least 0$"):
        fanout.written("a", -1)
    with pytest.raises(TypeError, match="unhashable"):
        fanout.subscribe("b", [])
    with pytest.raises(TypeError, match="unhashable"):
        fanout.subscribe([], "g")
    assert len(fanout) == 1


def test_fanout_takes_no_arguments(backend: SimpleNamespace) -> None:
    with pytest.raises(TypeError):
        backend.Fanout(1)


def test_unknown_keys_are_ignored(fanout: Any) -> None:
    fanout.unsubscribe("a")
    fanout.written("a", 5)
    assert fanout.gaps("a") == []
    assert fanout.expelled() == []
    assert not fanout.is_waiting("a")
    assert "a" not in fanout


def test_very_wide_bounds_do_not_overflow(fanout: Any) -> None:
    fanout.subscribe("a", "g", max_bytes=2**80, max_events=2**80)
    for seq in range(100):
        fanout.publish(b"x" * 100, ["g"], seq)
    assert fanout.flush() == [("a", b"x" * 10_000)]


def test_gaps_nobody_fetches_are_bounded_and_none_is_lost(fanout: Any) -> None:
    fanout.subscribe("a", "g", max_events=1)
    for seq in range(1, 3001, 2):
        fanout.publish(b"x", ["g"], seq)
        fanout.publish(b"y", ["g"], seq + 1)
        fanout.flush()
        fanout.written("a", 1)
    gaps = fanout.gaps("a")
    assert len(gaps) == 1024
    assert sum(dropped for _, _, dropped in gaps) == 1500
    assert gaps[:2] == [(1, 1, 1), (3, 3, 1)]
    assert gaps[-1][1] == 2999


@pytest.mark.parametrize("policy", ["drop_oldest", "coalesce"])
def test_ws_8_memory_is_bounded_when_nobody_reads(fanout: Any, policy: str) -> None:
    for key in range(3):
        fanout.subscribe(key, "g", max_bytes=10_000, max_events=100, policy=policy)
    fanout.publish(b"x" * 100, ["g"], 0)
    fanout.flush()

    def publish(first: int, count: int) -> None:
        for seq in range(first, first + count):
            fanout.publish(b"x" * 100, ["g"], seq, topic=f"t{seq}")
            fanout.flush()
            assert fanout.pending_bytes <= 10_100

    publish(1, 300)
    tracemalloc.start()
    try:
        publish(301, 200)
        before = tracemalloc.get_traced_memory()[0]
        publish(501, 1500)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    fanout.written(0, 100)
    assert fanout.flush() == [(0, b"x" * 10_000)]
    assert fanout.gaps(0) == [(1, 1900, 1900)]


def test_memory_is_freed_when_subscribers_and_groups_come_and_go(fanout: Any) -> None:
    def churn(first: int) -> None:
        for seq in range(first, first + 1000):
            group = f"g{seq}"
            fanout.subscribe("a", group)
            fanout.subscribe("b", group, policy="disconnect", max_events=1)
            fanout.publish(b"x" * 50, [group], seq)
            fanout.publish(b"x" * 50, [group], seq)
            fanout.unsubscribe("a")
            fanout.expelled()
            fanout.flush()

    tracemalloc.start()
    try:
        churn(1)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        churn(1001)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert (fanout.pending_bytes, len(fanout)) == (0, 0)


def test_a_fanout_in_a_cycle_is_collected(backend: SimpleNamespace) -> None:
    class Key:
        fanout: Any = None

    key = Key()
    key.fanout = backend.Fanout()
    key.fanout.subscribe(key, key, policy="coalesce", max_events=1)
    for seq in range(3):
        key.fanout.publish(b"x", [key], seq, topic="t")
    gone = weakref.ref(key)
    del key
    gc.collect()
    assert gone() is None


def test_subscriptions_may_change_when_the_collector_runs(
    backend: SimpleNamespace,
) -> None:
    fanout = backend.Fanout()
    numbers = iter(range(10**9))
    seqs = iter(range(10**9))

    class Finalizer:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            number = next(numbers)
            policy = POLICIES[number % 3]
            fanout.subscribe(number % 30, number % 2, policy=policy, max_events=3)
            fanout.unsubscribe((number * 7) % 30)
            fanout.publish(b"gc", [number % 2], fanout_seq(), topic=str(number % 5))

    def fanout_seq() -> int:
        return next(seqs)

    thresholds = gc.get_threshold()
    gc.set_threshold(3, 2, 2)
    try:
        for number in range(2000):
            Finalizer()
            try:
                fanout.publish(b"x", [0, 1], fanout_seq(), topic="t")
            except UsageError as error:
                assert "after" in str(error)  # noqa: PT017
            for key, data in fanout.flush(10):
                fanout.gaps(key)
                if number % 3:
                    fanout.written(key, len(data))
            fanout.expelled()
    finally:
        gc.set_threshold(*thresholds)
    for key in range(30):
        fanout.unsubscribe(key)
    gc.collect()
    for key in range(30):
        fanout.unsubscribe(key)
    assert fanout.pending_bytes == 0
