"""Programs of a bench in processes of their own, driven by JSON lines.

A program says one line when it is ready, then answers each line with one. The other
end of the pipe is `praxis_fast.benchmarks.program` in Python; peers in other languages
speak the same.
"""

from __future__ import annotations

import itertools
import os
import select
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, Self

import orjson

from praxis_fast.errors import PraxisError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

__all__ = ["BenchError", "Process", "own_cores", "own_program"]

# The slowest single answer is some 100 MB sent by the slowest foreign peer.
ANSWER_TIMEOUT: Final = 120.0
END_TIMEOUT: Final = 10.0
SHOWN: Final = 2000


class BenchError(PraxisError):
    """A program of a bench failed."""


def own_program(module: str, *arguments: str) -> list[str]:
    """The command that runs a program of this package."""
    name = f"praxis_fast.benchmarks.{module}"
    return [sys.executable, "-m", name, *arguments]


def own_cores() -> tuple[int | None, int | None]:
    """A core each for two programs, far apart; None where there are no two, or no say.

    Where the system places them it often puts both on one for a while: then one waits
    for the other, and what was to be measured is how they take turns.
    """
    if sys.platform != "linux":
        return None, None
    first, *others = sorted(os.sched_getaffinity(0))
    # Neighbours in number may be two halves of one core.
    return (first, others[-1]) if others else (None, None)


@contextmanager
def kept_to(core: int | None) -> Iterator[None]:
    """Programs that are started in here stay on the core, and what they start too."""
    if core is None or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, (core,))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A running program; `hello` is what it said when it was ready."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        core: int | None = None,
    ) -> None:
        self.name = command[-1]
        self._numbers = itertools.count(1)
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        with kept_to(core):
            self._process = subprocess.Popen(  # noqa: S603  commands of our own
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=None if environment is None else dict(environment),
                bufsize=0,
            )
        self._rest = b""
        try:
            self.hello = self._hear()
        except BaseException:
            self.close()
            raise

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command, answered."""
        self.send(command, **arguments)
        return self.answer()

    def send(self, command: str, **arguments: Any) -> None:
        """One command, whose answer is to be taken later; one at a time."""
        assert self._process.stdin is not None
        self._asked = {"id": next(self._numbers), "command": command, **arguments}
        try:
            self._process.stdin.write(orjson.dumps(self._asked) + b"\n")
        except BrokenPipeError:
            raise BenchError(self._last_words()) from None

    def answer(self) -> dict[str, Any]:
        """The answer to what was sent."""
        answer = self._hear()
        if "error" in answer or answer.get("id") != self._asked["id"]:
            told = answer.get("error", answer)
            raise BenchError(f"{self.name}: {self._asked['command']}: {told}")
        return answer

    def close(self) -> None:
        """End the program and wait until it has ended; may be called twice."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            ready, _, _ = select.select([pipe], [], [], ANSWER_TIMEOUT)
            if not ready:
                raise BenchError(f"{self.name}: no answer in {ANSWER_TIMEOUT:g} s")
            data = self._process.stdout.read(65536)
            if not data:
                raise BenchError(self._last_words())
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def _last_words(self) -> str:
        """Why the program ended, as far as it said so."""
        code = self._process.wait(END_TIMEOUT)
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip()
        return f"{self.name} ended with code {code}: {words[-SHOWN:]}"
