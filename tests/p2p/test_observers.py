"""Observers hear each thing once; logs say each cause once a second."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from praxis_fast.p2p.observers import LinkInfo, Observer, Observers
from tests.p2p.network import Recorder, key

if TYPE_CHECKING:
    import pytest

PEER = key(1).peer_id


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_everybody_is_told_once_and_a_missing_method_is_passed_over() -> None:
    observers, heard = Observers(Clock()), Recorder()
    info = LinkInfo(PEER, "/ip4/127.0.0.1/tcp/1", inbound=True)
    for observer in (heard, object(), Observer()):
        observers.add(observer)
    observers.connected(PEER, info)
    observers.disconnected(PEER, "asked to")
    observers.error("muxer", PEER, None, "bad frame")
    observers.discard(heard)
    observers.discard(heard)
    observers.connected(PEER, info)
    assert heard.connected == [info]
    assert heard.disconnected == [(PEER, "asked to")]
    assert heard.errors == [("muxer", PEER, "bad frame")]


def test_an_observer_that_raises_hurts_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def on_error(self, *_: object) -> None:
            raise RuntimeError("broken")

    observers, heard = Observers(Clock()), Recorder()
    observers.add(Broken())
    observers.add(heard)
    observers.error("muxer", PEER, None, "bad frame")
    assert len(heard.errors) == 1
    assert "on_error" in caplog.text


def test_a_cause_is_logged_once_a_second_and_told_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, heard = Clock(), Recorder()
    observers = Observers(clock)
    observers.add(heard)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            observers.error("muxer", PEER, "/ip4/192.0.2.1/tcp/1", "bad frame")
        observers.error("security", None, None, "does not decrypt")
        assert len(caplog.records) == 2
        clock.now += 1.0
        observers.error("muxer", PEER, None, "bad frame")
    assert "4 more like it not logged" in caplog.records[-1].getMessage()
    assert len(heard.errors) == 7
    assert observers.counts == {"muxer": 6, "security": 1}


def test_refusals_are_told_as_rarely_as_they_are_logged() -> None:
    clock, heard = Clock(), Recorder()
    observers = Observers(clock)
    observers.add(heard)
    for _ in range(1000):
        clock.now += 0.01
        observers.error("refused", None, None, "512 connections, limit 512")
    assert 9 <= len(heard.errors) <= 11
    assert observers.counts["refused"] == 1000


def test_a_flood_of_bad_streams_is_no_flood_of_events() -> None:
    clock, heard = Clock(), Recorder()
    observers = Observers(clock)
    observers.add(heard)
    for _ in range(5000):
        observers.error("stream", PEER, None, "bad")
    assert 1000 <= len(heard.errors) <= 1001
    clock.now += 1.0
    for _ in range(5000):
        observers.error("stream", PEER, None, "bad")
    assert 1100 <= len(heard.errors) <= 1102
    assert observers.counts["stream"] == 10_000
