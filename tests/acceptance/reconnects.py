"""Events to subscribers that come and go: each gets its sequence, or is told what not.

python -m tests.acceptance.reconnects --events 1000000 --reconnects 10000
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import uvloop

from praxis_fast.benchmarks.process import Process
from tests.acceptance.readers import Reader, SocketReader, SourceReader, StreamReader
from tests.acceptance.sequence import LETTERS, TASKS, Choice
from tests.acceptance.server import start

# The journal holds this share of all events, and at least so many: who is away for long
# comes back too late.
KEPT, LEAST_KEPT = 0.01, 2_000
# The server breaks connections besides: so many for each break at a client's end.
CUT_BY_SERVER = 0.05
# Which of the subscribers want everything.
SLEEPY = (2, 3)
# Nobody hears anything for this long: something is lost. In seconds.
STALL = 60.0


@dataclass
class Outcome:
    """What all subscribers together were told."""

    events: int
    reconnects: int
    delivered: int = 0
    gaps: int = 0
    dropped: int = 0
    skipped: int = 0
    resets: Counter[str] = field(default_factory=Counter)
    resident: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        resets = ", ".join(f"{n} {reason}" for reason, n in self.resets.items())
        return (
            f"{self.events} events, {self.reconnects} reconnects, "
            f"{self.seconds:.0f} s: {self.delivered} delivered as they must be; "
            f"{self.gaps} gaps told of {self.dropped}, "
            f"{self.resets.total()} resets ({resets or 'none'}) of {self.skipped}; "
            f"server {self.resident >> 20} MiB"
        )


def choices(rng: random.Random, count: int) -> list[Choice]:
    """From broad to narrow, alone and together."""
    found = []
    for number in range(count):
        if number in SLEEPY:
            found.append(Choice())
            continue
        letters = "".join(sorted(rng.sample(LETTERS, rng.choice([1, 2, 4]))))
        tasks = tuple(sorted(rng.sample(range(TASKS), 5))) if number % 2 else ()
        found.append(Choice(letters, tasks, number % 3, red=number % 5 == 4))
    return found


def readers(url: str, seed: int, count: int, breaks: int, size: int) -> list[Reader]:
    """Of every kind, with the breaks dealt out among them."""
    rng = random.Random(seed)
    kinds = (SocketReader, SourceReader, SocketReader, SourceReader, StreamReader)
    dealt = Counter(rng.choices(range(size), k=breaks))
    made: list[Reader] = []
    for number, choice in enumerate(choices(rng, size)):
        kind = kinds[number % len(kinds)]
        if kind is StreamReader:
            # It asks for types only.
            choice = Choice(choice.letters)
        made.append(kind(url, number, choice, count, dealt[number]))
    return made


async def run(count: int, reconnects: int, seed: int = 1, size: int = 40) -> Outcome:
    """Publish so many events; raises AssertionError when a subscriber was misled."""
    limits = {
        "journal": {"max_events": max(LEAST_KEPT, int(count * KEPT))},
        "events": {"max_queued_events": 256, "max_queued_bytes": 64 * 1024},
        "websocket": {"compression": True},
    }
    with start(limits) as server:
        cuts = int(reconnects * CUT_BY_SERVER)
        url = server.hello["url"]
        made = readers(url, seed, count, reconnects, size)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for reader in made:
                group.create_task(reader.run())
            group.create_task(drive(server, made, count, cuts))
        outcome = Outcome(count, sum(reader.reconnects for reader in made))
        outcome.seconds = time.monotonic() - began
        outcome.resident = (await ask(server, "stats"))["resident"]
    for reader in made:
        record = reader.record
        outcome.delivered += record.events
        outcome.gaps += record.gaps
        outcome.dropped += record.dropped
        outcome.skipped += record.skipped
        outcome.resets.update(record.resets)
    return outcome


async def ask(server: Process, command: str, **arguments: Any) -> dict[str, Any]:
    """The pipe blocks, and so must not be read by our loop."""
    return await asyncio.to_thread(server.ask, command, **arguments)


async def drive(server: Process, made: list[Reader], count: int, cuts: int) -> None:
    """Publish when all are there; see that everybody comes to the end."""
    while (await ask(server, "stats"))["clients"] < len(made):
        await asyncio.sleep(0.02)
    await ask(server, "publish", count=count, cuts=cuts, filling=400)
    seen, since = -1, time.monotonic()
    while late := [reader for reader in made if not reader.record.is_complete]:
        await ask(server, "stats")
        told = sum(reader.record.position for reader in made)
        if told != seen:
            seen, since = told, time.monotonic()
        lacking = {reader.name: reader.record.next for reader in late}
        assert time.monotonic() - since < STALL, f"nothing comes any more: {lacking}"
        await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.reconnects")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--reconnects", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(run(options.events, options.reconnects, options.seed)))


if __name__ == "__main__":
    main()
