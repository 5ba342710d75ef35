"""Keeps every core awake while waiting is part of what is measured.

A core without work halts, and to wake a virtual one takes up to 50 µs: as long as
everything else that a round trip does. Programs that run only where nobody else wants
to (SCHED_IDLE) keep the cores from that, the same for all rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["awake"]

# Ends with whoever started it, however that ends.
PROGRAM: Final = """
import os, sys
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def awake() -> Iterator[None]:
    """No core this process may use halts in here; does nothing but on Linux."""
    cores = os.sched_getaffinity(0) if sys.platform == "linux" else ()
    programs = [_start(core) for core in cores]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _start(core: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, str(core)]
    return subprocess.Popen(command)  # noqa: S603  a program of our own
