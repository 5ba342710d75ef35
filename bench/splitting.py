"""The splitting table with the outside implementations that are installed.

python bench/splitting.py [CORPUS]... [--chunk BYTES] [--rounds N]
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxis_fast.benchmarks.rows import Contender
from praxis_fast.benchmarks.splitting import CHUNK, SIZES, decode_each, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxis_fast.benchmarks.corpora import Corpus

GO_PROGRAM = Path(__file__).parent / "go_json" / "main.go"


class Chunks:
    """A file that hands out one chunk per read, as a socket does."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = iter(chunks)

    def read(self, size: int) -> bytes:
        return next(self._chunks, b"") if size else b""


def ijson_items(backend: Any, chunks: Sequence[bytes]) -> int:
    return sum(1 for _ in backend.items(Chunks(chunks), "", multiple_values=True))


def ask(process: subprocess.Popen[str]) -> int:
    """One pass of a program that answers each line with a count."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


class Outside:
    """Contenders from other projects; `missing` names those that are not installed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.missing: set[str] = set()

    def __call__(self, corpus: Corpus, chunk: int) -> list[Contender]:
        found = [
            self._ijson(corpus, chunk),
            self._simdjson(corpus),
            self._go(corpus, chunk),
        ]
        return [contender for contender in found if contender]

    def _module(self, name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            self.missing.add(name)
            return None

    def _ijson(self, corpus: Corpus, chunk: int) -> Contender | None:
        backend = self._module("ijson.backends.yajl2_c")
        run = partial(ijson_items, backend, corpus.chunks(chunk))
        return Contender("ijson yajl2_c", run) if backend else None

    def _simdjson(self, corpus: Corpus) -> Contender | None:
        module = self._module("simdjson")
        if not module:
            return None
        run = partial(decode_each, module.loads, corpus.texts)
        return Contender("simdjson, split before", run)

    def _go(self, corpus: Corpus, chunk: int) -> Contender | None:
        if not shutil.which("go"):
            self.missing.add("go")
            return None
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        stream = folder / "stream"
        stream.write_bytes(corpus.stream)
        program = folder / "go_json"
        subprocess.run(["go", "build", "-o", program, GO_PROGRAM], check=True)
        process = self._stack.enter_context(
            subprocess.Popen(
                [program, stream, str(chunk)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return Contender("Go json.Decoder", partial(ask, process))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="*", help=", ".join(SIZES))
    parser.add_argument("--chunk", type=int, default=CHUNK)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with ExitStack() as stack:
        outside = Outside(stack)
        for name in options.corpus or SIZES:
            table = measure(
                name, chunk=options.chunk, rounds=options.rounds, outside=outside
            )
            print("\n".join(table.lines()), end="\n\n")
        if outside.missing:
            print("not installed:", ", ".join(sorted(outside.missing)))


if __name__ == "__main__":
    main()
