from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from praxis_fast.api.server import HTTPServer, max_clients
from praxis_fast.errors import ConfigError, NetworkError
from praxis_fast.limits import Limits, WebSocketLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.conftest import FakeAgent


async def test_start_returns_when_clients_can_connect(agent: FakeAgent) -> None:
    async with HTTPServer(agent, "127.0.0.1", 0) as server:
        assert server.port > 0
        assert server.url == f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{server.url}/health")).status_code == 200


async def test_start_names_the_port_when_it_is_taken(
    agent: FakeAgent, serve: Callable[..., Any]
) -> None:
    server = await serve()
    other = HTTPServer(agent, "127.0.0.1", server.port)
    with pytest.raises(
        NetworkError, match=f"http port {server.port} on 127.0.0.1 is taken"
    ):
        await other.start()
    await other.close()


async def test_start_says_so_when_the_host_is_unknown(agent: FakeAgent) -> None:
    server = HTTPServer(agent, "host.invalid", 0, insecure_http=True)
    with pytest.raises(NetworkError, match=r"http host host\.invalid"):
        await server.start()


async def test_start_says_so_when_the_address_is_not_ours(agent: FakeAgent) -> None:
    server = HTTPServer(agent, "192.0.2.1", 0, insecure_http=True)
    with pytest.raises(NetworkError, match=r"http port 0 on 192\.0\.2\.1: "):
        await server.start()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com"])
def test_reachable_address_without_a_token_is_refused(
    agent: FakeAgent, host: str
) -> None:
    with pytest.raises(ConfigError, match=r"http\.host: .* --insecure-http"):
        HTTPServer(agent, host, 0)
    HTTPServer(agent, host, 0, token="secret")
    HTTPServer(agent, host, 0, insecure_http=True)


async def test_wildcard_address_is_reached_over_loopback(agent: FakeAgent) -> None:
    async with (
        HTTPServer(agent, "0.0.0.0", 0, insecure_http=True) as server,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        assert server.url.startswith("http://127.0.0.1:")
        assert (await http.get(f"{server.url}/health")).status_code == 200


async def test_ipv6_loopback_is_served(agent: FakeAgent) -> None:
    async with (
        HTTPServer(agent, "::1", 0) as server,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        assert server.url == f"http://[::1]:{server.port}"
        assert (await http.get(f"{server.url}/health")).status_code == 200


async def test_signals_belong_to_the_program_around_us(agent: FakeAgent) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with HTTPServer(agent, "127.0.0.1", 0):
        after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        assert after == before


async def test_close_leaves_no_task_and_no_socket_behind(agent: FakeAgent) -> None:
    before = asyncio.all_tasks()
    server = HTTPServer(agent, "127.0.0.1", 0)
    await server.start()
    await server.close()
    await server.close()
    assert asyncio.all_tasks() == before
    assert not agent.bus._sinks
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1).close()


async def test_start_that_fails_leaves_nothing_behind(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no more descriptors")

    monkeypatch.setattr("uvicorn.Server.startup", fail)
    server = HTTPServer(agent, "127.0.0.1", 0)
    with pytest.raises(OSError, match="no more descriptors"):
        await server.start()
    assert not agent.bus._sinks
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_close_lets_a_request_finish(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **kwargs: Any) -> str:
        started.set()
        await go_on.wait()
        return "done"

    monkeypatch.setattr(agent, "call_tool", slow)
    server = HTTPServer(agent, "127.0.0.1", 0)
    await server.start()
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"{server.url}/p2p/tool"
        request = asyncio.create_task(http.post(url, json={"tool": "add"}))
        await started.wait()
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        go_on.set()
        assert (await request).json() == {"result": "done"}
        await closing


def test_max_clients_leaves_descriptors_for_other_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import resource

    limits = Limits(websocket=WebSocketLimits(max_clients=500))
    for soft, expected in ((1024, 500), (512, 224), (10, 1), (-1, 500)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, soft=soft: (soft, soft))
        assert max_clients(limits) == expected
