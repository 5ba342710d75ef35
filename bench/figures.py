"""The figures to reach, from one run: python -m bench.figures FOLDER.

Reads the bench.json that `python -m bench --keep FOLDER` left, and prints a Markdown
table. What the run has no numbers for is named as not measured.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Value = Callable[["Run"], float]

OURS, GATE = "core", "praxis-fast"


class Run:
    """The numbers of a run; a table is found by its title or how that begins."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._tables = told["tables"]

    def cost(self, title: str, row: str) -> float:
        """Seconds or bytes of an item; LookupError when it was not measured."""
        for one in self._table(title)["rows"]:
            if one["name"] == row:
                return float(one["per_item"])
        raise LookupError(row)

    def speed(self, title: str, row: str) -> float:
        """Bytes a second."""
        table = self._table(title)
        return float(table["bytes"] / table["items"] / self.cost(title, row))

    def _table(self, title: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = [
            *(table for table in self._tables if table["title"] == title),
            *(table for table in self._tables if table["title"].startswith(title)),
        ]
        if not found:
            raise LookupError(title)
        return found[0]


@dataclass(frozen=True, slots=True)
class Figure:
    """What is to be reached: at least or at most the goal."""

    part: str
    text: str
    sign: str
    goal: float
    unit: str
    value: Value

    def line(self, run: Run) -> str:
        """A row of the table."""
        goal = f"{self.sign} {self.goal:,g} {self.unit}"
        return f"| {self.part} | {self.text} | {goal} | {self._found(run)} |"

    def _found(self, run: Run) -> str:
        try:
            value = self.value(run)
        except LookupError:
            return "not measured |"
        good = value >= self.goal if self.sign == "≥" else value <= self.goal
        shown = f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"
        return f"{shown} {self.unit} | {'yes' if good else 'no'}"


def cost(title: str, row: str, scale: float) -> Value:
    return lambda run: run.cost(title, row) * scale


def rate(title: str, row: str) -> Value:
    return lambda run: 1 / run.cost(title, row)


def speed(title: str, row: str) -> Value:
    return lambda run: run.speed(title, row) / 1e9


def times(title: str, other: str, row: str, other_title: str = "") -> Value:
    """How many times the row's cost the other's is."""
    return lambda run: run.cost(other_title or title, other) / run.cost(title, row)


def splitting() -> Iterator[tuple[Any, ...]]:
    events, best = "events in chunks of 16384", "core, avx512"
    yield "small events, AVX-512", "≥", 6, "GB/s", speed(events, best)
    yield "small events, AVX2", "≥", 4, "GB/s", speed(events, "core, avx2")
    yield "small events, scalar", "≥", 0.9, "GB/s", speed(events, "core, scalar")
    cards = speed("cards in chunks of 16384", best)
    yield "agent cards, AVX-512", "≥", 10, "GB/s", cards
    for name, goal in (("Go json.Decoder", 20), ("plain twin", 150)):
        value = times(events, name, best)
        yield f"small events, against {name}", "≥", goal, "x", value
    orjson_alone = times(events, "split + orjson", "orjson, split before")
    yield "split + orjson, against orjson alone", "≤", 1.08, "x", orjson_alone

    def by_byte(run: Run) -> float:
        return 1e9 / run.speed("events in chunks of 1", best)

    yield "one byte at a time, a byte", "≤", 60, "ns", by_byte


def muxing() -> Iterator[tuple[Any, ...]]:
    for body, goal in ((1024, 120), (64, 90)):
        title, text = f"yamux in, bodies of {body}", f"yamux, {body} B frames"
        yield text, "≤", goal, "ns", cost(title, OURS, 1e9)
        for name, ratio in (("py-libp2p", 150), ("plain twin", 8)):
            value = times(title, name, OURS)
            yield f"{text}, against {name}", "≥", ratio, "x", value
    title = "yamux in, bodies of 1024, streams in turn"
    flat = times(title, "10000 streams", "1 streams")
    yield "yamux, 10,000 streams against 1", "≤", 1.3, "x", flat


def receiving() -> Iterator[tuple[Any, ...]]:
    for text, row, goal in (
        ("decoded", "core", 15),
        ("not decoded", "core, not decoded", 60),
        ("a message each", "core, an event per message", 9),
    ):
        value = times("receive path", "py-libp2p, json, no Noise", row)
        yield f"events {text}, against py-libp2p", "≥", goal, "x", value


def links() -> Iterator[tuple[Any, ...]]:
    for way in ("up", "down"):
        value = times(f"link: 100,000,000 bytes {way}", "go-go", GATE)
        yield f"100 MB {way}, against go-libp2p", "≥", 1, "x", value
    yield "CPU of both ends for a GB", "≤", 3, "s", cost("link: CPU", GATE, 1)
    yield "dial and identify", "≤", 3.2, "ms", cost("link: dial", GATE, 1e3)
    yield "ping", "≤", 0.12, "ms", cost("link: ping", GATE, 1e3)
    one, many = "link: streams, one by one", "link: streams, 200 at once"
    yield "streams one by one", "≥", 4000, "/s", rate(one, GATE)
    yield "streams, 200 at once", "≥", 12_000, "/s", rate(many, GATE)
    for row, goal in (("link", 24), ("stream", 1), ("stream, handler waiting", 2.5)):
        value = cost("link: memory", row, 1 / 1024)
        yield f"idle {row}", "≤", goal, "KiB", value
    for name in ("go", "js", "py"):
        for pair in (f"{GATE} to {name}", f"{name} to {GATE}"):
            for text, title in (
                ("100 MB up", "link: 100,000,000 bytes up"),
                ("100 MB down", "link: 100,000,000 bytes down"),
                ("streams, 200 at once", many),
            ):
                value = times(title, f"{name}-{name}", pair)
                yield f"{pair}, {text}, against {name}-{name}", "≥", 1, "x", value


def matching() -> Iterator[tuple[Any, ...]]:
    ten, hundred = "matching 10000 subscribers, ", "matching 100000 subscribers, "
    yield "10,000 subscribers, 1 %", "≤", 1, "µs", cost(f"{ten}1.0%", OURS, 1e6)
    yield "100,000 subscribers, 1 %", "≤", 5, "µs", cost(f"{hundred}1.0%", OURS, 1e6)
    nobody = cost(f"{hundred}nobody", OURS, 1e6)
    yield "100,000 subscribers, nobody", "≤", 0.3, "µs", nobody
    loop = times(f"{ten}1.0%", "upstream Python loop", OURS)
    yield "10,000, against the upstream loop", "≥", 1000, "x", loop
    churn = cost("discard and add among 100000", OURS, 1e6)
    yield "discard and add among 100,000, both", "≤", 10, "µs", churn


def fanout() -> Iterator[tuple[Any, ...]]:
    each = cost("publishing to 10000 subscribers in 10000 groups", OURS, 1e10)
    yield "publish to 10,000 groups", "≤", 101.5, "µs", each


def sockets() -> Iterator[tuple[Any, ...]]:
    thousand = "sockets: 1000 clients, "
    one, paced = f"{thousand}1 event per turn", f"{thousand}20000 deliveries/s"
    five, floor = "sockets: 5000 clients, 1 event per turn", "C floor"
    yield "1,000 clients, against the floor", "≤", 1.15, "x", times(one, GATE, floor)
    yield "5,000 clients, against the floor", "≤", 1.3, "x", times(five, GATE, floor)
    crowd = cost(f"{thousand}16 events per turn", GATE, 1e6)
    yield "1,000 clients, 16 events per turn", "≤", 0.4, "µs", crowd
    for name in ("picows", "aiohttp", "websockets"):
        yield f"1,000 clients, against {name}", "≥", 1, "x", times(one, name, GATE)
    ten = times(one, GATE, GATE, "sockets: 10000 clients, 1 event per turn")
    yield "10,000 clients against 1,000", "≤", 1.3, "x", ten
    age = times(paced, GATE, floor)
    yield "age of events, p99, against the floor", "≤", 1.3, "x", age
    memory = cost("sockets: memory of the server, 1000", GATE, 1 / 1024)
    yield "idle client, of 1,000", "≤", 3, "KiB", memory


PARTS = (splitting, muxing, receiving, matching, fanout, links, sockets)


def lines(run: Run) -> list[str]:
    """The table."""
    told = [Figure(part.__name__, *one).line(run) for part in PARTS for one in part()]
    head = "| part | figure | to reach | measured | reached |"
    return [head, "|---|---|---|---|---|", *told]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    told = orjson.loads((parser.parse_args().folder / "bench.json").read_bytes())
    print("\n".join(lines(Run(told))))


if __name__ == "__main__":
    main()
