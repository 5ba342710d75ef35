"""Installs what `make bench` compares with; what cannot be had is named, no more.

Python packages of the group `bench`, the libp2p peers of the interop tests, and
nats-server into .cache/bench.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.install import PROGRAMS, fingerprint, install

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "bench"
NATS = ROOT / "bench" / "nats"
NATS_PACKAGE = "github.com/nats-io/nats-server/v2"


def nats_server() -> Path | None:
    """The program, if it was installed from the present go.mod."""
    stamp, program = CACHE / "nats.installed", CACHE / "nats-server"
    is_fresh = stamp.exists() and stamp.read_text() == fingerprint(NATS / "module")
    return program if is_fresh and program.exists() else None


def install_nats() -> None:
    """Build it in the module that pins its version."""
    if nats_server() is not None:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    target = str(CACHE / "nats-server")
    run("go", "build", "-o", target, NATS_PACKAGE, cwd=NATS / "module")
    (CACHE / "nats.installed").write_text(fingerprint(NATS / "module"))


def install_packages() -> None:
    """Each by itself when not all can be had."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = told["dependency-groups"]["bench"]
    pip = sys.executable, "-m", "pip", "install", "--quiet"
    try:
        run(*pip, *packages, cwd=ROOT)
    except SystemExit:
        for package in packages:
            attempt(package, lambda name: run(*pip, name, cwd=ROOT))


def run(*command: str, cwd: Path) -> None:
    """One step; SystemExit with its last line when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit((done.stderr.strip() or "no reason given").splitlines()[-1])


def attempt(name: str, step: Callable[[str], None]) -> None:
    """A step whose failure costs its rows, no more."""
    try:
        step(name)
    except (SystemExit, OSError) as error:
        print(f"bench: {name} could not be installed: {error}", flush=True)


def main() -> None:
    """Everything."""
    print("bench: installing what to compare with", flush=True)
    install_packages()
    for name, (tool, _, _) in PROGRAMS.items():
        if shutil.which(tool) is None:
            print(f"bench: no {tool} on this machine, so no {name} peer", flush=True)
            continue
        attempt(name, install)
    if shutil.which("go"):
        attempt("nats-server", lambda _: install_nats())
    else:
        print("bench: no go on this machine, so no nats-server", flush=True)


if __name__ == "__main__":
    main()
