from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from praxis_fast.limits import HTTPLimits, Limits, WebSocketLimits
from tests.api.test_http import ask_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.api.server import HTTPServer

HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + 101 * b"a: b\r\n" + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: " + b"b" * 17000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a" * 17000 + b": b\r\n\r\n", 431),
    ],
)
async def test_http_3_long_lines_and_headers_are_refused(
    server: HTTPServer, request_: bytes, status: int
) -> None:
    answer = await ask_raw(server, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert "limit" in json.loads(body)["detail"]


@pytest.mark.parametrize(
    "request_",
    [
        b"junk\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /p2p/tool HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\n{}",
        b"POST /p2p/tool HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\n" + HOST + b"\n\n",
        b"POST /p2p/tool HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    ],
)
async def test_http_1_malformed_requests_are_refused_and_closed(
    server: HTTPServer, request_: bytes
) -> None:
    answer = await ask_raw(server, request_)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_http_2_slow_headers_are_cut(serve: Callable[..., Any]) -> None:
    server = await serve(limits=Limits(http=HTTPLimits(header_timeout=0.05)))
    answer = await ask_raw(server, b"GET / HTTP/1.1\r\nHost:")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert await ask_raw(server) != b""


async def test_http_2_next_request_on_the_same_connection_is_bounded_too(
    serve: Callable[..., Any],
) -> None:
    server = await serve(limits=Limits(http=HTTPLimits(header_timeout=0.05)))
    answer = await ask_raw(
        server,
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost:",
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_connection_is_kept_and_headers_are_counted_anew(
    server: HTTPServer,
) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        for _ in range(10):
            headers = {"x-filler": "y" * 8000}
            assert (await http.get("/health", headers=headers)).status_code == 200
        assert len(server._server.server_state.connections) == 1


async def test_ws_10_connections_over_the_limit_are_refused(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praxis_fast.api.server.SPARE_CONNECTIONS", 1)
    server = await serve(limits=Limits(websocket=WebSocketLimits(max_clients=1)))
    idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    assert (await ask_raw(server)).startswith(b"HTTP/1.1 503 ")
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    connections = server._server.server_state.connections
    async with asyncio.timeout(10):
        while connections:
            await asyncio.sleep(0.005)
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        assert (await http.get("/health")).status_code == 200
