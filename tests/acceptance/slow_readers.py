"""Subscribers that stop reading among many that do not: nobody else is to notice.

    python -m tests.acceptance.slow_readers --subscribers 5000 --slow 100

The same is done without the slow ones first, and the two are shown side by side.
"""

from __future__ import annotations

import argparse
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from praxis_fast.benchmarks.process import Process
from praxis_fast.benchmarks.socket_clients import shake_hands
from praxis_fast.limits import EventLimits
from tests.acceptance import crowd, server
from tests.acceptance.frames import CLOSE, TEXT, Frames, decode
from tests.acceptance.sequence import Choice, Record
from tests.acceptance.server import BATCH

PAUSE = 1.0  # between two batches, while ages are taken: 80,000 messages a second
ROUND = 4 * BATCH  # events at once, while the rate is taken
FILLING = 100  # characters in an event
PATIENCE = 60.0
SEE_OFF = 600.0

# Memory that a run may take more than another for no reason of ours.
NOISE = 64 * 1024 * 1024


class Laggard:
    """Reads nothing until it is told to."""

    def __init__(self, port: int, policy: str, count: int) -> None:
        self.policy = policy
        self.record = Record(policy, Choice().expected(count))
        self.goodbye = (0, "")
        self._frames = Frames()
        self._socket = socket.socket()
        # The kernel reads for us, however little we do; this is the least it takes.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        path = f"/events?{Choice().query}&policy={policy}"
        self._receive(shake_hands(self._socket, port, path))

    def read(self) -> None:
        """Until it has everything, or was told to go."""
        while not self.record.is_complete and not self.goodbye[0]:
            data = self._socket.recv(65536)
            assert data, f"{self.policy}: hung up on without a word"
            self._receive(data)

    def close(self) -> None:
        self._socket.close()

    def _receive(self, data: bytes) -> None:
        for first, body in self._frames.receive_data(data):
            if first == CLOSE:
                self.goodbye = struct.unpack("!H", body[:2])[0], body[2:].decode()
            elif first == TEXT:
                self._take(body)

    def _take(self, body: bytes) -> None:
        message = decode(body)
        told = message.payload
        if message.type == "gap":
            self.record.gap(told.first, told.last, told.dropped)
        else:
            self.record.event(message.seq, told.n)


@dataclass
class Outcome:
    """One run."""

    subscribers: int
    slow: int
    rate: float = 0.0
    ages: dict[str, int] = field(default_factory=dict)
    resident: int = 0
    exact: int = 0
    gaps: int = 0
    dropped: int = 0
    expelled: Counter[int] = field(default_factory=Counter)

    def __str__(self) -> str:
        codes = ", ".join(f"{n} left with {code}" for code, n in self.expelled.items())
        slow = f", {self.gaps} gaps told of {self.dropped} events, {codes}"
        ages = {name: f"{age / 1e6:.0f} ms" for name, age in self.ages.items()}
        return (
            f"{self.subscribers} subscribers, {self.slow} slow: "
            f"{self.exact} had every event{slow if self.slow else ''}\n"
            f"  {self.rate:.0f} events/s to all; age p50 {ages['p50']}, "
            f"p99 {ages['p99']}; server {self.resident >> 20} MiB"
        )


def run(
    subscribers: int,
    slow: int,
    events: int,
    limits: EventLimits | None = None,
    pause: float = PAUSE,
) -> Outcome:
    """Half of the events slowly, half in a hurry.

    Raises AssertionError when somebody was not told what it must be told.
    """
    events //= 2
    events -= events % BATCH
    settings: dict[str, Any] = {
        # Heartbeats are no events, and would differ from one to the other.
        "websocket": {"max_clients": 2 * subscribers, "ping_interval": 3600.0},
    }
    outcome = Outcome(subscribers, slow)
    bounds = limits or EventLimits()
    with (
        server.start(settings | {"events": bounds}) as serving,
        crowd.start() as readers,
        laggards(serving, slow, 2 * events) as behind,
    ):
        port = urlsplit(serving.hello["url"]).port
        path = f"/events?{Choice().query}"
        readers.ask("connect", port=port, path=path, count=subscribers - slow)
        serving.ask("publish", count=events, pause=pause, filling=FILLING)
        leaving = [one for one in behind if one.policy == "disconnect"]
        # Beside the rest: who is told to go must hear it before the connection ends.
        with ThreadPoolExecutor(1) as beside:
            seen_off = beside.submit(see_off, serving, leaving, outcome)
            for frames in range(BATCH, events + 1, BATCH):
                readers.ask("wait", frames=frames)
            seen_off.result()
        outcome.ages = readers.ask("ages")
        outcome.rate = hurry(serving, readers, events)
        outcome.resident = serving.ask("stats")["resident"]
        for one in behind:
            if one.policy == "drop_oldest":
                one.read()
                outcome.gaps += one.record.gaps
                outcome.dropped += one.record.dropped
        told = readers.ask("compare", count=2 * events)
        assert told["is_complete"]
        outcome.exact = told["same"]
        assert outcome.exact == subscribers - slow, outcome
    return outcome


@contextmanager
def laggards(serving: Process, slow: int, count: int) -> Iterator[list[Laggard]]:
    """Half of them want to be told what they missed, half to be told to go."""
    port = urlsplit(serving.hello["url"]).port
    assert port is not None
    policies = ("drop_oldest", "disconnect")
    made = [Laggard(port, policies[number % 2], count) for number in range(slow)]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def see_off(serving: Process, leaving: list[Laggard], outcome: Outcome) -> None:
    """Wait until these are no clients any more, and read what they were told."""
    clients = outcome.subscribers - len(leaving)
    until = time.monotonic() + SEE_OFF
    while serving.ask("stats")["clients"] > clients:
        assert time.monotonic() < until, "a slow subscriber was not told to go"
        time.sleep(0.1)
    for one in leaving:
        one.read()
        code, reason = one.goodbye
        assert code == 4008, (code, reason)
        outcome.expelled[code] += 1


def hurry(serving: Process, readers: Process, count: int) -> float:
    """Events a second, when the next come as soon as all have the last."""
    began = time.monotonic()
    for done in range(0, count, ROUND):
        number = min(ROUND, count - done)
        serving.ask("publish", count=number, pause=0.0, filling=FILLING)
        readers.ask("wait", frames=count + done + number)
    return count / (time.monotonic() - began)


def bound(slow: int, limits: EventLimits) -> int:
    """What the slow ones may cost at most, in bytes."""
    return slow * limits.max_queued_bytes + NOISE


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.slow_readers")
    parser.add_argument("--subscribers", type=int, default=5_000)
    parser.add_argument("--slow", type=int, default=100)
    parser.add_argument("--events", type=int, default=3_600)
    options = parser.parse_args()
    calm = run(options.subscribers, 0, options.events)
    print(calm)
    busy = run(options.subscribers, options.slow, options.events)
    print(busy)
    more = busy.resident - calm.resident
    allowed = bound(options.slow, EventLimits())
    assert more <= allowed, f"{more} bytes more, limit {allowed}"
    ages = busy.ages["p99"] / calm.ages["p99"]
    print(
        f"beside the run without: rate x{busy.rate / calm.rate:.2f}, "
        f"p99 x{ages:.2f} (goal 1.5), memory {more / 2**20:+.0f} MiB "
        f"(limit {allowed >> 20})"
    )


if __name__ == "__main__":
    main()
