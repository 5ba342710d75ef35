"""An agent as a program: from its settings to its exit code."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from praxis_fast import core
from praxis_fast.agent.agent import Agent
from praxis_fast.agent.samples import TOOLS
from praxis_fast.agent.tool_modules import load_tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.agent.config import Loaded

logger = logging.getLogger(__name__)


def run_agent(loaded: Loaded, *, ready_json: bool = False) -> int:
    """Run until SIGINT or SIGTERM; a second one leaves at once."""
    if core.BACKEND == "pure" and not core.PURE:
        logger.warning("the compiled core is missing; the plain twins are slower")
    for warning in loaded.warnings:
        logger.warning("%s", warning)
    tools = load_tools(loaded.config.tools) or TOOLS
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(loaded, tools, ready_json=ready_json))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where there is one; else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(loaded: Loaded, tools: Any, *, ready_json: bool) -> None:
    stopping = asyncio.Event()
    _watch_signals(stopping)
    agent = Agent(loaded.config, tools)
    _watch_reload(agent)
    stopped = asyncio.create_task(stopping.wait())
    starting = asyncio.create_task(agent.start())
    await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        # A part of a start is undone by the agent itself.
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    try:
        await starting
        _announce(agent, as_json=ready_json)
        await stopped
    finally:
        stopped.cancel()
        await _drain(agent)


def _watch_reload(agent: Agent) -> None:
    """SIGHUP reads the access file again; without it that is done on change."""
    tasks: set[asyncio.Task[None]] = set()

    def on_signal() -> None:
        task = asyncio.create_task(agent.reload_access())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_signal)


def _watch_signals(stopping: asyncio.Event) -> None:
    def on_signal(number: signal.Signals) -> None:
        if stopping.is_set():
            # Asked twice: whoever asks no longer wants us to be orderly.
            os._exit(128 + number)
        logger.info("%s: leaving", number.name)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)


async def _drain(agent: Agent) -> None:
    """Close the agent, at most as long as draining may take (PRC-1)."""
    # Its parts wait that long themselves; this is for one that does not.
    seconds = agent.config.limits.process.drain_timeout + 5
    try:
        async with asyncio.timeout(seconds):
            await agent.close()
    except TimeoutError:
        logger.warning("not drained within %g s, leaving", seconds)


def _announce(agent: Agent, *, as_json: bool) -> None:
    """Say on stdout where we listen."""
    url = None if agent.http is None else agent.http.url
    addrs = [str(addr) for addr in agent.host.addrs]
    if as_json:
        told = {"peer_id": str(agent.host.peer_id), "p2p": addrs, "http": url}
        lines = [json.dumps(told)]
    else:
        lines = [f"p2p {addr}" for addr in addrs]
        lines += [] if url is None else [f"http {url}"]
    try:
        print("\n".join(lines), flush=True)  # noqa: T201 - who started us reads it
    except OSError:
        # Nobody reads it any more; the agent serves all the same.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
