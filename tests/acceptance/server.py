"""An event server in a process of its own, told what to do line by line.

python -m tests.acceptance.server '{"journal": {"max_events": 1000}}'
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Any

import msgspec

from praxis_fast.api.event_server import EventServer
from praxis_fast.benchmarks import program
from praxis_fast.benchmarks.process import Process
from praxis_fast.events.bus import EventBus
from praxis_fast.limits import Limits
from tests.acceptance.sequence import EPOCH, Facts

# Events published in one turn of the loop.
BATCH = 16

# A publisher that outruns its readers would show little but gaps: it waits while more
# than this many bytes wait for readers, though no longer than these seconds.
BEHIND = 256 * 1024
PATIENCE = 0.1


class Served:
    """What may be asked of the server."""

    def __init__(self, bus: EventBus, server: EventServer) -> None:
        self._bus = bus
        self._gateway = server.gateway
        self._random = random.Random(1)
        self._publishing: asyncio.Task[None] | None = None

    async def publish(
        self, count: int, cuts: int = 0, pause: float | None = None, filling: int = 0
    ) -> dict[str, Any]:
        """Begin to publish so many; now and then a connection breaks at our end.

        With a pause between two batches nobody is waited for.
        """
        publishing = self._publish(count, cuts, pause, "x" * filling)
        self._publishing = asyncio.create_task(publishing)
        return {}

    async def stats(self) -> dict[str, Any]:
        """How far it is, and what it costs."""
        if self._publishing is not None and self._publishing.done():
            self._publishing.result()
        return {
            "published": self._bus.published,
            "pending": self._gateway.pending_bytes,
            "clients": self._gateway.clients,
            "resident": program.resident(),
        }

    async def _publish(
        self, count: int, cuts: int, pause: float | None, filling: str
    ) -> None:
        cut_at = {self._random.randrange(count) for _ in range(cuts)}
        first = self._bus.published + 1
        for number in range(first, first + count):
            self._publish_one(number, filling)
            if number in cut_at:
                self._cut()
            if number % BATCH == 0:
                await asyncio.sleep(pause or 0.0)
                if pause is None:
                    await self._wait_for_readers()

    def _publish_one(self, number: int, filling: str) -> None:
        facts = Facts.of(number)
        self._bus.publish(
            f"sequence.{facts.letter}",
            {"sent": time.monotonic_ns(), "n": number, "text": filling},
            task_id=f"t{facts.task}",
            priority=facts.priority,
            tags=["red"] if facts.is_red else None,
        )

    def _cut(self) -> None:
        sockets = list(self._gateway._sockets)
        if sockets:
            self._random.choice(sockets).abort()

    async def _wait_for_readers(self) -> None:
        until = time.monotonic() + PATIENCE
        while self._gateway.pending_bytes > BEHIND and time.monotonic() < until:
            await asyncio.sleep(0.001)


def start(limits: dict[str, Any]) -> Process:
    """The server of these limits; `hello` tells its URL."""
    told = msgspec.json.encode(limits).decode()
    return Process([sys.executable, "-m", "tests.acceptance.server", told])


async def main() -> None:
    bus = EventBus(source="sequence", epoch=EPOCH)
    limits = msgspec.json.decode(sys.argv[1], type=Limits)
    async with EventServer(bus, port=0, limits=limits) as server:
        served = Served(bus, server)
        hello = {"url": server.url}
        commands = {"publish": served.publish, "stats": served.stats}
        await program.serve(hello, commands)
    await bus.close()


if __name__ == "__main__":
    program.run(main)
