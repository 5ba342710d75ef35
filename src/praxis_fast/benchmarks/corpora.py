"""Fixed-seed JSON texts of the shapes agents really exchange."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CORPORA", "Corpus", "make_corpus"]

SEED: Final = 20261121

WORDS: Final = tuple(
    word
    for line in (
        "agent answer artifact bridge budget cache channel city clock cost data delta",
        "disk draft edge email error event field file forecast gateway graph index",
        "invoice item key ledger limit list machine market memory message model",
        "network node number order packet page parser peer plan price query queue rain",
        "record region report result route rule sample search sensor series server",
        "signal source status stream table task text ticket time token tool trace",
        "train user value vector weather",
    )
    for word in line.split()
)
EVENT_TYPES: Final = (
    "task.progress",
    "tool.executing",
    "tool.completed",
    "p2p.peer_connected",
    "status_change",
    "message",
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """JSON texts and the stream they form side by side."""

    name: str
    texts: tuple[bytes, ...]

    @property
    def stream(self) -> bytes:
        """All texts without anything between them."""
        return b"".join(self.texts)

    def chunks(self, size: int) -> list[bytes]:
        """The stream as a socket would hand it over, `size` bytes at a time."""
        stream = self.stream
        return [stream[i : i + size] for i in range(0, len(stream), size)]


def make_corpus(name: str, count: int) -> Corpus:
    """The first `count` texts of a corpus; the same on every machine."""
    rng = random.Random(f"{SEED} {name}")
    texts = map(orjson.dumps, islice(_forever(CORPORA[name], rng), count))
    return Corpus(name, tuple(texts))


def _forever(
    make: Callable[[random.Random, int], Any], rng: random.Random
) -> Iterator[Any]:
    number = 0
    while True:
        yield make(rng, number)
        number += 1


def _sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


def _id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _time(rng: random.Random, number: int) -> str:
    hours, minutes, seconds = number // 3600 % 24, number // 60 % 60, number % 60
    milliseconds = rng.randrange(1000)
    return f"2026-11-21T{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}Z"


def _event(rng: random.Random, number: int) -> dict[str, Any]:
    """A WebSocket event message, 368 bytes on average."""
    return {
        "type": rng.choice(EVENT_TYPES),
        "payload": {
            "task_id": _id(rng),
            "progress": round(rng.random(), 3),
            "message": _sentence(rng, rng.randrange(5, 11)),
            "tags": {"region": rng.choice(WORDS), "attempt": rng.randrange(4)},
        },
        "id": _id(rng),
        "epoch": "5f3a9c",
        "seq": 100_000 + number,
        "timestamp": _time(rng, number),
        "correlation_id": _id(rng),
    }


def _parameter(rng: random.Random) -> dict[str, Any]:
    return {
        "name": rng.choice(WORDS),
        "type": rng.choice(["string", "number", "boolean", "array"]),
        "description": _sentence(rng, 7),
        "required": rng.random() < 0.5,
    }


def _tool(rng: random.Random) -> dict[str, Any]:
    return {
        "name": f"{rng.choice(WORDS)}_{rng.choice(WORDS)}",
        "description": _sentence(rng, 15),
        "parameters": [_parameter(rng) for _ in range(3)],
        "inputSchema": {"type": "object", "properties": {}, "required": []},
    }


def _card(rng: random.Random, number: int) -> dict[str, Any]:
    """An agent card with eight tools, 4.7 KB on average."""
    return {
        "name": f"{rng.choice(WORDS)}-{number}",
        "version": "1.4.2",
        "peerId": "12D3KooW" + "".join(rng.choices("123456789abcdefghijk", k=44)),
        "description": _sentence(rng, 30),
        "capabilities": rng.sample(WORDS, 6),
        "tools": [_tool(rng) for _ in range(8)],
        "timestamp": 1_795_000_000 + number,
    }


def _page(rng: random.Random) -> str:
    lines = (f'{_sentence(rng, 14)} "{rng.choice(WORDS)}"' for _ in range(40))
    return "\n".join(lines)


def _tool_result(rng: random.Random, number: int, pages: int = 124) -> dict[str, Any]:
    """A tool's answer of 0.5 MB: pages of text with quotes and line ends in them."""
    told = [{"type": "text", "text": _page(rng)} for _ in range(pages)]
    return {
        "id": _id(rng),
        "result": {"content": told},
        "error": None,
        "timestamp": 1_795_000_000 + number,
    }


def _value(rng: random.Random, number: int) -> dict[str, Any]:
    """The same with 882 KB, close to the largest text that is taken by default."""
    return _tool_result(rng, number, 218)


def _rpc(rng: random.Random, number: int) -> dict[str, Any]:
    """A JSON-RPC request that sends an agent a message, 430 bytes on average."""
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "message/send",
        "params": {
            "message": {
                "role": "user",
                "kind": "message",
                "messageId": _id(rng),
                "contextId": _id(rng),
                "parts": [{"kind": "text", "text": _sentence(rng, 20)}],
            },
            "configuration": {"blocking": True, "historyLength": rng.randrange(10)},
        },
    }


CORPORA: Final[dict[str, Callable[[random.Random, int], Any]]] = {
    "events": _event,
    "cards": _card,
    "tool_results": _tool_result,
    "rpc": _rpc,
    "value": _value,
}
