"""The splitting table alone, with the outside implementations that are installed.

python -m bench.splitting [CORPUS]... [--chunk BYTES] [--rounds N]
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from bench.outside import Programs
from praxis_fast.benchmarks.splitting import CHUNK, SIZES, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="*", help=", ".join(SIZES))
    parser.add_argument("--chunk", type=int, default=CHUNK)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with ExitStack() as stack:
        outside = Programs(stack)
        for name in options.corpus or SIZES:
            table = measure(
                name,
                chunk=options.chunk,
                rounds=options.rounds,
                outside=outside.splitting,
            )
            print("\n".join(table.lines()), end="\n\n")
        if outside.missing:
            print("not installed:", ", ".join(outside.missing))


if __name__ == "__main__":
    main()
