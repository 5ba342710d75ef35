"""What a checkout can measure beyond a wheel: programs in other languages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from bench.foreign import foreign_pairs, py_command
from bench.install import nats_server
from praxis_fast.benchmarks.outside import Outside
from praxis_fast.benchmarks.rows import Contender
from praxis_fast.benchmarks.sockets import Server
from tests.interop.install import CACHE, is_installed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from praxis_fast.benchmarks.corpora import Corpus
    from praxis_fast.benchmarks.links import Pair
    from praxis_fast.benchmarks.muxing import Stopwatch

# A yamux header: its last four bytes are the length of the body.
HEADER = 12
LENGTH = Struct(">I")

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
        process = self._start(program, stream, str(chunk))
        return [*found, Contender("Go json.Decoder", partial(ask, process))]

    def muxing(self, messages: Sequence[bytes], watch: Stopwatch) -> list[Contender]:
        """py-libp2p's session."""
        return self._py_yamux("py-libp2p", messages, watch)

    def receiving(self, messages: Sequence[bytes], watch: Stopwatch) -> list[Contender]:
        """py-libp2p's session and the standard library's decoder."""
        name = "py-libp2p, json, no Noise"
        return self._py_yamux(name, messages, watch, "json")

    def _py_yamux(
        self, name: str, messages: Sequence[bytes], watch: Stopwatch, *options: str
    ) -> list[Contender]:
        """In the environment of the interop peer."""
        if not is_installed("py"):
            self.missing["py-libp2p (make interop)"] = None
            return []
        data = b"".join(messages)
        frames = self._folder / f"frames-{len(data)}"
        frames.write_bytes(data)
        python, program = py_command(CACHE / "py", "yamux.py")
        size = str(body_bytes(data))
        process = self._start(python, program, frames, size, *options)
        return [Contender(name, partial(watch.time, ask, process))]

    def links(self) -> list[Pair]:
        """js-libp2p, py-libp2p and go-libp2p, as `make interop` installs them."""
        pairs, missing = foreign_pairs()
        self.missing |= dict.fromkeys(missing)
        return pairs

    def servers(self) -> list[Server]:
        """The C floor and nats-server too."""
        found = [*super().servers(), *self._nats()]
        program = self._build("cc", "cc", "-O2", "-o", "floor", str(FLOOR))
        if program is None:
            return found
        return [*found, Server("C floor", [str(program)], is_baseline=True)]

    def _nats(self) -> list[Server]:
        """Its two doors: plain TCP and WebSocket."""
        program = nats_server()
        if program is None:
            self.missing["nats-server (python -m bench.install)"] = None
            return []
        python = [sys.executable, "-m", "bench.nats.program"]
        return [
            Server(
                f"nats-server, {name}",
                [*python, "server", str(program), kind],
                clients=[*python, "clients"],
            )
            for name, kind in (("TCP", "nats"), ("WebSocket", "websocket"))
        ]

    def _start(self, *command: str | Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        return self._stack.enter_context(process)

    def _build(self, tool: str, *command: str) -> Path | None:
        """The program a compiler makes, or None and a name when there is none."""
        if not shutil.which(tool):
            self.missing[tool] = None
            return None
        program = self._folder / command[command.index("-o") + 1]
        if not program.exists():
            done = subprocess.run(command, check=False, cwd=self._folder)
            if done.returncode:
                self.missing[f"{program.name} ({tool} failed)"] = None
                return None
        return program


def body_bytes(frames: bytes) -> int:
    """How much of the frames is not headers."""
    size = pos = 0
    while pos < len(frames):
        (body,) = LENGTH.unpack_from(frames, pos + 8)
        size, pos = size + body, pos + HEADER + body
    return size


def ask(process: subprocess.Popen[str]) -> int:
    """One pass of a program that answers each line with a count."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())
