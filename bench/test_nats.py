"""Clients of nats-server count by bytes, however these are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.nats.program import MESSAGE, FramedSubscriber, Subscriber, read_ports

if TYPE_CHECKING:
    from pathlib import Path

NOBODY: Any = None


@pytest.mark.parametrize("cut", [1, 2, 5, MESSAGE, MESSAGE + 1, 100_000])
@pytest.mark.parametrize("per_frame", [1, 2, 200])
def test_messages_in_frames_are_counted_in_any_chunking(
    cut: int, per_frame: int
) -> None:
    size = per_frame * MESSAGE
    head = b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    data = (b"\x82" + head + bytes(size)) * 3
    client, plain = FramedSubscriber(NOBODY), Subscriber(NOBODY)
    for start in range(0, len(data), cut):
        client.receive(data[start : start + cut])
    for start in range(0, 3 * size, cut):
        plain.receive(bytes(min(cut, 3 * size - start)))
    assert client.count == plain.count == 3 * per_frame
    assert client.size == plain.size == client.skip == 0
    assert client.rest == b""


def test_ports_are_read_once_they_are_written(tmp_path: Path) -> None:
    assert read_ports(tmp_path) == {}
    (tmp_path / "nats-server_1.ports").write_text("")
    assert read_ports(tmp_path) == {}
    told = '{"nats":["nats://127.0.0.1:41"],"websocket":["ws://127.0.0.1:42"]}'
    (tmp_path / "nats-server_1.ports").write_text(told)
    assert read_ports(tmp_path) == {"nats": 41, "websocket": 42}
