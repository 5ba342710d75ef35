"""Other projects' implementations: measured where installed, named where not."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

from praxis_fast.benchmarks.rows import Contender
from praxis_fast.benchmarks.sockets import installed_servers
from praxis_fast.benchmarks.splitting import decode_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxis_fast.benchmarks.corpora import Corpus
    from praxis_fast.benchmarks.links import Pair
    from praxis_fast.benchmarks.muxing import Stopwatch
    from praxis_fast.benchmarks.sockets import Server

__all__ = ["Outside"]


class Chunks:
    """A file that hands out one chunk per read, as a socket does."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = iter(chunks)

    def read(self, size: int) -> bytes:
        """The next chunk, whatever its size."""
        return next(self._chunks, b"") if size else b""


def ijson_items(backend: Any, chunks: Sequence[bytes]) -> int:
    """How many values ijson finds on the stream."""
    return sum(1 for _ in backend.items(Chunks(chunks), "", multiple_values=True))


class Outside:
    """What Python packages offer; `missing` names those that are not installed."""

    def __init__(self) -> None:
        self.missing: dict[str, None] = {}

    def splitting(self, corpus: Corpus, chunk: int) -> list[Contender]:
        """Decoders of JSON streams and texts."""
        found = []
        ijson = self.module("ijson.backends.yajl2_c", "ijson")
        if ijson:
            run = partial(ijson_items, ijson, corpus.chunks(chunk))
            found.append(Contender("ijson yajl2_c", run))
        simdjson = self.module("simdjson", "pysimdjson")
        if simdjson:
            run = partial(decode_each, simdjson.loads, corpus.texts)
            found.append(Contender("simdjson, split before", run))
        return found

    def muxing(self, messages: Sequence[bytes], watch: Stopwatch) -> list[Contender]:
        """Foreign yamux sessions; a checkout has one, a wheel has not."""
        return []

    def receiving(self, messages: Sequence[bytes], watch: Stopwatch) -> list[Contender]:
        """The whole path of a foreign library; likewise."""
        return []

    def links(self) -> list[Pair]:
        """Foreign peers; likewise."""
        return []

    def servers(self) -> list[Server]:
        """WebSocket servers."""
        found, missing = installed_servers()
        self.missing |= dict.fromkeys(missing)
        return found

    def module(self, name: str, package: str) -> Any:
        """The module, or None when its package is not installed."""
        try:
            return importlib.import_module(name)
        except ImportError:
            self.missing[package] = None
            return None
