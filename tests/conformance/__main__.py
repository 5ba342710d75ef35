"""Runs the Autobahn test suite against our WebSocket classes.

    python -m tests.conformance [--all] [--cases 6.4.*,7.*]

The suite runs under Python 2.7 only; `$PYTHON27` names one, otherwise it is looked for.
It gets an environment of its own in `.cache/autobahn`, where the reports go as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUITE = "autobahntestsuite==0.8.2"
# The last line of virtualenv that makes environments of Python 2.7.
VIRTUALENV = "virtualenv<20.22"
FOLDER = Path(".cache/autobahn")
BINARIES = FOLDER / "env" / "bin"

# Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, auto-fragmenting.
STRICT = [f"{section}.*" for section in (1, 2, 3, 4, 5, 6, 7, 10)]
# Compression: 1,000 messages each, of several sizes and parameters.
SAMPLE = [
    f"{section}.{case}"
    for section in ("12.1", "12.3", "12.5", "13.1", "13.2", "13.4", "13.6", "13.7")
    for case in (1, 3, 5, 11)
]
EVERYTHING = [*STRICT, "9.*", "12.*", "13.*"]

# Messages that came before the client's mistake, in the same read, are not answered,
# and text is checked when it is complete: both are allowed. Informational cases have no
# right answer, unimplemented ones offer what we decline.
PASSED = frozenset({"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"})


def pythons() -> Iterator[str]:
    """Where Python 2.7 may be."""
    if told := os.environ.get("PYTHON27"):
        yield told
    yield from filter(None, map(shutil.which, ("python2.7", "python2")))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob("versions/2.7*/bin/python2.7")))


def works(python: str) -> bool:
    """Some are only signposts to what is not installed."""
    asked = subprocess.run(
        [python, "-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"],
        capture_output=True,
        check=False,
    )
    return asked.returncode == 0


def install() -> None:
    """An environment with the suite; made once."""
    if (BINARIES / "wstest").exists():
        return
    python = next(filter(works, pythons()), None)
    if python is None:
        sys.exit("the suite needs Python 2.7; $PYTHON27 may name one")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    tool = FOLDER / "virtualenv"
    subprocess.run([*pip, "--target", tool, VIRTUALENV], check=True)
    subprocess.run(
        [sys.executable, "-m", "virtualenv", "-q", "-p", python, BINARIES.parent],
        env=os.environ | {"PYTHONPATH": str(tool)},
        check=True,
    )
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore"}
    installed = [BINARIES / "python", "-m", "pip", "install", "-q", SUITE]
    subprocess.run(installed, env=os.environ | quiet, check=True)


def run(url: str, cases: list[str]) -> dict[str, dict[str, Any]]:
    """What the suite says of each case."""
    reports = FOLDER / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    told = {
        "outdir": str(reports),
        "servers": [{"agent": "praxis-fast", "url": url}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    specification = FOLDER / "cases.json"
    specification.write_text(json.dumps(told))
    with (FOLDER / "log.txt").open("wb") as log:
        subprocess.run(
            [BINARIES / "wstest", "-m", "fuzzingclient", "-s", specification],
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )
    found: dict[str, dict[str, Any]]
    found = json.loads((reports / "index.json").read_text())["praxis-fast"]
    return found


def report(found: dict[str, dict[str, Any]]) -> bool:
    """Print how each section went; whether nothing failed."""
    sections: dict[str, Counter[str]] = {}
    failed = []
    for case, verdict in found.items():
        told = {verdict["behavior"], verdict["behaviorClose"]}
        if not told <= PASSED:
            failed.append(f"{case}: {', '.join(sorted(told))}")
        sections.setdefault(case.split(".")[0], Counter())[verdict["behavior"]] += 1
    for section in sorted(sections, key=int):
        counts = ", ".join(
            f"{n} {name.lower()}" for name, n in sections[section].items()
        )
        print(f"section {section}: {counts}")
    print(*failed, f"{len(found) - len(failed)} passed, {len(failed)} failed", sep="\n")
    return bool(found) and not failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--all", action="store_true", help="every case, about an hour")
    parser.add_argument("--cases", help="these, such as 6.4.*,7.*")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    install()
    cases = EVERYTHING if options.all else [*STRICT, *SAMPLE]
    if options.cases:
        cases = options.cases.split(",")
    echo = subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.echo_server"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert echo.stdout is not None
        found = run(echo.stdout.readline().strip(), cases)
    finally:
        echo.terminate()
        echo.communicate()
    sys.exit(not report(found))


if __name__ == "__main__":
    main()
