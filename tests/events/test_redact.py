from __future__ import annotations

import copy
import json
import logging
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import AgentConfig, HTTPConfig, MaskingConfig, P2PConfig
from praxis_fast.agent.tools import tool
from praxis_fast.errors import ConfigError, ToolError, UsageError
from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import Event
from praxis_fast.events.redact import MASK, Redactor

CANARY = "canary-5b1f"

NAMES = [
    "password",
    "api_key",
    "token",
    "secret",
    "authorization",
    "apiKey",
    "API-KEY",
    "X-API-Key",
    "access_token",
    "userPassword",
    "password2",
    "client_secret",
    "Proxy-Authorization",
    "token_value",
    "passwordHash",
    "privateKey",
    "db.password",
    "Cookie",
    "credentials",
]


@pytest.mark.parametrize("name", NAMES)
def test_sensitive_names_are_masked_in_every_spelling(name: str) -> None:
    assert Redactor().mask({name: CANARY, "a": 1}) == {name: MASK, "a": 1}


@pytest.mark.parametrize("name", ["token_count", "tokens", "secretary", "key", "tool"])
def test_names_that_only_look_alike_are_left(name: str) -> None:
    assert Redactor().mask({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("value", [CANARY, 4711, 1.5, [CANARY], {"a": CANARY}, b"x"])
def test_value_of_any_kind_is_masked_whole(value: Any) -> None:
    assert Redactor().mask({"secret": value}) == {"secret": MASK}


@pytest.mark.parametrize("value", [None, True, False])
def test_value_that_tells_nothing_is_left(value: Any) -> None:
    assert Redactor().mask({"has_password": value}) == {"has_password": value}


@dataclass
class Login:
    user: str
    password: str


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: {"a": inner},
        lambda inner: [inner],
        lambda inner: (1, inner),
        lambda inner: {"a": [{"b": (inner, 2)}]},
        lambda inner: MappingProxyType({"a": inner}),
        lambda inner: [{1: inner}],
    ],
)
@pytest.mark.parametrize(
    "inner", [{"password": CANARY}, Login("u", CANARY)], ids=["dict", "dataclass"]
)
def test_nested_values_are_masked_and_the_caller_s_stay(wrap: Any, inner: Any) -> None:
    data = {"outer": wrap(inner)}
    before = repr(data)
    masked = Redactor().mask(data)
    assert CANARY not in repr(masked)
    assert MASK in repr(masked)
    assert repr(data) == before


def test_clean_data_is_the_same_object() -> None:
    data = {"a": [1, {"b": (2, "x")}], "c": {"d": None, "properties": {"e": 1}}}
    redactor = Redactor()
    assert redactor.mask(data) is data
    assert redactor.mask(data) is data


def test_cyclic_and_endless_data_end_in_a_mask() -> None:
    data: dict[str, Any] = {"a": 1}
    data["self"] = data
    deep: Any = {"password": CANARY}
    for _ in range(1000):
        deep = [deep]
    assert MASK in str(Redactor().mask(data))
    assert CANARY not in str(Redactor().mask({"a": deep}))


def test_schema_of_a_tool_keeps_what_it_says_of_sensitive_arguments() -> None:
    schema = {
        "type": "object",
        "properties": {
            "password": {"type": "string", "title": "P", "default": CANARY},
            "user": {"type": "string", "examples": ["u"]},
            "token": CANARY,
        },
    }
    before = copy.deepcopy(schema)
    masked = Redactor().mask({"schema": schema})["schema"]
    assert list(masked["properties"]) == ["password", "user", "token"]
    assert masked["properties"]["password"] == {"type": "string", "title": "P"}
    assert masked["properties"]["user"] == {"type": "string", "examples": ["u"]}
    assert masked["properties"]["token"] == MASK
    assert schema == before


def test_settings_change_names_and_patterns() -> None:
    redactor = Redactor(["pin", "x-*"], [r"sk-[a-z0-9]+"])
    masked = redactor.mask(
        {"user_pin": 1, "X-Any": "a", "password": "b", "text": ["key sk-1a, ok"]}
    )
    assert masked == {
        "user_pin": MASK,
        "X-Any": MASK,
        "password": "b",
        "text": [f"key {MASK}, ok"],
    }
    assert Redactor((), ()).mask({"password": "b"}) == {"password": "b"}


