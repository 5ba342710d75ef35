"""pytest-benchmark over the yamux session: pytest bench --benchmark-enable."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.benchmarks.muxing import (
    BODIES,
    Stopwatch,
    make_messages,
    make_session,
    measure,
    measure_sending,
    measure_streams,
    read_headers,
    receive,
    send,
    twins,
)

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.fixture(params=BODIES)
def body(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


@pytest.mark.parametrize("name", [*twins(), "headers only, Python"])
def test_receiving(benchmark: BenchmarkFixture, body: int, name: str) -> None:
    benchmark.group = f"yamux in, bodies of {body}"
    (message, *_) = make_messages(body, 1)
    if name not in twins():
        assert sum(map(len, benchmark(read_headers, message))) > 0
        return
    session = make_session(twins()[name], 1)
    run = partial(receive, session, [message], Stopwatch())
    assert benchmark(run) == len(message) // (12 + body) * body


@pytest.mark.parametrize("name", twins())
def test_sending(benchmark: BenchmarkFixture, body: int, name: str) -> None:
    benchmark.group = f"yamux out, writes of {body}"
    twin: Any = twins()[name]
    session = twin.YamuxSession(client=True)
    session.open_stream()
    session.data_to_send()
    assert benchmark(send, session, bytes(body), 3, Stopwatch()) == 3 * body


@pytest.mark.parametrize(
    "table",
    [
        partial(measure, 64, rounds=2),
        partial(measure_sending, 64, rounds=2),
        partial(measure_streams, 1024, streams=(1, 70), rounds=2),
    ],
)
def test_tables_agree_on_every_byte(table: Any) -> None:
    lines = table().lines()
    assert len(lines) > 3
