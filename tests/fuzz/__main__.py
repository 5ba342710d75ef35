"""Fuzzes every parser of untrusted bytes and compares the twins of the core.

python -m tests.fuzz                          every target, 10^7 executions each
python -m tests.fuzz yamux noise --executions 20000
python -m tests.fuzz yamux --input 0c0f…      one input again
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.fuzz import kernels
from tests.fuzz.campaign import FindingError, run_campaign
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

FULL = 10_000_000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    names = [kernels.NAME, *TARGETS]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names))
    parser.add_argument("--executions", type=int, default=FULL, help="for each target")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--workers", type=int, default=0, help="one per processor")
    parser.add_argument("--input", type=bytes.fromhex, help="one input, hexadecimal")
    options = parser.parse_args()
    options.targets = options.targets or names
    for name in options.targets:
        if name not in names:
            parser.error(f"target {name!r} is not one of {', '.join(names)}")
    return options


def fuzz(name: str, executions: int, seed: int, workers: int) -> None:
    start = time.monotonic()
    reached: Counter[str] = Counter()
    if name == kernels.NAME:
        ran = kernels.run(executions, seed)
    else:
        target: Target = TARGETS[name]()
        ran = max(1, int(executions * target.share))
        reached = run_campaign(target, ran, seed, workers)
    seconds = time.monotonic() - start
    print(f"{name:<14} {ran:>10,} executions {seconds:>7.1f} s, no finding", flush=True)
    for what, count in sorted(reached.items()):
        print(f"    {count:>10,} {what}", flush=True)


def main() -> int:
    options = parse_arguments()
    if options.input is not None:
        TARGETS[options.targets[0]]().check(options.input)
        return 0
    print(f"fuzzing with seed {options.seed}", flush=True)
    try:
        for name in options.targets:
            fuzz(name, options.executions, options.seed, options.workers)
    except FindingError as finding:
        print(finding, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
