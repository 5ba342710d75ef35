"""Watch the agents that a running agent knows: `python examples/watch.py [URL]`."""

# ruff: noqa: T201  it is there to print

from __future__ import annotations

import asyncio
import sys

from praxis_fast import AgentRegistry

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:9000"


async def main() -> None:
    async with AgentRegistry(URL) as agents:
        for agent in agents.values():
            print(agent.status, agent.name, agent.peer_id)
        calc = await agents.wait_for("calc")
        print("calc can", *calc.tools)


asyncio.run(main())
