"""AgentRegistry against a real server whose peers come and go."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from praxis_fast.client import AgentEntry, AgentRegistry, Gap
from praxis_fast.errors import AccessDeniedError, NetworkError, PraxisError, UsageError
from praxis_fast.events.payloads import card_payload, peer_payload
from tests.api.conftest import CARD, PEER
from tests.client.conftest import PATIENCE, Place, quick, soon

TIMES = {"discovered": 1.0, "connected": 2.0, "disconnected": 3.0}


class Peers:
    """The peers of the agent at a place: every change is in snapshots and events."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._payloads: dict[str, dict[str, Any]] = {}
        place.agent.peers = []

    def change(self, peer: str, status: str, **more: Any) -> None:
        payload = peer_payload(
            peer,
            [f"/ip4/10.0.0.1/tcp/{len(peer)}"],
            found_at=1.0,
            last_seen=TIMES[status],
            connected_at=2.0 if status == "connected" else None,
            disconnected_at=3.0 if status == "disconnected" else None,
            is_connected=status == "connected",
            **more,
        )
        self._payloads[peer] = payload
        self._tell()
        for family in ("p2p.peer_", "agent."):
            self._place.bus.publish(family + status, payload, peer_id=peer)

    def forget(self, peer: str) -> None:
        del self._payloads[peer]
        self._tell()

    def _tell(self) -> None:
        self._place.agent.peers = list(self._payloads.values())


@pytest.fixture
def peers(place: Place) -> Peers:
    return Peers(place)


def registry(place: Place, **options: Any) -> AgentRegistry:
    return AgentRegistry(place.url, **{"backoff": quick(), **options})


async def until(agents: AgentRegistry, **wanted: str) -> None:
    """Wait until the registry shows just this."""
    async with asyncio.timeout(PATIENCE):
        while not (agents.is_current and statuses(agents) == wanted):
            await asyncio.sleep(0.005)


def statuses(agents: AgentRegistry) -> dict[str, str]:
    return {peer: str(entry.status) for peer, entry in agents.items()}


async def test_the_present_peers_are_there_at_once(place: Place) -> None:
    async with registry(place) as agents:
        assert agents.is_current
        assert list(agents) == [PEER]
        assert len(agents) == 1
        entry = agents[PEER]
    assert entry.status == "connected"
    assert entry.name == "calc"
    assert entry.addresses == ("/ip4/10.0.0.5/tcp/4001",)
    assert entry.capabilities == ("tools",)
    assert entry.tools == ("add",)
    assert entry.last_seen == 1_760_000_000.125
    assert entry.discovered_at is not None
    assert repr(agents).endswith("1 agents>")
    await place.clients(0)


async def test_changes_show_and_call_back_in_order(place: Place, peers: Peers) -> None:
    async with registry(place) as agents:
        assert not agents
        seen: list[tuple[AgentEntry | None, AgentEntry | None]] = []
        watch = agents.on_change(lambda *change: seen.append(change))
        for status in ("discovered", "connected", "disconnected"):
            peers.change("P", status)
            await until(agents, P=status)
        watch.close()
        peers.change("Q", "connected")
        await until(agents, P="disconnected", Q="connected")
        assert [entry.peer_id for entry in agents.connected()] == ["Q"]
    told = [(b and str(b.status), a and str(a.status)) for b, a in seen]
    assert told == [
        (None, "discovered"),
        ("discovered", "connected"),
        ("connected", "disconnected"),
    ]


async def test_a_card_that_comes_later_is_the_agents(
    place: Place, peers: Peers
) -> None:
    async with registry(place) as agents:
        peers.change("P", "connected")
        entry = await soon(agents.wait_for("P"))
        assert entry.name is None
        place.bus.publish("p2p.card_exchange", card_payload("P", CARD), peer_id="P")
        entry = await soon(agents.wait_for("calc"))
        assert entry.peer_id == "P"
        peers.change("P", "connected", card={**CARD, "name": "new"})
        assert (await soon(agents.wait_for("new"))).tools == ("add",)


async def test_waiting_is_for_a_connected_agent_or_whatever_is_asked(
    place: Place, peers: Peers
) -> None:
    async with registry(place) as agents:
        peers.change("P", "discovered")
        await until(agents, P="discovered")
        with pytest.raises(TimeoutError):
            await agents.wait_for("P", timeout=0)
        waiting = asyncio.create_task(agents.wait_for("P"))
        any_one = await soon(agents.wait_for(lambda entry: entry.addresses != ()))
        assert any_one.status == "discovered"
        peers.change("P", "connected")
        assert (await soon(waiting)).is_connected


