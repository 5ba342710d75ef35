"""All benches of praxis-fast: which there are, at which size, in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from praxis_fast.benchmarks import (
    fanout,
    links,
    matching,
    muxing,
    receiving,
    sockets,
    splitting,
    starting,
)
from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from praxis_fast.benchmarks.notes import Notes
    from praxis_fast.benchmarks.outside import Outside
    from praxis_fast.benchmarks.rows import Table

__all__ = ["PARTS", "SCALES", "Job", "Scale", "jobs", "parse_parts"]


# Texts that are fed byte by byte, and events that take the whole path.
BY_BYTE: Final = 40
RECEIVED: Final = 2000


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured; the answers are compared at any scale."""

    rounds: int
    texts: float = 1.0
    """A part of the texts that a corpus has."""
    chunks: Sequence[int] = (1460, 65536)
    bodies: Sequence[int] = muxing.BODIES
    streams: Sequence[int] = muxing.STREAMS
    subscribers: Sequence[tuple[int, float, int]] = matching.SIZES
    crowds: Sequence[tuple[int, int]] = fanout.SIZES
    work: links.Work = field(default_factory=links.Work)
    idle: tuple[int, int] = (200, 900)
    """Links and streams left idle."""
    clients: Sequence[int] = (100, 1000)
    bursts: int = 1
    """In a sample: one alone is over soon."""
    turns: int = 16
    paced: int = 10
    most_for_all: int = 5000
    """With more clients than that, only our gateway and the floor are measured."""
    heavy_rounds: int = 3
    """Rounds of what runs in processes of its own."""


