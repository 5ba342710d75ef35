"""Two hundred agents in one process come, meet and go, and nothing is left."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack

from praxis_fast.agent.agent import Agent
from tests.agent.network import Log, make_agent
from tests.p2p.network import sockets

AGENTS = 200
NEIGHBOURS = 4
PATIENCE = 240.0


def neighbours(agent: Agent, agents: list[Agent]) -> set[str]:
    place = agents.index(agent)
    return {agents[place - step].host.peer_id for step in range(1, NEIGHBOURS + 1)}


async def has_cards(agent: Agent, wanted: set[str], log: Log) -> None:
    count = 0
    while not wanted <= agent.peers.cards().keys():
        count += 1
        await log.wait_for("p2p.card_exchange", count)


async def test_two_hundred_agents_meet_and_leave_nothing_behind() -> None:
    tasks, before = asyncio.all_tasks(), sockets()
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        agents: list[Agent] = []
        for number in range(AGENTS):
            # A ring: the first ones have nobody to begin with and are dialled.
            known = [agent.host.addrs[0] for agent in agents[-NEIGHBOURS:]]
            agent = make_agent(f"a{number}", bootstrap_nodes=known)
            agents.append(await stack.enter_async_context(agent))
        for agent in agents[:NEIGHBOURS]:
            for other in agents[-NEIGHBOURS:]:
                await agent.connect(other.host.addrs[0])
        met = [
            has_cards(agent, neighbours(agent, agents), Log(agent))
            for agent in agents[NEIGHBOURS:]
        ]
        await asyncio.gather(*met)
        assert sockets() - before >= AGENTS
    gc.collect()
    assert asyncio.all_tasks() == tasks
    assert sockets() == before
    for agent in agents:
        assert agent.host.resources.connections == 0
        assert agent.host.pool.held == 0
        assert agent.host.peers() == []
