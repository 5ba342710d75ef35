"""Fixtures every test file may use."""

from __future__ import annotations

import importlib
import itertools
import random
import shutil
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = {
    "splitter": ["JSONSplitter"],
    "yamux": [
        "YamuxSession",
        "StreamOpened",
        "DataReceived",
        "StreamClosed",
        "StreamReset",
        "WindowOpened",
        "PingReceived",
        "PongReceived",
        "GoAway",
    ],
    "matcher": ["Matcher", "Group"],
    "fanout": ["Fanout"],
    "sender": ["send_turn"],
}


# A shell that runs the tests in the background has them ignore Ctrl-C, and all programs
# that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def load_backend(name: str) -> SimpleNamespace:
    """All core names of one twin, "core" or "pure"."""
    names: dict[str, Any] = {"name": name}
    for module, exported in NAMES.items():
        loaded = importlib.import_module(f"praxis_fast._{name}.{module}")
        names |= {key: getattr(loaded, key) for key in exported}
    return SimpleNamespace(**names)


def has_core() -> bool:
    try:
        importlib.import_module("praxis_fast._core.splitter")
    except ImportError:
        return False
    return True


@pytest.fixture(params=["pure", "core"] if has_core() else ["pure"])
def backend(request: pytest.FixtureRequest) -> SimpleNamespace:
    """The core, once as plain twin and once compiled."""
    return load_backend(request.param)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> Iterator[random.Random]:
    """A seeded generator; a failing test prints its seed."""
    number = random.SystemRandom().getrandbits(32)
    print(f"seed: {number}")
    return random.Random(number)


def cuts(data: bytes, rng: random.Random) -> list[bytes]:
    """The data cut at random places, empty pieces included."""
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(12)))
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.fixture
def chunkings() -> Callable[[bytes], list[list[bytes]]]:
    """The ways every machine is fed: whole, byte by byte, at seeded cuts."""

    def make(data: bytes) -> list[list[bytes]]:
        return [
            [data],
            [data[i : i + 1] for i in range(len(data))],
            *(cuts(data, random.Random(number)) for number in range(5)),
        ]

    return make


# What a machine may lack: the tests it carries, and the program they need.
NEEDS = {
    "the NEON kernel's tests": ("aarch64-linux-gnu-gcc", "qemu-aarch64"),
    "the C kernels' own tests": ("gcc",),
    "upstream's curl example": ("curl",),
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what could not run here, or runs by another command."""
    missing = [
        f"{what} (no {', '.join(lacking)})"
        for what, tools in NEEDS.items()
        if (lacking := [tool for tool in tools if shutil.which(tool) is None])
    ]
    if not has_core():
        missing.append("every test of the compiled core (it is not built)")
    if "not interop" in terminalreporter.config.option.markexpr:
        missing.append("js-libp2p, py-libp2p, go-libp2p, browsers (make interop)")
    if missing:
        terminalreporter.write_line(f"not run here: {'; '.join(missing)}")
