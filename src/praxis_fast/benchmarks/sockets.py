"""Fan-out to real sockets: a server in one process, its WebSocket clients in another.

What counts is the CPU time of the server for each message delivered. The next burst is
published when the clients have read the last one, so nothing piles up. Each of the two
has a core of its own.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from praxis_fast import core
from praxis_fast.benchmarks.awake import awake
from praxis_fast.benchmarks.notes import Notes
from praxis_fast.benchmarks.process import BenchError, Process, own_cores, own_program
from praxis_fast.benchmarks.rows import Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MODULES", "Server", "installed_servers", "measure", "own_servers"]

# Clients read only while they are measured: heartbeats would find them silent.
RAISED: Final = "websocket.ping_interval to an hour"

# What has to be importable for a kind of server.
MODULES: Final = {
    "websockets": "websockets",
    "aiohttp": "aiohttp",
    "picows": "picows",
    "socketify": "socketify",
    "starlette": "starlette",
}

# Deliveries a second while the age of events is measured.
PACE: Final = 20_000

# Turns of many events: their messages have to fit in the clients' kernel buffers.
CROWDED_TURNS: Final = 4

# From publishing until the kernel has the last copy, and until a client has read one.
AGES: Final = {"last": "age of the last copy", "ages": "age at the client"}


@dataclass(frozen=True, slots=True)
class Server:
    """A program that serves one kind."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    clients: Sequence[str] = tuple(own_program("socket_clients"))
    is_baseline: bool = False
    """Ours or the floor: measured with any number of clients."""


def own_servers() -> list[Server]:
    """The gateway, on the plain twins first."""
    command = own_program("socket_server", "praxis-fast")
    pure = {"PRAXIS_FAST_PURE": "1"}
    plain = Server("plain twin", command, pure, is_baseline=True)
    if core.BACKEND == "pure":
        return [plain]
    return [plain, Server("praxis-fast", command, is_baseline=True)]


def installed_servers() -> tuple[list[Server], list[str]]:
    """Servers of other libraries, and which of these are not installed."""
    found, missing = [], []
    for name, module in MODULES.items():
        if importlib.util.find_spec(module):
            found.append(Server(name, own_program("socket_server", name)))
        else:
            missing.append(module)
    return found, missing


class Measured:
    """A server that runs with its clients, and what was measured."""

    def __init__(self, server: Server, clients: int, stack: ExitStack) -> None:
        self.name = server.name
        self._clients = clients
        environment = {**os.environ, **server.environment}
        core, crowd_core = own_cores()
        self._server = stack.enter_context(
            Process(server.command, environment=environment, core=core)
        )
        self._crowd = stack.enter_context(Process(server.clients, core=crowd_core))
        before = self._memory()
        self._crowd.ask("connect", count=clients, **self._server.hello)
        self.memory = (self._memory() - before) / clients
        self.ages: dict[str, list[float]] = {}
        self.costs: dict[int, list[float]] = {}

    def round(self, bursts: int, turns: int, paced: int) -> None:
        """Everything once."""
        self.sample(bursts, turns, 1)
        self.sample(bursts, min(turns, CROWDED_TURNS), 16)
        self.pace(paced)

    def sample(self, bursts: int, turns: int, per_turn: int) -> None:
        """Keep what the server needs for a turn of so many bursts."""
        used = self._cpu()
        for _ in range(bursts):
            self.burst(turns, per_turn)
        used = self._cpu() - used
        self.costs.setdefault(per_turn, []).append(used / (bursts * turns))

    def burst(self, turns: int, per_turn: int) -> None:
        """Publish, and wait until all is read."""
        self._crowd.send("wait", frames=turns * per_turn)
        arguments = {"per_turn": per_turn, "clients": self._clients}
        self._server.ask("burst", turns=turns, **arguments)
        self._crowd.answer()

    def pace(self, events: int) -> None:
        """Publish at a steady rate and keep how old the late events were."""
        self._crowd.ask("stamp", on=True)
        self._crowd.send("wait", frames=events, ages=True)
        interval = self._clients / PACE
        self._server.ask("pace", events=events, interval=interval)
        answer = self._crowd.answer()
        for kind in AGES:
            if answer[kind]:
                self.ages.setdefault(kind, []).append(answer[kind]["p99"] / 1e9)
        self._crowd.ask("stamp", on=False)

    def _memory(self) -> float:
        return float(self._server.ask("memory")["bytes"])

    def _cpu(self) -> float:
        return float(self._server.ask("cpu")["seconds"])


def measure(
    servers: Sequence[Server],
    clients: int = 1000,
    *,
    rounds: int = 5,
    bursts: int = 1,
    turns: int = 16,
    paced: int = 10,
    notes: Notes | None = None,
) -> list[Table]:
    """All servers in turn, round after round, each with so many clients."""
    notes = notes or Notes()
    with awake(), ExitStack() as stack:
        measured = list(_start(servers, clients, stack, notes))
        for number in range(rounds):
            for one in tuple(measured):
                notes.say(f"round {number + 1} of {rounds}, {one.name}")
                try:
                    one.round(bursts, turns, paced)
                except BenchError as error:
                    notes.fail(one.name, error)
                    measured.remove(one)
    return list(_tables(measured, clients))


def _start(
    servers: Sequence[Server], clients: int, stack: ExitStack, notes: Notes
) -> Iterator[Measured]:
    """Each with its clients connected and served once."""
    for server in servers:
        notes.say(f"{server.name}, {clients} clients")
        try:
            one = Measured(server, clients, stack)
            one.burst(2, 1)
        except BenchError as error:
            notes.fail(server.name, error)
            continue
        yield one


def _tables(measured: Sequence[Measured], clients: int) -> Iterator[Table]:
    head = f"sockets: {clients} clients, "
    for per_turn, word in ((1, "1 event"), (16, "16 events")):
        rows = tuple(Row(one.name, tuple(one.costs[per_turn])) for one in measured)
        title = f"{head}{word} per turn, CPU of the server"
        curve = f"sockets, {word} per turn"
        items = clients * per_turn
        yield Table(title, items, 0, rows, "message", curve, clients)
    for kind, text in AGES.items():
        rows = tuple(
            Row(o.name, tuple(o.ages[kind])) for o in measured if kind in o.ages
        )
        title = f"{head}{PACE}/s, {text}, p99"
        if rows:
            yield Table(title, 1, 0, rows, "event", f"sockets, {text}, p99", clients)
    rows = tuple(Row(one.name, (one.memory,)) for one in measured)
    title = f"sockets: memory of the server, {clients} idle clients"
    yield Table(title, 1, 0, rows, "client", cost="memory")