SCALES: Final = {
    "full": Scale(
        rounds=9,
        subscribers=(*matching.SIZES, matching.LARGEST),
        work=links.Work(dials=10, pings=100),
        idle=(400, 900),
        clients=(100, 1000, 5000, 10_000),
        bursts=3,
        # Of 70 the latest is the 99th percentile, as often too early as too late.
        paced=70,
        heavy_rounds=5,
    ),
    "normal": Scale(rounds=5),
    "quick": Scale(
        rounds=3,
        texts=0.25,
        chunks=(1460,),
        streams=(1, 100, 1000),
        subscribers=matching.SIZES[:1],
        crowds=fanout.SIZES[:2],
        work=links.Work(dials=5, pings=20, size=20_000_000, streams=400),
        idle=(50, 500),
        clients=(200,),
        heavy_rounds=2,
    ),
    "tiny": Scale(
        rounds=1,
        texts=0.01,
        chunks=(100,),
        bodies=(1024,),
        streams=(1, 10),
        subscribers=((100, 0.1, 4),),
        crowds=((100, 2),),
        work=links.Work(dials=1, pings=1, size=1_000_000, streams=20, parallel=10),
        idle=(5, 10),
        clients=(10,),
        turns=2,
        paced=4,
        heavy_rounds=1,
    ),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One step of the suite: some tables of a part."""

    part: str
    title: str
    run: Callable[[Notes], Sequence[Table]]
    raised: str = ""
    """Limits that are not at their defaults."""


def jobs(scale: Scale, parts: Sequence[str], outside: Outside) -> list[Job]:
    """What is to be done, in order."""
    return [job for part in parts for job in PARTS[part](scale, outside)]


def parse_parts(names: Sequence[str]) -> list[str]:
    """The parts meant, all if none is named; several may stand between commas."""
    wanted = [part for name in names for part in name.split(",") if part]
    for part in wanted:
        if part not in PARTS:
            raise UsageError(f"no part {part!r}, there are {', '.join(PARTS)}")
    return [part for part in PARTS if not wanted or part in wanted]


def _one(part: str, title: str, measure: Callable[[], Table]) -> Job:
    return Job(part, title, lambda _: [measure()])


def _splitting(scale: Scale, outside: Outside) -> Iterator[Job]:
    for name, size in splitting.SIZES.items():
        measure = partial(
            splitting.measure,
            name,
            count=max(1, round(size * scale.texts)),
            chunk=splitting.PACKET if size == 1 else splitting.CHUNK,
            rounds=scale.rounds,
            outside=outside.splitting,
        )
        yield _one("splitting", name, measure)
        if name == "events":
            for chunk in scale.chunks:
                title = f"{name}, chunks of {chunk}"
                yield _one("splitting", title, partial(measure, chunk=chunk))
            few = max(1, round(BY_BYTE * scale.texts))
            by_byte = partial(measure, count=few, chunk=1)
            yield _one("splitting", f"{name}, one byte at a time", by_byte)


def _muxing(scale: Scale, outside: Outside) -> Iterator[Job]:
    for body in scale.bodies:
        measure = partial(
            muxing.measure, body, rounds=scale.rounds, outside=outside.muxing
        )
        yield _one("muxing", f"bodies of {body} in", measure)
    measure = partial(muxing.measure_sending, rounds=scale.rounds)
    yield _one("muxing", "writes out", measure)
    count = f"up to {max(scale.streams):,} streams"
    measure = partial(
        muxing.measure_streams, streams=scale.streams, rounds=scale.rounds
    )
    yield Job("muxing", count, lambda _: streams_curve(measure()), muxing.RAISED)


def streams_curve(table: Table) -> list[Table]:
    """The table with a row for each number of streams, and its rows as a curve."""
    points = [
        replace(
            table,
            title=f"{table.title}: {row.name}",
            rows=(replace(row, name="core"),),
            curve="muxing, streams in turn",
            x=float(re.sub(r"\D", "", row.name)),
        )
        for row in table.rows
    ]
    return [table, *points]


def _receiving(scale: Scale, outside: Outside) -> Iterator[Job]:
    measure = partial(
        receiving.measure,
        max(4, round(RECEIVED * scale.texts)),
        rounds=scale.rounds,
        outside=outside.receiving,
    )
    yield _one("receiving", "decrypt, demultiplex, split, decode", measure)


def _matching(scale: Scale, outside: Outside) -> Iterator[Job]:
    for subscribers, share, count in scale.subscribers:
        measure = partial(
            matching.measure, subscribers, share, count, rounds=scale.rounds
        )
        yield _one("matching", f"{subscribers:,} subscribers, {share:.1%}", measure)
    most, _, count = max(scale.subscribers)
    nobody = partial(matching.measure_nobody, most, count=count, rounds=scale.rounds)
    yield _one("matching", f"{most:,} subscribers, nobody", nobody)
    count = min(1000, most)
    churn = partial(matching.measure_churn, most, count=count, rounds=scale.rounds)
    yield _one("matching", "coming and going", churn)


def _fanout(scale: Scale, outside: Outside) -> Iterator[Job]:
    for subscribers, events in scale.crowds:
        measure = partial(fanout.measure, subscribers, events, rounds=scale.rounds)
        title = f"{subscribers:,} subscribers, {events} events per turn"
        yield _one("fanout", title, measure)
    most = max(subscribers for subscribers, _ in scale.crowds)
    measure = partial(fanout.measure, most, groups=most, rounds=scale.rounds)
    yield _one("fanout", f"{most:,} subscribers in a group each", measure)
    for groups in (1, None):
        measure = partial(
            fanout.measure_publish, most, groups=groups, rounds=scale.rounds
        )
        count = "one group" if groups else "a group each"
        yield _one("fanout", f"publishing, {most:,} subscribers in {count}", measure)


def _links(scale: Scale, outside: Outside) -> Iterator[Job]:
    pairs = [*links.own_pairs(), *outside.links()]
    yield Job(
        "links",
        f"{len(pairs)} pairs of peers",
        lambda notes: links.measure(
            pairs, scale.work, rounds=scale.heavy_rounds, notes=notes
        ),
    )
    yield _one("links", "memory", partial(links.measure_memory, *scale.idle))


def _sockets(scale: Scale, outside: Outside) -> Iterator[Job]:
    everybody = [*sockets.own_servers(), *outside.servers()]
    for clients in scale.clients:
        servers = [
            server
            for server in everybody
            if server.is_baseline or clients <= scale.most_for_all
        ]
        # Where one turn has many messages, fewer turns will do.
        measure = partial(
            sockets.measure,
            servers,
            clients,
            rounds=scale.heavy_rounds,
            bursts=scale.bursts,
            turns=max(2, min(scale.turns, 16_000 // clients)),
            paced=max(4, min(scale.paced, 70_000 // clients)),
        )
        title = f"{len(servers)} servers, {clients:,} clients"
        yield Job("sockets", title, partial(_noting, measure), sockets.RAISED)


def _noting(measure: Callable[..., Sequence[Table]], notes: Notes) -> Sequence[Table]:
    return measure(notes=notes)


def _starting(scale: Scale, outside: Outside) -> Iterator[Job]:
    measure = partial(starting.measure, rounds=scale.heavy_rounds)
    yield Job("starting", "command line and agent", lambda _: measure())


PARTS: Final[dict[str, Callable[[Scale, Outside], Iterator[Job]]]] = {
    "splitting": _splitting,
    "muxing": _muxing,
    "receiving": _receiving,
    "matching": _matching,
    "fanout": _fanout,
    "links": _links,
    "sockets": _sockets,
    "starting": _starting,
}
