"""A process that publishes to an outbox and says what was acknowledged, to be killed.

It says `open`, then one line for each acknowledged event: its number. When all are
published it only delivers what waits, until it is killed.
"""

from __future__ import annotations

import asyncio
import os

from praxis_fast.events.event import Event
from praxis_fast.events.webhooks.address_gate import AddressGate
from praxis_fast.events.webhooks.outbox import Outbox
from praxis_fast.events.webhooks.sender import WebhookClient
from praxis_fast.limits import Limits, WebhookLimits
from tests.events.receivers import SECRET

TASKS = 5


def event(number: int) -> Event:
    return Event(
        "task.progress", {"n": number}, task_id=f"t{number % TASKS}", id=f"e{number}"
    )


async def acknowledge(outbox: Outbox, number: int) -> None:
    written = outbox.append(event(number))
    assert written is not None
    await written
    # One system call: the line is out whole before anything can kill us.
    os.write(1, b"%d\n" % number)


async def publish(path: str, url: str, begin: str, number: str) -> None:
    first, count = int(begin), int(number)
    # Quick tries, for the receiver fails now and then on purpose.
    limits = Limits(webhooks=WebhookLimits(first_delay=0.001, quick_tries=1000))
    gate = AddressGate(allow_loopback=True)
    outbox = Outbox(path, WebhookClient(gate, limits.webhooks), limits=limits)
    await outbox.open()
    if "receiver" not in outbox:
        await outbox.register({"id": "receiver", "url": url, "secret": SECRET})
    os.write(1, b"open\n")
    for start in range(first, first + count, 20):
        async with asyncio.TaskGroup() as group:
            for n in range(start, min(start + 20, first + count)):
                group.create_task(acknowledge(outbox, n))
    await asyncio.Event().wait()
