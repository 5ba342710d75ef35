"""`praxis-fast demo`: two agents in two processes, and a client that watches one.

What it shows is nothing but the program itself: both agents are `praxis-fast run`, the
client is any WebSocket client, the call is one POST.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from websockets.asyncio.client import connect

from praxis_fast.agent.event_line import event_line
from praxis_fast.client import Client, subscription, websocket_url
from praxis_fast.errors import NetworkError, PraxisError
from praxis_fast.p2p.mdns import check_multicast
from praxis_fast.wire.keys import PrivateKey

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

WATCHED = "alice"
OTHER = "bob"

EXPECTED = (
    "p2p.peer_discovered",
    "p2p.peer_connected",
    "p2p.card_exchange",
    "p2p.tool_request",
    "p2p.tool_response",
    "p2p.peer_disconnected",
)

# Seconds for a process to listen, for multicast to work, for anything else to happen.
START = 60.0
FIND = 15.0
HAPPEN = 30.0

PAUSE_BETWEEN_CALLS = 5.0


def run_demo(seconds: float) -> int:
    """Run it for about so many seconds; 0 when everything happened that should."""
    try:
        return asyncio.run(_until_terminated(seconds))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except OSError as error:
        raise NetworkError(str(error)) from error


async def _until_terminated(seconds: float) -> int:
    """SIGTERM ends it as Ctrl-C does; the agents must not outlive us."""
    playing = asyncio.create_task(play(seconds))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, playing.cancel)
    try:
        return await playing
    except asyncio.CancelledError:
        if playing.cancelled() and not _is_cancelled():
            return 128 + signal.SIGTERM
        raise


def _is_cancelled() -> bool:
    """Whether the task at hand is to end: Ctrl-C."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def play(seconds: float) -> int:
    """The demo and its verdict: 0 when everything happened that should."""
    with tempfile.TemporaryDirectory(prefix="praxis-fast-demo-") as folder:
        async with AsyncExitStack() as ending:
            demo = Demo(Path(folder), ending)
            await demo.run(time.monotonic() + seconds)
    _by_hand()
    missing = [name for name in EXPECTED if name not in demo.seen]
    if missing:
        click.echo(f"did not happen: {', '.join(missing)}", err=True)
    return 1 if missing else 0


class AgentProcess:
    """One `praxis-fast run` and what it said when it was ready."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log: Path
    ) -> None:
        self.name = name
        self._process = process
        self._log = log
        self.peer_id = ""
        self.p2p: list[str] = []
        self.url = ""

    @classmethod
    async def start(cls, name: str, folder: Path, *options: str) -> AgentProcess:
        """Start it and wait until it listens."""
        log = folder / f"{name}.log"
        command = [sys.executable, "-m", "praxis_fast", "run", "--name", name]
        command += ["--data-dir", str(folder / name), "--ready-json"]
        command += ["--http-port", "0", "--p2p-port", "0", *options]
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                cwd=folder,
                env=_environment(),
                # Ctrl-C is for us; we tell the agents.
                start_new_session=True,
            )
        agent = cls(name, process, log)
        try:
            await agent._wait_ready()
        except BaseException:
            await agent.stop()
            raise
        return agent

    async def _wait_ready(self) -> None:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            message = f"{self.name} did not start within {START:g} s"
            raise PraxisError(message) from error
        if not line:
            log = self._log.read_text(errors="replace").strip()
            raise PraxisError(f"{self.name} did not start:\n{log}")
        told = json.loads(line)
        self.peer_id, self.p2p, self.url = told["peer_id"], told["p2p"], told["http"]

    async def stop(self) -> None:
        """Ask it to leave, and wait until it has; may be called twice."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(HAPPEN):
                await self._process.wait()
        except BaseException:
            self._process.kill()
            raise


