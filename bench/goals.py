"""What is to be reached, and where in a kept run to look for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Value = Callable[["Run"], float]

OURS, GATE, FLOOR = "core", "praxis-fast", "C floor"


class Run:
    """The numbers of a run; a table is found by its title or how that begins.

    Each is the median of all rounds, or with `best` that of the quickest one.
    """

    def __init__(self, told: dict[str, Any], *, best: bool = False) -> None:
        self._tables = told["tables"]
        self._number = "min" if best else "per_item"

    def cost(self, title: str, row: str) -> float:
        """Seconds or bytes of an item; LookupError when it was not measured."""
        for one in self._table(title)["rows"]:
            if one["name"] == row:
                return float(one[self._number])
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
class Goal:
    """What is to be reached: at least or at most so much."""

    text: str
    sign: str
    number: float
    unit: str
    value: Value

    def measured(self, run: Run) -> float | None:
        """None when the run does not have it."""
        try:
            return self.value(run)
        except LookupError:
            return None


def least(text: str, number: float, unit: str, value: Value) -> Goal:
    """At least so much."""
    return Goal(text, "≥", number, unit, value)


def most(text: str, number: float, unit: str, value: Value) -> Goal:
    """At most so much."""
    return Goal(text, "≤", number, unit, value)


def cost(title: str, row: str, scale: float) -> Value:
    return lambda run: run.cost(title, row) * scale


def rate(title: str, row: str) -> Value:
    return lambda run: 1 / run.cost(title, row)


def speed(title: str, row: str) -> Value:
    return lambda run: run.speed(title, row) / 1e9


def times(title: str, other: str, row: str, other_title: str = "") -> Value:
    """How many times the row's cost the other's is."""
    return lambda run: run.cost(other_title or title, other) / run.cost(title, row)


def splitting() -> Iterator[Goal]:
    events, best = "events in chunks of 16384", "core, avx512"
    yield least("small events, AVX-512", 6, "GB/s", speed(events, best))
    avx2, scalar = speed(events, "core, avx2"), speed(events, "core, scalar")
    yield least("small events, AVX2", 4, "GB/s", avx2)
    yield least("small events, scalar", 0.9, "GB/s", scalar)
    cards = speed("cards in chunks of 16384", best)
    yield least("agent cards, AVX-512", 10, "GB/s", cards)
    results = speed("tool_results in chunks of 16384", best)
    yield least("tool results of 0.5 MB, AVX-512", 15, "GB/s", results)
    for name, goal in (("Go json.Decoder", 20), ("plain twin", 150)):
        value = times(events, name, best)
        text = f"small events, against {name}"
        yield least(text, goal, "x", value)
    alone = times(events, "split + orjson", "orjson, split before")
    yield most("split + orjson, against orjson alone", 1.08, "x", alone)

    def by_byte(run: Run) -> float:
        return 1e9 / run.speed("events in chunks of 1", best)

    yield most("one byte at a time, a byte", 60, "ns", by_byte)
    value = cost("value in chunks of 1460", best, 1e3)
    yield most("a value of 882 KB in packets", 0.12, "ms", value)


def muxing() -> Iterator[Goal]:
    for body, goal in ((1024, 120), (64, 90)):
        title, text = f"yamux in, bodies of {body}", f"yamux, {body} B frames"
        yield most(text, goal, "ns", cost(title, OURS, 1e9))
        for name, ratio in (("py-libp2p", 150), ("plain twin", 8)):
            value = times(title, name, OURS)
            yield least(f"{text}, against {name}", ratio, "x", value)
    title = "yamux in, bodies of 1024, streams in turn"
    flat = times(title, "10000 streams", "1 streams")
    yield most("yamux, 10,000 streams against 1", 1.3, "x", flat)


def receiving() -> Iterator[Goal]:
    for text, row, goal in (
        ("decoded", "core", 15),
        ("not decoded", "core, not decoded", 60),
        ("a message each", "core, an event per message", 9),
    ):
        value = times("receive path", "py-libp2p, json, no Noise", row)
        yield least(f"events {text}, against py-libp2p", goal, "x", value)


def links() -> Iterator[Goal]:
    for way in ("up", "down"):
        value = times(f"link: 100,000,000 bytes {way}", "go-go", GATE)
        yield least(f"100 MB {way}, against go-libp2p", 1, "x", value)
    work = cost("link: CPU", GATE, 1)
    yield most("CPU of both ends for a GB", 3, "s", work)
    dial, ping = cost("link: dial", GATE, 1e3), cost("link: ping", GATE, 1e3)
    yield most("dial and identify", 3.2, "ms", dial)
    yield most("ping", 0.12, "ms", ping)
    one, many = "link: streams, one by one", "link: streams, 200 at once"
    yield least("streams one by one", 4000, "/s", rate(one, GATE))
    yield least("streams, 200 at once", 12_000, "/s", rate(many, GATE))
    for row, goal in (("link", 24), ("stream", 1), ("stream, handler waiting", 2.5)):
        value = cost("link: memory", row, 1 / 1024)
        yield most(f"idle {row}", goal, "KiB", value)
    for name in ("go", "js", "py"):
        for pair in (f"{GATE} to {name}", f"{name} to {GATE}"):
            for text, title in (
                ("dial", "link: dial"),
                ("ping", "link: ping"),
                ("100 MB up", "link: 100,000,000 bytes up"),
                ("100 MB down", "link: 100,000,000 bytes down"),
                ("streams one by one", one),
                ("streams, 200 at once", many),
            ):
                value = times(title, f"{name}-{name}", pair)
                whom = f"{pair}, {text}, against {name}-{name}"
                yield least(whom, 1, "x", value)


def matching() -> Iterator[Goal]:
    ten, hundred = "matching 10000 subscribers, ", "matching 100000 subscribers, "
    for row, note in ((OURS, ""), (f"{OURS}, nothing remembered", ", answer anew")):
        value = cost(f"{ten}1.0%", row, 1e6)
        yield most(f"10,000 subscribers, 1 %{note}", 1, "µs", value)
        value = cost(f"{hundred}1.0%", row, 1e6)
        yield most(f"100,000 subscribers, 1 %{note}", 5, "µs", value)
    nobody = cost(f"{hundred}nobody", OURS, 1e6)
    yield most("100,000 subscribers, nobody", 0.3, "µs", nobody)
    loop = times(f"{ten}1.0%", "upstream Python loop", OURS)
    yield least("10,000, against the upstream loop", 1000, "x", loop)
    churn = cost("discard and add among 100000", OURS, 1e6)
    yield most("discard and add among 100,000, both", 10, "µs", churn)


def fanout() -> Iterator[Goal]:
    head = "publishing to 10000 subscribers in "
    for groups, text in ((1, "one group"), (10_000, "a group each")):
        value = cost(f"{head}{groups} group", OURS, 1e10)
        text = f"publish to 10,000 in {text}"
        yield most(text, 101.5, "µs", value)


def sockets() -> Iterator[Goal]:
    thousand, crowd = "sockets: 1000 clients, ", "sockets: 5000 clients, "
    one, five = f"{thousand}1 event per turn", f"{crowd}1 event per turn"
    sixteen = f"{thousand}16 events per turn"
    for text, title, goal in (("1,000", one, 1.15), ("5,000", five, 1.3)):
        value = times(title, GATE, FLOOR)
        whom = f"{text} clients, against the floor"
        yield most(whom, goal, "x", value)
    value = cost(sixteen, GATE, 1e6)
    yield most("1,000 clients, 16 events per turn", 0.4, "µs", value)
    for name in OTHERS:
        for text, title in (
            ("1,000 clients", one),
            ("5,000 clients", five),
            ("1,000 clients, 16 a turn", sixteen),
        ):
            value = times(title, name, GATE)
            yield least(f"{text}, against {name}", 1, "x", value)
    ten = times(one, GATE, GATE, "sockets: 10000 clients, 1 event per turn")
    yield most("10,000 clients against 1,000", 1.3, "x", ten)
    for clients, text, title in ((1000, "1,000", one), (5000, "5,000", five)):
        yield most(
            f"{text} clients, last copy sent, p99, against as many sends of the floor",
            1.3,
            "x",
            lateness(clients, title),
        )
    memory = cost("sockets: memory of the server, 1000", GATE, 1 / 1024)
    yield most("idle client, of 1,000", 3, "KiB", memory)


OTHERS = (
    "socketify",
    "nats-server, TCP",
    "nats-server, WebSocket",
    "picows",
    "aiohttp",
    "websockets",
    "starlette",
)


def lateness(clients: int, title: str) -> Value:
    """The age of the last copy in terms of the floor's work for all of them."""
    paced = f"sockets: {clients} clients, 20000/s, age of the last"

    def value(run: Run) -> float:
        return run.cost(paced, GATE) / (clients * run.cost(title, FLOOR))

    return value


def starting() -> Iterator[Goal]:
    helped = cost("start: praxis-fast --help", GATE, 1e3)
    yield most("praxis-fast --help", 150, "ms", helped)
    ready = cost("start: agent ready", GATE, 1e3)
    yield most("agent ready", 500, "ms", ready)
    memory = cost("start: memory", GATE, 1e-6)
    yield most("idle agent", 60, "MB", memory)


PARTS = (
    splitting,
    muxing,
    receiving,
    matching,
    fanout,
    links,
    sockets,
    starting,
)
