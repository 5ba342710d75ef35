"""Agents that meet on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import AgentConfig, HTTPConfig, P2PConfig
from praxis_fast.agent.tools import tool
from praxis_fast.errors import (
    ConfigError,
    DialError,
    NetworkError,
    ToolArgumentsError,
    ToolFailedError,
    ToolNotFoundError,
    ToolRefusedError,
    ToolTimeoutError,
    UsageError,
)
from praxis_fast.p2p.host import Host
from praxis_fast.p2p.stream import Stream
from praxis_fast.wire.keys import PrivateKey
from tests.agent.network import Log, eventually, make_agent, met, settings

CARD = "/praxis/card/1.0.0"
TOOL = "/praxis/tool/1.0.0"


@tool(remote=True)
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def secret() -> str:
    """Not for peers."""
    return "s"


async def ask(host: Host, agent: Agent, protocol: str, text: bytes) -> bytes:
    """Everything the agent answers to a text, from a host without an agent."""
    peer_id = await host.connect(agent.host.addrs[0])
    stream = await host.open_stream(peer_id, [protocol])
    await stream.write(text)
    answer = b""
    while data := await stream.read():
        answer += data
    return answer


async def test_a_life_is_told_from_start_to_end() -> None:
    agent = make_agent("calc")
    log = Log(agent)
    async with agent:
        assert log.types == ["agent.starting", "agent.started"]
        started = log.events[1].data
        assert started["agent_name"] == "calc"
        assert started["peer_id"] == agent.host.peer_id
        assert started["listen_addresses"] == agent.host.addrs
        assert started["components"] == ["p2p", "events"]
    await agent.close()
    assert log.types[2:] == ["agent.stopping", "agent.stopped"]
    assert log.events[0].source == "agent.calc"
    with pytest.raises(UsageError, match="an agent starts once"):
        await agent.start()


async def test_an_agent_that_stops_takes_leave_of_its_peers() -> None:
    a, b = make_agent("a"), make_agent("b")
    log = Log(a)
    async with b:
        async with a:
            await a.connect(b.host.addrs[0])
            await log.wait_for("p2p.card_exchange")
        (left,) = log.of("p2p.peer_disconnected")
        assert left.peer_id == b.host.peer_id
        assert left.data["reason"] == "shutting down"
        order = [name for name in log.types if name.startswith("agent.st")]
        assert order[-2:] == ["agent.stopping", "agent.stopped"]
        assert log.types.index("p2p.peer_disconnected") < log.types.index(
            "agent.stopped"
        )


async def test_agents_that_meet_swap_cards_and_say_so_in_order() -> None:
    a, b = make_agent("a"), make_agent("b", [add])
    async with met(a, b) as logs:
        for log, other in zip(logs, (b, a), strict=True):
            assert log.types[2:] == [
                "p2p.peer_discovered",
                "agent.discovered",
                "p2p.peer_connected",
                "agent.connected",
                "p2p.card_exchange",
            ]
            assert {event.peer_id for event in log.events[2:]} == {other.host.peer_id}
            payload = log.of("p2p.peer_connected")[0].data
            assert payload["id"] == other.host.peer_id
            assert payload["connected_at"].endswith("Z")
        card = a.peers.card(b.host.peer_id)
        assert card is not None
        assert card.tools == b.card.tools
        (peer,) = a.peer_snapshot()
        assert (peer["state"], peer["name"]) == ("connected", "b")
        assert peer["capabilities"] == ["p2p", "tools"]
        await b.close()
        gone = await logs[0].wait_for("p2p.peer_disconnected")
        assert gone.data["disconnected_at"]
        assert gone.data["reason"]
        assert logs[0].types[-2:] == ["p2p.peer_disconnected", "agent.disconnected"]


async def test_bootstrap_addresses_are_found_and_told_once() -> None:
    async with make_agent("a") as a:
        b = make_agent("b", bootstrap_nodes=[a.host.addrs[0]])
        log = Log(b)
        async with b:
            await log.wait_for("p2p.card_exchange")
            assert log.types.count("p2p.peer_discovered") == 1
            assert log.types.count("p2p.peer_connected") == 1


async def test_own_tools_come_first_then_connected_peers() -> None:
    @tool(name="who", remote=True)
    async def own() -> str:
        return "a"

    @tool(name="who", remote=True)
    async def theirs() -> str:
        return "b"

    a, b = make_agent("a", [own]), make_agent("b", [theirs, add])
    async with met(a, b):
        assert await a.call_tool("who") == "a"
        assert await a.call_tool("who", peer=b.host.peer_id) == "b"
        assert await a.call_tool("who", peer=str(a.host.peer_id)) == "a"
        assert await a.call_tool("add", {"a": 1, "b": 2}) == 3
        with pytest.raises(ToolNotFoundError, match="neither this agent nor"):
            await a.call_tool("none")
        with pytest.raises(ToolNotFoundError, match="no tool 'none'"):
            await a.call_tool("none", peer=b.host.peer_id)


async def test_a_call_is_told_on_both_sides() -> None:
    a, b = make_agent("a"), make_agent("b", [add])
    async with met(a, b) as (at_a, at_b):
        await a.call_tool("add", {"a": 1, "b": 2})
        await at_b.wait_for("p2p.tool_response")
        request, response = at_a.of("p2p.tool_request", "p2p.tool_response")
        assert request.data["arguments"] == {"a": 1, "b": 2}
        assert response.data["result"] == 3
        assert {e.data["direction"] for e in (request, response)} == {"out"}
        assert {e.peer_id for e in (request, response)} == {b.host.peer_id}
        told = [event.type for event in at_b.events if event.correlation_id]
        assert told == [
            "p2p.tool_request",
            "tool.starting",
            "tool.completed",
            "tool.executed",
            "p2p.tool_response",
        ]
        answered = at_b.of("p2p.tool_response")[0]
        assert answered.data["direction"] == "in"
        assert answered.correlation_id == request.correlation_id


async def test_peer_1_a_tool_that_is_not_remote_is_refused_and_told() -> None:
    a, b = make_agent("a"), make_agent("b", [secret])
    async with met(a, b) as (_, at_b):
        with pytest.raises(ToolRefusedError, match="tool 'secret' is not for peers"):
            await a.call_tool("secret", peer=b.host.peer_id)
        refused = await at_b.wait_for("security_audit")
        assert refused.data["event_type"] == "tool_refused"
        assert refused.data["peer_id"] == a.host.peer_id
        answered = await at_b.wait_for("p2p.tool_response")
        assert answered.data["error"]["code"] == ToolRefusedError.code
        assert not at_b.of("tool.starting")
        assert b.card.tools == ()


async def test_peer_1_an_allowed_peer_may_call_every_tool(tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    peer_id = PrivateKey.load_or_create(key).peer_id
    config = AgentConfig.from_mapping(settings("a") | {"key": str(key)})
    a, b = Agent(config), make_agent("b", [secret], allow=[str(peer_id)])
    async with met(a, b):
        assert await a.call_tool("secret") == "s"


async def test_errors_keep_their_type_across_the_wire() -> None:
    @tool(remote=True)
    async def fail() -> None:
        raise ValueError("no luck")

    @tool(remote=True)
    async def hang() -> None:
        await asyncio.Event().wait()

    a, b = make_agent("a"), make_agent("b", [add, fail, hang])
    async with met(a, b) as (at_a, at_b):
        with pytest.raises(ToolArgumentsError, match="argument b is missing"):
            await a.call_tool("add", {"a": 1})
        with pytest.raises(ToolFailedError, match="ValueError: no luck"):
            await a.call_tool("fail")
        with pytest.raises(ToolTimeoutError, match=r"within 0\.05 s"):
            await a.call_tool("hang", timeout=0.05)
        # Whoever no longer waits has the tool cancelled on the other side.
        await at_b.wait_for("p2p.tool_response", 3)
        assert at_b.of("p2p.tool_response")[2].data["error"]["message"] == (
            "the caller left"
        )
        assert at_a.types.count("p2p.tool_response") == 3


async def test_a_call_to_a_known_peer_connects_first() -> None:
    a, b = make_agent("a"), make_agent("b", [add])
    async with met(a, b) as (at_a, _):
        await a.host.disconnect(b.host.peer_id)
        await at_a.wait_for("p2p.peer_disconnected")
        call = a.call_tool("add", {"a": 1, "b": 2}, peer=b.host.peer_id)
        assert await call == 3
        stranger = PrivateKey.generate().peer_id
        with pytest.raises(DialError, match="no address of it is known"):
            await a.call_tool("add", peer=stranger)


async def test_card_is_sent_again_when_tools_change() -> None:
    a, b = make_agent("a"), make_agent("b")
    async with met(a, b) as (at_a, _):
        b.tools.add(add)
        b.tools.add(secret)
        updated = await at_a.wait_for("agent.updated")
        card = updated.data["agent_card"]
        assert [told["name"] for told in card["tools"]] == ["add"]
        assert await a.call_tool("add", {"a": 1, "b": 1}) == 2
        b.tools.remove("add")
        await at_a.wait_for("agent.updated", 2)
        with pytest.raises(ToolNotFoundError):
            await a.call_tool("add", {"a": 1, "b": 1})
        assert at_a.types.count("p2p.card_exchange") == 3


async def test_card_2_an_older_card_does_not_replace_a_newer_one() -> None:
    a = make_agent("a")
    log = Log(a)
    async with a, Host() as host:
        for name, age in (("new", 0), ("old", 100)):
            message = {"name": name, "timestamp": a.card.timestamp - age}
            await ask(host, a, CARD, orjson.dumps(message))
        card = a.peers.card(host.peer_id)
        assert card is not None
        assert card.name == "new"
        assert log.types.count("p2p.card_exchange") == 1


async def test_card_2_a_far_clock_is_flagged() -> None:
    a = make_agent("a")
    log = Log(a)
    async with a, Host() as host:
        message = {"name": "past", "timestamp": a.card.timestamp - 4000}
        await ask(host, a, CARD, orjson.dumps(message))
        fault = await log.wait_for("system.error")
        assert fault.data["error_code"] == "clock_skew"
        assert fault.data["severity"] == "warning"
        assert a.peers.card(host.peer_id) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"name":"x","peerId":"12D3KooWStranger"}', "on the connection of"),
        (b'{"name":"x","name":"y"}', "'name' and 'name' differ"),
        (b'{"name":"x","tools":{}}', "tools is an object, not a list"),
        (b'{"name":"%s"}' % (b"x" * 129), "name of 129 bytes, limit 128"),
        (b'{"name":"x","description":"%s"}' % (b"x" * 300_000), "limit 262144"),
        (b"[" * 200, "limit 128"),
        (b"}", ""),
        (b"[1}", ""),
    ],
)
async def test_card_1_3_a_wrong_card_is_refused_and_told_once(
    text: bytes, message: str
) -> None:
    a = make_agent("a")
    log = Log(a)
    async with a, Host() as host:
        with contextlib.suppress(NetworkError):  # reset, after our card or before
            await ask(host, a, CARD, text)
        fault = await log.wait_for("system.error")
        assert fault.data["error_code"] == "card"
        assert message in fault.data["message"]
        assert fault.peer_id == host.peer_id
        assert log.of("security_audit")[0].data["event_type"] == "card_rejected"
        assert len(log.of("system.error")) == 1
        assert a.peers.card(host.peer_id) is None
        # The connection and everything else go on.
        assert await host.ping(a.host.peer_id) > 0


async def test_card_4_a_peer_that_only_waits_gets_our_card_and_no_patience() -> None:
    a = make_agent("a", limits={"cards": {"timeout": 0.1}})
    log = Log(a)
    async with a, Host() as host:
        peer_id = await host.connect(a.host.addrs[0])
        stream = await host.open_stream(peer_id, [CARD])
        assert orjson.loads(await stream.read())["name"] == "a"
        fault = await log.wait_for("system.error")
        assert fault.data["message"] == "no card within 0.1 s"


async def test_card_4_both_sides_may_open_at_once() -> None:
    a, b = make_agent("a"), make_agent("b")
    async with met(a, b) as (at_a, at_b):
        a.tools.add(add)
        b.tools.add(add)
        for log in (at_a, at_b):
            await log.wait_for("p2p.card_exchange", 3)
            assert not log.of("system.error")


async def test_a_peer_that_never_offers_its_card_is_asked_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("praxis_fast.agent.introductions.PATIENCE", 0.01)

    async def answer(stream: Stream) -> None:
        await stream.write(b'{"name":"shy"}')

    a = make_agent("a")
    log = Log(a)
    async with a, Host() as host:
        host.handle(CARD, answer)
        await host.connect(a.host.addrs[0])
        event = await log.wait_for("p2p.card_exchange")
        assert event.data["card"]["name"] == "shy"


async def test_a_peer_without_cards_is_left_alone() -> None:
    a = make_agent("a")
    log = Log(a)
    async with Host(listen=["/ip4/127.0.0.1/tcp/0"]) as host, a:
        await a.connect(host.addrs[0])
        await eventually(lambda: len(a._tasks) == 0)
        assert not log.of("system.error")
        with pytest.raises(ToolNotFoundError, match="serves no tools"):
            await a.call_tool("add", peer=host.peer_id)


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (
            {"id": "1", "name": "add", "arguments": {"a": 1, "b": 2}, "timestamp": 1},
            {"id": "1", "success": True},
        ),
        ({"tool": "add", "arguments": {"a": 1, "b": 2}}, {"id": "", "success": True}),
        (
            {
                "id": 7,
                "name": "add",
                "arguments": {"args": {"a": 1, "b": 2}, "params": {}},
            },
            {"id": "7", "success": True},
        ),
        (
            {"id": "2", "name": "none"},
            {
                "id": "2",
                "success": False,
                "error": {"code": -32601, "message": "no tool 'none'"},
            },
        ),
        ({"id": "3", "arguments": {}}, {"success": False}),
        ([], {"success": False}),
    ],
)
async def test_requests_of_both_sdks_are_answered(
    request_: Any, reply: dict[str, Any]
) -> None:
    async with make_agent("a", [add]) as a, Host() as host:
        answer = await ask(host, a, TOOL, orjson.dumps(request_))
        assert answer.endswith(b"\n")
        told = orjson.loads(answer)
        assert {key: told.get(key) for key in reply} == reply
        if told["success"]:
            assert told["result"]["content"] == [{"type": "text", "text": "3"}]
            assert told["result"]["isError"] is False


async def test_json_1_a_request_may_come_byte_by_byte() -> None:
    async with make_agent("a", [add]) as a, Host() as host:
        peer_id = await host.connect(a.host.addrs[0])
        stream = await host.open_stream(peer_id, [TOOL])
        for byte in b'{"tool":"add","arguments":{"a":1,"b":2}}':
            await stream.write(bytes([byte]))
        assert orjson.loads(await stream.read())["success"]


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b" " * 70_000, b'"' + b"x" * 2_000_000, b"\xff", b"nul"]
)
async def test_json_2_3_6_a_hostile_request_is_answered_and_told_once(
    text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    a = make_agent("a", [add], limits={"json": {"idle_timeout": 0.2}})
    log = Log(a)
    async with a, Host() as host:
        told = orjson.loads(await ask(host, a, TOOL, text))
        assert told["error"]["code"] == -32700
        assert len(log.of("system.error")) == 1
        assert log.of("system.error")[0].data["error_code"] == "tool request"
        warnings = [r for r in caplog.records if "tool request error" in r.getMessage()]
        assert len(warnings) == 1
        assert await host.ping(a.host.peer_id) > 0


async def test_more_calls_at_once_than_allowed_are_turned_away() -> None:
    go = asyncio.Event()

    @tool(remote=True)
    async def wait() -> None:
        await go.wait()

    a = make_agent("a")
    b = make_agent("b", [wait], limits={"tools": {"max_calls": 2}})
    async with met(a, b) as (_, at_b):
        calls = [asyncio.create_task(a.call_tool("wait")) for _ in range(2)]
        await at_b.wait_for("tool.starting", 2)
        with pytest.raises(ToolFailedError, match="2 calls are running, no more"):
            await a.call_tool("wait")
        go.set()
        assert await asyncio.gather(*calls) == [None, None]
        await a.call_tool("wait")


async def test_an_answer_too_long_to_read_is_an_error() -> None:
    @tool(remote=True)
    async def long() -> str:
        return "x" * 600

    limits = {"json": {"max_frame": 1000}}
    a, b = make_agent("a", limits=limits), make_agent("b", [long], limits=limits)
    async with met(a, b):
        with pytest.raises(ToolFailedError, match=r"answer of \d+ bytes, limit 1000"):
            await a.call_tool("long")


async def test_faults_of_the_host_are_told_once() -> None:
    a = make_agent("a")
    log = Log(a)
    async with a, Host() as host:
        peer_id = await host.connect(a.host.addrs[0])

        async def broken(stream: Stream) -> None:
            raise ValueError("broken")

        a.host.handle("/broken/1.0.0", broken)
        stream = await host.open_stream(peer_id, ["/broken/1.0.0"])
        with pytest.raises(NetworkError):
            await stream.read()
        fault = await log.wait_for("system.error")
        assert fault.data["component"] == "p2p"
        assert fault.data["diagnostic_data"]["peer_id"] == host.peer_id
        assert len(log.of("system.error")) == 1


async def test_a_failed_start_closes_what_was_started() -> None:
    async with make_agent("a") as taken:
        port = int(taken.host.addrs[0].split("/")[4])
        agent = make_agent("b", port=port)
        log = Log(agent)
        with pytest.raises(NetworkError, match=str(port)):
            await agent.start()
        assert log.types == ["agent.starting", "agent.error"]
        assert log.events[1].data["component"] == "startup"
        await agent.close()


async def test_a_taken_http_port_closes_the_host_again(tmp_path: Path) -> None:
    first = settings("a") | {"http": {"enabled": True, "port": 0}}
    async with Agent(AgentConfig.from_mapping(first)) as taken:
        assert taken.http is not None
        second = settings("b") | {
            "http": {"enabled": True, "port": taken.http.port},
            "data_dir": str(tmp_path / "b"),
        }
        config = AgentConfig.from_mapping(second)
        for _ in range(2):  # the directory is free again, too
            agent = Agent(config)
            with pytest.raises(NetworkError, match="is taken by another program"):
                await agent.start()
            assert not agent.host.addrs


async def test_two_agents_do_not_share_a_data_directory(tmp_path: Path) -> None:
    config = AgentConfig.from_mapping(settings("a") | {"data_dir": str(tmp_path / "d")})
    async with Agent(config) as first:
        second = Agent(config)
        assert second.host.peer_id == first.host.peer_id
        with pytest.raises(ConfigError, match="in use by another agent"):
            await second.start()
    async with Agent(config) as third:
        assert third.host.peer_id == first.host.peer_id


async def test_without_p2p_nothing_listens() -> None:
    async with make_agent("a", [add], enabled=False) as agent:
        assert agent.host.addrs == []
        assert await agent.call_tool("add", {"a": 1, "b": 2}) == 3


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    a, b = make_agent("a", [add]), make_agent("b", [add])
    async with met(a, b):
        await a.call_tool("add", {"a": 1, "b": 2}, peer=b.host.peer_id)
    assert asyncio.all_tasks() == before


async def test_an_answer_may_take_longer_than_a_stream_may_be_silent() -> None:
    @tool(remote=True)
    async def slow() -> str:
        await asyncio.sleep(0.2)
        return "done"

    limits = {"json": {"idle_timeout": 0.05}}
    a, b = make_agent("a", limits=limits), make_agent("b", [slow])
    async with met(a, b):
        assert await a.call_tool("slow") == "done"


async def test_json_2_a_request_that_never_comes_is_given_up() -> None:
    limits = {"json": {"idle_timeout": 0.05}}
    async with make_agent("a", limits=limits) as a, Host() as host:
        peer_id = await host.connect(a.host.addrs[0])
        stream = await host.open_stream(peer_id, [TOOL])
        await stream.write(b'{"na')
        told = orjson.loads(await stream.read())
        assert told["error"]["message"] == "no byte for 0.05 s"
        assert await stream.read() == b""


async def test_agent_without_p2p_is_ready_and_lists_every_tool_of_its_own() -> None:
    config = AgentConfig(
        name="alone",
        p2p=P2PConfig(enabled=False),
        http=HTTPConfig(enabled=True, port=0),
    )
    async with Agent(config, tools=[add, secret]) as agent:
        assert agent.http is not None
        async with httpx.AsyncClient(base_url=agent.http.url, trust_env=False) as http:
            assert (await http.get("/ready")).status_code == 200
            local = (await http.get("/p2p/tools")).json()["local"]
    assert {tool["name"]: tool["remote"] for tool in local} == {
        tool.name: tool.remote for tool in agent.tools
    }
    assert len(local) == 2
