"""js-libp2p, py-libp2p and go-libp2p dial us and are dialled by us."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from praxis_fast import Agent, AgentConfig, tool
from praxis_fast.p2p import Stream
from tests.interop.conftest import ForeignPeer

pytestmark = pytest.mark.interop

ECHO = "/echo/1.0.0"
CARD = "/praxis/card/1.0.0"
TEN_MEGABYTES = 10_000_000
CHUNK = 64 * 1024


@tool(remote=True)
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def echo(stream: Stream) -> None:
    while data := await stream.read(CHUNK):
        await stream.write(data)
    await stream.close_write()


@pytest_asyncio.fixture
async def agent() -> AsyncIterator[Agent]:
    config = AgentConfig.from_mapping(
        {
            "agent": {"name": "interop"},
            "p2p": {"host": "127.0.0.1", "port": 0, "enable_mdns": False},
        }
    )
    async with Agent(config, tools=[add]) as running:
        running.host.handle(ECHO, echo)
        yield running


async def send_and_read(agent: Agent, peer_id: str, data: bytes) -> bytes:
    """Echo through the foreign peer, writing and reading at the same time."""
    stream = await agent.host.open_stream(peer_id, [ECHO])
    writing = asyncio.create_task(stream.write(data))
    # FIN only when the answer is there: some peers miss one that comes earlier.
    answer = await stream.read_exactly(len(data))
    await writing
    await stream.close()
    return answer


async def test_they_dial_us(agent: Agent, foreign: ForeignPeer) -> None:
    us = str(agent.host.peer_id)
    assert (await foreign.ask("dial", addr=agent.host.addrs[0]))["peer_id"] == us
    assert (await foreign.ask("ping", peer_id=us))["rtt"] >= 0
    told = await foreign.ask("identify", peer_id=us)
    assert {ECHO, CARD, "/praxis/tool/1.0.0"} <= set(told["protocols"])
    if "agent_version" in told:
        assert told["agent_version"].startswith("praxis-fast/")

    done = await foreign.ask("echo", peer_id=us, size=TEN_MEGABYTES)
    assert done["equal"]
    done = await foreign.ask("streams", peer_id=us, count=1000, parallel=1)
    assert done["good"] == 1000
    done = await foreign.ask("streams", peer_id=us, count=100, parallel=100)
    assert done["good"] == 100

    for write_first in (True, False):
        card = (await foreign.ask("card", peer_id=us, write_first=write_first))["card"]
        assert card["name"] == "interop"
        assert card.get("peerId", card.get("peer_id")) == us
        assert [tool["name"] for tool in card["tools"]] == ["add"]
    assert foreign.peer_id in {str(peer) for peer in agent.host.peers()}


async def test_we_dial_them(agent: Agent, foreign: ForeignPeer) -> None:
    them = await agent.host.connect(foreign.addrs[0])
    assert str(them) == foreign.peer_id
    assert await agent.host.ping(them) > 0
    identity = await agent.host.identify(them)
    assert identity is not None
    assert ECHO in identity.protocols

    data = b"praxis-fast " * (TEN_MEGABYTES // 12)
    assert await send_and_read(agent, them, data) == data
    for number in range(1000):
        text = b"stream %d" % number
        assert await send_and_read(agent, them, text) == text
    texts = [b"stream %d" % number for number in range(100)]
    answers = await asyncio.gather(
        *(send_and_read(agent, them, text) for text in texts)
    )
    assert answers == texts


async def test_cards_are_swapped_when_we_dial(
    agent: Agent, foreign: ForeignPeer
) -> None:
    async with asyncio.timeout(60):
        events = agent.bus.subscribe()
        them = await agent.host.connect(foreign.addrs[0])
        async for event in events:
            if event.type == "p2p.card_exchange" and event.peer_id == them:
                break
        events.close()
        assert event.data["card"]["name"] == foreign.name
        while not (cards := (await foreign.ask("cards"))["cards"]):
            await asyncio.sleep(0.05)
    assert cards[0]["name"] == "interop"


async def test_cards_are_swapped_when_we_read_first(
    agent: Agent, foreign: ForeignPeer
) -> None:
    them = await agent.host.connect(foreign.addrs[0])
    stream = await agent.host.open_stream(them, [CARD])
    theirs = b""
    while not theirs.rstrip().endswith(b"}"):
        theirs += await stream.read()
    assert orjson.loads(theirs)["name"] == foreign.name
    await stream.write(orjson.dumps(agent.card.to_message()) + b"\n")
    await stream.close()


async def test_a_peer_that_hangs_up_is_one_disconnect(
    agent: Agent, foreign: ForeignPeer
) -> None:
    async with asyncio.timeout(60):
        us = str(agent.host.peer_id)
        events = agent.bus.subscribe()
        await foreign.ask("dial", addr=agent.host.addrs[0])
        seen = []
        async for event in events:
            if event.type in ("p2p.peer_connected", "p2p.peer_disconnected"):
                seen.append(event.type)
            if event.type == "p2p.peer_connected":
                await foreign.ask("hangup", peer_id=us)
            if event.type == "p2p.peer_disconnected":
                break
        events.close()
    assert seen == ["p2p.peer_connected", "p2p.peer_disconnected"]
