"""What a checkout can measure beyond a wheel: programs in other languages."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.foreign import foreign_pairs
from praxis_fast.benchmarks.outside import Outside
from praxis_fast.benchmarks.rows import Contender
from praxis_fast.benchmarks.sockets import Server

if TYPE_CHECKING:
    from contextlib import ExitStack

    from praxis_fast.benchmarks.corpora import Corpus
    from praxis_fast.benchmarks.links import Pair

BENCH = Path(__file__).parent
GO_PROGRAM = BENCH / "go_json" / "main.go"
FLOOR = BENCH / "floor.c"


class Programs(Outside):
    """Python packages, and what `go`, `cc` and the interop peers make possible."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def splitting(self, corpus: Corpus, chunk: int) -> list[Contender]:
        """Go's decoder too."""
        found = super().splitting(corpus, chunk)
        program = self._build("go", "go", "build", "-o", "go_json", str(GO_PROGRAM))
        if program is None:
            return found
        stream = self._folder / f"{corpus.name}-{len(corpus.texts)}"
        stream.write_bytes(corpus.stream)
        process = self._stack.enter_context(
            subprocess.Popen(
                [program, stream, str(chunk)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return [*found, Contender("Go json.Decoder", partial(ask, process))]

    def links(self) -> list[Pair]:
        """js-libp2p, py-libp2p and go-libp2p, as `make interop` installs them."""
        pairs, missing = foreign_pairs()
        self.missing |= dict.fromkeys(missing)
        return pairs

    def servers(self) -> list[Server]:
        """The C floor too."""
        found = super().servers()
        program = self._build("cc", "cc", "-O2", "-o", "floor", str(FLOOR))
        return found if program is None else [*found, Server("C floor", [str(program)])]

    def _build(self, tool: str, *command: str) -> Path | None:
        """The program a compiler makes, or None and a name when there is none."""
        if not shutil.which(tool):
            self.missing[tool] = None
            return None
        program = self._folder / command[command.index("-o") + 1]
        if not program.exists():
            subprocess.run(command, check=True, cwd=self._folder)
        return program


def ask(process: subprocess.Popen[str]) -> int:
    """One pass of a program that answers each line with a count."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())
