"""Writes what a run brought into docs/performance.md, between its marks.

<!-- bench: figures -->
... replaced ...
<!-- /bench -->
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import HEAD, figures, markdown, pace_line, shown, summary
from bench.goals import FLOOR, GATE, OURS, Run
from praxis_fast.benchmarks.machine import told_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT = DOCS / "performance.md"
BLOCK = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)

# Part, title of a table, our row, the plain one, others and what to call them, command.
SHORT = (
    (
        "splitting a stream of small JSON events",
        "events in chunks of 16384",
        "core, avx512",
        {
            "Go json.Decoder": "Go `json.Decoder`",
            "json raw_decode": "`json.raw_decode`",
        },
        "splitting",
    ),
    (
        "yamux frames of 1 KiB",
        "yamux in, bodies of 1024",
        OURS,
        {"py-libp2p": ""},
        "muxing",
    ),
    (
        "decrypt, demultiplex, split and decode an event",
        "receive path",
        OURS,
        {"py-libp2p, json, no Noise": "py-libp2p, which was spared the decryption"},
        "receiving",
    ),
    (
        "who wants this event, of 10,000 subscribers",
        "matching 10000 subscribers, 1.0%",
        OURS,
        {"upstream Python loop": "a loop over filters"},
        "matching",
    ),
    (
        "a frame to each of 1,000 subscribers, 16 a turn",
        "fan-out to 1000 subscribers, 16",
        OURS,
        {"a deque per subscriber": "a deque each"},
        "fanout",
    ),
    (
        "100 MB over a link",
        "link: 100,000,000 bytes up",
        GATE,
        {"go-go": "go-libp2p", "js-js": "js", "py-py": "py"},
        "links",
    ),
    (
        "streams, 200 at once",
        "link: streams, 200 at once",
        GATE,
        {"go-go": "go-libp2p", "js-js": "js", "py-py": "py"},
        "links",
    ),
    *(
        (
            f"CPU for a message to one of 1,000 sockets{note}",
            f"sockets: 1000 clients, {events} per turn",
            GATE,
            {
                FLOOR: "",
                "socketify": "uWebSockets",
                "nats-server, TCP": "nats-server",
                "picows": "",
                "aiohttp": "",
                "websockets": "",
            },
            "sockets",
        )
        for note, events in (("", "1 event"), (", 16 a turn", "16 events"))
    ),
)


def short(told: dict[str, Any]) -> Iterator[str]:
    """How many times less ours costs than the plain twin and than others."""
    run, rows = Run(told), []
    for text, title, ours, others, part in SHORT:
        found = [
            f"{ratio} ({label or name})"
            for name, label in others.items()
            if (ratio := times(run, title, name, ours))
        ]
        plain = times(run, title, "plain twin", ours)
        command = f"`python -m bench {part}`"
        rows.append([text, plain or "-", ", ".join(found) or "-", command])
    yield from markdown(["part", "plain twin", "others", "command"], rows)


def times(run: Run, title: str, other: str, ours: str) -> str:
    """Empty when one of the two was not measured."""
    try:
        return shown(run.cost(title, other) / run.cost(title, ours))
    except LookupError:
        return ""


def machine(told: dict[str, Any]) -> Iterator[str]:
    """What it ran on, and what of it must be known."""
    day, versions = told["started"][:10], told["machine"]["versions"]
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"Measured on {day}: {told_line(told['machine'])}; {names}."
    text = pace_line(told["paces"])
    yield f"{text[0].upper()}{text[1:]}, by a computation timed before each step."
    for text, what in (
        ("Limits raised", "limits_raised"),
        ("Not installed", "not_installed"),
        ("Failed", "failed"),
    ):
        if told[what]:
            yield f"{text}: {'; '.join(told[what])}."


def every_figure(told: dict[str, Any]) -> Iterator[str]:
    """All goals."""
    found = figures(told)
    yield f"{summary(found)}."
    yield ""
    yield from markdown(HEAD, [one.cells() for one in found])


def missed(told: dict[str, Any]) -> Iterator[str]:
    """Those that were not reached."""
    rows = [
        one.cells()[:-1]
        for one in figures(told)
        if one.value is not None and not one.is_met
    ]
    yield from markdown(HEAD[:-1], rows) if rows else ["None."]


BLOCKS: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "machine": machine,
    "short": short,
    "figures": every_figure,
    "missed": missed,
}


def filled(document: str, told: dict[str, Any]) -> str:
    """The document with its blocks written anew."""
    names = [found[2] for found in BLOCK.finditer(document)]
    if sorted(names) != sorted(BLOCKS):
        raise SystemExit(f"blocks {', '.join(names)}, expected {', '.join(BLOCKS)}")

    def fill(found: re.Match[str]) -> str:
        text = "\n".join(BLOCKS[found[2]](told))
        return f"{found[1]}{text}\n{found[3]}"

    return BLOCK.sub(fill, document)


def write(told: dict[str, Any], folder: Path) -> None:
    """The document and its pictures."""
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), told))
    for picture in sorted(folder.glob("bench-*.svg")):
        shutil.copy(picture, DOCS / picture.name)
    print(f"\nwritten to {DOCUMENT.relative_to(DOCS.parent)}")
