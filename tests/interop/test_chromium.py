"""Chromium's pages at our streams: live, cut off and back again, and kept out."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from selenium.webdriver import Chrome

from praxis_fast.api.event_server import EventServer
from praxis_fast.events.bus import EventBus
from praxis_fast.limits import Limits, WebSocketLimits
from tests.interop.chromium import PATIENCE, Tab, browser

pytestmark = pytest.mark.interop

TICKS = 400
# Events at which the connection breaks; they are large, so that it breaks amid them.
CUTS = {100, 250}

# How a page follows, and where. The last comes back by a message, not by its query.
WAYS = {
    "EventSource": ("watch", "http://{}:{}/events/stream?types=page.*"),
    "WebSocket": ("listen", "ws://{}:{}/events?types=page.*"),
    "WebSocket, RESUME": ("listen", "ws://{}:{}/events?types=page.*", True),
}

# Pages by their origins: {ours} is the port of the events, {theirs} that of a site.
OURS = "http://127.0.0.1:{ours}/health"
FRIEND = "http://friend.test:{theirs}/"
WELCOME = {"our own": OURS, "a friend's": FRIEND}
FOREIGN = {
    "another site": "http://stranger.test:{theirs}/",
    "another port": "http://127.0.0.1:{theirs}/",
    "no origin": "data:text/html,<title>A page</title>",
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture
def tab(chromium: Chrome) -> Iterator[Tab]:
    """A tab of its own; with it its connections go."""
    chromium.switch_to.new_window("tab")
    yield Tab(chromium)
    chromium.close()
    chromium.switch_to.window(chromium.window_handles[0])


@pytest_asyncio.fixture
async def site() -> AsyncIterator[int]:
    """The port of somebody's web server, with a page."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<title>A page</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


@pytest_asyncio.fixture
async def bus() -> AsyncIterator[EventBus]:
    bus = EventBus(source="page", epoch="e1")
    yield bus
    await bus.close()


@pytest_asyncio.fixture
async def server(site: int, bus: EventBus) -> AsyncIterator[EventServer]:
    """Lets in pages of friend.test, and of its own origin; compresses."""
    friend = f"http://friend.test:{site}"
    limits = Limits(websocket=WebSocketLimits(compression=True))
    async with EventServer(
        bus, port=0, limits=limits, allowed_origins=[friend]
    ) as running:
        yield running


