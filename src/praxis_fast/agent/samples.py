"""Two tools to try an agent with; `praxis-fast run` offers them if it is given none."""

from __future__ import annotations

from datetime import UTC, datetime

from praxis_fast.agent.tools import tool


@tool(remote=True)
async def echo(text: str) -> str:
    """Answer with the text.

    Args:
        text: What to send back.
    """
    return text


@tool(remote=True)
async def now() -> str:
    """Tell the time of this agent's machine, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


TOOLS = (echo, now)
