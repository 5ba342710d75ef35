"""pytest-benchmark over the splitter: pytest bench --benchmark-enable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praxis_fast.benchmarks.corpora import Corpus, make_corpus
from praxis_fast.benchmarks.splitting import (
    KERNELS,
    contenders,
    split_texts,
    with_kernel,
)

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

SIZES = {"events": 300, "cards": 20, "tool_results": 1, "rpc": 300}
NAMES = [contender.name for contender in contenders(make_corpus("events", 1))]


@pytest.fixture(scope="module", params=SIZES)
def corpus(request: pytest.FixtureRequest) -> Corpus:
    return make_corpus(request.param, SIZES[request.param])


@pytest.mark.parametrize("name", NAMES)
def test_splitting(benchmark: BenchmarkFixture, corpus: Corpus, name: str) -> None:
    benchmark.group = corpus.name
    rivals = {contender.name: contender for contender in contenders(corpus)}
    assert benchmark(rivals[name].run) == len(corpus.texts)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_byte_at_a_time(benchmark: BenchmarkFixture, kernel: str) -> None:
    corpus = make_corpus("events", 50)
    chunks = corpus.chunks(1)
    found = benchmark(lambda: split_texts(lambda: with_kernel(kernel), chunks))
    assert found == len(corpus.texts)
