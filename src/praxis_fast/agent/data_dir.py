"""The data directory: one agent at a time, nobody else's business."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from praxis_fast.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no flock; two agents of one name are not noticed
    fcntl = None  # type: ignore[assignment]


class DataDir:
    """Holds the directory until `close`; ConfigError when another process has it.

    Two processes with one identity would not find each other, and peers would take
    them for one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def open(self) -> None:
        """Make the directory, closed to others, and take its lock."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            lock = os.open(self.path / "lock", flags, 0o600)
        except OSError as error:
            text = f"{self.path} cannot be used: {error.strerror}"
            raise ConfigError(text, key="data_dir") from error
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise ConfigError(
                f"{self.path} is in use by another agent; give this one another "
                "name (--name) or data directory (--data-dir)",
                key="data_dir",
            ) from error
        self._lock = lock

    def close(self) -> None:
        """Let the next process in; may be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