def test_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="pattern '\\(' cannot be used"):
        Redactor(patterns=["("])
    with pytest.raises(ConfigError, match=r"masking.patterns: pattern '\('"):
        AgentConfig(masking=MaskingConfig(patterns=("(",)))


def test_names_remembered_as_harmless_are_bounded() -> None:
    redactor = Redactor()
    for number in range(10_000):
        redactor.mask({f"n{number}x": 1})
    redactor.mask({"y" * 1000: 1})
    assert len(redactor._harmless) <= 4096
    assert max(map(len, redactor._harmless)) <= 64


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "password", "properties", "apiKey"]), inner
        )
    ),
    max_leaves=20,
)


def naive(value: Any) -> Any:
    """What is left when everything under a sensitive name is taken away."""
    if isinstance(value, list):
        return [naive(item) for item in value]
    if isinstance(value, dict):
        return {
            key: naive(item)
            for key, item in value.items()
            if key not in ("password", "apiKey")
        }
    return value


# No key the masking knows by itself is as short as this.
@given(st.dictionaries(st.text(max_size=2), JSON))
def test_everything_else_stays_equal(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    assert naive(Redactor().mask(data)) == naive(data)
    assert data == before


# on the bus


async def test_bus_masks_before_sinks_and_subscribers() -> None:
    bus = EventBus()
    seen: list[Event] = []
    bus.add_sink(seen.append)
    subscription = bus.subscribe()
    data = {"arguments": {"password": CANARY}}
    for given_event in ("my.type", Event("my.type", data)):
        event = bus.publish(given_event, data)
        assert event.data == {"arguments": {"password": MASK}}
        assert await anext(subscription) is event
    bus.publish("other.type", data, tags={"a": "b"})
    assert data == {"arguments": {"password": CANARY}}
    assert CANARY not in repr([event.to_message() for event in seen])
    await bus.close()


@tool(remote=True)
async def login(user: str, password: str, depth: int = 0) -> dict[str, str]:
    """Answer a secret, or fail."""
    if user == "bad":
        raise ValueError("no such user")
    return {"user": user, "session_token": password}


async def test_key_2_canary_is_never_seen_outside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, logger="websockets")
    config = AgentConfig(
        p2p=P2PConfig(enabled=False), http=HTTPConfig(enabled=True, port=0)
    )
    secret = {"user": "u", "password": CANARY}
    async with Agent(config, tools=[login]) as agent:
        assert agent.http is not None
        url = agent.http.url.replace("http", "ws") + "/events"
        seen: list[str] = []
        agent.bus.add_sink(lambda event: seen.append(repr(event)))
        async with websockets.connect(url, proxy=None) as socket:
            # What the tool answers to its caller is whole.
            answer = await agent.call_tool("login", secret)
            assert answer["session_token"] == CANARY
            for bad in ({**secret, "user": "bad"}, {**secret, "depth": "deep"}):
                with pytest.raises(ToolError) as raised:
                    await agent.call_tool("login", bad)
                assert CANARY not in str(raised.value)
            agent.bus.publish(
                "log.entry", {"headers": {"Authorization": CANARY}, "api_key": CANARY}
            )
            agent.bus.publish("last.one", {"list": [{"secret": CANARY}]})
            messages = []
            while not messages or json.loads(messages[-1])["type"] != "last.one":
                messages.append(str(await socket.recv()))
    assert len(messages) > 5
    for outside in (messages, seen, [record.getMessage() for record in caplog.records]):
        assert CANARY not in repr(outside)
    assert CANARY not in caplog.text


async def test_key_2_canary_is_masked_when_a_peer_s_tool_is_called() -> None:
    config = AgentConfig(p2p=P2PConfig(host="127.0.0.1", port=0, enable_mdns=False))
    async with Agent(config, tools=[login]) as server, Agent(config) as client:
        seen: list[Event] = []
        for agent in (server, client):
            agent.bus.add_sink(seen.append)
        peer = await client.connect(server.host.addrs[0])
        secret = {"user": "u", "password": CANARY}
        answer = await client.call_tool("login", secret, peer=peer)
        assert answer["session_token"] == CANARY
    requests = [event for event in seen if event.type == "p2p.tool_request"]
    assert [event.data["arguments"] for event in requests] == [
        {"user": "u", "password": MASK}
    ] * 2
    assert CANARY not in repr(seen)
