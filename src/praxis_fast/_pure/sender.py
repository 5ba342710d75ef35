"""Bytes straight to the kernel, one write per receiver."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    class Addressee(Protocol):
        """Whoever owns a descriptor that may be written to without waiting."""

        @property
        def fd(self) -> int: ...

    Receiver = TypeVar("Receiver", bound=Addressee)


def send_all(
    turn: Iterable[tuple[Receiver, bytes]],
    written: Callable[[Receiver, int], object],
) -> list[tuple[Receiver, bytes, int]]:
    """Write each receiver's bytes to its non-blocking socket `fd`.

    `written` is called with each receiver whose bytes the kernel took whole. The others
    are returned with the number of bytes taken, 0 for whatever error there was and for
    a negative descriptor. The descriptors must stay open during the call.
    """
    left: list[tuple[Receiver, bytes, int]] = []
    for receiver, data in turn:
        size = _send(receiver.fd, data)
        if size == len(data):
            written(receiver, size)
        else:
            left.append((receiver, data, size))
    return left


def _send(fd: int, data: bytes) -> int:
    if fd < 0:
        return 0
    try:
        return os.write(fd, data)
    except OSError:
        return 0
