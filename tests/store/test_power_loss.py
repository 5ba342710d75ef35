"""DB-2: the writes of a real run, cut at every sync point and between, lose no ack."""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.store.power import cuts, record

ROWS = int(os.environ.get("POWER_ROWS", "400"))
SEED = 20261121


def survivors(folder: Path) -> set[int]:
    """The rows there are after the power went and came back."""
    database = sqlite3.connect(folder / "a.db")
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute("SELECT n, text FROM rows").fetchall()
    finally:
        database.close()
    assert all(text == str(number) * 200 for number, text in rows)
    return {number for number, _ in rows}


@pytest.mark.skipif(sys.platform != "linux", reason="records by LD_PRELOAD")
def test_db_2_power_loss_at_any_point_loses_nothing_acknowledged(
    tmp_path: Path,
) -> None:
    print(f"seed {SEED}")
    recording = record(tmp_path, "tests.store.recorded", ROWS)
    tries = 0
    for cut in cuts(recording, tmp_path / "cut", random.Random(SEED)):
        missing = set(map(int, cut.said)) - survivors(cut.folder)
        assert not missing, f"after {cut.syncs} syncs"
        tries += 1
    assert set(map(int, cut.said)) == set(range(ROWS))
    assert cut.syncs > ROWS / 16
    assert tries > ROWS / 16
