"""Where the events of an agent are."""

from __future__ import annotations

import pytest

from praxis_fast.client.address import stream_url, websocket_url
from praxis_fast.errors import UsageError


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("http://a:1", "ws://a:1/ws"),
        ("https://a/", "wss://a/ws"),
        ("http://[::1]:9000/base/", "ws://[::1]:9000/base/ws"),
    ],
)
def test_events_have_a_url_beside_the_agents(url: str, there: str) -> None:
    assert websocket_url(url) == there


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("http://a:1", "ws://a:1/ws"),
        ("https://a/base/", "wss://a/base/ws"),
        ("ws://a:1", "ws://a:1/ws"),
        ("ws://a:1/", "ws://a:1/ws"),
        ("ws://a:1/events", "ws://a:1/events"),
        ("http://a:1/events/stream", "http://a:1/events/stream"),
        ("https://a/x/streaming/sse?task=1", "https://a/x/streaming/sse?task=1"),
        ("wss://a/ws/events?policy=disconnect", "wss://a/ws/events?policy=disconnect"),
    ],
)
def test_a_stream_takes_the_agents_url_or_a_websockets(url: str, there: str) -> None:
    assert stream_url(url) == there


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://a", "http://", "a:1"])
def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="url must begin with http://"):
        stream_url(url)


def test_a_password_in_the_url_is_refused_and_not_told() -> None:
    with pytest.raises(UsageError, match="pass it as token") as caught:
        stream_url("http://me:hidden@a")
    assert "hidden" not in str(caught.value)
