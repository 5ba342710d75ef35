"""What the README shows is true: its example runs, its files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def python_example() -> str:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return example


def test_the_python_example_is_short() -> None:
    assert len([line for line in python_example().splitlines() if line]) <= 20


def test_the_python_example_runs_as_written(tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(python_example())
    done = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert said[:2] == ["p2p.peer_discovered", "p2p.peer_connected"]
    assert said[-2:] == ["p2p.card_exchange", "3"]


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)h][^)]*)\)", README))
def test_every_linked_file_exists(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_two_commands_come_before_everything_else(command: str) -> None:
    assert command in README.split("## ")[0]
