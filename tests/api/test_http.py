from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from praxis_fast.errors import (
    AddressError,
    NetworkError,
    ResourceLimitError,
    ToolArgumentsError,
    ToolError,
    ToolFailedError,
    ToolRefusedError,
    ToolTimeoutError,
)
from praxis_fast.events.types import CATALOGUE
from praxis_fast.limits import HTTPLimits, Limits
from tests.api.conftest import CARD, PEER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import FakeAgent


@pytest.fixture
async def http(server: HTTPServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


async def get(http: httpx.AsyncClient, path: str) -> Any:
    answer = await http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def test_health_is_the_reference_s(http: httpx.AsyncClient) -> None:
    assert await get(http, "/health") == {
        "status": "healthy",
        "agent": "fake",
        "version": "1.2.3",
    }


async def test_ready_tells_whether_the_host_listens(
    agent: FakeAgent, http: httpx.AsyncClient
) -> None:
    assert (await get(http, "/ready"))["status"] == "ready"
    agent.host.addrs = []
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "starting")
    agent.expects_peers = False
    assert (await get(http, "/ready"))["status"] == "ready"
    agent.expects_peers, agent.host = True, None
    assert (await get(http, "/ready"))["status"] == "ready"


async def test_schema_of_all_events_is_served(http: httpx.AsyncClient) -> None:
    answer = await http.get("/events/schema")
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json()["x-event-types"].keys() >= CATALOGUE.keys()


async def test_info_is_the_reference_s(
    agent: FakeAgent, http: httpx.AsyncClient
) -> None:
    info = await get(http, "/p2p/info")
    assert info["peer_id"] == "12D3KooWSelf"
    assert info["addresses"] == agent.host.addrs
    assert (info["protocol"], info["agent"]) == ("libp2p", "fake")
    agent.host = None
    assert (await get(http, "/p2p/info"))["addresses"] == []


async def test_peers_serve_clients_of_both_projects(http: httpx.AsyncClient) -> None:
    entry = {
        "id": PEER,
        "connected": True,
        "addr": "/ip4/10.0.0.5/tcp/4001",
        "addresses": ["/ip4/10.0.0.5/tcp/4001"],
        "foundAt": "2025-10-09T08:53:20.125Z",
        "lastSeen": "2025-10-09T08:53:20.125Z",
        "name": "calc",
        "capabilities": ["tools"],
    }
    assert await get(http, "/peers") == {"peers": [entry]}
    assert await get(http, "/p2p/peers") == {
        "peers": [entry],
        "count": 1,
        "agent": "fake",
    }


async def test_cards_and_tools_have_base58_keys(http: httpx.AsyncClient) -> None:
    assert await get(http, "/p2p/cards") == {
        "cards": {PEER: CARD},
        "count": 1,
        "agent": "fake",
    }
    assert await get(http, "/p2p/tools") == {
        "tools": {PEER: CARD["tools"]},
        "count": 1,
        "agent": "fake",
        "local": [{"name": "own", "remote": False}],
    }


async def test_peer_without_a_card_is_listed_without_one(
    agent: FakeAgent, http: httpx.AsyncClient
) -> None:
    agent.peers[0] = {**agent.peers[0], "agent_card": None, "addresses": []}
    (entry,) = (await get(http, "/peers"))["peers"]
    assert (entry["name"], entry["addr"]) == (None, None)
    assert (await get(http, "/p2p/cards"))["cards"] == {}


@pytest.mark.parametrize("key", ["multiaddr", "addr"])
async def test_connect_takes_either_key(http: httpx.AsyncClient, key: str) -> None:
    body = {key: f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}"}
    answer = await http.post("/p2p/connect", json=body)
    told = {"status": "connected", "peer_id": PEER, "already_connected": True}
    assert answer.json() == told


async def test_connect_says_that_a_peer_is_new(
    agent: FakeAgent, http: httpx.AsyncClient
) -> None:
    agent.peers[0] = {**agent.peers[0], "is_connected": False}
    body = {"multiaddr": f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}"}
    answer = await http.post("/p2p/connect", json=body)
    assert answer.json()["already_connected"] is False


async def test_connect_says_why_when_nobody_answers(http: httpx.AsyncClient) -> None:
    answer = await http.post("/p2p/connect", json={"addr": "/ip4/127.0.0.1/tcp/1"})
    assert answer.status_code == 502
    assert answer.json() == {
        "error": "peer cannot be reached",
        "detail": "nobody answers at /ip4/127.0.0.1/tcp/1",
    }


@pytest.mark.parametrize("name", ["tool", "name", "tool_name"])
@pytest.mark.parametrize("arguments", ["arguments", "args", "params"])
async def test_tool_takes_either_vocabulary(
    agent: FakeAgent, http: httpx.AsyncClient, name: str, arguments: str
) -> None:
    body = {"peer_id": PEER, name: "add", arguments: {"a": 1}}
    answer = await http.post("/p2p/tool", json=body)
    assert answer.json() == {
        "result": {"content": [{"type": "text", "text": "3"}]},
    }
    assert agent.calls == [("add", {"a": 1}, PEER, 30.0)]


