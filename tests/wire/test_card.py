"""Cards: what we send suits both SDKs, and what strangers send is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxis_fast.errors import MessageError
from praxis_fast.limits import CardLimits
from praxis_fast.wire.base import encode_base32
from praxis_fast.wire.card import Card, ToolParameter, ToolSpec
from praxis_fast.wire.json_text import decode_json, encode_json
from praxis_fast.wire.keys import PrivateKey
from praxis_fast.wire.peer_id import CID_PREFIX

PEER = PrivateKey.from_seed(bytes(range(32))).peer_id
OTHER = PrivateKey.from_seed(bytes(range(1, 33))).peer_id
NOW = 1_760_000_000.5
LIMITS = CardLimits()

CARD = Card(
    name="calc",
    version="1.0.0",
    peer_id=PEER,
    capabilities=("mcp", "p2p"),
    tools=(
        ToolSpec(
            name="add",
            description="adds\ntwo numbers",
            parameters=(ToolParameter("a", "integer", "first", True),),
            input_schema={"type": "object", "properties": {"a": {"type": "integer"}}},
        ),
        ToolSpec(name="noop"),
    ),
    timestamp=1_760_000_000,
    description="an agent",
)

# The Go SDK's card, shape and key style.
GO_CARD = {
    "name": "agent-x",
    "version": "1.0.0",
    "peerId": str(PEER),
    "capabilities": ["mcp", "p2p"],
    "tools": [
        {
            "name": "echo",
            "description": "says it again",
            "parameters": [
                {
                    "name": "text",
                    "type": "string",
                    "description": "what",
                    "required": True,
                }
            ],
        }
    ],
    "timestamp": 1_760_000_000,
}

# The Python SDK's way: other keys, an A2A card's capabilities, JSON Schema.
PYTHON_CARD = {
    "name": "agent-y",
    "version": "1.0.0",
    "peer_id": str(PEER),
    "capabilities": {"streaming": True, "push": False, "state": None},
    "tools": [
        {
            "name": "echo",
            "description": None,
            "engine": "local",
            "parameters": {"type": "object", "properties": {"text": {}}},
        }
    ],
}


def read(message: Any, **options: Any) -> Card:
    return Card.from_message(message, peer_id=PEER, now=NOW, **options)


def test_our_card_comes_back() -> None:
    text = encode_json(CARD.to_message())
    assert read(decode_json(text, strict_keys=True)) == CARD


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)
TOOLS = st.builds(
    ToolSpec,
    name=NAMES,
    description=st.text(st.characters(categories=["L", "P", "Zs"]), max_size=20),
    parameters=st.lists(
        st.builds(ToolParameter, name=NAMES, required=st.booleans()), max_size=3
    ).map(tuple),
    input_schema=st.none() | st.just({"type": "object"}),
)


@given(
    st.builds(
        Card,
        name=NAMES,
        version=st.text("0123456789.", max_size=8),
        peer_id=st.just(PEER),
        capabilities=st.lists(NAMES, max_size=4).map(tuple),
        tools=st.lists(TOOLS, max_size=4, unique_by=lambda tool: tool.name).map(tuple),
        timestamp=st.integers(1, int(NOW)),
    )
)
def test_any_card_comes_back(card: Card) -> None:
    assert read(decode_json(encode_json(card.to_message()))) == card


def test_our_card_has_the_types_go_decodes() -> None:
    message = decode_json(encode_json(CARD.to_message()))
    assert message["peerId"] == message["peer_id"] == PEER
    assert type(message["timestamp"]) is int
    assert message["capabilities"] == ["mcp", "p2p"]
    tool = message["tools"][0]
    assert tool["parameters"] == [
        {"name": "a", "type": "integer", "description": "first", "required": True}
    ]
    assert tool["inputSchema"]["type"] == "object"
    assert message["tools"][1] == {"name": "noop", "description": "", "parameters": []}


def test_json_5_no_two_keys_of_our_card_are_one_to_go() -> None:
    for message in (CARD.to_message(), *CARD.to_message()["tools"]):
        assert len({key.casefold() for key in message}) == len(message)


def test_go_card_is_read() -> None:
    card = read(GO_CARD)
    assert card.capabilities == ("mcp", "p2p")
    assert card.tools[0].parameters == (
        ToolParameter("text", "string", "what", required=True),
    )
    assert card.tools[0].input_schema is None
    assert card.timestamp == 1_760_000_000


def test_python_card_is_read() -> None:
    card = read(PYTHON_CARD)
    assert card.capabilities == ("streaming",)
    assert card.tools[0].description == ""
    assert card.tools[0].parameters == ()
    assert card.tools[0].input_schema == {
        "type": "object",
        "properties": {"text": {}},
    }
    assert card.timestamp == int(NOW)


def test_null_is_the_zero_value_as_in_go() -> None:
    message = dict.fromkeys(("version", "capabilities", "tools", "timestamp", "peerId"))
    card = read({"name": "x"} | message)
    assert card == Card("x", "", PEER, timestamp=int(NOW))


def test_card_1_owner_is_read_in_every_form() -> None:
    cid = "b" + encode_base32(CID_PREFIX + PEER.multihash)
    for told in (str(PEER), cid):
        assert read(GO_CARD | {"peerId": told}).peer_id == PEER
    assert read(GO_CARD | {"peerId": ""}).peer_id == PEER


@pytest.mark.parametrize(
    "told",
    [
        {"peerId": str(OTHER)},
        {"peer_id": str(OTHER)},
        {"peerId": str(PEER), "peer_id": str(OTHER)},
        {"peerId": "hello"},
        {"peerId": str(PEER) + " "},
        {"peerId": 7},
        {"peerId": ["x"]},
        {"peerId": False},
    ],
)
def test_card_1_card_of_another_peer_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match="on the connection of"):
        read(GO_CARD | {"peerId": None} | told)


def test_card_2_old_card_is_taken_and_told() -> None:
    # The Go SDK stamps its card when the agent starts.
    card = read(GO_CARD | {"timestamp": int(NOW) - 30 * 86400})
    assert card.is_skewed(NOW, LIMITS)
    assert not replace(card, timestamp=int(NOW) - 299).is_skewed(NOW, LIMITS)
    assert replace(card, timestamp=int(NOW) + 302).is_skewed(NOW, LIMITS)


def test_card_2_card_from_the_future_is_refused() -> None:
    near = int(NOW) + 86400
    assert read(GO_CARD | {"timestamp": near}).timestamp == near
    with pytest.raises(MessageError, match="86402 s ahead of us, limit 86400"):
        read(GO_CARD | {"timestamp": near + 2})


@pytest.mark.parametrize(
    "told", [-1, 10**400, 2**53, 1e308, float("inf"), float("nan"), "now", True, []]
)
def test_card_2_timestamp_that_is_no_time_is_refused(told: object) -> None:
    with pytest.raises(MessageError, match="timestamp is"):
        read(GO_CARD | {"timestamp": told})


def test_card_3_limits_are_exact() -> None:
    longest = "n" * LIMITS.max_name
    text = "d" * LIMITS.max_description
    tools = [{"name": str(n), "description": text} for n in range(LIMITS.max_tools)]
    card = read(GO_CARD | {"name": longest, "description": text, "tools": tools})
    assert len(card.tools) == LIMITS.max_tools


def tool(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"name": "t"} | fields]}


def parameter(**fields: Any) -> dict[str, Any]:
    return tool(parameters=[{"name": "p"} | fields])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": "é" * 65}, "name of 130 bytes, limit 128"),
        ({"version": "v" * 129}, "version of 129 bytes, limit 128"),
        ({"description": "d" * 4097}, "description of 4097 bytes, limit 4096"),
        ({"capabilities": ["c"] * 257}, "257 capabilities, limit 256"),
        ({"capabilities": ["c" * 129]}, "capability of 129 bytes"),
        ({"capabilities": [""]}, "without a capability"),
        ({"capabilities": [1]}, "capability is a number"),
        ({"capabilities": "mcp"}, "capabilities is a text, not a list"),
        ({"tools": [{"name": str(n)} for n in range(257)]}, "257 tools, limit 256"),
        ({"tools": {}}, "tools is an object, not a list"),
        ({"tools": ["echo"]}, "tool is a text, not an object"),
        ({"tools": [{"name": "a"}, {"name": "a"}]}, "two tools of the same name"),
        (tool(name=None), "tool without a name"),
        (tool(name="t" * 129), "name of 129 bytes"),
        (tool(description="d" * 4097), "description of 4097 bytes"),
        (tool(description=1), "description is a number"),
        (tool(inputSchema=[]), "inputSchema is a list, not an object"),
        (tool(parameters="x"), "parameters is a text, not a list"),
        (tool(parameters=[{"name": "p"}] * 129), "129 parameters, limit 128"),
        (tool(parameters=["p"]), "parameter is a text"),
        (parameter(name=""), "parameter without a name"),
        (parameter(type=1), "type is a number"),
        ({"name": None}, "card without a name"),
        ({"name": ""}, "card without a name"),
        ({"name": ["x"]}, "name is a list"),
        ({"name": True}, "name is a boolean"),
    ],
)
def test_card_3_part_over_a_limit_or_of_a_wrong_type_is_refused(
    change: dict[str, Any], match: str
) -> None:
    with pytest.raises(MessageError, match=match):
        read(GO_CARD | change)


@pytest.mark.parametrize(
    "name",
    [
        "a\nb",
        "a\x00",
        "\x1b[31m",
        "a\u202eb",
        "a\u200bb",
        " a",
        "a ",
        "\u2028",
        "\ud800",
    ],
)
def test_card_3_strange_name_is_refused(name: str) -> None:
    for change in ({"name": name}, tool(name=name), parameter(name=name)):
        with pytest.raises(MessageError):
            read(GO_CARD | change)


@pytest.mark.parametrize("text", ["\x00", "\x1b[2J", "a\x7f", "\x85"])
def test_card_3_control_characters_are_refused_in_any_text(text: str) -> None:
    for change in ({"description": text}, {"version": text}, tool(description=text)):
        with pytest.raises(MessageError, match="has control characters"):
            read(GO_CARD | change)


def test_card_3_text_of_any_language_is_kept_as_it_is() -> None:
    text = "<b>${x}</b> %s\n\t日本語 العربية \u200f 👩\u200d💻 ' OR 1=1"
    assert read(GO_CARD | {"description": text}).description == text


@pytest.mark.parametrize("message", [None, 1, "x", [], True])
def test_card_that_is_no_object_is_refused(message: object) -> None:
    with pytest.raises(MessageError, match="not an object"):
        read(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "tools", "parameters", "inputSchema", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*CARD.to_message(), "x"]), JSON))
def test_any_object_is_a_card_or_refused(message: dict[str, Any]) -> None:
    try:
        card = read(message)
    except MessageError:
        return
    assert read(card.to_message()) == card
