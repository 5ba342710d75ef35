"""The twins of JSONSplitter, and what one makes of a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from praxis_fast._pure.splitter import JSONSplitter
from praxis_fast.errors import JSONStreamError

try:
    from praxis_fast._core import splitter as compiled
except ImportError:
    KERNELS: tuple[str, ...] = ()
else:
    KERNELS = compiled.kernels()

Outcome = tuple[list[bytes], str | None, int]


@dataclass(frozen=True)
class Splitters:
    """Makes splitters of one twin, the compiled one with each kernel."""

    name: str
    make: Callable[..., Any]

    def __str__(self) -> str:
        return self.name


def with_kernel(name: str) -> Splitters:
    def make(*args: Any, **limits: Any) -> Any:
        before = compiled.current_kernel()
        compiled.select_kernel(name)
        try:
            return compiled.JSONSplitter(*args, **limits)
        finally:
            compiled.select_kernel(before)

    return Splitters(name, make)


PURE = Splitters("pure", JSONSplitter)
COMPILED = [with_kernel(name) for name in KERNELS]
SPLITTERS = [PURE, *COMPILED]


def outcome(splitters: Splitters, chunks: list[bytes], **limits: int) -> Outcome:
    """All texts, the error's message or None, and the bytes held before the end."""
    splitter = splitters.make(**limits)
    texts: list[bytes] = []
    pending = -1
    try:
        for chunk in chunks:
            texts += splitter.receive_data(chunk)
        splitter.receive_data(b"")
        pending = splitter.pending
        texts += splitter.receive_eof()
    except JSONStreamError as error:
        return texts, str(error), pending
    return texts, None, pending


def split(splitters: Splitters, data: bytes, **limits: int) -> list[bytes]:
    texts, error, _ = outcome(splitters, [data], **limits)
    assert error is None
    return texts
