"""Files that say who may come in."""

from __future__ import annotations

import os
import stat


def read_trusted(path: str, limit: int) -> bytes:
    """The bytes of a file that nobody but us and root can write; for a thread.

    OSError when there are none, too many, or somebody else could have written them.
    """
    with open(path, "rb") as file:
        _check_writers(os.fstat(file.fileno()))
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"over {limit} bytes")
    return data


def _check_writers(found: os.stat_result) -> None:
    # Who can write it can let in anybody, and its owner always can.
    if os.name != "posix":
        return
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError(f"mode {found.st_mode & 0o777:04o}, others can write it")
    if found.st_uid not in (0, os.geteuid()):
        raise OSError(f"owned by user {found.st_uid}, neither us nor root")
