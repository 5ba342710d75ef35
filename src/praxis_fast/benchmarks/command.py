"""`praxis-fast bench`: runs the suite, says how far it is, and tells what came out."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from praxis_fast.benchmarks import table as form
from praxis_fast.benchmarks.machine import machine, machine_line
from praxis_fast.benchmarks.outside import Outside
from praxis_fast.benchmarks.plot import check_target, save
from praxis_fast.benchmarks.process import BenchError
from praxis_fast.benchmarks.suite import SCALES, Job, jobs, parse_parts
from praxis_fast.errors import PraxisError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxis_fast.benchmarks.rows import Table

__all__ = ["run_bench"]


class Progress:
    """One line on stderr that says what is being measured."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._number = 0
        self._start = time.monotonic()
        self._is_live = sys.stderr.isatty()
        self._head = ""

    def begin(self, job: Job) -> None:
        """The next step."""
        self._number += 1
        seconds = time.monotonic() - self._start
        place = f"[{self._number}/{self._steps}, {seconds:.0f} s]"
        self._head = f"{place} {job.part}: {job.title}"
        click.echo(self._head, err=True, nl=not self._is_live)

    def say(self, text: str) -> None:
        """More about the present step, where a line can be written over."""
        if self._is_live:
            click.echo(f"\r\033[K{self._head}: {text}", err=True, nl=False)

    def end(self) -> None:
        """The step is done; its line makes place for its tables."""
        if self._is_live:
            click.echo("\r\033[K", err=True, nl=False)


def run_bench(
    *,
    parts: Sequence[str] = (),
    scale: str = "normal",
    as_json: bool = False,
    plot: str | None = None,
    outside: Outside | None = None,
) -> None:
    """Measure, print tables or JSON on stdout, and draw."""
    wanted, target = parse_parts(parts), None if plot is None else Path(plot)
    if target is not None:
        check_target(target)
    others = outside or Outside()
    work = jobs(SCALES[scale], wanted, others)
    started = datetime.now(UTC)
    if not as_json:
        click.echo(machine_line())
    failed: list[str] = []
    told = _run(work, failed, as_json=as_json)
    if as_json:
        report = _report(told, failed, started, scale, others)
        click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    if others.missing:
        click.echo(f"not installed: {', '.join(others.missing)}", err=as_json)
    if target is not None:
        save(told, target)
        click.echo(f"plot written to {target}", err=True)
    if failed:
        raise BenchError("\n".join(["some benches failed:", *failed]))


def _run(
    work: Sequence[Job], failed: list[str], *, as_json: bool
) -> list[tuple[str, Table]]:
    """Every step's tables; one that fails leaves the others be."""
    progress, told = Progress(len(work)), []
    for job in work:
        progress.begin(job)
        try:
            tables = job.run(progress.say)
        except PraxisError as error:
            failed.append(f"{job.part}, {job.title}: {error}")
            tables = []
        progress.end()
        told += [(job.part, table) for table in tables]
        if not as_json:
            # A table of one row is a point of a curve; its row stands elsewhere too.
            for table in tables:
                if len(table.rows) > 1:
                    click.echo("\n".join(["", *form.lines(table)]))
    return told


def _report(
    told: Sequence[tuple[str, Table]],
    failed: Sequence[str],
    started: datetime,
    scale: str,
    others: Outside,
) -> dict[str, Any]:
    return {
        "started": started.isoformat(timespec="seconds"),
        "scale": scale,
        "machine": machine(),
        "not_installed": list(others.missing),
        "failed": failed,
        "tables": [{"part": part, **form.message(table)} for part, table in told],
    }
