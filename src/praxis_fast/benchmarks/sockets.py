"""Fan-out to real sockets: a server in one process, its WebSocket clients in another.

Figures to reach and how they were set: performance.md, section 5. What counts is the
CPU time of the server for each message delivered. The next burst is published when the
clients have read the last one, so nothing piles up.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from praxis_fast import core
from praxis_fast.benchmarks.process import Process, own_program
from praxis_fast.benchmarks.rows import Row, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["MODULES", "Server", "installed_servers", "measure", "own_servers"]

# What has to be importable for a kind of server.
MODULES: Final = {"websockets": "websockets", "aiohttp": "aiohttp", "picows": "picows"}

# Deliveries a second while the age of events is measured, and events for that.
PACE: Final = 20_000
PACED: Final = 20

# Turns of many events: their messages have to fit in the clients' kernel buffers.
CROWDED_TURNS: Final = 4


@dataclass(frozen=True, slots=True)
class Server:
    """A program that serves one kind."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def own_servers() -> list[Server]:
    """The gateway, on the plain twins first."""
    command = own_program("socket_server", "praxis-fast")
    plain = Server("plain twin", command, {"PRAXIS_FAST_PURE": "1"})
    if core.BACKEND == "pure":
        return [plain]
    return [plain, Server("praxis-fast", command)]


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
        self._server = stack.enter_context(
            Process(server.command, environment=environment)
        )
        self._crowd = stack.enter_context(Process(own_program("socket_clients")))
        before = self._memory()
        self._crowd.ask("connect", count=clients, **self._server.hello)
        self.memory = (self._memory() - before) / clients
        self.ages: list[float] = []
        self.costs: dict[int, list[float]] = {}

    def burst(self, turns: int, per_turn: int) -> None:
        """Publish, wait until all is read, and keep what the server needed."""
        used = self._cpu()
        self._crowd.send("wait", frames=turns * per_turn)
        arguments = {"per_turn": per_turn, "clients": self._clients}
        self._server.ask("burst", turns=turns, **arguments)
        self._crowd.answer()
        self.costs.setdefault(per_turn, []).append((self._cpu() - used) / turns)

    def pace(self, events: int) -> None:
        """Publish at a steady rate and keep how old the late events were."""
        self._crowd.send("wait", frames=events, ages=True)
        interval = self._clients / PACE
        self._server.ask("pace", events=events, interval=interval)
        self.ages.append(self._crowd.answer()["ages"]["p99"] / 1e9)

    def _memory(self) -> float:
        return float(self._server.ask("memory")["bytes"])

    def _cpu(self) -> float:
        return float(self._server.ask("cpu")["seconds"])


def measure(
    servers: Sequence[Server],
    clients: int = 1000,
    *,
    rounds: int = 5,
    turns: int = 16,
    paced: int = PACED,
    say: Callable[[str], object] = str,
) -> list[Table]:
    """All servers in turn, round after round, each with so many clients."""
    with ExitStack() as stack:
        measured = []
        for server in servers:
            say(f"{server.name}, {clients} clients")
            measured.append(Measured(server, clients, stack))
            measured[-1].burst(2, 1)
            measured[-1].costs.clear()
        for number in range(rounds):
            for one in measured:
                say(f"round {number + 1} of {rounds}, {one.name}")
                one.burst(turns, 1)
                one.burst(min(turns, CROWDED_TURNS), 16)
                one.pace(paced)
    return list(_tables(measured, clients))


def _tables(measured: Sequence[Measured], clients: int) -> Iterator[Table]:
    for per_turn, word in ((1, "1 event"), (16, "16 events")):
        rows = tuple(Row(one.name, tuple(one.costs[per_turn])) for one in measured)
        title = f"sockets: {clients} clients, {word} per turn, CPU of the server"
        curve = f"sockets, {word} per turn"
        items = clients * per_turn
        yield Table(title, items, 0, rows, "message", curve, clients)
    rows = tuple(Row(one.name, tuple(one.ages)) for one in measured)
    title = f"sockets: {clients} clients, {PACE} deliveries/s, age at the client, p99"
    yield Table(title, 1, 0, rows, "event", "sockets, p99", clients)
    rows = tuple(Row(one.name, (one.memory,)) for one in measured)
    title = f"sockets: memory of the server, {clients} idle clients"
    yield Table(title, 1, 0, rows, "client", cost="memory")
