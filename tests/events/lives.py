"""Processes to be killed, one after the other, each forked from one that is prepared.

    python -m tests.events.lives

Reads a line with the name of a program and its arguments, forks, says `pid N`, and has
the child run it; what the child writes stands between that and `dead STATUS`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.events.historian import record
from tests.events.publisher import publish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

PROGRAMS: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "publish": publish,
    "record": record,
}


def serve() -> None:
    for line in sys.stdin:
        name, *arguments = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(PROGRAMS[name](*arguments))
            os._exit(1)
        os.write(1, b"pid %d\n" % child)
        _, status = os.waitpid(child, 0)
        os.write(1, b"dead %d\n" % status)


class Lives:
    """The other end: begins a life, reads what it says, and ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pid = 0

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Lives]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.events.lives"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        lives = cls(process)
        try:
            yield lives
        finally:
            if lives._pid:
                await lives.kill()
            assert process.stdin is not None
            process.stdin.close()
            assert await process.wait() == 0

    async def begin(self, program: str, *arguments: object) -> None:
        assert self._process.stdin is not None
        told = " ".join((program, *map(str, arguments)))
        self._process.stdin.write(told.encode() + b"\n")
        word, pid = await self.line()
        assert word == "pid"
        self._pid = int(pid)

    async def line(self) -> list[str]:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        words = line.decode().split()
        if words[0] == "dead":
            self._pid = 0
        return words

    async def kill(self) -> list[list[str]]:
        """End it; what it had said until then besides."""
        os.kill(self._pid, signal.SIGKILL)
        said: list[list[str]] = []
        while (line := await self.line())[0] != "dead":
            said.append(line)
        assert int(line[1]) == signal.SIGKILL
        return said


if __name__ == "__main__":
    serve()
