"""What a bench ran on."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from importlib import metadata
from typing import Any, Final

from praxis_fast import __version__, core

__all__ = ["machine", "machine_line", "pace", "told_line"]

PACKAGES: Final = (
    "orjson",
    "msgspec",
    "cryptography",
    "uvloop",
    "websockets",
    "uvicorn",
    "starlette",
    "ijson",
    "pysimdjson",
    "aiohttp",
    "picows",
    "socketify",
)


# Some milliseconds of arithmetic that needs no memory.
PACE_ITERATIONS: Final = 20_000


def machine() -> dict[str, Any]:
    """Processor, system and versions."""
    return {
        "praxis_fast": __version__,
        "backend": core.BACKEND,
        "kernel": core.KERNEL,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": dict(_versions()),
    }


def machine_line() -> str:
    """The same in one line."""
    return told_line(machine())


def told_line(found: dict[str, Any]) -> str:
    """What `machine` told, here or elsewhere, in one line."""
    kernel = f", kernel {found['kernel']}" if found["kernel"] else ""
    return (
        f"praxis-fast {found['praxis_fast']}, backend {found['backend']}{kernel}; "
        f"{found['python']}, {found['cores']} cores, {found['processor']}"
    )


def pace() -> float:
    """Seconds for a computation that is always the same: long in a slow moment."""
    start = time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"", b"", PACE_ITERATIONS)
    return time.perf_counter() - start


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
