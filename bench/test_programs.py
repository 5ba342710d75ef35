"""What only a checkout has: figures, kept reports, programs of other languages."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from bench import document, figures, goals, instructions
from bench.__main__ import keep
from bench.outside import Programs, body_bytes
from praxis_fast.benchmarks.command import measure
from praxis_fast.benchmarks.report import Report
from praxis_fast.benchmarks.rows import Row, Table
from praxis_fast.benchmarks.suite import PARTS, SCALES, jobs

if TYPE_CHECKING:
    from pathlib import Path


def test_kept_report_has_json_tables_and_a_picture_of_each_part(tmp_path: Path) -> None:
    with ExitStack() as stack:
        report = measure(["fanout"], "tiny", Programs(stack), str)
    keep(report, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"bench.json", "tables.md", "bench-fanout.svg"}
    assert "| core |" in (tmp_path / "tables.md").read_text()


def test_every_figure_to_reach_is_one_that_full_size_measures() -> None:
    with ExitStack() as stack:
        parts = {job.part for job in jobs(SCALES["full"], list(PARTS), Programs(stack))}
    assert {part.__name__ for part in goals.PARTS} == parts


@pytest.fixture
def told() -> dict[str, Any]:
    """A run that measured two tables only."""
    rows = Row("plain twin", (40e-6,)), Row("core", (0.5e-6, 1e-6, 1.5e-6))
    frames = Table("yamux in, bodies of 1024", 10, 0, rows, "frame")
    link = Table("link: dial and identify", 1, 0, (Row("praxis-fast", (4e-3,)),))
    report = Report("tiny", [("muxing", frames), ("links", link)], failed=["js: gone"])
    report.raised.append("sockets: all")
    report.paces += [4e-3, 5e-3, 8e-3]
    return report.message()


def test_figures_compare_and_name_what_was_not_measured(told: dict[str, Any]) -> None:
    shown = "\n".join(figures.lines(told))
    assert "yamux, 1024 B frames | ≤ 120 ns | 100 ns | 50 | 1.2 | met |" in shown
    assert "against plain twin | ≥ 8 x | 40 x | 80 | 5 | met |" in shown
    assert "| dial and identify | ≤ 3.2 ms | 4 ms | 4 | 0.8 | missed |" in shown
    assert "| yamux, 64 B frames | ≤ 90 ns | not measured |  |  |  |" in shown
    assert "at 50% of its best pace at worst, 80% in the median" in shown
    assert "failed: js: gone" in shown
    assert "limit raised: sockets: all" in shown
    assert "2 of 3 figures met" in shown


def test_document_has_a_place_for_all_a_run_tells(told: dict[str, Any]) -> None:
    written = document.filled(document.DOCUMENT.read_text(), told)
    assert document.filled(written, told) == written
    assert "| links | dial and identify | ≤ 3.2 ms | 4 ms | 4 | 0.8 |\n" in written
    assert "| yamux frames of 1 KiB | 40 | - | `python -m bench muxing` |" in written
    with pytest.raises(SystemExit, match="blocks missed, expected machine"):
        document.filled("<!-- bench: missed -->\n<!-- /bench -->", told)


def test_bodies_are_counted_without_their_headers() -> None:
    frames = b"".join(bytes(8) + bytes((0, 0, 0, n)) + bytes(n) for n in (3, 0, 200))
    assert body_bytes(frames) == 203


def test_growth_of_instructions_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert instructions.check({"a": 109}, {"a": 100})
    assert not instructions.check({"a": 111, "b": 1}, {"a": 100, "b": 1})
    assert "TOO MUCH" in capsys.readouterr().out
    assert not instructions.check({"a": 1}, {"b": 1})
