"""`praxis-fast bench` on tiny input: it runs, compares answers, and tells the rest."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from praxis_fast import cli
from praxis_fast.benchmarks import command, links, outside, plot, sockets, suite
from praxis_fast.benchmarks.notes import Notes
from praxis_fast.benchmarks.outside import Outside
from praxis_fast.benchmarks.process import BenchError, Process, own_cores, own_program
from praxis_fast.benchmarks.rows import Row, Table
from praxis_fast.benchmarks.socket_clients import (
    Ages,
    Client,
    masked,
    quantiles,
    sent_at,
)
from praxis_fast.benchmarks.sockets import Server
from praxis_fast.benchmarks.suite import PARTS, SCALES, jobs, parse_parts, streams_curve
from praxis_fast.benchmarks.table import lines, markdown, message
from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

SVG = "{http://www.w3.org/2000/svg}"
SLOW, FAST = Row("plain twin", (4e-3, 5e-3, 6e-3)), Row("core", (1e-6, 2e-6, 3e-6))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `praxis-fast bench` measures is as little as can be."""
    for name in ("normal", "quick"):
        monkeypatch.setitem(SCALES, name, SCALES["tiny"])


def bench(*options: str) -> Any:
    return CliRunner().invoke(cli.main, ["bench", *options])


def test_every_part_runs_and_is_told_as_json(tiny: None) -> None:
    done = bench("--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["machine"]["backend"] in ("core", "pure")
    assert told["machine"]["versions"]["orjson"]
    assert told["failed"] == []
    assert list(dict.fromkeys(table["part"] for table in told["tables"])) == list(PARTS)
    for table in told["tables"]:
        assert all(row["samples"] for row in table["rows"]), table["title"]
        assert all(row["per_item"] >= 0 for row in table["rows"])
    assert "[1/" in done.stderr


def test_tables_are_printed_and_drawn(tiny: None, tmp_path: Path) -> None:
    target = tmp_path / "bench.svg"
    done = bench("--quick", "--parts", "muxing,fanout", "--plot", str(target))
    assert done.exit_code == 0, done.output
    assert "backend" in done.stdout
    assert "plain twin" in done.stdout
    assert "ratio" in done.stdout
    root = ElementTree.parse(target).getroot()
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert "plain twin" in texts
    assert root.findall(f".//{SVG}polyline"), "cost against N"


def test_parts_that_do_not_exist_are_named() -> None:
    done = bench("--parts", "splitting,nonsense")
    assert done.exit_code == 1
    assert "no part 'nonsense', there are splitting, muxing" in done.output
    assert parse_parts(["fanout", "links,splitting"]) == [
        "splitting",
        "fanout",
        "links",
    ]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("bench.gif", "neither .svg nor .png"),
        ("missing/bench.svg", "no folder missing"),
    ],
)
def test_plots_that_cannot_be_written_are_refused_first(
    target: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = bench("--plot", target)
    assert done.exit_code == 1
    assert reason in done.output
    assert "[1/" not in done.output


def test_png_without_cairosvg_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(UsageError, match="pip install cairosvg"):
        plot.check_target(Path("bench.png"))


def test_png_is_drawn_by_cairosvg(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = []

    class Renderer:
        @staticmethod
        def svg2png(**given: Any) -> None:
            drawn.append(given)

    monkeypatch.setitem(sys.modules, "cairosvg", Renderer)
    plot.check_target(tmp_path / "bench.png")
    plot.save([("part", Table("t", 1, 0, (SLOW, FAST)))], tmp_path / "bench.png")
    assert drawn[0]["bytestring"].startswith(b"<svg")


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ijson.backends.yajl2_c", "simdjson"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(outside.installed_servers.__globals__["MODULES"], "x", "nox")
    others = Outside()
    (first, *_) = jobs(SCALES["tiny"], ["splitting"], others)
    first.run(Notes())
    assert "nox" not in [server.name for server in others.servers()]
    assert {"ijson", "pysimdjson", "nox"} <= set(others.missing)


def test_a_failing_part_leaves_the_others_be(
    tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Table:
        raise BenchError("out of luck")

    def broken(*_: Any) -> list[suite.Job]:
        return [suite.Job("links", "never", lambda _: [fail()])]

    monkeypatch.setitem(suite.PARTS, "links", broken)
    done = bench("--parts", "links", "--parts", "fanout")
    assert done.exit_code == 1
    assert "links, never: out of luck" in done.output
    assert "fan-out to" in done.output


def test_a_failing_row_leaves_the_others_be() -> None:
    program = "raise SystemExit('no luck')"
    broken = Server("broken", [sys.executable, "-c", program])
    notes = Notes()
    tables = sockets.measure(
        [*sockets.own_servers()[:1], broken], 3, rounds=1, turns=1, notes=notes
    )
    assert [row.name for row in tables[0].rows] == ["plain twin"]
    assert notes.failed == [f"broken: {program} ended with code 1: no luck"]


def test_a_pair_that_fails_is_named() -> None:
    broken = links.Pair("broken", [sys.executable, "-c", "print('{}')"], links.OWN)
    notes = Notes()
    links.measure([broken], SCALES["tiny"].work, rounds=1, notes=notes)
    assert notes.failed
    assert notes.failed[0].startswith("broken: ")


def test_progress_stays_on_one_line_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = command.Progress(2)
    progress.begin(suite.Job("links", "pairs", lambda _: []))
    progress.say("round 1")
    progress.end()
    written = capsys.readouterr().err
    assert "\n" not in written
    assert "\r\033[K[1/2, 0 s] links: pairs: round 1" in written


def test_table_tells_cost_range_rate_and_ratio() -> None:
    table = Table("frames", 10, 5000, (SLOW, FAST), "frame")
    told = lines(table)
    assert told[0] == "frames (10 frames, 5.00 kB)"
    assert told[1].split() == ["per", "frame", "min", "max", "rate", "ratio"]
    assert told[3].split()[1:] == [
        *("200", "ns", "100", "ns", "300", "ns"),
        *("2.50", "GB/s", "2,500x"),
    ]
    assert markdown(table)[1] == "|---|---|---|---|---|---|"
    (_, fast) = message(table)["rows"]
    assert fast["per_item"] == pytest.approx(2e-7)
    assert fast["ratio"] == pytest.approx(2500)


def test_memory_has_neither_rate_nor_ratio() -> None:
    table = Table("idle", 1, 0, (Row("link", (2048.0,)),), "link", cost="memory")
    assert lines(table)[1:] == [
        f"  {'':30}{'per link':>13}",
        f"  {'link':30}{'2.00 KiB':>13}",
    ]


def test_counts_of_streams_become_a_curve() -> None:
    rows = (Row("1 streams", (1.0,)), Row("10,000 streams", (2.0,)))
    table, *points = streams_curve(Table("t", 1, 0, rows))
    assert table.rows == rows
    assert [(point.x, point.rows[0].median) for point in points] == [(1, 1), (1e4, 2)]
    (_, drawn) = plot.draw([("p", point) for point in points]).split("<polyline")
    assert drawn.count("<circle") == 2


def frames(count: int, size: int) -> bytes:
    head = (
        bytes((0x81, size)) if size < 126 else bytes((0x81, 126, size >> 8, size & 255))
    )
    return (head + b"x" * size) * count


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 100, 10_000])
def test_clients_count_frames_in_any_chunking(cut: int) -> None:
    data = frames(3, 10) + frames(2, 300) + b"\x89\x00" + frames(1, 125)
    client = Client(None, b"")  # type: ignore[arg-type]
    for start in range(0, len(data), cut):
        client.receive(data[start : start + cut])
    assert client.count == 6
    assert client.skip == 0
    assert client.rest == b""


def test_clients_tell_how_old_an_event_is() -> None:
    assert sent_at(b'xx{"sent":123456,"step":1}') == 123456
    assert quantiles(list(range(101))) == {"p50": 50, "p99": 99, "max": 100}
    assert masked(b"hi") == b"\x81\x82\x00\x00\x00\x00hi"


def test_ages_are_those_of_the_last_copy_sent_and_of_each_read() -> None:
    ages = Ages()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for sent in (5, 7):
            theirs.send(b'{"sent":%d,"step":1}' % sent)
            assert ages.read(ours)
    told = ages.message()
    assert told["ages"]["p99"] > 0
    assert told["last"] == {}, "no kernel stamps a pair of local sockets"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('no luck')", "ended with code 1: no luck"),
        ("print('{}'); input(); raise SystemExit(3)", "ended with code 3"),
        (
            'print(\'{}\', flush=True); input(); print(\'{"id":1,"error":"odd"}\')',
            "dial: odd",
        ),
    ],
)
def test_programs_that_fail_say_why(program: str, reason: str) -> None:
    with (
        pytest.raises(BenchError, match=reason),
        Process([sys.executable, "-c", program]) as process,
    ):
        process.ask("dial")


def test_programs_keep_to_the_core_they_are_given() -> None:
    program = (
        "import json, os; cores = getattr(os, 'sched_getaffinity', lambda _: ())(0); "
        "print(json.dumps({'cores': list(cores)}), flush=True); input()"
    )
    before = own_cores()
    for core in before:
        with Process([sys.executable, "-c", program], core=core) as process:
            assert core is None or process.hello["cores"] == [core]
    assert own_cores() == before


def test_programs_answer_for_their_own_errors() -> None:
    with Process(own_program("link_peer")) as peer:
        with pytest.raises(BenchError, match="dial: AddressError"):
            peer.ask("dial", addr="nonsense", count=1)
        assert peer.ask("cpu")["seconds"] > 0


def titles(scale: str, parts: Sequence[str]) -> list[str]:
    return [f"{job.part} {job.title}" for job in jobs(SCALES[scale], parts, Outside())]


@pytest.mark.parametrize("scale", SCALES)
def test_every_step_has_a_name_of_its_own(scale: str) -> None:
    found = titles(scale, list(PARTS))
    assert len(set(found)) == len(found)
