"""docs/limits.md keeps its word: each row is at least one test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/limits.md").read_text()
ROWS = re.findall(r"^\| ([A-Z]+)-([\d, ]+) \|", PAGE, re.MULTILINE)
IDS = [(family, number) for family, told in ROWS for number in told.split(", ")]


def names() -> Iterator[str]:
    """Every test there is."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        yield from re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)


ALL = tuple(names())


@pytest.mark.parametrize(("family", "number"), IDS)
def test_row_has_a_test_with_its_id(family: str, number: str) -> None:
    # A name may have several numbers of one family: test_ws_1_4_…
    found = re.compile(rf"test_{family.lower()}_(?:\d+[ab]?_)*{number}[ab]?_")
    assert any(found.match(name) for name in ALL)


def test_page_has_rows() -> None:
    assert len(IDS) > 60
    assert len(set(IDS)) == len(IDS)
