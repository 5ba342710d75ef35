from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from praxis_fast.errors import UsageError, WebhookRefusedError
from praxis_fast.events.webhooks.address_gate import AddressGate
from praxis_fast.events.webhooks.sender import USER_AGENT, Answer, WebhookClient
from praxis_fast.events.webhooks.signing import sign_webhook, verify_webhook
from praxis_fast.limits import WebhookLimits

SECRET = "a secret between the two of us"
BODY = b'{"a":1}'


class Site:
    """A receiver on loopback that counts what reaches it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[web.Request], Any] = lambda request: web.Response()
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def handle(self, request: web.Request) -> Any:
        body = await request.read()
        self.requests.append((request.path, dict(request.headers), body))
        answer = self.answer(request)
        return await answer if asyncio.iscoroutine(answer) else answer


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = Site(listener.getsockname()[1])
    runner = web.ServerRunner(web.Server(made.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    yield made
    await runner.cleanup()


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Any]]:
    clients: list[WebhookClient] = []

    async def open_client(
        gate: AddressGate | None = None, **options: Any
    ) -> WebhookClient:
        limits = WebhookLimits(**options.pop("limits", {}))
        gate = gate or AddressGate(allow_loopback=True)
        client = WebhookClient(gate, limits, **options)
        await client.open()
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        await client.close()
        await client.close()


async def test_receiver_can_verify_what_it_gets(site: Site, make: Any) -> None:
    client = await make()
    headers = sign_webhook("m1", BODY, [SECRET], 1e9)
    answer = await client.post(site.url, headers, BODY)
    assert answer == Answer(200)
    assert answer.is_success
    ((path, seen, body),) = site.requests
    assert (path, body) == ("/hook", BODY)
    assert seen["User-Agent"] == USER_AGENT
    assert verify_webhook(seen, body, SECRET, now=1e9 + 5).id == "m1"


async def test_connection_is_used_again(site: Site, make: Any) -> None:
    peers: set[Any] = set()

    def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text="ok" * 100)

    site.answer = answer
    client = await make()
    for _ in range(5):
        assert (await client.post(site.url, {}, BODY)).is_success
    assert len(peers) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_hk_3_redirect_is_not_followed(
    site: Site, make: Any, status: int
) -> None:
    site.answer = lambda request: web.Response(
        status=status, headers={"Location": f"http://127.0.0.1:{site.port}/other"}
    )
    client = await make()
    answer = await client.post(site.url, {}, BODY)
    assert (answer.status, answer.is_success) == (status, False)
    assert len(site.requests) == 1


async def test_hk_2_rebound_name_is_refused_at_the_connection(
    site: Site, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    async def public(host: str, port: int) -> list[str]:
        return ["8.8.8.8"]

    def rebound(host: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        inside = ("127.0.0.1", site.port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", inside)] * 2

    gate = AddressGate(ports=[443, site.port])
    client = await make(gate, resolve=public)
    url = f"https://rebound.example:{site.port}/"
    await client.check(url)
    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    answer = await client.post(url, {}, BODY)
    assert asked == ["rebound.example"]
    assert "address 127.0.0.1 is not public" in (answer.error or "")
    assert not site.requests


async def test_hk_1_url_that_is_no_longer_allowed_is_not_sent_to(
    site: Site, make: Any
) -> None:
    client = await make(AddressGate())
    answer = await client.post(site.url, {}, BODY)
    assert answer.error == "refused: webhook url is http, not https"
    assert answer.reason == "refused"
    assert not site.requests


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:10.0.0.1"]]
)
async def test_hk_2_name_with_an_inside_address_is_refused_at_create(
    make: Any, addresses: list[str]
) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return addresses

    client = await make(AddressGate(), resolve=inside)
    with pytest.raises(WebhookRefusedError, match="is not public"):
        await client.check("https://a.example/")


async def test_name_that_cannot_be_resolved_is_refused(make: Any) -> None:
    async def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "unknown")

    client = await make(AddressGate(), resolve=nobody)
    with pytest.raises(WebhookRefusedError, match=r"a\.example cannot be resolved"):
        await client.check("https://a.example/")


async def test_name_is_resolved_within_the_limit(make: Any) -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    client = await make(AddressGate(), resolve=never, limits={"connect_timeout": 0.01})
    with pytest.raises(WebhookRefusedError, match="cannot be resolved"):
        await client.check("https://a.example/")


async def test_own_machine_is_resolved_for_real(make: Any) -> None:
    await (await make()).check("http://localhost:1234/")
    with pytest.raises(WebhookRefusedError):
        await (await make(AddressGate())).check("https://localhost/")


async def test_proxies_of_the_environment_are_not_used(
    site: Site, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert (await (await make()).post(site.url, {}, BODY)).status == 200


async def test_hk_4_receiver_that_never_answers_is_cut(site: Site, make: Any) -> None:
    site.answer = lambda request: asyncio.Event().wait()
    client = await make(limits={"connect_timeout": 0.05, "response_timeout": 0.05})
    answer = await client.post(site.url, {}, BODY)
    assert answer == Answer(error="no answer in time", reason="timeout")


async def test_hk_4_endless_answer_is_cut_at_64_kib(site: Site, make: Any) -> None:
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 4096)
        except ConnectionError:
            ended.set()
            raise

    site.answer = endless
    client = await make()
    assert (await client.post(site.url, {}, BODY)).status == 200
    async with asyncio.timeout(10):
        await ended.wait()


async def test_hk_4_answer_that_drips_costs_its_connection_only(
    site: Site, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praxis_fast.events.webhooks.sender._READ_TIMEOUT", 0.01)

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    site.answer = drip
    assert (await (await make()).post(site.url, {}, BODY)).status == 200


async def test_hk_5_retry_after_is_handed_on(site: Site, make: Any) -> None:
    site.answer = lambda request: web.Response(status=503, headers={"Retry-After": "7"})
    assert await (await make()).post(site.url, {}, BODY) == Answer(503, None, 7.0)


async def test_receiver_that_is_down_or_speaks_junk_is_an_error_in_words(
    make: Any,
) -> None:
    async def junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xffjunk\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(junk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = await make()
    answer = await client.post(f"http://127.0.0.1:{port}/", {}, BODY)
    assert answer.status is None
    assert answer.error
    server.close()
    await server.wait_closed()
    answer = await client.post(f"http://127.0.0.1:{port}/", {}, BODY)
    assert (answer.error or "").startswith("not connected: ")


async def test_error_about_a_url_does_not_tell_its_query(make: Any) -> None:
    # Parsers differ about this one.
    client = await make(AddressGate(allow_loopback=True))
    answer = await client.post("https://[::1]x/?token=canary", {}, BODY)
    assert answer == Answer(error="refused: webhook url is malformed", reason="refused")


async def test_client_that_is_not_open_says_so() -> None:
    client = WebhookClient(AddressGate(), WebhookLimits())
    with pytest.raises(UsageError, match="not open"):
        await client.post("https://a.example/", {}, BODY)
    await client.close()


async def test_missing_aiohttp_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    client = WebhookClient(AddressGate(), WebhookLimits())
    with pytest.raises(UsageError, match=r"pip install 'praxis-fast\[webhooks\]'"):
        await client.open()
