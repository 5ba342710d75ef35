"""JSON stream splitting: the twins, each kernel, and what else does the job."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from praxis_fast._pure.splitter import JSONSplitter
from praxis_fast.benchmarks.corpora import Corpus, make_corpus
from praxis_fast.benchmarks.rows import Contender, Table, interleave
from praxis_fast.errors import UsageError

try:
    from praxis_fast._core import splitter as compiled
except ImportError:
    KERNELS: tuple[str, ...] = ()
else:
    KERNELS = compiled.kernels()

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["CHUNK", "SIZES", "contenders", "measure", "split_texts"]

# What a socket read hands over at once, and what a packet carries.
CHUNK: Final = 16384
PACKET: Final = 1460

# Texts per corpus: enough for a stable figure, few enough for the plain twin.
SIZES: Final = {
    "events": 2000,
    "cards": 200,
    "tool_results": 4,
    "rpc": 2000,
    "value": 1,
}


def split_texts(make: Callable[[], Any], chunks: Iterable[bytes]) -> int:
    """How many texts a splitter finds in the chunks."""
    receive = make().receive_data
    return sum([len(receive(chunk)) for chunk in chunks])


def split_and_decode(make: Callable[[], Any], chunks: Iterable[bytes]) -> int:
    """The same, with each text decoded as it comes."""
    receive, loads, count = make().receive_data, orjson.loads, 0
    for chunk in chunks:
        for text in receive(chunk):
            loads(text)
            count += 1
    return count


def decode_each(loads: Callable[[bytes], object], texts: Iterable[bytes]) -> int:
    """Texts that were split before, decoded only."""
    count = 0
    for text in texts:
        loads(text)
        count += 1
    return count


def raw_decode(chunks: Iterable[bytes]) -> int:
    """The standard library's way to decode texts side by side."""
    decode, rest, count = json.JSONDecoder().raw_decode, "", 0
    for chunk in chunks:
        rest, pos = rest + chunk.decode("ascii"), 0
        while pos < len(rest):
            try:
                _, pos = decode(rest, pos)
            except json.JSONDecodeError:
                break
            count += 1
        rest = rest[pos:]
    return count


def with_kernel(name: str) -> Any:
    """A compiled splitter that uses this kernel."""
    before = compiled.current_kernel()
    compiled.select_kernel(name)
    try:
        return compiled.JSONSplitter()
    finally:
        compiled.select_kernel(before)


def contenders(corpus: Corpus, chunk: int = CHUNK) -> list[Contender]:
    """All that comes with praxis-fast; the plain twin is the first."""
    chunks, texts = corpus.chunks(chunk), corpus.texts
    decode = msgspec.json.Decoder().decode
    twins: dict[str, Callable[[], Any]] = {
        f"core, {name}": partial(with_kernel, name) for name in KERNELS
    }
    best = next(iter(twins.values()), JSONSplitter)
    twins = {"plain twin": JSONSplitter, **twins}
    return [
        *(
            Contender(n, partial(split_texts, twin, chunks))
            for n, twin in twins.items()
        ),
        Contender("json raw_decode", partial(raw_decode, chunks)),
        Contender("split + orjson", partial(split_and_decode, best, chunks)),
        Contender("orjson, split before", partial(decode_each, orjson.loads, texts)),
        Contender("msgspec, split before", partial(decode_each, decode, texts)),
    ]


def measure(
    name: str,
    *,
    count: int | None = None,
    chunk: int = CHUNK,
    rounds: int = 7,
    outside: Callable[[Corpus, int], Sequence[Contender]] | None = None,
) -> Table:
    """One corpus, all contenders; raises when they do not find the same texts."""
    corpus = make_corpus(name, SIZES[name] if count is None else count)
    rivals = [*contenders(corpus, chunk), *(outside(corpus, chunk) if outside else ())]
    for rival in rivals:
        if (found := rival.run()) != len(corpus.texts):
            raise UsageError(
                f"{rival.name} found {found} texts, {len(corpus.texts)} expected"
            )
    title = f"{name} in chunks of {chunk}"
    rows = interleave(rivals, rounds=rounds)
    return Table(title, len(corpus.texts), len(corpus.stream), rows)
