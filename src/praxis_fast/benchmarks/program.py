"""The program's end of the pipe that `praxis_fast.benchmarks.process` drives."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["allow_many_sockets", "resident", "run", "say", "serve"]

LINE_LIMIT = 1024 * 1024


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a program on uvloop where it is installed."""
    allow_many_sockets()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def serve(
    hello: dict[str, Any],
    commands: dict[str, Callable[..., Awaitable[dict[str, Any]]]],
) -> None:
    """Say hello, then answer each line until there are no more."""
    every = {"cpu": _cpu, "memory": _memory, **commands}
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(LINE_LIMIT)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer
    )
    say(hello)
    while line := await lines.readline():
        request = orjson.loads(line)
        number, command = request.pop("id"), request.pop("command")
        try:
            answer = await every[command](**request)
        except Exception as error:  # the other end is told, and decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        say({"id": number, **answer})


def say(message: dict[str, Any]) -> None:
    """One line to whoever drives us."""
    sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
    sys.stdout.buffer.flush()


async def _cpu() -> dict[str, Any]:
    """CPU seconds of this process so far, all threads, user and system."""
    return {"seconds": time.process_time()}


async def _memory() -> dict[str, Any]:
    gc.collect()
    return {"bytes": resident()}


def resident(process: int | str = "self") -> int:
    """Bytes of a process in memory; where only our own peak is told, that."""
    import resource

    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def allow_many_sockets() -> None:
    """As many file descriptors as this process may have."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1_000_000 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
