"""The blocking client of a running agent, against servers that are none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from praxis_fast.client import Client
from praxis_fast.errors import NetworkError, PraxisError


@contextmanager
def server(status: int, body: bytes) -> Iterator[tuple[str, list[str | None]]]:
    """A server that answers everything with this, and the tokens it was shown."""
    tokens: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", tokens
        finally:
            listening.shutdown()
            thread.join()


def test_the_token_is_shown() -> None:
    with server(200, b"[1]") as (url, tokens):
        assert Client(url, token="t").get("/x") == [1]
        assert Client(url).get("/x") == [1]
    assert tokens == ["Bearer t", None]


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (200, b"<html>", NetworkError, "does not answer like an agent"),
        (404, b"<html>", PraxisError, "the agent answered 404 Not Found"),
        (400, b"[]", PraxisError, "the agent answered 400 Bad Request"),
        (400, b'{"error":"a"}', PraxisError, "^a$"),
        (400, b'{"error":"a","detail":"b"}', PraxisError, "^a: b$"),
        (400, b'{"error":{"message":"m"}}', PraxisError, "^m$"),
    ],
)
def test_odd_answers_are_clear_errors(
    status: int, body: bytes, error: type[Exception], message: str
) -> None:
    with server(status, body) as (url, _), pytest.raises(error, match=message):
        Client(url).get("/x")


def test_a_server_without_websockets_is_a_clear_error() -> None:
    with (
        server(404, b"no") as (url, _),
        pytest.raises(NetworkError, match="no agent answers at"),
    ):
        list(Client(url).events())
