"""What is fuzzed: something that draws inputs and says whether the law holds."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, ClassVar
from zlib import crc32

from praxis_fast.errors import ProtocolError
from tests.conftest import cuts
from tests.fuzz.mutator import Mutator

# What a parser made of its input, or the error it documents.
Outcome = Any


class Target(ABC):
    """Draws inputs from a seeded generator; `check` raises when one is a finding."""

    name: ClassVar[str]
    share: ClassVar[float] = 1.0
    """How many of the executions asked for; a script of many steps counts as many."""
    goals: ClassVar[Sequence[str]] = ()
    """What a few thousand executions must have reached, as `reached` names it."""

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        """How many executions came to what: errors, kinds of answers, policies."""

    @abstractmethod
    def draw(self, rng: Random) -> bytes:
        """The next input; depends on nothing but the generator."""

    @abstractmethod
    def check(self, data: bytes) -> None:
        """Run the input; whatever is raised is a finding."""


class ScriptTarget(Target):
    """A long random script; the input is the seed of its generator."""

    share = 0.01

    def draw(self, rng: Random) -> bytes:
        return rng.randbytes(8)


class ParserTarget(Target):
    """A parser of untrusted bytes; its inputs are bent from good ones."""

    tokens: ClassVar[Sequence[bytes]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.mutator = Mutator(self.seeds(), self.tokens)

    @abstractmethod
    def seeds(self) -> Sequence[bytes]:
        """Good inputs."""

    def draw(self, rng: Random) -> bytes:
        return self.mutator.draw(rng)


def attempt(error: type[ProtocolError], parse: Callable[..., Any], *args: Any) -> Any:
    """What the parser returns, or its documented error's text; others go through."""
    try:
        return parse(*args)
    except error as refusal:
        if type(refusal) is not error:
            raise
        return refusal


def quick_cuts(data: bytes, seed: int) -> list[bytes]:
    """The data in up to six pieces, empty ones included; the seed has 32 bits."""
    places = [0, len(data)]
    for _ in range(seed % 6):
        seed = seed * 1664525 + 1013904223 & 0xFFFFFFFF
        places.append((seed >> 8) % (len(data) + 1))
    places.sort()
    return [data[a:b] for a, b in itertools.pairwise(places)]


def same_for_every_cut(run: Callable[[list[bytes]], Outcome], data: bytes) -> Outcome:
    """The outcome, which is the same whole, byte by byte and at random cuts."""
    whole = run([data])
    # Half of a byte at a time would cost most of the executions.
    rng = Random(crc32(data))
    ways = [cuts(data, rng)]
    if rng.random() < 0.1:
        ways.append([data[i : i + 1] for i in range(len(data))])
    for chunks in ways:
        outcome = run(chunks)
        assert outcome == whole, f"{outcome!r} in {chunks!r}, {whole!r} in one piece"
    return whole