class Demo:
    """The play: what happens one after another, and who watches it."""

    def __init__(self, folder: Path, ending: AsyncExitStack) -> None:
        self._folder = folder
        self._ending = ending
        self._names: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.seen: set[str] = set()
        """The types of events seen of the other agent."""

    async def run(self, deadline: float) -> None:
        """Everything, until the deadline and to the end."""
        watched = await self._start(WATCHED)
        await self._watch(watched)
        other = await self._meet(watched)
        await self._call(watched, other, "echo", {"text": "hello from the demo"})
        while (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(PAUSE_BETWEEN_CALLS, left))
            if deadline - time.monotonic() > 1:
                await self._call(watched, other, "now", {})
        _say(f"stopping {other.name}")
        await other.stop()
        await self._until("p2p.peer_disconnected", HAPPEN)

    async def _start(self, name: str, *options: str) -> AgentProcess:
        # Made before it starts: its first events come before it says who it is.
        folder = self._folder / str(len(self._names))
        key = PrivateKey.load_or_create(folder / name / "identity.key")
        self._names[str(key.peer_id)] = name
        agent = await AgentProcess.start(name, folder, *options)
        self._ending.push_async_callback(agent.stop)
        _say(f"{name} runs: {agent.peer_id}, HTTP at {agent.url}")
        return agent

    async def _meet(self, watched: AgentProcess) -> AgentProcess:
        """Start the other agent; both find each other one way or the other."""
        reason = _no_multicast()
        if reason is None:
            other = await self._start(OTHER)
            if await self._until("p2p.card_exchange", FIND):
                return other
            await other.stop()
            # It comes back as somebody else: found anew, and told of anew.
            self._names[other.peer_id] = f"{OTHER} of before"
            self.seen.clear()
            reason = f"multicast brought nothing within {FIND:g} s"
        _say(f"{reason}: using a bootstrap address")
        other = await self._start(OTHER, "--no-mdns", "--bootstrap", watched.p2p[0])
        if not await self._until("p2p.card_exchange", HAPPEN):
            raise NetworkError(f"{WATCHED} and {OTHER} did not find each other")
        return other

    async def _watch(self, agent: AgentProcess) -> None:
        """Be a WebSocket client of the agent, like anybody else's."""
        url = websocket_url(agent.url)
        socket = await self._ending.enter_async_context(connect(url, proxy=None))
        await socket.send(subscription(["p2p.*"]))
        watching = asyncio.create_task(self._print(socket))
        self._ending.push_async_callback(_cancel, watching)
        _say(f"a WebSocket client watches {agent.name} at {url}")

    async def _print(self, socket: ClientConnection) -> None:
        async for text in socket:
            message = json.loads(text)
            if message["type"] != "chatMessage":
                self._on_event(message)

    def _on_event(self, message: dict[str, Any]) -> None:
        peer_id = message["payload"].get("peer_id")
        name = self._names.get(peer_id)
        line = event_line(message)
        for known, called in self._names.items():
            line = line.replace(known, called)
        if name is None:
            click.secho(f"{line}  (an agent that is not of this demo)", dim=True)
            return
        click.secho(line, fg="green")
        if name != OTHER:
            return
        self.seen.add(message["type"])
        self._changed.set()

    async def _until(self, event: str, seconds: float) -> bool:
        """Wait for an event of the other agent; whether it came."""
        try:
            async with asyncio.timeout(seconds):
                while event not in self.seen:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _call(
        self, watched: AgentProcess, other: AgentProcess, tool: str, arguments: Any
    ) -> None:
        """Have the watched agent call the other's tool, over HTTP."""
        body = {"tool": tool, "arguments": arguments, "peer_id": other.peer_id}
        _say(f"POST {watched.url}/p2p/tool {json.dumps(body)}")
        client = Client(watched.url)
        answer = await asyncio.to_thread(client.post, "/p2p/tool", body)
        _say(f"{other.name} answered {json.dumps(answer['result'])}")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _no_multicast() -> str | None:
    """Why multicast cannot be used here, if so."""
    try:
        check_multicast(None)
    except NetworkError as error:
        return str(error)
    return None


def _environment() -> dict[str, str]:
    """Ours without settings: the demo's agents are as the demo sets them."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PRAXIS_") or name.startswith("PRAXIS_FAST_")
    }


def _say(text: str) -> None:
    click.secho(f"-- {text}", bold=True)


def _by_hand() -> None:
    """How to do the same without the demo."""
    own = Path(sys.executable).with_name("praxis-fast")
    found = shutil.which("praxis-fast")
    name = "praxis-fast" if found else shlex.quote(os.path.relpath(own))
    click.echo(
        f"""
By hand, each in a terminal of its own:
  {name} run --name {WATCHED}
  {name} events --follow
  {name} run --name {OTHER} --http-port 9001 --p2p-port 4002
  {name} peers
  {name} call echo text=hello --peer "$({name} id --name {OTHER})"
and then Ctrl-C in the terminal of {OTHER}."""
    )
