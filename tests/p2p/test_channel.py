"""What a link writes: full messages, few writes, buffers used again."""

from __future__ import annotations

import asyncio
from typing import Any

from praxis_fast.core import YamuxSession
from praxis_fast.p2p.channel import BATCH, BUFFER_SIZE, MAX_SPARES, Channel
from praxis_fast.wire.noise_state import CipherState
from praxis_fast.wire.noise_transport import MAX_PLAINTEXT, NoiseTransport

LIMIT = 1000
KEY = bytes(32)
# Data that, with its frame's header, fills one message.
FULL = MAX_PLAINTEXT - 12


class Socket(asyncio.Transport):
    """A transport that writes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.waiting: list[Any] = []
        self.limits: dict[str, int] = {}

    def set_write_buffer_limits(self, **limits: int) -> None:
        self.limits = limits

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.waiting))

    def write(self, data: Any) -> None:
        self.waiting.append(data)

    def drain(self) -> None:
        self.writes += map(bytes, self.waiting)
        self.waiting.clear()


class Sender:
    """A channel, its socket, and a session with as many streams as needed."""

    def __init__(self) -> None:
        self.socket = Socket()
        self.spares: list[bytearray] = []
        noise = NoiseTransport(CipherState(KEY), CipherState(KEY))
        self.channel = Channel(self.socket, noise, self.spares, limit=LIMIT)
        self.session = YamuxSession(client=True)
        self.session.data_to_send()
        self.sent = b""

    def queue(self, size: int) -> None:
        """So many bytes on streams of their own, as far as the windows go."""
        while size:
            taken = self.session.send_data(self.session.open_stream(), bytes(size))
            size -= taken

    def send(self) -> None:
        self.channel.send(self.session)

    def plaintexts(self) -> list[bytes]:
        """What the socket wrote, decrypted."""
        receiver = NoiseTransport(CipherState(KEY), CipherState(KEY))
        found = receiver.receive_data(b"".join(self.socket.writes))
        return [bytes(one) for one in found]


def test_a_little_leaves_as_one_message_and_no_buffer() -> None:
    sender = Sender()
    sender.queue(100)
    sender.send()
    sender.socket.drain()
    assert len(sender.socket.writes) == 1
    assert [len(one) for one in sender.plaintexts()] == [12 + 12 + 100]
    assert not sender.channel.is_lending
    sender.send()
    assert not sender.socket.waiting


def test_much_leaves_as_full_messages_in_one_write_a_batch() -> None:
    sender = Sender()
    stream_id = sender.session.open_stream()
    sender.session.data_to_send()
    size = BATCH * MAX_PLAINTEXT - 12
    assert sender.session.send_data(stream_id, bytes(size)) == size
    sender.send()
    assert len(sender.socket.waiting) == 1
    sender.socket.drain()
    assert [len(one) for one in sender.plaintexts()] == [MAX_PLAINTEXT] * BATCH
    assert sender.session.pending_out == 0


def test_what_is_over_a_batch_waits_for_the_next_write() -> None:
    sender, other = Sender(), Sender()
    for one in (sender, other):
        one.queue(10 * FULL)
    while sender.session.pending_out:
        before = sender.session.pending_out
        sender.send()
        assert 0 < before - sender.session.pending_out <= BUFFER_SIZE
        sender.socket.drain()
    assert len(sender.socket.writes) > 1
    assert b"".join(sender.plaintexts()) == other.session.data_to_send()


def test_small_frames_of_many_streams_fill_messages_too() -> None:
    sender = Sender()
    for _ in range(200):
        sender.queue(1000)
    sender.send()
    sender.socket.drain()
    sizes = [len(one) for one in sender.plaintexts()]
    assert sizes.count(MAX_PLAINTEXT) >= BATCH - 1
    assert len(sender.socket.writes) == 1


def test_a_buffer_is_used_again_when_it_is_written() -> None:
    sender = Sender()
    for _ in range(3):
        sender.queue(3 * FULL)
        sender.send()
        (view,) = sender.socket.waiting
        buffer = view.obj
        sender.socket.drain()
    assert sender.channel.is_lending
    sender.channel.settle()
    assert not sender.channel.is_lending
    assert len(sender.spares) == 1
    assert sender.spares[0] is buffer


def test_a_buffer_under_way_is_not_touched() -> None:
    sender = Sender()
    sender.queue(3 * FULL)
    sender.send()
    before = bytes(sender.socket.waiting[0])
    sender.queue(3 * FULL)
    sender.send()
    first, second = sender.socket.waiting
    assert first.obj is not second.obj
    assert bytes(first) == before
    sender.channel.settle()
    assert not sender.spares
    assert not sender.channel.is_lending
    sender.socket.drain()
    assert sum(map(len, sender.plaintexts())) == 6 * FULL + 4 * 12


def test_a_host_keeps_few_spare_buffers() -> None:
    sender = Sender()
    for _ in range(2 * MAX_SPARES):
        sender.queue(FULL)
        sender.send()
    sender.socket.drain()
    sender.channel.settle()
    assert len(sender.spares) == MAX_SPARES


def test_writing_goes_on_when_all_is_written() -> None:
    assert Sender().socket.limits == {"high": LIMIT, "low": 0}


def test_buffered_is_what_the_socket_has_not_taken() -> None:
    sender = Sender()
    sender.queue(10)
    sender.send()
    assert sender.channel.buffered == len(sender.socket.waiting[0])
