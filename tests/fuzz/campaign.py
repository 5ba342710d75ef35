"""Runs one target's executions on all processors and watches over them.

Every worker takes every n-th unit of inputs. A unit has its own seeded generator, and
a worker notes in shared memory how far it is, so that the input that killed or stopped
it can be drawn again.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from random import Random
from typing import Any

from tests.fuzz.target import Target

UNIT = 500
# Far beyond what any one input takes; a worker that long at one of them hangs.
HANG = 120.0

FORK = multiprocessing.get_context("fork")


class FindingError(Exception):
    """An input for which the law does not hold."""


@dataclass(frozen=True, eq=False)
class Worker:
    """A process, where it is (the unit, and the input in it), and what it reached."""

    process: BaseProcess
    place: Any
    reached: Connection[Any, Any]


def run_campaign(
    target: Target, executions: int, seed: int, workers: int = 0
) -> Counter[str]:
    """Run that many inputs; FindingError for the first that is one.

    Returns what they reached. Without a number of workers each processor has one.
    """
    units = -(-executions // UNIT)
    count = min(workers or os.cpu_count() or 1, units)
    running = [
        start_worker(target, seed, range(first, units, count), executions)
        for first in range(count)
    ]
    try:
        watch(target, seed, list(running))
        return sum((worker.reached.recv() for worker in running), Counter())
    finally:
        for worker in running:
            worker.process.kill()
            worker.process.join()


def start_worker(target: Target, seed: int, units: range, executions: int) -> Worker:
    place = FORK.RawArray(ctypes.c_int64, 2)
    reached, sink = FORK.Pipe(duplex=False)
    process = FORK.Process(
        target=work, args=(target, seed, units, executions, place, sink)
    )
    process.start()
    return Worker(process, place, reached)


def work(
    target: Target,
    seed: int,
    units: range,
    executions: int,
    place: Any,
    sink: Connection[Any, Any],
) -> None:
    """Run the units' inputs; the first that is a finding ends the process."""
    for unit in units:
        place[0] = unit
        rng = unit_generator(target, seed, unit)
        for index in range(min(UNIT, executions - unit * UNIT)):
            place[1] = index
            target.check(target.draw(rng))
    sink.send(target.reached)


def unit_generator(target: Target, seed: int, unit: int) -> Random:
    return Random(f"{target.name} {seed} {unit}")


def input_at(target: Target, seed: int, place: Sequence[int]) -> bytes:
    """The input a worker was at."""
    rng = unit_generator(target, seed, place[0])
    for _ in range(place[1]):
        target.draw(rng)
    return target.draw(rng)


def watch(target: Target, seed: int, workers: list[Worker]) -> None:
    """Wait for all workers; FindingError when one dies or hangs."""
    moved = {worker: (worker.place[:], time.monotonic()) for worker in workers}
    running = workers
    while running:
        multiprocessing.connection.wait(
            [worker.process.sentinel for worker in running], timeout=5.0
        )
        for worker in list(running):
            code, place = worker.process.exitcode, worker.place[:]
            if code is not None:
                running.remove(worker)
            if code:
                report(target, seed, place, f"ended the process with {code}")
            if moved[worker][0] != place:
                moved[worker] = place, time.monotonic()
            elif code is None and time.monotonic() - moved[worker][1] > HANG:
                report(target, seed, place, f"took more than {HANG:.0f} s")


def report(target: Target, seed: int, place: Sequence[int], what: str) -> None:
    data = input_at(target, seed, place)
    raise FindingError(
        f"{target.name}: seed {seed}, an input of {len(data)} bytes {what}; again:\n"
        f"  python -m tests.fuzz {target.name} --input {data.hex()}"
    )
