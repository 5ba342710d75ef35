"""Whole links: TCP, Noise, yamux and identify between two processes on loopback.

Each pair of peers is two processes; all pairs are measured in turn. All limits are on,
as they are by default: the control frames of a round and the idle links and streams
keep within them.
"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from praxis_fast import core
from praxis_fast.benchmarks.awake import awake
from praxis_fast.benchmarks.notes import Notes
from praxis_fast.benchmarks.process import BenchError, Process, own_program
from praxis_fast.benchmarks.rows import Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["OWN", "Pair", "Work", "measure", "measure_memory", "own_pairs"]

GIGABYTE: Final = 10**9
SETTLING: Final = 40
OWN: Final = tuple(own_program("link_peer"))


@dataclass(frozen=True, slots=True)
class Pair:
    """Who dials whom; the commands of two programs."""

    name: str
    dialer: Sequence[str]
    listener: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """How much is done in a round."""

    dials: int = 10
    pings: int = 50
    size: int = 100_000_000
    streams: int = 1000
    parallel: int = 200


class Measured:
    """A pair that runs, and its samples by table."""

    def __init__(self, pair: Pair, stack: ExitStack) -> None:
        environment = {**os.environ, **pair.environment}
        self.name = pair.name
        self.dialer, self.listener = (
            stack.enter_context(Process(command, environment=environment))
            for command in (pair.dialer, pair.listener)
        )
        self.samples: dict[str, list[float]] = {}

    def round(self, work: Work) -> None:
        """Everything once."""
        told = self._ask("dial", addr=self.listener.hello["addrs"][0], count=work.dials)
        peer_id = told["peer_id"]
        self._keep("dial", statistics.median(told["seconds"]))
        told = self._ask("ping", peer_id=peer_id, count=work.pings)
        self._keep("ping", statistics.median(told["seconds"]))
        used = self._cpu()
        for name, up, down in (("up", work.size, 0), ("down", 0, work.size)):
            told = self._ask("transfer", peer_id=peer_id, up=up, down=down)
            self._keep(name, told["seconds"])
        used = self._cpu() - used
        self._keep("cpu", used * GIGABYTE / (2 * work.size))
        for name, parallel in (("one by one", 1), ("at once", work.parallel)):
            count = max(work.streams, parallel)
            told = self._ask("streams", peer_id=peer_id, count=count, parallel=parallel)
            self._keep(name, told["seconds"])
        self._ask("hangup", peer_id=peer_id)

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        return self.dialer.ask(command, **arguments)

    def _cpu(self) -> float:
        """CPU seconds both ends have used so far."""
        ends = self.dialer, self.listener
        return sum(float(end.ask("cpu")["seconds"]) for end in ends)

    def _keep(self, name: str, seconds: float) -> None:
        self.samples.setdefault(name, []).append(seconds)


def own_pairs() -> list[Pair]:
    """praxis-fast to itself, the plain twins first."""
    plain = Pair("plain twin", OWN, OWN, {"PRAXIS_FAST_PURE": "1"})
    if core.BACKEND == "pure":
        return [plain]
    return [plain, Pair("praxis-fast", OWN, OWN)]


def measure(
    pairs: Sequence[Pair],
    work: Work,
    *,
    rounds: int = 3,
    notes: Notes | None = None,
) -> list[Table]:
    """All pairs in turn, round after round."""
    notes = notes or Notes()
    with awake(), ExitStack() as stack:
        measured = list(_start(pairs, stack, notes))
        for number in range(rounds):
            for one in tuple(measured):
                notes.say(f"round {number + 1} of {rounds}, {one.name}")
                try:
                    one.round(work)
                except BenchError as error:
                    notes.fail(one.name, error)
                    measured.remove(one)
    return list(_tables(measured, work))


def _start(pairs: Sequence[Pair], stack: ExitStack, notes: Notes) -> Iterator[Measured]:
    for pair in pairs:
        try:
            yield Measured(pair, stack)
        except BenchError as error:
            notes.fail(pair.name, error)


def _tables(measured: Sequence[Measured], work: Work) -> Iterator[Table]:
    streams, many = work.streams, max(work.streams, work.parallel)
    at_once = f"streams, {work.parallel} at once"
    for name, title, items, size, unit in (
        ("dial", "link: dial and identify", 1, 0, "link"),
        ("ping", "link: ping", 1, 0, "ping"),
        ("up", f"link: {work.size:,} bytes up", 1, work.size, "transfer"),
        ("down", f"link: {work.size:,} bytes down", 1, work.size, "transfer"),
        ("cpu", "link: CPU time of both ends", 1, 0, "GB"),
        ("one by one", "link: streams, one by one", streams, 0, "stream"),
        ("at once", f"link: {at_once}", many, 0, "stream"),
    ):
        rows = tuple(Row(one.name, tuple(one.samples[name])) for one in measured)
        yield Table(title, items, size, rows, unit)


def settled(process: Process) -> int:
    """Bytes of memory, when it does nothing more on its own."""
    last = -1
    for _ in range(SETTLING):
        now = int(process.ask("memory")["bytes"])
        if now == last:
            break
        last = now
        time.sleep(0.05)
    return last


def measure_memory(links: int = 200, streams: int = 900) -> Table:
    """Memory of a process for each idle link, stream, and stream with a handler."""
    with Process(OWN) as dialer, Process(OWN) as listener:
        addr = listener.hello["addrs"][0]
        dialer.ask("idle_links", addr=addr, count=10)
        before = settled(listener)
        dialer.ask("idle_links", addr=addr, count=links)
        per_link = (settled(listener) - before) / links
    with Process(OWN) as dialer, Process(OWN) as listener:
        addr = listener.hello["addrs"][0]
        peer_id = dialer.ask("dial", addr=addr, count=1)["peer_id"]
        dialer.ask("idle_streams", peer_id=peer_id, count=10)
        before = settled(listener)
        opened = dialer.ask("idle_streams", peer_id=peer_id, count=streams)
        handled = (settled(listener) - before) / streams
    rows = (
        Row("link", (per_link,)),
        Row("stream", (opened["bytes"] / streams,)),
        Row("stream, handler waiting", (handled,)),
    )
    return Table("link: memory while idle", 1, 0, rows, "one", cost="memory")
