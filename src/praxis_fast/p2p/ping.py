"""The ping protocol: 32 bytes there and back, as often as wanted on one stream."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from praxis_fast.errors import NetworkError

if TYPE_CHECKING:
    from praxis_fast.p2p.stream import Stream

PING = "/ipfs/ping/1.0.0"
SIZE = 32

# A stream nobody pings on is ended after this long; peers ping every 10 s or so.
IDLE_TIMEOUT = 60.0

# How often pings put that end off; at each of them it would double what one costs.
RENEWAL = 1.0


async def answer(stream: Stream) -> None:
    """Handler: send back what comes, 32 bytes at a time, until the peer ends."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(IDLE_TIMEOUT) as idle:
            renewed = loop.time()
            while True:
                await stream.write(await stream.read_exactly(SIZE))
                now = loop.time()
                if now - renewed > RENEWAL:
                    idle.reschedule(now + IDLE_TIMEOUT)
                    renewed = now
    except (asyncio.IncompleteReadError, TimeoutError):
        return


async def measure(stream: Stream) -> float:
    """Seconds for one round trip on a stream opened for it."""
    payload = secrets.token_bytes(SIZE)
    started = time.perf_counter()
    await stream.write(payload)
    try:
        answered = await stream.read_exactly(SIZE)
    except asyncio.IncompleteReadError as error:
        raise NetworkError("the peer ended the ping without an answer") from error
    elapsed = time.perf_counter() - started
    if answered != payload:
        raise NetworkError("the peer answered a ping with other bytes")
    return elapsed