async def test_disconnected_agents_can_leave(place: Place, peers: Peers) -> None:
    peers.change("old", "disconnected")
    async with registry(place, keep_disconnected=False) as agents:
        assert statuses(agents) == {}
        peers.change("P", "connected")
        await until(agents, P="connected")
        peers.change("P", "disconnected")
        await until(agents)


@pytest.mark.parametrize("epoch", [None, "e2"])
async def test_a_restart_leaves_the_view_right(
    place: Place, peers: Peers, epoch: str | None
) -> None:
    for peer in ("stays", "goes", "forgotten"):
        peers.change(peer, "connected")
    async with registry(place) as agents:
        await until(agents, stays="connected", goes="connected", forgotten="connected")
        gone: list[str] = []
        agents.on_change(
            lambda before, after: (
                gone.append(before.peer_id) if before and not after else None
            )
        )
        await place.stop()
        peers.change("goes", "disconnected")
        peers.forget("forgotten")
        await place.restart(epoch=epoch)
        peers.change("comes", "connected")
        await until(agents, stays="connected", goes="disconnected", comes="connected")
        assert gone == ["forgotten"]


async def test_broken_connections_leave_the_view_right(
    place: Place, peers: Peers
) -> None:
    async with registry(place) as agents:
        for number in range(20):
            peers.change(f"P{number % 3}", "connected")
            place.cut()
            peers.change(f"P{number % 3}", "disconnected")
            await asyncio.sleep(0.002 * (number % 4))
        peers.change("P1", "connected")
        await until(agents, P0="disconnected", P1="connected", P2="disconnected")
        assert agents.error is None


async def test_a_gap_is_made_good(place: Place, peers: Peers) -> None:
    async with registry(place) as agents:
        # As if the agent had left the events of one change out.
        peers.change("P", "connected")
        await until(agents, P="connected")
        peers._payloads["P"] |= {"is_connected": False, "disconnected_at": "t"}
        place.bus.publish("p2p.card_exchange", {"cannot be": object(), "id": "P"})
        await until(agents, P="disconnected")


async def test_a_gap_makes_the_view_uncertain() -> None:
    agents = AgentRegistry("http://127.0.0.1:1")
    agents._is_complete = True
    agents._apply(Gap(1, 2, 1))
    assert not agents._is_complete


async def test_a_callback_that_fails_harms_nobody(
    place: Place, peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("users' fault")

    async with registry(place) as agents:
        agents.on_change(fail)
        with caplog.at_level(logging.ERROR):
            peers.change("P", "connected")
            await soon(agents.wait_for("P"))
    assert "a callback of the registry failed" in caplog.text


async def test_whoever_waits_hears_why_it_ended(place: Place) -> None:
    async with registry(place) as agents:
        waiting = asyncio.create_task(agents.wait_for("nobody"))
        await place.stop()
        await place.start(token="t")
        with pytest.raises(AccessDeniedError):
            await soon(waiting)
        with pytest.raises(AccessDeniedError):
            await agents.wait_for("nobody")
        assert not agents.is_current


async def test_closing_ends_whoever_waits(place: Place) -> None:
    async with registry(place) as agents:
        waiting = asyncio.create_task(agents.wait_for("nobody"))
        await asyncio.sleep(0)
    with pytest.raises(NetworkError, match="the registry is closed"):
        await soon(waiting)
    assert PEER in agents


async def test_a_registry_is_started_once(place: Place) -> None:
    async with registry(place) as agents:
        with pytest.raises(UsageError, match="started once"):
            await agents.start()
    with pytest.raises(UsageError, match="chooses types"):
        AgentRegistry(types=("x",))
    with pytest.raises(NetworkError, match="no agent answers"):
        await AgentRegistry("http://127.0.0.1:1").start()


async def test_entering_where_nobody_is_leaves_it_closed(place: Place) -> None:
    await place.stop()
    agents = registry(place)
    with pytest.raises(NetworkError):
        await agents.__aenter__()
    with pytest.raises(NetworkError, match="the registry is closed"):
        await agents.wait_for("P")


async def test_a_defect_of_ours_leaves_nobody_waiting(
    place: Place,
    peers: Peers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with registry(place) as agents:
        monkeypatch.setattr(agents, "_on_event", None)
        waiting = asyncio.create_task(agents.wait_for("P"))
        with caplog.at_level(logging.ERROR):
            peers.change("P", "connected")
            with pytest.raises(PraxisError, match="the registry failed"):
                await soon(waiting)
    assert "the registry failed" in caplog.text
