"""One target under coverage guidance, by atheris (not among what we install).

python -m pip install atheris
python -m tests.fuzz.guided multiaddr -runs=1000000
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["praxis_fast", "websockets", "zeroconf"]):
    from tests.fuzz.target import ParserTarget
    from tests.fuzz.targets import TARGETS

MAX_INPUT = 1000


def main() -> None:
    name, *options = sys.argv[1:]
    target = TARGETS[name]()
    with tempfile.TemporaryDirectory() as folder:
        # libFuzzer reads its seeds from files.
        seeds = target.seeds() if isinstance(target, ParserTarget) else ()
        for number, seed in enumerate(seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        arguments = [sys.argv[0], folder, f"-max_len={MAX_INPUT}", *options]
        atheris.Setup(arguments, target.check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
