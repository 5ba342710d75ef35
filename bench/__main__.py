"""Every bench, with the programs of other languages: python -m bench.

With --keep a folder gets bench.json, tables.md and a picture of each part.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from bench.outside import Programs
from praxis_fast.benchmarks.command import check, run_bench
from praxis_fast.benchmarks.plot import save
from praxis_fast.benchmarks.suite import PARTS, SCALES
from praxis_fast.benchmarks.table import markdown
from praxis_fast.errors import PraxisError

if TYPE_CHECKING:
    from praxis_fast.benchmarks.report import Report


def keep(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    message = orjson.dumps(report.message(), option=orjson.OPT_INDENT_2)
    (folder / "bench.json").write_bytes(message)
    lines: list[str] = []
    for part in dict.fromkeys(part for part, _ in report.tables):
        told = [(name, table) for name, table in report.tables if name == part]
        save(told, folder / f"bench-{part}.svg")
        lines += [f"## {part}", ""]
        for _, table in told:
            if len(table.rows) > 1:
                lines += [*markdown(table), ""]
    (folder / "tables.md").write_text("\n".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--scale", choices=list(SCALES), default="full")
    parser.add_argument("--plot", metavar="FILE")
    parser.add_argument("--keep", metavar="DIR", type=Path)
    options = parser.parse_args()
    try:
        with ExitStack() as stack:
            report = run_bench(
                parts=options.parts,
                scale=options.scale,
                plot=options.plot,
                outside=Programs(stack),
            )
        if options.keep is not None:
            keep(report, options.keep)
        check(report)
    except PraxisError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
