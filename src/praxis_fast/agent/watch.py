"""What an operator may switch on: a log line per event, and how the agent does."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.agent.peers import Peers
    from praxis_fast.events.bus import EventBus
    from praxis_fast.events.event import Event

logger = logging.getLogger(__name__)


def log_event(event: Event) -> None:
    """Upstream's debug line; the data stays out of the log."""
    logger.info(
        "EVENT_EMITTED %s %s-%s priority=%s source=%s task_id=%s peer_id=%s",
        event.type,
        event.epoch,
        event.seq,
        event.priority,
        event.source,
        event.task_id,
        event.peer_id,
    )


async def tell_performance(
    name: str, bus: EventBus, peers: Peers, interval: float, clock: Callable[[], float]
) -> None:
    """Publish `service.status` with a few numbers, again and again."""
    while True:
        begun, seq = clock(), bus.seq
        await asyncio.sleep(interval)
        passed = max(clock() - begun, 1e-9)
        told = peers.snapshot()
        bus.publish(
            "service.status",
            {
                "service_name": name,
                "status": "healthy",
                "health_check_results": {},
                "metrics": {
                    "events_published": bus.seq,
                    "events_per_second": round((bus.seq - seq) / passed, 3),
                    "loop_lag": round(max(0.0, passed - interval), 6),
                    "known_peers": len(told),
                    "connected_peers": sum(peer["is_connected"] for peer in told),
                },
            },
        )
