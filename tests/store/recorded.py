"""A process whose writes are recorded: it writes rows and notes what was acknowledged.

python -m tests.store.recorded FOLDER ROWS
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from praxis_fast.limits import StoreLimits
from praxis_fast.store.database import Database

SCHEMA = ("CREATE TABLE rows(n INTEGER PRIMARY KEY, text TEXT)",)


async def fill(folder: Path, rows: int) -> None:
    limits = StoreLimits(commit_interval=0.0001, max_batch=8)
    database = Database(folder / "a.db", SCHEMA, limits=limits)
    await database.open()
    acks = os.open(folder / "said", os.O_WRONLY | os.O_CREAT, 0o600)

    async def add(number: int) -> None:
        text = str(number) * 200
        await database.write(
            lambda db: db.execute("INSERT INTO rows VALUES (?, ?)", (number, text))
        )
        os.write(acks, b"%d\n" % number)

    for start in range(0, rows, 16):
        await asyncio.gather(*map(add, range(start, min(rows, start + 16))))
        if start % 160 == 0:
            # The log is emptied now and then, as it is when it has grown.
            await database.read(lambda db: None)
            checkpoint(database)
    os.close(acks)
    await database.close()


def checkpoint(database: Database) -> None:
    connection = database._connect()
    connection.close()


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2])))
