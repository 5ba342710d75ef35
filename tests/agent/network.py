"""Agents on loopback, and what tests wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import AgentConfig
from praxis_fast.events.event import Event

# Far more than anything here takes; only a hung test waits as long.
PATIENCE = 20.0


def settings(name: str = "a", **p2p: Any) -> dict[str, Any]:
    """Loopback only, any port, nothing found by itself."""
    return {
        "agent": {"name": name},
        "p2p": {"host": "127.0.0.1", "port": 0, "enable_mdns": False, **p2p},
    }


def make_agent(
    name: str = "a",
    tools: Iterable[Callable[..., Any]] = (),
    *,
    limits: dict[str, dict[str, Any]] | None = None,
    wall_clock: Callable[[], float] | None = None,
    **p2p: Any,
) -> Agent:
    config = AgentConfig.from_mapping(settings(name, **p2p) | {"limits": limits or {}})
    clocks = {} if wall_clock is None else {"wall_clock": wall_clock}
    return Agent(config, tools, **clocks)


class Log:
    """All events of an agent, in order."""

    def __init__(self, agent: Agent) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        agent.bus.add_sink(self._on_event)

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def of(self, *types: str) -> list[Event]:
        return [event for event in self.events if event.type in types]

    async def wait_for(self, name: str, count: int = 1) -> Event:
        """The event of this type with this number."""
        async with asyncio.timeout(PATIENCE):
            while len(found := self.of(name)) < count:
                self._changed.clear()
                await self._changed.wait()
        return found[count - 1]


@asynccontextmanager
async def met(a: Agent, b: Agent) -> AsyncIterator[tuple[Log, Log]]:
    """Both agents started and introduced; `a` dials `b`."""
    logs = Log(a), Log(b)
    async with a, b:
        await a.connect(b.host.addrs[0])
        for log in logs:
            await log.wait_for("p2p.card_exchange")
        yield logs


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.005)
