"""Agents that find each other, call each other's tools and stream every event."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Loaded on first use (PEP 562), so that `praxis-fast --help` stays quick.
_HOMES = {
    "Agent": "praxis_fast.agent.agent",
    "AgentConfig": "praxis_fast.agent.config",
    "tool": "praxis_fast.agent.tools",
    "Event": "praxis_fast.events.event",
    "EventFilter": "praxis_fast.events.event",
    "EventBus": "praxis_fast.events.bus",
    "Host": "praxis_fast.p2p",
    "PrivateKey": "praxis_fast.p2p",
    "PeerID": "praxis_fast.p2p",
    "Stream": "praxis_fast.p2p",
    "EventStream": "praxis_fast.client.stream",
    "AgentRegistry": "praxis_fast.client.registry",
    "verify_webhook": "praxis_fast.events.webhooks.signing",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from praxis_fast.agent.agent import Agent as Agent
    from praxis_fast.agent.config import AgentConfig as AgentConfig
    from praxis_fast.agent.tools import tool as tool
    from praxis_fast.client.registry import AgentRegistry as AgentRegistry
    from praxis_fast.client.stream import EventStream as EventStream
    from praxis_fast.events.bus import EventBus as EventBus
    from praxis_fast.events.event import Event as Event
    from praxis_fast.events.event import EventFilter as EventFilter
    from praxis_fast.events.webhooks.signing import verify_webhook as verify_webhook
    from praxis_fast.p2p import Host as Host
    from praxis_fast.p2p import PeerID as PeerID
    from praxis_fast.p2p import PrivateKey as PrivateKey
    from praxis_fast.p2p import Stream as Stream


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