async def test_tool_needs_neither_peer_nor_arguments(
    agent: FakeAgent, http: httpx.AsyncClient
) -> None:
    body = {"tool": "add", "timeout": 5, "args": {}, "params": {}}
    assert (await http.post("/p2p/tool", json=body)).status_code == 200
    assert agent.calls == [("add", {}, None, 5.0)]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "tool is missing"),
        ({"tool": 5}, "tool is not a text"),
        ({"tool": "add", "arguments": []}, "arguments is not an object"),
        ({"tool": "add", "peer_id": 5}, "peer_id is not a text"),
        ({"tool": "add", "timeout": "x"}, "timeout is not a number of seconds"),
        ({"tool": "add", "timeout": True}, "timeout is not a number of seconds"),
        ({"tool": "add", "timeout": 0}, "timeout of 0 s, limit 60"),
        ({"tool": "add", "timeout": 61}, "timeout of 61 s, limit 60"),
    ],
)
async def test_tool_refuses_wrong_fields(
    http: httpx.AsyncClient, body: dict[str, Any], detail: str
) -> None:
    answer = await http.post("/p2p/tool", json=body)
    assert answer.status_code == 400
    assert answer.json() == {"error": "bad request", "detail": detail}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ToolArgumentsError("a"), 400),
        (ToolRefusedError("a"), 403),
        (ToolTimeoutError("a"), 504),
        (ToolFailedError("a"), 502),
        (ToolError("a"), 502),
        (ResourceLimitError("a"), 503),
        (NetworkError("a"), 502),
        (AddressError("a"), 400),
    ],
)
async def test_errors_have_the_right_status(
    agent: FakeAgent,
    http: httpx.AsyncClient,
    error: Exception,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(agent, "call_tool", fail)
    answer = await http.post("/p2p/tool", json={"tool": "add"})
    assert answer.status_code == status
    assert answer.json()["detail"] == "a"


async def test_unknown_tool_is_404(http: httpx.AsyncClient) -> None:
    answer = await http.post("/p2p/tool", json={"tool": "none"})
    assert (answer.status_code, answer.json()["error"]) == (404, "tool not found")


async def test_defect_tells_nothing_of_the_inside(
    agent: FakeAgent, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Any:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(agent, "peer_snapshot", fail)
    answer = await http.get("/peers")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error", "detail": "see the agent's log"}


async def test_unknown_path_and_method_are_json(http: httpx.AsyncClient) -> None:
    answer = await http.get("/nowhere")
    assert (answer.status_code, answer.json()) == (
        *(404, {"error": "not found", "detail": "GET /nowhere"}),
    )
    answer = await http.delete("/peers")
    assert (answer.status_code, answer.json()["error"]) == (405, "method not allowed")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/ws", "/ws/events", "/events"])
async def test_plain_get_on_a_stream_asks_for_an_upgrade(
    http: httpx.AsyncClient, path: str
) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["error"]) == (426, "upgrade required")


@pytest.mark.parametrize("path", ["/health", "/p2p/peers", "/nowhere", "/ws"])
async def test_ws_2_foreign_origin_and_host_are_refused_on_every_route(
    http: httpx.AsyncClient, path: str
) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        answer = await http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


async def test_http_5_token_is_asked_for_on_every_route(
    serve: Callable[..., Any],
) -> None:
    server = await serve(token="secret")
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        answer = await http.get("/health")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (
            *(401, "Bearer"),
        )
        headers = {"Authorization": "Bearer secret"}
        assert (await http.get("/health", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", ""]
)
async def test_body_that_is_not_announced_as_json_is_refused(
    http: httpx.AsyncClient, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    answer = await http.post("/p2p/tool", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (
        *(415, "unsupported media type"),
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"x"'])
async def test_body_that_is_no_json_object_is_refused(
    agent: FakeAgent, http: httpx.AsyncClient, content: bytes
) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = await http.post("/p2p/tool", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("body is not")
    assert not agent.calls


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_http_3_body_over_the_limit_is_refused(
    agent: FakeAgent, serve: Callable[..., Any], is_chunked: bool
) -> None:
    server = await serve(limits=Limits(http=HTTPLimits(max_body=1000)))
    body = json.dumps({"tool": "add", "arguments": {"x": "y" * 1000}}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        yield body[:900]
        yield body[900:]

    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        answer = await http.post(
            "/p2p/tool",
            content=chunks() if is_chunked else body,
            headers={"Content-Type": "application/json"},
        )
    assert answer.status_code == 413
    assert answer.json()["detail"].endswith("bytes, limit 1000")
    assert not agent.calls


async def ask_raw(server: HTTPServer, *pieces: bytes) -> bytes:
    """Everything the server answers to raw bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for piece in pieces:
        writer.write(piece)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_http_2_slow_body_is_cut(serve: Callable[..., Any]) -> None:
    server = await serve(limits=Limits(http=HTTPLimits(body_timeout=0.05)))
    answer = await ask_raw(
        server,
        b"POST /p2p/tool HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{",
    )
    assert answer.startswith(b"HTTP/1.1 408 ")
