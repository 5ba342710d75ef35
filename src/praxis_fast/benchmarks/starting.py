"""What a start costs: the command line, an agent that is ready, and one that idles.

Each sample is a process of its own, on files the system has read before. An agent is
ready when it has said where it listens; its memory is looked at a moment later.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from praxis_fast import core
from praxis_fast.benchmarks.process import BenchError
from praxis_fast.benchmarks.program import resident
from praxis_fast.benchmarks.rows import Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["measure"]

PROGRAM: Final = (sys.executable, "-m", "praxis_fast")
PORTS: Final = ("--http-port", "0", "--p2p-port", "0", "--no-mdns", "--ready-json")

# An agent that takes longer has failed.
PATIENCE: Final = 30.0

# So long an agent is left alone before its memory is looked at.
IDLE: Final = 0.3


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to start."""

    name: str
    environment: Mapping[str, str]


def kinds() -> list[Kind]:
    """The plain twins first, then the compiled core."""
    found = [Kind("plain twin", {**os.environ, "PRAXIS_FAST_PURE": "1"})]
    if core.BACKEND == "core":
        found.append(Kind("praxis-fast", dict(os.environ)))
    return found


def measure(*, rounds: int = 5) -> list[Table]:
    """All kinds in turn, round after round; Python alone beside them."""
    helped: dict[str, list[float]] = {}
    ready: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for kind in kinds():
            seconds = run_help(kind)
            with started(kind) as (process, waited):
                time.sleep(IDLE)
                size = resident(process.pid)
            if number:  # the first round warms up
                helped.setdefault(kind.name, []).append(seconds)
                ready.setdefault(kind.name, []).append(waited)
                memory.setdefault(kind.name, []).append(size)
        if number:
            helped.setdefault("python -c pass", []).append(run_nothing())
    return [
        Table("start: praxis-fast --help", 1, 0, rows(helped), "run"),
        Table("start: agent ready", 1, 0, rows(ready), "start"),
        Table(
            "start: memory of an idle agent", 1, 0, rows(memory), "one", "", 0, "memory"
        ),
    ]


def rows(samples: Mapping[str, list[float]]) -> tuple[Row, ...]:
    """A row for each kind."""
    return tuple(Row(name, tuple(found)) for name, found in samples.items())


def run_help(kind: Kind) -> float:
    """Seconds until the command line has told what it can."""
    return timed((*PROGRAM, "--help"), kind.environment)


def run_nothing() -> float:
    """Seconds Python needs by itself."""
    return timed((sys.executable, "-c", "pass"), os.environ)


def timed(command: tuple[str, ...], environment: Mapping[str, str]) -> float:
    """Seconds a program runs."""
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603  a command of our own
        command, env=environment, capture_output=True, check=False, text=True
    )
    if done.returncode:
        raise BenchError(f"{command[-1]} ended with code {done.returncode}")
    return time.perf_counter() - start


@contextmanager
def started(kind: Kind) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """An agent that is ready, and the seconds that took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  a command of our own
            (*PROGRAM, "run", "--name", "bench", "--data-dir", folder, *PORTS),
            env=kind.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            said, _, _ = select.select([process.stdout], [], [], PATIENCE)
            if not said or not process.stdout.readline():
                raise BenchError(f"no agent was ready in {PATIENCE:g} s")
            yield process, time.perf_counter() - start
        finally:
            process.terminate()
            process.communicate()
