"""The event streams in an application of somebody else's, served by their uvicorn."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import websockets
from starlette.applications import Starlette

from praxis_fast.api.access.access import Refusal, Visit
from praxis_fast.api.embedding import event_gateway, event_routes
from praxis_fast.client import EventStream, Reset, StreamedEvent
from praxis_fast.errors import UsageError
from praxis_fast.events.bus import EventBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATIENCE = 30.0

PAGE = (ROOT / "docs" / "embedding.md").read_text()
*MOUNTED, PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

# The example, and an application with a lifespan and a route for every path.
APPS = {
    "starlette": ("embedded:app", str(EXAMPLES)),
    "fastapi": ("tests.api.fastapi_app:app", str(ROOT)),
}


class Shop:
    """An application, run as the example's first lines say."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self.port = port
        self.process = process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def order(self, item: str) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self.url}/order/{item}")
        return int(answer.json()["seq"])

    async def stop(self) -> str:
        """What it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, said = await self.process.communicate()
        return said.decode()


@pytest.fixture(params=APPS)
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    app, folder = APPS[request.param]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", app, "--port", str(port)),
        *("--app-dir", folder, "--ws", "praxis_fast.api.ws:Protocol"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        yield Shop(port, process)
        if process.returncode is None:
            await Shop(port, process).stop()


def stream(shop: Shop) -> EventStream:
    return EventStream(shop.url, types=["order.*"], patient=True)


async def test_events_flow_beside_their_websocket_route(shop: Shop) -> None:
    async with stream(shop) as events:
        url = f"ws://127.0.0.1:{shop.port}/echo"
        async with websockets.connect(url, proxy=None) as theirs:
            await theirs.send("hello")
            seq = await shop.order("tea")
            event = await anext(events)
            assert await theirs.recv() == "hello"
    assert isinstance(event, StreamedEvent)
    assert (event.type, event.payload) == ("order.placed", {"item": "tea"})
    assert event.seq == seq


@pytest.mark.parametrize("shop", ["starlette"], indirect=True)
async def test_server_sent_events_flow_as_well(shop: Shop) -> None:
    async with stream(shop):
        pass
    seq = await shop.order("tea")
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client,
        client.stream(
            "GET",
            f"{shop.url}/events/stream?types=order.*",
            headers={"Last-Event-ID": "another-1"},
        ) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        told = []
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line[6:]))
                if told[-1]["type"] == "reset":
                    again = await shop.order("milk")
                else:
                    break
    assert again == seq + 1
    assert told[-1]["payload"] == {"item": "milk"}


@pytest.mark.parametrize("shop", ["starlette"], indirect=True)
async def test_foreign_pages_get_no_events(shop: Shop) -> None:
    async with stream(shop):
        pass
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(
            f"{shop.url}/events/stream", headers={"Origin": "http://evil.example"}
        )
    assert answer.status_code == 403


async def test_their_server_ends_with_clients_connected(shop: Shop) -> None:
    async with stream(shop) as events:
        said = await shop.stop()
        await events.close()
    assert shop.process.returncode is not None
    assert "Application shutdown complete" in said
    assert "Traceback" not in said


async def test_prc_1_every_client_is_told_where_to_go_on(shop: Shop) -> None:
    async with stream(shop):
        pass
    seq = await shop.order("tea")
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client,
        client.stream("GET", f"{shop.url}/events/stream") as answer,
        websockets.connect(f"ws://127.0.0.1:{shop.port}/events", proxy=None) as socket,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        await shop.stop()
        said = [json.loads(text) async for text in socket]
        said += [json.loads(line[6:]) async for line in lines if line[:5] == "data:"]
    assert [told["type"] for told in said] == ["closing", "closing"]
    since = {told["payload"]["since"].rpartition("-")[2] for told in said}
    assert since == {str(seq)}


@pytest.mark.parametrize("shop", ["fastapi"], indirect=True)
async def test_a_mounted_application_keeps_its_routes_and_lifespan(shop: Shop) -> None:
    async with EventStream(shop.url, since="e1-0", patient=True) as events:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{shop.url}/what/ever")
            docs = await client.get(f"{shop.url}/openapi.json")
        assert answer.json() == {"path": "what/ever", "greeting": "hello"}
        assert "/events/stream" not in docs.json()["paths"]
        assert isinstance(await anext(events), Reset)


async def test_the_program_of_the_page_prints_its_event() -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", PROGRAM),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, _ = await program.communicate()
    assert program.returncode == 0
    assert "'type': 'order.placed', 'payload': {'item': 'tea'}" in out.decode()


@pytest.mark.parametrize("code", MOUNTED)
def test_the_applications_of_the_page_have_the_routes(code: str) -> None:
    told: dict[str, Any] = {}
    exec(code, told)  # our own page
    paths = [getattr(route, "path", None) for route in told["app"].routes]
    assert {"/events", "/events/stream", "/streaming/sse"} < set(paths)


async def test_routes_without_the_lifespan_are_a_clear_error() -> None:
    app = Starlette(routes=event_routes())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        with pytest.raises(UsageError, match="lifespan is not event_lifespan"):
            await client.get("/events/stream")


@pytest.mark.parametrize(
    ("client", "status"),
    [
        *((None, 200), ("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200)),
        *(("192.0.2.1", 403), ("::ffff:192.0.2.1", 403), ("2001:db8::1", 403)),
    ],
)
async def test_http_5_other_machines_are_not_served_unless_told(
    client: str | None, status: int
) -> None:
    # Our server may listen on every address: who connects says what it likes as Host.
    visit = Visit(headers=[(b"host", b"localhost")], client=client)
    bus = EventBus()
    async with event_gateway(bus) as gateway:
        verdict = gateway.access.judge(visit)
    await bus.close()
    assert (verdict.status if isinstance(verdict, Refusal) else 200) == status


async def test_a_gateway_ends_with_its_context() -> None:
    bus = EventBus()
    async with event_gateway(bus, max_clients=3) as gateway:
        assert gateway.max_clients == 3
        assert gateway.access.visitor.roles == {"guest"}
    await bus.close()


@pytest.mark.parametrize("shop", ["starlette"], indirect=True)
async def test_http_5_a_proxy_s_clients_are_the_same_on_every_stream(
    shop: Shop,
) -> None:
    async with stream(shop):
        pass
    socket_url = f"ws://127.0.0.1:{shop.port}/events"
    # uvicorn believes what is on this machine, unless it is told otherwise.
    for told in ("192.0.2.9", "192.0.2.9, 127.0.0.1"):
        headers = {"X-Forwarded-For": told}
        async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
            answer = await client.get(f"{shop.url}/events/stream")
        assert answer.status_code == 403
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(socket_url, proxy=None, additional_headers=headers)
        assert refused.value.response.status_code == 403
    near = {"X-Forwarded-For": "127.0.0.1"}
    async with websockets.connect(socket_url, proxy=None, additional_headers=near):
        pass
