"""Power loss, replayed: what a process wrote, cut at any point.

A process runs with `recorder.c` preloaded; the record is played up to a cut, and from
there any of the writes that no sync had covered may be missing, or half there.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
HEAD = struct.Struct("=IIQQ")

COMPILER = os.environ.get("CC", "cc")

# What the process writes there it has told to somebody else.
SAID = "said"


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


def record(folder: Path, module: str, *arguments: object) -> list[Record]:
    """What a process did in a new folder, write by write."""
    library, live, log = folder / "r.so", folder / "live", folder / "log"
    live.mkdir()
    source = Path(__file__).with_name("recorder.c")
    compiling = (COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl")
    subprocess.run(compiling, check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", module, live, *map(str, arguments)],
        env=os.environ
        | {
            "LD_PRELOAD": str(library),
            "POWER_FOLDER": str(live),
            "POWER_LOG": str(log),
        },
        check=True,
    )
    return list(records(log.read_bytes()))


@dataclass
class Cut:
    """The power went: the folder is as it was found after that."""

    folder: Path
    said: list[str]
    """Every line the process had said until then."""
    syncs: int


def cuts(recording: list[Record], folder: Path, rng: random.Random) -> Iterator[Cut]:
    """The power goes at every sync, and now and then between."""
    files: dict[str, File] = {}
    said: list[str] = []
    syncs = 0
    for step in recording:
        if step.name == SAID:
            said += step.data.decode().splitlines()
        elif step.name.endswith("-shm"):
            continue
        elif step.kind == "U":
            files.pop(step.name, None)
        elif step.kind == "S":
            files.setdefault(step.name, File()).sync()
            syncs += 1
        else:
            files.setdefault(step.name, File()).pending.append(step)
        if said and (step.kind == "S" or rng.random() < 0.02):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name, file in files.items():
                (folder / name).write_bytes(file.after_a_cut(rng))
            yield Cut(folder, said, syncs)
