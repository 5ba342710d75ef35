"""`praxis-fast` as users run it: in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

# Far more than anything here takes; only a hung test waits as long.
PATIENCE = 60.0

COMMAND = (sys.executable, "-W", "error", "-m", "praxis_fast")

# Found by nobody, so that no other agent of this machine disturbs a test.
ALONE = ("--no-mdns", "--p2p-host", "127.0.0.1", "--p2p-port", "0", "--http-port", "0")


class Program:
    """One running program; its output is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ready: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return str(self.ready["http"])

    async def line(self) -> str:
        """The next line on stdout; empty at the end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def line_with(self, text: str) -> str:
        """The next line on stdout that has this in it."""
        while text not in (line := await self.line()):
            assert line, f"ended without {text!r}"
        return line

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> tuple[int, str, str]:
        """Exit code, and what was not read of stdout and stderr."""
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


class Programs:
    """Starts programs in a folder and ends them all."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PRAXIS_") or name == "PRAXIS_FAST_PURE"
        } | {"XDG_DATA_HOME": str(folder / "data")}

    async def start(
        self, *arguments: str, command: tuple[str, ...] = COMMAND
    ) -> Program:
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env=self.environ,
        )
        self._stack.push_async_callback(_kill, process)
        return Program(process)

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a program that ends by itself."""
        return await (await self.start(*arguments)).end()

    async def agent(self, *options: str) -> Program:
        """A `praxis-fast run` that listens."""
        program = await self.start("run", "--ready-json", *ALONE, *options)
        line = await program.line()
        if not line:
            raise AssertionError(await program.end())
        program.ready = json.loads(line)
        return program


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


@asynccontextmanager
async def programs(folder: Path) -> AsyncIterator[Programs]:
    async with AsyncExitStack() as stack:
        yield Programs(folder, stack)
