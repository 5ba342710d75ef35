"""How long to wait between tries."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_FIRST = 0.25
DEFAULT_LONGEST = 30.0


class Backoff:
    """Delays that double from `first` up to `longest`, each cut at random.

    At least half of each delay stays, so a server that comes back is not run over by
    all its clients at once, nor by one of them again and again.
    """

    def __init__(
        self,
        first: float = DEFAULT_FIRST,
        longest: float = DEFAULT_LONGEST,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        if not 0 < first <= longest:
            raise UsageError(f"backoff from {first:g} s to {longest:g} s")
        self._first = first
        self._longest = longest
        self._uniform = uniform
        self._whole = first

    def next(self) -> float:
        """Seconds until the next try."""
        whole = self._whole
        self._whole = min(whole * 2, self._longest)
        return self._uniform(whole / 2, whole)

    def reset(self) -> None:
        """Begin small again: the last try was a success."""
        self._whole = self._first
