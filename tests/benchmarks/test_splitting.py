"""The splitting bench on tiny input, its corpora and its table."""

from __future__ import annotations

import itertools
import json

import pytest

from praxis_fast.benchmarks.corpora import CORPORA, make_corpus
from praxis_fast.benchmarks.rows import Contender, Row, Table, interleave
from praxis_fast.benchmarks.splitting import CHUNK, SIZES, contenders, measure
from praxis_fast.errors import UsageError

LARGE = {"tool_results", "value"}
AVERAGES = {
    "events": 368,
    "cards": 4700,
    "tool_results": 500_000,
    "rpc": 420,
    "value": 882_000,
}


@pytest.mark.parametrize("name", CORPORA)
def test_corpus_is_the_same_each_time(name: str) -> None:
    corpus = make_corpus(name, 4)
    assert make_corpus(name, 6).texts[:4] == corpus.texts
    assert b"".join(corpus.chunks(1000)) == corpus.stream
    assert all(json.loads(text) for text in corpus.texts)


@pytest.mark.parametrize(("name", "size"), AVERAGES.items())
def test_texts_have_the_size_of_the_real_ones(name: str, size: int) -> None:
    count = 4 if name in LARGE else 200
    average = len(make_corpus(name, count).stream) / count
    assert average == pytest.approx(size, rel=0.03)


# Some contenders start over with each chunk, which large texts have many of.
@pytest.mark.parametrize(
    ("name", "chunk"),
    [
        *itertools.product(sorted(set(CORPORA) - LARGE), [100, 1460, CHUNK]),
        *((name, CHUNK) for name in sorted(LARGE)),
    ],
)
def test_all_contenders_find_the_same_texts(name: str, chunk: int) -> None:
    corpus = make_corpus(name, 3)
    found = {rival.name: rival.run() for rival in contenders(corpus, chunk)}
    assert set(found.values()) == {len(corpus.texts)}


def test_table_has_a_row_for_each_contender() -> None:
    table = measure("events", count=3, rounds=2)
    rivals = contenders(make_corpus("events", 1))
    assert [row.name for row in table.rows] == [rival.name for rival in rivals]
    assert set(SIZES) == set(CORPORA)


def test_wrong_answer_is_named() -> None:
    def outside(*_: object) -> list[Contender]:
        return [Contender("liar", lambda: 2)]

    with pytest.raises(UsageError, match="liar found 2 texts, 3 expected"):
        measure("events", count=3, rounds=2, outside=outside)


def test_contenders_take_turns() -> None:
    turns: list[str] = []
    ticks = itertools.count()
    rivals = [Contender(name, lambda name=name: turns.append(name)) for name in "ab"]
    rows = interleave(rivals, rounds=3, clock=lambda: float(next(ticks)))
    assert turns[4:] == ["a", "b"] * 3
    assert rows == (Row("a", (1.0,) * 3), Row("b", (1.0,) * 3))


def test_table_shows_median_spread_and_ratio() -> None:
    slow, fast = Row("slow", (4e-6, 4e-6, 5e-6)), Row("fast", (1e-6, 2e-6, 3e-6))
    lines = Table("texts", 10, 4000, (slow, fast)).lines()
    assert lines[0] == "texts: 10 texts, 4000 bytes"
    assert lines[2].split() == ["slow", "400.0", "1.000", "1.000", "25.0%", "1.0x"]
    assert lines[3].split() == ["fast", "200.0", "2.000", "4.000", "100.0%", "2.0x"]
