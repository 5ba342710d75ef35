"""What a step of a bench says while it runs, and what of it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Notes"]


class Notes:
    """Handed to every step: one row that fails is named, the others go on."""

    def __init__(self, say: Callable[[str], object] = str) -> None:
        self.say = say
        self.failed: list[str] = []

    def fail(self, row: str, error: Exception) -> None:
        """A row is left out from here on; the last line of the error says why."""
        (*_, reason) = str(error).strip().splitlines() or [type(error).__name__]
        self.failed.append(f"{row}: {reason}")
