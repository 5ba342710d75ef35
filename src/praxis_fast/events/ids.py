"""Random event ids, made in batches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# One system call for 256 ids; `uuid.uuid4` makes one for each and costs ten times as
# much as slicing the text here.
_BATCH = 256
_BYTES = 16
_HEX = 32

# RFC 9562, 5.4: the version digit is 4, the variant digit one of 8 9 a b.
_VERSION = bytes(0x40 | byte & 0x0F for byte in range(256))
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))


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
        raw = bytearray(self._urandom(_BATCH * _BYTES))
        raw[6::_BYTES] = raw[6::_BYTES].translate(_VERSION)
        raw[8::_BYTES] = raw[8::_BYTES].translate(_VARIANT)
        text = raw.hex()
        self._ready = [
            f"{text[at : at + 8]}-{text[at + 8 : at + 12]}-{text[at + 12 : at + 16]}-"
            f"{text[at + 16 : at + 20]}-{text[at + 20 : at + _HEX]}"
            for at in range(0, len(text), _HEX)
        ]
