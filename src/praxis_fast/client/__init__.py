"""Programs that watch or ask a running agent."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Loaded on first use (PEP 562): the blocking client needs no asyncio.
_HOMES = {
    "Client": "praxis_fast.client.blocking",
    "is_event": "praxis_fast.client.blocking",
    "subscription": "praxis_fast.client.blocking",
    "DEFAULT_URL": "praxis_fast.client.address",
    "websocket_url": "praxis_fast.client.address",
    "EventStream": "praxis_fast.client.stream",
    "StreamedEvent": "praxis_fast.client.items",
    "Gap": "praxis_fast.client.items",
    "Reset": "praxis_fast.client.items",
    "Snapshot": "praxis_fast.client.items",
    "Item": "praxis_fast.client.items",
    "AgentRegistry": "praxis_fast.client.registry",
    "AgentEntry": "praxis_fast.client.agent_entry",
    "AgentStatus": "praxis_fast.client.agent_entry",
    "Backoff": "praxis_fast.client.backoff",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from praxis_fast.client.address import DEFAULT_URL as DEFAULT_URL
    from praxis_fast.client.address import websocket_url as websocket_url
    from praxis_fast.client.agent_entry import AgentEntry as AgentEntry
    from praxis_fast.client.agent_entry import AgentStatus as AgentStatus
    from praxis_fast.client.backoff import Backoff as Backoff
    from praxis_fast.client.blocking import Client as Client
    from praxis_fast.client.blocking import is_event as is_event
    from praxis_fast.client.blocking import subscription as subscription
    from praxis_fast.client.items import Gap as Gap
    from praxis_fast.client.items import Item as Item
    from praxis_fast.client.items import Reset as Reset
    from praxis_fast.client.items import Snapshot as Snapshot
    from praxis_fast.client.items import StreamedEvent as StreamedEvent
    from praxis_fast.client.registry import AgentRegistry as AgentRegistry
    from praxis_fast.client.stream import EventStream as EventStream


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
