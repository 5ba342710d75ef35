"""EventStream against a real server that restarts, breaks off and repeats itself."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import websockets

from praxis_fast.agent.access import AccessConfig
from praxis_fast.api.access.access import Access
from praxis_fast.client import (
    Backoff,
    EventStream,
    Gap,
    Reset,
    Snapshot,
    StreamedEvent,
)
from praxis_fast.errors import (
    AccessDeniedError,
    NetworkError,
    UsageError,
    WrongServerError,
)
from praxis_fast.events.event import EventFilter
from tests.api.test_credentials import entry, write
from tests.client.conftest import Place, quick, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection


both = pytest.mark.parametrize("path", ["/ws", "/events/stream"])


def stream(place: Place, *types: str, path: str = "", **options: Any) -> EventStream:
    options = {"types": types or ("x.*",), "backoff": quick(), **options}
    url = place.url.replace("http", "ws") if path == "/ws" else place.url
    return EventStream(url + path, **options)


async def event(events: EventStream) -> StreamedEvent:
    item = await soon(anext(events))
    assert isinstance(item, StreamedEvent)
    return item


@both
async def test_events_come_in_order_and_as_asked(place: Place, path: str) -> None:
    async with stream(place, path=path) as events:
        assert events.is_following
        for number in range(100):
            place.bus.publish("x.y", {"n": number})
            place.bus.publish("other", {"n": number})
        seen = [await event(events) for _ in range(100)]
    assert [told.payload["n"] for told in seen] == list(range(100))
    assert {told.type for told in seen} == {"x.y"}
    assert [told.seq for told in seen] == list(range(1, 200, 2))
    assert {told.epoch for told in seen} == {"e1"}
    assert seen[0].timestamp is not None
    assert seen[0].id != seen[1].id
    assert seen[0].correlation_id is None


async def test_the_first_item_connects_without_a_context_manager(place: Place) -> None:
    events = stream(place)
    assert not events.is_following
    waiting = asyncio.create_task(anext(events))
    await place.clients(1)
    await asyncio.sleep(0)
    while not waiting.done():
        place.bus.publish("x.y")
        await asyncio.sleep(0.005)
    assert (await waiting).type == "x.y"
    await events.close()
    await place.clients(0)


async def test_the_present_peers_come_first_when_asked(place: Place) -> None:
    async with stream(place, "agent.*", snapshot=True) as events:
        snapshot = await soon(anext(events))
        place.bus.publish("agent.discovered", {"id": "later"})
        assert (await event(events)).payload == {"id": "later"}
    assert isinstance(snapshot, Snapshot)
    told = [(seen.type, seen.payload["id"]) for seen in snapshot.events]
    peer = place.agent.peers[0]["id"]
    assert told == [("agent.discovered", peer), ("agent.connected", peer)]
    assert snapshot.position == ("e1", 0)


async def test_no_present_peers_are_an_empty_snapshot(place: Place) -> None:
    place.agent.peers = []
    async with stream(place, "agent.*", snapshot=True) as events:
        assert await soon(anext(events)) == Snapshot(())


@both
async def test_ws_9_a_broken_connection_loses_and_repeats_nothing(
    place: Place, path: str
) -> None:
    random = Random(7)
    lost: list[NetworkError] = []
    count = 2000

    async def publish() -> None:
        for number in range(count):
            place.bus.publish(random.choice(["x.y", "other"]), {"n": number})
            if random.random() < 0.01:
                place.cut()
            if random.random() < 0.2:
                await asyncio.sleep(0.001 * random.random())
        place.bus.publish("x.last")

    published = EventFilter(event_types={"x.*"})
    expected: list[int] = []
    handle = place.bus.add_sink(
        lambda told: expected.append(told.seq) if published.matches(told) else None
    )
    async with stream(place, path=path, on_lost=lost.append) as events:
        publishing = asyncio.create_task(publish())
        seen = [await event(events)]
        while seen[-1].type != "x.last":
            seen.append(await event(events))
        await publishing
    handle.close()
    assert lost
    assert [told.seq for told in seen] == expected


async def test_what_happens_while_away_is_had_later(place: Place) -> None:
    async with stream(place, snapshot=True, types=("agent.*",)) as events:
        assert isinstance(await soon(anext(events)), Snapshot)
        # No event was seen yet: the position is that of the subscription.
        assert events.position == "e1-0"
        place.cut()
        place.bus.publish("agent.connected", {"id": "P"})
        assert (await event(events)).payload == {"id": "P"}


async def test_ws_9_what_the_agent_has_no_more_is_a_reset(place: Place) -> None:
    async with stream(place) as events:
        place.bus.publish("x.y", {"n": 1})
        await event(events)
        await place.stop()
        place.bus.publish("x.y", {"n": 2})
        await place.start()
        reset = await soon(anext(events))
        assert reset == Reset("evicted", "e1-1")
        place.bus.publish("x.y", {"n": 3})
        assert (await event(events)).payload == {"n": 3}


async def test_another_epoch_is_a_reset(place: Place) -> None:
    async with stream(place) as events:
        place.bus.publish("x.y")
        assert (await event(events)).epoch == "e1"
        await place.restart(epoch="e2")
        reset = await soon(anext(events))
        assert isinstance(reset, Reset)
        assert reset.since == "e1-1"
        place.bus.publish("x.z")
        again = await event(events)
    assert (again.type, again.epoch, again.seq) == ("x.z", "e2", 1)


@both
async def test_bus_4_an_epoch_begun_amid_a_life_loses_nothing(
    place: Place, path: str
) -> None:
    async with stream(place, path=path) as events:
        place.bus.publish("x.y", {"n": 1})
        await event(events)
        place.bus.begin_epoch()
        for number in (2, 3):
            place.bus.publish("x.y", {"n": number})
            told = await event(events)
            assert (told.payload, told.epoch) == ({"n": number}, place.bus.epoch)
            # What was cut off goes on in either epoch.
            place.cut()


@both
async def test_bus_1_a_revoked_token_ends_the_stream(
    place: Place, path: str, tmp_path: Path
) -> None:
    await place.stop()
    listed = tmp_path / "access.yaml"
    write(listed, "credentials:\n" + entry("ann", "user"))
    access = Access(config=AccessConfig(file=str(listed)))
    await place.start(access=access)
    lost: list[NetworkError] = []
    options: dict[str, Any] = {"token": "ann-token", "on_lost": lost.append}
    async with stream(place, path=path, **options) as events:
        place.bus.publish("x.y")
        await event(events)
        write(listed, "credentials:\n" + entry("bob", "user"))
        await access.refresh(is_forced=True)
        with pytest.raises(AccessDeniedError, match="refuses us: 401"):
            await soon(anext(events))
        assert events.is_closed
    # It came back once, to see whether it may: others come back with fewer rights.
    assert len(lost) == 1
    assert path != "/ws" or "4001 credentials revoked" in str(lost[0])


@both
async def test_a_token_in_the_url_is_told_nobody(path: str) -> None:
    place = Place()
    await place.start(token="canary-right")
    base = place.url.replace("http", "ws") if path == "/ws" else place.url
    told: list[str] = []

    def events_of(token: str) -> EventStream:
        events = EventStream(f"{base}{path}?token={token}", types=["x.*"], retries=0)
        told.append(repr(events))
        return events

    with pytest.raises(AccessDeniedError) as refused:
        await events_of("canary-wrong").connect()
    async with events_of("canary-right") as events:
        await place.stop()
        with pytest.raises(NetworkError) as lost:
            await soon(anext(events))
    with pytest.raises(NetworkError) as gone:
        await events_of("canary-right").connect()
    told += [str(caught.value) for caught in (refused, lost, gone)]
    assert all("?***" in text for text in told)
    assert "canary" not in "".join(told)


async def test_an_earlier_position_is_gone_on_from(place: Place) -> None:
    async with stream(place) as events:
        place.bus.publish("x.y")
        await event(events)
        position = events.position
    assert position == "e1-1"
    place.bus.publish("x.y", {"n": 2})
    async with stream(place, since=position) as events:
        assert (await event(events)).payload == {"n": 2}
    async with stream(place, since="e0-1") as events:
        assert await soon(anext(events)) == Reset("epoch", "e0-1")


async def test_own_types_are_asked_for_again_before_they_are_known(
    place: Place,
) -> None:
    place.bus.publish("mine")
    async with stream(place, "mine") as events:
        place.bus.publish("mine")
        await event(events)
        await place.restart(epoch="e2")
        assert isinstance(await soon(anext(events)), Reset)
        place.bus.publish("mine")
        assert (await event(events)).type == "mine"


async def test_a_slow_reader_is_told_the_gap(place: Place) -> None:
    async with stream(place) as events:
        count, filling = 6000, "x" * 4096
        for number in range(count):
            place.bus.publish("x.y", {"n": number, "filling": filling})
            if number % 64 == 0:
                await asyncio.sleep(0)
        place.bus.publish("x.last")
        items = []
        while not items or items[-1].type != "x.last":
            items.append(await soon(anext(events)))
    dropped = sum(item.dropped for item in items if isinstance(item, Gap))
    assert dropped > 0
    assert dropped + len([i for i in items if i.type == "x.y"]) == count


@both
async def test_waiting_can_be_cancelled_without_a_loss(place: Place, path: str) -> None:
    async with stream(place, path=path) as events:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(events)
        for number in range(50):
            place.bus.publish("x.y", {"n": number})
        seen: list[int] = []
        while len(seen) < 50:
            try:
                async with asyncio.timeout(0.001):
                    item = await anext(events)
            except TimeoutError:
                continue
            assert isinstance(item, StreamedEvent)
            seen.append(item.payload["n"])
    assert seen == list(range(50))


@both
async def test_close_ends_whoever_waits(place: Place, path: str) -> None:
    async with stream(place, path=path) as events:
        waiting = asyncio.create_task(anext(events, None))
        await asyncio.sleep(0)
        await events.close()
        assert await soon(waiting) is None
        assert [item async for item in events] == []
    assert events.is_closed
    await place.clients(0)


async def test_close_while_connecting_leaves_no_client(place: Place) -> None:
    events = stream(place)
    connecting = asyncio.create_task(events.connect())
    await asyncio.sleep(0)
    await events.close()
    await soon(connecting)
    assert not events.is_following
    await place.clients(0)


async def test_entering_where_nobody_is_leaves_it_closed(place: Place) -> None:
    await place.stop()
    events = stream(place)
    with pytest.raises(NetworkError):
        await events.__aenter__()
    assert events.is_closed


async def test_close_ends_a_pause_between_tries(place: Place) -> None:
    lost = asyncio.Event()
    backoff = Backoff(3600, 3600)
    async with stream(place, backoff=backoff, on_lost=lambda _: lost.set()) as events:
        waiting = asyncio.create_task(anext(events, None))
        place.cut()
        await soon(lost.wait())
        await events.close()
        assert await soon(waiting) is None


async def test_two_readers_are_refused(place: Place) -> None:
    async with stream(place) as events:
        waiting = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="one reader at a time"):
            await anext(events)
        place.bus.publish("x.y")
        assert (await soon(waiting)).type == "x.y"


async def test_unknown_types_are_refused(place: Place) -> None:
    with pytest.raises(UsageError, match="no event types nonsense"):
        await stream(place, "nonsense").connect()
    with pytest.raises(UsageError, match="no event types nonsense"):
        await stream(place, "p2p.*", "nonsense").connect()
    with pytest.raises(UsageError, match="at least one"):
        EventStream(types=())
    await place.clients(0)


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_a_wrong_token_is_its_own_error(token: str | None) -> None:
    place = Place()
    await place.start(token="right")
    with pytest.raises(AccessDeniedError, match="401 a valid bearer token") as caught:
        await stream(place, token=token).connect()
    assert "wrong" not in str(caught.value)
    async with stream(place, token="right") as events:
        place.bus.publish("x.y")
        assert (await event(events)).type == "x.y"
        assert "right" not in repr(events)
    await place.stop()


async def test_a_token_that_is_no_longer_good_ends_it() -> None:
    place = Place()
    await place.start(token="old")
    async with stream(place, token="old", patient=True) as events:
        await place.stop()
        await place.start(token="new")
        with pytest.raises(AccessDeniedError):
            await soon(anext(events))
        assert events.is_closed
    await place.stop()


@pytest.mark.parametrize("path", ["/health", "/nothing"])
async def test_a_wrong_path_is_its_own_error(place: Place, path: str) -> None:
    url = place.url.replace("http", "ws") + path
    with pytest.raises((WrongServerError, AccessDeniedError)):
        await EventStream(url).connect()


async def test_nobody_there_is_an_error_at_once(place: Place) -> None:
    await place.stop()
    with pytest.raises(NetworkError, match="no agent answers at"):
        await stream(place).connect()


async def test_a_patient_stream_waits_for_its_agent(place: Place) -> None:
    await place.stop()
    lost = asyncio.Event()
    events = stream(place, patient=True, on_lost=lambda _: lost.set())
    connecting = asyncio.create_task(events.connect())
    await soon(lost.wait())
    await place.start()
    await soon(connecting)
    place.bus.publish("x.y")
    assert (await event(events)).type == "x.y"
    await events.close()


async def test_tries_can_be_limited(place: Place) -> None:
    lost: list[NetworkError] = []
    async with stream(place, retries=3, on_lost=lost.append) as events:
        await place.stop()
        with pytest.raises(NetworkError):
            await soon(anext(events))
    assert len(lost) == 3


# servers that are none of ours


@pytest.fixture
async def odd() -> AsyncIterator[Any]:
    """Serves by a function of one connection."""
    servers = []

    async def start(answer: Any) -> str:
        server = await websockets.serve(answer, "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return f"ws://127.0.0.1:{port}/ws"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '"text"', "[" * 100_000])
async def test_a_server_that_talks_otherwise_is_its_own_error(
    odd: Any, text: str
) -> None:
    async def answer(socket: ServerConnection) -> None:
        await socket.send(text)
        await socket.wait_closed()

    with pytest.raises(WrongServerError, match="does not answer like an agent"):
        await EventStream(await odd(answer)).connect()


async def test_a_server_that_says_nothing_is_given_up(odd: Any) -> None:
    async def answer(socket: ServerConnection) -> None:
        await socket.wait_closed()

    with pytest.raises(NetworkError, match=r"did not answer, limit 0\.05 s"):
        await EventStream(await odd(answer), timeout=0.05).connect()


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    async def answer(reader: Any, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        location = b"Location: ws://127.0.0.1:1/ws\r\n"
        writer.write(
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n" + location + b"\r\n"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(WrongServerError, match="302 Found"):
        await EventStream(f"http://127.0.0.1:{port}", token="t").connect()
    server.close()
    await server.wait_closed()


async def test_a_busy_server_is_tried_again() -> None:
    asked = asyncio.Event()

    async def answer(reader: Any, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    place = Place()
    place.port = server.sockets[0].getsockname()[1]
    connecting = asyncio.create_task(stream(place, patient=True).connect())
    await soon(asked.wait())
    server.close()
    await server.wait_closed()
    await place.start()
    await soon(connecting)
    await place.stop()
