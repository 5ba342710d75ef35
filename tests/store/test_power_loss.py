"""DB-2: the writes of a real run, cut at every sync point and between, lose no ack."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROWS = int(os.environ.get("POWER_ROWS", "400"))
SEED = 20261121
SECTOR = 512
HEAD = struct.Struct("=IIQQ")

COMPILER = os.environ.get("CC", "cc")


@dataclass
class Record:
    kind: str
    name: str
    offset: int
    data: bytes


@dataclass
class File:
    """What is surely on the disk, and what was written since the last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)

    def sync(self) -> None:
        for record in self.pending:
            apply(self.durable, record)
        self.pending.clear()

    def after_a_cut(self, rng: random.Random) -> bytes:
        """Any of the pending writes may have reached the disk, or some sectors."""
        image = bytearray(self.durable)
        for record in self.pending:
            chance = rng.random()
            if chance < 0.4:
                apply(image, record)
            elif chance < 0.6:
                size = rng.randrange(0, len(record.data) + 1, SECTOR)
                torn = Record(record.kind, "", record.offset, record.data[:size])
                apply(image, torn)
        return bytes(image)


def apply(image: bytearray, record: Record) -> None:
    if record.kind == "T":
        image[record.offset :] = b""
        image.extend(bytes(record.offset - len(image)))
        return
    image.extend(bytes(max(0, record.offset - len(image))))
    image[record.offset : record.offset + len(record.data)] = record.data


def records(log: bytes) -> Iterator[Record]:
    pos = 0
    while pos < len(log):
        kind, name_length, offset, length = HEAD.unpack_from(log, pos)
        pos += HEAD.size
        name = log[pos : pos + name_length].decode()
        pos += name_length
        size = length if chr(kind) == "W" else 0
        yield Record(chr(kind), name, offset, log[pos : pos + size])
        pos += size


@pytest.fixture
def recording(tmp_path: Path) -> list[Record]:
    """What a process did to its database, write by write."""
    library, folder, log = tmp_path / "r.so", tmp_path / "live", tmp_path / "log"
    folder.mkdir()
    source = Path(__file__).with_name("recorder.c")
    compiling = (COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl")
    subprocess.run(compiling, check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "tests.store.recorded", folder, str(ROWS)],
        env=os.environ
        | {
            "LD_PRELOAD": str(library),
            "POWER_FOLDER": str(folder),
            "POWER_LOG": str(log),
        },
        check=True,
    )
    return list(records(log.read_bytes()))


def survivors(folder: Path, files: dict[str, File], rng: random.Random) -> set[int]:
    """The rows there are after the power went and came back."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, file in files.items():
        (folder / name).write_bytes(file.after_a_cut(rng))
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
    recording: list[Record], tmp_path: Path
) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    files: dict[str, File] = {}
    acked: set[int] = set()
    tries = syncs = 0
    for record in recording:
        if record.name == "acks":
            acked |= {int(line) for line in record.data.split()}
        elif record.name.endswith("-shm"):
            continue
        elif record.kind == "U":
            files.pop(record.name, None)
        elif record.kind == "S":
            files.setdefault(record.name, File()).sync()
            syncs += 1
        else:
            files.setdefault(record.name, File()).pending.append(record)
        if acked and (record.kind == "S" or rng.random() < 0.02):
            missing = acked - survivors(tmp_path / "cut", files, rng)
            assert not missing, f"record of {record.name} after {syncs} syncs"
            tries += 1
    assert acked == set(range(ROWS))
    assert syncs > ROWS / 16
    assert tries > ROWS / 16
