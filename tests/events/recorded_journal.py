"""A process whose writes are recorded: it publishes through a journal on disk.

    python -m tests.events.recorded_journal FOLDER EVENTS

It ends without closing the journal, like one that loses power.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from praxis_fast.events.bus import EventBus
from praxis_fast.events.journal import file as journal_file
from praxis_fast.events.journal.file import JournalFile
from praxis_fast.limits import JournalFileLimits, JournalLimits, Limits, StoreLimits
from tests.events.historian import publish

KEPT = 300
LIMITS = Limits(
    journal=JournalLimits(max_events=50),
    journal_file=JournalFileLimits(max_events=KEPT),
    store=StoreLimits(commit_interval=0.0001),
)
# So few that they run out now and then.
RESERVE = 40


async def fill(folder: Path, events: int) -> None:
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT, 0o600)

    async def acknowledge(seq: int) -> None:
        await file.written(seq)
        os.write(said, b"acked %d\n" % seq)

    bus = EventBus()
    file = JournalFile(folder / "journal.db", bus, limits=LIMITS)
    await file.open()
    for start in range(0, events, 15):
        burst = 5 if start % 150 else 2 * RESERVE
        made = [publish(bus, start + n) for n in range(burst)]
        for event in made:
            os.write(said, f"gave {event.epoch} {event.seq} {event.id}\n".encode())
        acks = [asyncio.create_task(acknowledge(event.seq)) for event in made]
        if start % 2:
            await asyncio.gather(*acks)
        else:
            await asyncio.sleep(0)
    await file.written(bus.seq)
    os._exit(0)


if __name__ == "__main__":
    journal_file.RESERVE = RESERVE
    asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2])))
