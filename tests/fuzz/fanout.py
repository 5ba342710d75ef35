"""The fan-out: both twins hand out the same bytes, gaps and goodbyes."""

from __future__ import annotations

from random import Random
from typing import Any

from praxis_fast.errors import UsageError
from tests.fuzz.target import ScriptTarget
from tests.fuzz.yamux import backends

POLICIES = ["disconnect", "drop_oldest", "coalesce"]
GROUPS = ["g1", "g2", ("g", 3), 4]
TOPICS = [None, None, "a", "b", "c" * 20]
BUDGETS = [None] * 8 + [1, 1, 2, 2, 3, 5, 0]
STEPS = 80


class FanoutScript(ScriptTarget):
    """Publishing to subscribers who read at random."""

    name = "fanout"

    def __init__(self) -> None:
        self.backends = backends()

    def check(self, data: bytes) -> None:
        first, *others = [Script(each, data).run() for each in self.backends]
        for other in others:
            for step, (one, two) in enumerate(zip(first, other, strict=True)):
                assert one == two, f"step {step}: {two}, plain {one}"


class Script:
    """One random life of a fan-out; everything it answered."""

    def __init__(self, backend: Any, seed: bytes) -> None:
        self.rng = Random(seed)
        self.fanout = backend.Fanout()
        self.seq = 0

    def run(self) -> list[Any]:
        names = ["publish"] * 8 + ["flush"] * 3 + ["written"] * 3 + ["subscribe"] * 2
        names += ["gaps", "expelled", "unsubscribe"]
        return [self.step(self.rng.choice(names)) for _ in range(STEPS)]

    def step(self, name: str) -> Any:
        try:
            result = getattr(self, name)()
        except UsageError as error:
            result = str(error)
        fanout = self.fanout
        # `has_pending` may say too much, so twins may differ in it.
        counts = len(fanout), fanout.has_gaps, fanout.pending_bytes
        return name, result, counts, self.key() in fanout

    def key(self) -> int:
        return self.rng.randrange(8)

    def publish(self) -> None:
        rng = self.rng
        self.seq += rng.choice([0, 1, 1, 1, 5, -1 if rng.random() < 0.02 else 1])
        size = rng.choice([1, 1, 3, 10, 60, 0 if rng.random() < 0.02 else 1])
        groups = rng.sample(GROUPS, rng.choice([0, 1, 1, 2, 4]))
        frame = bytes([97 + self.seq % 26]) * size
        self.fanout.publish(frame, groups, self.seq, topic=rng.choice(TOPICS))

    def flush(self) -> Any:
        """A whole turn in slices; whose slice comes first is each twin's own matter."""
        budget = self.rng.choice(BUDGETS)
        turn: dict[Any, bytes] = {}
        while self.fanout.has_pending:
            handed = self.fanout.flush(budget)
            assert budget is None or len(handed) <= budget
            assert turn.keys().isdisjoint(dict(handed))
            turn.update(handed)
        assert self.fanout.flush(budget) == []
        return turn

    def written(self) -> None:
        self.fanout.written(self.key(), self.rng.choice([0, 1, 5, 100, 10_000, -1]))

    def subscribe(self) -> None:
        rng = self.rng
        self.fanout.subscribe(
            self.key(),
            rng.choice(GROUPS),
            max_bytes=rng.choice([1, 5, 40, 1000, 0 if rng.random() < 0.1 else 60]),
            max_events=rng.choice([1, 2, 3, 10, 1000]),
            policy=rng.choice(POLICIES),
        )

    def gaps(self) -> Any:
        return self.fanout.gaps(self.key())

    def expelled(self) -> Any:
        return sorted(self.fanout.expelled())

    def unsubscribe(self) -> None:
        self.fanout.unsubscribe(self.key())
