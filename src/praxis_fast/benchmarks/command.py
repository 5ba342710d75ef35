"""`praxis-fast bench`: runs the suite, says how far it is, and tells what came out."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from praxis_fast.benchmarks import table as form
from praxis_fast.benchmarks.machine import machine_line, pace
from praxis_fast.benchmarks.notes import Notes
from praxis_fast.benchmarks.outside import Outside
from praxis_fast.benchmarks.plot import check_target, save
from praxis_fast.benchmarks.process import BenchError
from praxis_fast.benchmarks.report import Report
from praxis_fast.benchmarks.suite import SCALES, Job, jobs, parse_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from praxis_fast.benchmarks.rows import Table

__all__ = ["check", "measure", "run_bench", "show"]

logger = logging.getLogger(__name__)


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
) -> Report:
    """Measure, print tables or JSON on stdout, draw; the report says what failed."""
    target = None if plot is None else Path(plot)
    if target is not None:
        check_target(target)
    if not as_json:
        click.echo(machine_line())
    report = measure(
        parse_parts(parts), scale, outside or Outside(), str if as_json else show
    )
    if as_json:
        click.echo(orjson.dumps(report.message(), option=orjson.OPT_INDENT_2))
    if report.raised:
        click.echo(f"\nlimits raised: {'; '.join(report.raised)}", err=as_json)
    if report.missing:
        click.echo(f"\nnot installed: {', '.join(report.missing)}", err=as_json)
    if target is not None:
        save(report.tables, target)
        click.echo(f"plot written to {target}", err=True)
    return report


def check(report: Report) -> None:
    """BenchError when some of it failed."""
    if report.failed:
        raise BenchError("\n".join(["some benches failed:", *report.failed]))


def show(table: Table) -> None:
    """Print a table; one with a single row is a point of a curve and told elsewhere."""
    if len(table.rows) > 1:
        click.echo("\n".join(["", *form.lines(table)]))


def measure(
    parts: Sequence[str],
    scale: str,
    outside: Outside,
    show: Callable[[Table], object],
) -> Report:
    """Every step of the parts; one that fails leaves the others be."""
    report = Report(scale)
    work = jobs(SCALES[scale], parts, outside)
    progress = Progress(len(work))
    for job in work:
        progress.begin(job)
        report.paces.append(pace())
        notes = Notes(progress.say)
        if job.raised and (text := f"{job.part}: {job.raised}") not in report.raised:
            report.raised.append(text)
        try:
            tables = [table for table in job.run(notes) if table.rows]
        except Exception as error:
            logger.debug("bench of %s", job.title, exc_info=True)
            tables = []
            notes.failed.append(str(error) or type(error).__name__)
        progress.end()
        report.failed += [f"{job.part}, {job.title}: {text}" for text in notes.failed]
        for table in tables:
            report.tables.append((job.part, table))
            show(table)
    report.missing = list(outside.missing)
    return report