async def clients(server: EventServer, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while server.gateway.clients != count:
            await asyncio.sleep(0.01)


def cut(server: EventServer) -> None:
    """Break every connection, whatever is on its way."""
    for socket in list(server.gateway._sockets):
        socket.abort()
    for client in list(server.gateway.streams._clients):
        assert client.transport is not None
        client.transport.abort()


async def open_page(tab: Tab, page: str, server: EventServer, site: int) -> None:
    await tab.open(page.format(ours=server.port, theirs=site))


async def follow(
    tab: Tab, server: EventServer, way: str, host: str = "127.0.0.1"
) -> None:
    name, url, *more = WAYS[way]
    await tab.run(f"{name}(...arguments)", url.format(host, server.port), *more)


def filling(number: int) -> str:
    """Text of an event that no compression makes small."""
    size = 300_000 if number in CUTS else 10
    return base64.b64encode(random.Random(number).randbytes(size)).decode()


async def publish_and_cut(server: EventServer) -> None:
    """Publish without a rest while connections break."""
    for number in range(1, TICKS + 1):
        server.gateway.bus.publish("page.tick", {"n": number, "text": filling(number)})
        await asyncio.sleep(0.002)
        if number in CUTS:
            cut(server)
        if number - 50 in CUTS:
            # Only whoever is there can be cut off again.
            await clients(server, 1)


@pytest.mark.parametrize("page", WELCOME.values(), ids=WELCOME)
@pytest.mark.parametrize("way", WAYS)
async def test_ws_9_a_page_comes_back_to_the_exact_continuation(
    tab: Tab, server: EventServer, site: int, page: str, way: str
) -> None:
    await open_page(tab, page, server, site)
    await follow(tab, server, way)
    await clients(server, 1)
    await publish_and_cut(server)
    await tab.until(f"told.length >= {TICKS}")
    found = await tab.run("return told")
    numbers = range(1, TICKS + 1)
    assert [event["id"] for event in found] == [f"e1-{number}" for number in numbers]
    texts = [event["payload"]["text"] for event in found]
    assert texts == [filling(number) for number in numbers]
    notes = await tab.run("return notes")
    assert sum(note.startswith("lost") for note in notes) == len(CUTS)
    assert "reset" not in notes
    assert "gap" not in notes


async def test_ws_9_a_page_waits_for_an_agent_that_is_away(
    tab: Tab, bus: EventBus
) -> None:
    async with EventServer(bus, port=0) as server:
        await tab.open(f"{server.url}/health")
        await follow(tab, server, "EventSource")
        await clients(server, 1)
        bus.publish("page.tick")
        await tab.until("told.length == 1")
    # Chromium has asked once and found nobody.
    await tab.until("notes.filter((note) => note === 'lost').length == 2")
    async with EventServer(bus, port=server.port) as server:
        await clients(server, 1)
        bus.publish("page.tick")
        await tab.until("told.length == 2")
    assert await tab.run("return told.map((event) => event.id)") == ["e1-1", "e1-2"]
    assert "closing" in await tab.run("return notes")


@pytest.mark.parametrize("way", ["EventSource", "WebSocket"])
async def test_ws_3_events_of_any_size_and_text_arrive_whole(
    tab: Tab, server: EventServer, site: int, way: str
) -> None:
    await open_page(tab, OURS, server, site)
    await follow(tab, server, way)
    await clients(server, 1)
    texts = ["", "one\nline\r\u2028\0", "grüße 🙂" * 9, "x" * 500_000, filling(100)]
    texts += ["abc" * size for size in (40, 41, 42, 1365, 21_845, 30_000)]
    for number, text in enumerate(texts):
        server.gateway.bus.publish("page.tick", {"text": text})
        await tab.until(f"told.length > {number}")
    assert await tab.run("return told.map((event) => event.payload.text)") == texts
    if way == "WebSocket":
        opened = (await tab.run("return notes"))[0]
        # Chromium always offers it.
        assert opened.startswith("open permessage-deflate")


@pytest.mark.parametrize("page", FOREIGN.values(), ids=FOREIGN)
async def test_ws_2_a_foreign_page_is_told_nothing(
    tab: Tab, server: EventServer, site: int, page: str
) -> None:
    await open_page(tab, page, server, site)
    for way in ("EventSource", "WebSocket"):
        await follow(tab, server, way)
    await tab.until("notes.length >= 2")
    assert sorted(await tab.run("return notes")) == ["refused", "refused 1006"]
    health = f"http://127.0.0.1:{server.port}/health"
    assert await tab.run("return ask(arguments[0])", health) == "TypeError"
    assert not server.gateway.clients


async def test_ws_2_a_page_whose_name_means_us_now_is_told_nothing(
    tab: Tab, server: EventServer
) -> None:
    # To the browser all of it is one origin.
    await tab.open(f"http://stranger.test:{server.port}/")
    for way in ("EventSource", "WebSocket"):
        await follow(tab, server, way, "stranger.test")
    await tab.until("notes.length >= 2")
    assert sorted(await tab.run("return notes")) == ["refused", "refused 1006"]
    assert await tab.run("return ask('/health')") == 403
    assert not server.gateway.clients


async def test_ws_2_a_friendly_page_asks_with_its_token(
    tab: Tab, site: int, bus: EventBus
) -> None:
    friend = f"http://friend.test:{site}"
    async with EventServer(
        bus, port=0, token="secret", allowed_origins=[friend]
    ) as server:
        await open_page(tab, FRIEND, server, site)
        stats = f"http://127.0.0.1:{server.port}/stats"
        asked = "return ask(arguments[0], { headers: arguments[1] })"
        assert await tab.run(asked, stats, {}) == 401
        assert await tab.run(asked, stats, {"Authorization": "Bearer secret"}) == 200
        await tab.run(
            "watch(arguments[0])",
            f"http://127.0.0.1:{server.port}/events/stream?token=secret",
        )
        await clients(server, 1)
        bus.publish("page.tick")
        await tab.until("told.length == 1")
