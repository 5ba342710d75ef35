"""Foreign libp2p peers for the benches of links: each to itself, and to and from us.

Their programs are in bench/peers; their libraries are those that
`python -m tests.interop.install` puts into .cache/interop.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from praxis_fast.benchmarks.links import OWN, Pair
from tests.interop.install import CACHE, is_installed

PEERS = Path(__file__).parent / "peers"
NAMES = {"go": "go-libp2p", "js": "js-libp2p", "py": "py-libp2p"}


def foreign_pairs() -> tuple[list[Pair], list[str]]:
    """Pairs of the peers that are installed, and the names of the others."""
    pairs, missing = [], []
    for name, library in NAMES.items():
        if not is_installed(name):
            missing.append(f"{library} (make interop)")
            continue
        command = COMMANDS[name](CACHE / name)
        pairs += [
            Pair(f"{name}-{name}", command, command),
            Pair(f"praxis-fast to {name}", OWN, command),
            Pair(f"{name} to praxis-fast", command, OWN),
        ]
    return pairs, missing


def go_command(home: Path) -> list[str]:
    """Built beside the interop peer, in its module."""
    folder = home / "bench"
    folder.mkdir(exist_ok=True)
    shutil.copy(PEERS / "peer.go", folder / "main.go")
    subprocess.run(["go", "build", "-o", "bench/peer", "./bench"], check=True, cwd=home)
    return [str(folder / "peer")]


def js_command(home: Path) -> list[str]:
    """Copied to where its modules are found."""
    program = home / "bench.mjs"
    shutil.copy(PEERS / "peer.mjs", program)
    return [str(home / "node_modules/.bin/node"), str(program)]


def py_command(home: Path, program: str = "peer.py") -> list[str]:
    """In the environment of the interop peer."""
    return [str(home / "venv/bin/python"), str(PEERS / program)]


COMMANDS = {"go": go_command, "js": js_command, "py": py_command}
