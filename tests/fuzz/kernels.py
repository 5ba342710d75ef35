"""The splitter's C kernels: libFuzzer and sanitizers where clang is to be had.

Without clang the same target runs on seeded random inputs, with gcc and its sanitizers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.campaign import FindingError

NAME = "kernels"

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src" / "praxis_fast" / "_core" / "kernels"
BUILD = HERE.parents[1] / ".cache" / "fuzz"
FLAGS = ["-g", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}"]
SANITIZE = ["-fno-sanitize-recover=all"]


def run(executions: int, seed: int) -> int:
    """Run that many inputs, shared by all processors; returns how many."""
    BUILD.mkdir(parents=True, exist_ok=True)
    command = guided(executions, seed) or drawn(executions, seed)
    with ThreadPoolExecutor() as pool:
        list(pool.map(run_one, *zip(*command, strict=True)))
    return executions


def run_one(command: list[str], number: int) -> None:
    result = subprocess.run(
        command, cwd=BUILD, text=True, capture_output=True, check=False
    )
    if result.returncode:
        raise FindingError(f"{' '.join(command)}\n{result.stderr[-4000:]}")


def shares(executions: int) -> list[int]:
    """How many inputs each processor gets."""
    count = os.cpu_count() or 1
    return [(executions + number) // count for number in range(count)]


def guided(executions: int, seed: int) -> list[tuple[list[str], int]]:
    """libFuzzer's commands; none without clang and its runtime."""
    if shutil.which("clang") is None:
        return []
    # Comparisons are left out: with them each execution takes six times as long.
    extra = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-coverage=trace-cmp"]
    program = compiled("clang", "guided", [*extra, *SANITIZE], [])
    options = [f"-dict={HERE / 'json.dict'}", "-max_len=600", "-verbosity=0"]
    return [
        ([str(program), *options, f"-runs={share}", f"-seed={seed + number}"], number)
        for number, share in enumerate(shares(executions))
    ]


def drawn(executions: int, seed: int) -> list[tuple[list[str], int]]:
    extra = ["-fsanitize=address,undefined", *SANITIZE]
    program = compiled("gcc", "drawn", extra, [HERE / "random_inputs.c"])
    return [
        ([str(program), str(share), str(seed + number)], number)
        for number, share in enumerate(shares(executions))
    ]


def compiled(compiler: str, name: str, extra: list[str], driver: list[Path]) -> Path:
    program = BUILD / f"{name}_splitter"
    sources = [*SOURCES.glob("*.c"), HERE / "fuzz_splitter.c", *driver]
    command = [compiler, *FLAGS, *extra, *map(str, sources), "-o", str(program)]
    subprocess.run(command, check=True)
    return program
