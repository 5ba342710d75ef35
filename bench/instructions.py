"""Counts the instructions of the core on fixed work: python -m bench.instructions.

Time is noise on a shared machine; instructions are not. One run under callgrind does
each piece of work once; a call of getppid between two pieces makes it tell and forget
what it has counted. Fails when a piece needs over 10 % more than recorded.
`--write` records new numbers: do so when a change is worth its price, and say why.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORD = Path(__file__).parent / "instructions.json"
MOST_GROWTH = 0.10

# Valgrind knows no AVX-512.
KERNELS = ("avx2", "scalar")


def work() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Named pieces, each made ready before it is called."""
    from praxis_fast.benchmarks import fanout, matching, muxing, splitting
    from praxis_fast.benchmarks.corpora import make_corpus
    from praxis_fast.benchmarks.muxing import Stopwatch

    split = splitting.split_texts
    kernels = {name: partial(splitting.with_kernel, name) for name in KERNELS}
    for name, texts in (("events", 1000), ("cards", 100), ("tool_results", 2)):
        chunks = make_corpus(name, texts).chunks(splitting.CHUNK)
        for kernel, make in kernels.items():
            yield f"split {name}, {kernel}", partial(split, make, chunks)
    chunks = make_corpus("events", 20).chunks(1)
    yield "split by byte", partial(split, kernels[KERNELS[0]], chunks)

    yamux = muxing.twins()["core"]
    for body in (64, 1024):
        session, messages = (
            muxing.make_session(yamux, 10),
            muxing.make_messages(body, 10),
        )
        receive = partial(muxing.receive, session, messages, Stopwatch())
        yield f"yamux in, bodies of {body}", receive

    filters, events = matching.make_filters(1000, 0.01), matching.make_events(64, 0.01)
    matcher = matching.make_matcher(matching.twins()["core"], filters)
    yield "match anew", partial(matching.match_anew, matcher, events, Stopwatch())
    yield "match again", partial(matching.match, matcher, events, Stopwatch())
    some = list(enumerate(filters))
    yield "come and go", partial(matching.leave_and_join, matcher, some)

    turns = fanout.Turns(fanout.twins()["core"], filters)
    for number in (1, 16):
        yield f"fan-out, {number} per turn", partial(turns.run, number, Stopwatch())


def run_work() -> None:
    """What callgrind looks at."""
    gc.disable()
    for name, run in work():
        run()  # once before: first calls import, cache and allocate
        os.getppid()
        run()
        os.getppid()
        print(name, flush=True)


def count() -> dict[str, int]:
    """Instructions of each piece."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            "--dump-before=getppid",
            f"--callgrind-out-file={folder}/out",
            *(sys.executable, "-m", "bench.instructions", "--work"),
        ]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PRAXIS_FAST_PURE": "0"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        names = done.stdout.splitlines()
        # The first dump is all that came before the first piece, the second is that
        # piece, the third what came before the second piece, and so on.
        return {
            name: total(Path(f"{folder}/out.{2 * number}"))
            for number, name in enumerate(names, 1)
        }


def total(dump: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.MULTILINE)
    assert found, f"no total in {dump}"
    return int(found[1])


def toolchain() -> dict[str, str]:
    """What the numbers depend on besides our code."""
    compiler = subprocess.run(
        ["cc", "-dumpversion"], capture_output=True, text=True, check=True
    )
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": compiler.stdout.strip().split(".")[0],
    }


def check(found: dict[str, int], recorded: dict[str, int]) -> bool:
    """Print what changed; whether nothing grew too much."""
    good = True
    for name in found | recorded:
        if name not in found or name not in recorded:
            print(f"  {name:32} not in both: write the record anew")
            good = False
            continue
        growth = found[name] / recorded[name] - 1
        mark = "  TOO MUCH" if growth > MOST_GROWTH else ""
        print(f"  {name:32}{found[name]:>14,}{growth:>+9.1%}{mark}")
        good &= growth <= MOST_GROWTH
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="record new numbers")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        run_work()
        return 0
    if shutil.which("valgrind") is None:
        print("INSTRUCTIONS NOT COMPARED: there is no valgrind on this machine")
        return 0
    here = toolchain()
    record = orjson.loads(RECORD.read_bytes()) if RECORD.exists() else {}
    if not options.write and record.get("toolchain") != here:
        print(
            f"INSTRUCTIONS NOT COMPARED: recorded on {record.get('toolchain')}, "
            f"this is {here}"
        )
        return 0
    found = count()
    if options.write:
        told = {"toolchain": here, "instructions": found}
        RECORD.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
        print(f"recorded {len(found)} numbers in {RECORD.name}")
        return 0
    print("instructions, and growth since they were recorded:")
    return 0 if check(found, record["instructions"]) else 1


if __name__ == "__main__":
    sys.exit(main())
