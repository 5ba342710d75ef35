from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from praxis_fast.api.http_protocol import BoundedHTTPProtocol, make_http_protocol
from praxis_fast.api.sse import EXTENSION, IS_STREAM
from praxis_fast.limits import HTTPLimits, Limits, WebSocketLimits
from tests.api.manual_loop import ManualLoop
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


class FakeTransport:
    """Takes everything, and holds back what the test says."""

    def __init__(self) -> None:
        self.written = b""
        self.unread = 0
        self.is_closed = self.is_aborted = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Wire:
    """One connection to an application, on a clock under the test's hand."""

    def __init__(self, app: Any) -> None:
        self.loop = ManualLoop()
        self.transport = FakeTransport()
        self.hits: Counter[str] = Counter()
        made = make_http_protocol(HTTPLimits(), 10, self.hits)
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        self.protocol: BoundedHTTPProtocol = made(
            config=config, server_state=ServerState(), app_state={}, _loop=self.loop
        )
        self.protocol.connection_made(cast("Any", self.transport))

    async def receive(self, data: bytes) -> None:
        self.protocol.data_received(data)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self) -> None:
        self.protocol.connection_lost(None)
        await asyncio.gather(*self.protocol.tasks)


async def swallow(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body, then answers with nothing."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def hold(scope: Any, receive: Any, send: Any) -> None:
    """Begins to answer, and waits for the end of the connection."""
    if scope["path"] == "/stream":
        scope["extensions"][EXTENSION][IS_STREAM] = True
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while (await receive())["type"] != "http.disconnect":
        pass


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_http_2_headers_have_ten_seconds() -> None:
    wire = Wire(swallow)
    for piece in (b"GET / ", b"HTTP/1.1\r\n", b"Host: a"):
        await wire.receive(piece)
        wire.loop.advance(3)
    assert wire.transport.written == b""
    wire.loop.advance(1)
    assert wire.transport.written.startswith(b"HTTP/1.1 408 ")
    assert (wire.transport.is_closed, wire.hits["http.header_timeout"]) == (True, 1)
    await wire.end()


async def test_http_2_body_at_240_bytes_a_second_is_taken() -> None:
    wire = Wire(swallow)
    await wire.receive(POST)
    wire.loop.advance(4.9)
    for _ in range(100):
        await wire.receive(b"x" * 240)
        wire.loop.advance(0.999)
    assert not wire.transport.is_closing()
    await wire.receive(b"x" * (100_000 - 24_000))
    wire.loop.advance(4)
    assert wire.transport.written.startswith(b"HTTP/1.1 204 ")
    assert not wire.hits
    await wire.end()


@pytest.mark.parametrize(("piece", "lasts"), [(b"", 3), (b"x" * 200, 14)])
async def test_http_2_slower_body_is_cut(piece: bytes, lasts: int) -> None:
    wire = Wire(swallow)
    # 500 bytes buy 2.08 s, and 200 of them 0.83 s each time.
    await wire.receive(POST + b"x" * 500)
    wire.loop.advance(4.9)
    seconds = 0
    while not wire.transport.is_closing():
        await wire.receive(piece)
        wire.loop.advance(1)
        seconds += 1
    assert seconds == lasts
    head, _, body = wire.transport.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert "at least 240 bytes a second" in json.loads(body)["detail"]
    assert wire.hits["http.body_rate"] == 1
    await wire.end()


async def test_http_2_slow_body_gets_no_second_answer() -> None:
    wire = Wire(hold)
    await wire.receive(POST)
    begun = wire.transport.written
    assert begun.startswith(b"HTTP/1.1 200 ")
    wire.loop.advance(5)
    assert (wire.transport.is_closed, wire.transport.written) == (True, begun)
    await wire.end()


async def test_http_2_body_nobody_here_reads_is_waited_for() -> None:
    wire = Wire(hold)
    await wire.receive(POST)
    wire.protocol.flow.pause_reading()
    wire.loop.advance(60)
    assert not wire.transport.is_closing()
    wire.protocol.flow.resume_reading()
    wire.loop.advance(5)
    assert wire.transport.is_closed
    await wire.end()


async def test_http_2_reader_that_takes_nothing_for_30_s_is_cut() -> None:
    wire = Wire(hold)
    await wire.receive(GET % b"/")
    wire.transport.unread = 100_000
    wire.protocol.pause_writing()
    wire.loop.advance(29)
    wire.transport.unread = 90_000
    wire.loop.advance(30)
    assert not wire.transport.is_aborted
    wire.loop.advance(1)
    assert (wire.transport.is_aborted, wire.hits["http.reader_timeout"]) == (True, 1)
    await wire.end()


async def test_http_2_reader_that_goes_on_is_left_alone() -> None:
    wire = Wire(hold)
    await wire.receive(GET % b"/")
    wire.transport.unread = 100_000
    wire.protocol.pause_writing()
    wire.loop.advance(29)
    wire.protocol.resume_writing()
    wire.loop.advance(60)
    assert not wire.transport.is_aborted
    await wire.end()


async def test_http_2_event_streams_have_their_own_patience() -> None:
    wire = Wire(hold)
    await wire.receive(GET % b"/stream")
    wire.transport.unread = 100_000
    wire.protocol.pause_writing()
    wire.loop.advance(60)
    assert not wire.transport.is_aborted
    await wire.end()


async def test_prc_2_clients_get_their_time_once_more_after_a_freeze() -> None:
    wire = Wire(swallow)
    await wire.receive(POST)
    wire.loop.sleep(3600)
    assert not wire.transport.is_closing()
    await wire.receive(b"x" * 100_000)
    assert wire.transport.written.startswith(b"HTTP/1.1 204 ")
    await wire.end()


async def test_http_2_cut_body_is_no_fault_of_ours(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    limits = HTTPLimits(body_grace=0.05, body_rate=10_000)
    server = await serve(limits=Limits(http=limits))
    answer = await ask_raw(
        server,
        b"POST /p2p/tool HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
        b"Content-Length: 10\r\n\r\n{",
    )
    assert answer.startswith(b"HTTP/1.1 408 ")
    async with asyncio.timeout(10):
        while server._server.server_state.tasks:
            await asyncio.sleep(0.005)
    assert "failed" not in caplog.text
    assert "Exception" not in caplog.text


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
)


async def test_ws_7_handshake_that_is_never_finished_is_cut() -> None:
    wire = Wire(swallow)
    await wire.receive(UPGRADE)
    wire.loop.advance(10)
    assert wire.transport.written.startswith(b"HTTP/1.1 408 ")
    await wire.end()


async def test_ws_7_handshake_has_no_more_than_16_kib() -> None:
    wire = Wire(swallow)
    await wire.receive(UPGRADE)
    for _ in range(17):
        await wire.receive(b"a: " + b"b" * 1024 + b"\r\n")
    assert wire.transport.written.startswith(b"HTTP/1.1 431 ")
    assert wire.hits["http.max_header_bytes"] == 1
    await wire.end()
