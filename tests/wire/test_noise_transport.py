"""The secure channel: any cut in, full messages out, nothing after a failure."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxis_fast.errors import NoiseError, UsageError
from praxis_fast.wire.noise_state import CipherState
from praxis_fast.wire.noise_transport import (
    MAX_PLAINTEXT,
    OVERHEAD,
    SMALL,
    NoiseTransport,
)

KEYS = bytes(32), bytes(range(32))


def pair() -> tuple[NoiseTransport, NoiseTransport]:
    one, two = KEYS
    return (
        NoiseTransport(CipherState(one), CipherState(two)),
        NoiseTransport(CipherState(two), CipherState(one)),
    )


def sizes(data: bytes | bytearray) -> list[int]:
    """The sizes of the Noise messages in the data."""
    found, pos = [], 0
    while pos < len(data):
        size = int.from_bytes(data[pos : pos + 2], "big")
        found.append(size)
        pos += 2 + size
    assert pos == len(data)
    return found


def feed(transport: NoiseTransport, chunks: list[bytes], found: list[bytes]) -> None:
    for chunk in chunks:
        found += transport.receive_data(chunk)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, [17]),
        (SMALL, [SMALL + 16]),
        (SMALL + 1, [SMALL + 17]),
        (MAX_PLAINTEXT, [65535]),
        (MAX_PLAINTEXT + 1, [65535, 17]),
        (3 * MAX_PLAINTEXT, [65535] * 3),
    ],
)
def test_messages_are_filled_before_another_begins(size: int, expected) -> None:
    sender, receiver = pair()
    data = random.Random(size).randbytes(size)
    sealed = sender.send_data(data)
    assert sizes(sealed) == expected
    assert len(sealed) == size + OVERHEAD * len(expected)
    assert b"".join(receiver.receive_data(sealed)) == data


def test_limit_of_a_message_is_pinned() -> None:
    assert MAX_PLAINTEXT == 65519


def test_no_data_gives_no_message() -> None:
    sender, receiver = pair()
    assert sender.send_data(b"") == b""
    assert receiver.receive_data(b"") == []


def test_empty_message_of_the_peer_is_passed_over() -> None:
    sender, receiver = pair()
    empty = b"\x00\x10" + CipherState(KEYS[0]).encrypt(b"")
    assert receiver.receive_data(empty) == []
    sender._sender.nonce = 1
    assert receiver.receive_data(sender.send_data(b"x")) == [b"x"]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [100, 2 * SMALL])
def test_any_buffer_is_taken_and_let_go(kind, size: int) -> None:
    sender, receiver = pair()
    data = bytearray(size)
    sealed = bytearray(sender.send_data(kind(data)))
    assert receiver.receive_data(kind(sealed)) == [bytes(size)]
    data.clear()
    sealed.clear()


def test_plaintext_is_the_same_for_every_cut(chunkings) -> None:
    pieces = [b"a", b"b" * 300, b"c" * (SMALL + 5), b"d"]
    sender, _ = pair()
    sealed = b"".join(sender.send_data(piece) for piece in pieces)
    for chunks in chunkings(sealed):
        _, receiver = pair()
        found: list[bytes] = []
        feed(receiver, chunks, found)
        assert found == pieces
        assert receiver.pending == 0
        receiver.receive_eof()


def test_no_data_leaves_half_a_length_as_it_is() -> None:
    sender, receiver = pair()
    sealed = sender.send_data(b"x")
    found: list[bytes] = []
    feed(receiver, [sealed[:1], b"", sealed[1:2], b"", sealed[2:]], found)
    assert found == [b"x"]


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 3 * SMALL), max_size=6), st.randoms(use_true_random=False)
)
def test_what_is_sent_arrives(lengths: list[int], rng: random.Random) -> None:
    sender, receiver = pair()
    pieces = [rng.randbytes(length) for length in lengths]
    sealed = b"".join(sender.send_data(piece) for piece in pieces)
    found = []
    while sealed:
        cut = rng.randrange(1, len(sealed) + 1)
        found += receiver.receive_data(sealed[:cut])
        sealed = sealed[cut:]
    assert b"".join(found) == b"".join(pieces)
    assert all(found)


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 3 * SMALL), max_size=6), st.randoms(use_true_random=False)
)
def test_a_buffer_takes_the_plaintexts_side_by_side(
    lengths: list[int], rng: random.Random
) -> None:
    sender, receiver = pair()
    pieces = [rng.randbytes(length) for length in lengths]
    sealed = memoryview(b"".join(sender.send_data(piece) for piece in pieces))
    buf = memoryview(bytearray(2 * len(sealed)))
    found = b""
    while sealed:
        cut = rng.randrange(1, len(sealed) + 1)
        found += receiver.receive_into(sealed, cut, buf)
        sealed = sealed[cut:]
    assert found == b"".join(pieces)


def test_a_buffer_without_room_is_refused_and_nothing_is_lost() -> None:
    sender, receiver = pair()
    sealed = memoryview(sender.send_data(b"secret"))
    buf = memoryview(bytearray(len(sealed)))
    assert receiver.receive_into(sealed, 5, buf) == b""
    with pytest.raises(UsageError, match="buffer of 23 bytes, 24 needed"):
        receiver.receive_into(sealed[5:], 19, buf[:23])
    assert receiver.receive_into(sealed[5:], 19, buf) == b"secret"
    assert buf[:6] == b"secret"


def test_sec_3_6_flipped_bit_ends_the_channel_with_a_buffer_too() -> None:
    sender, receiver = pair()
    bad = bytearray(sender.send_data(b"secret"))
    bad[-1] ^= 1
    buf = memoryview(bytearray(100))
    with pytest.raises(NoiseError, match="22 bytes does not decrypt"):
        receiver.receive_into(memoryview(bad), len(bad), buf)
    with pytest.raises(NoiseError, match="over"):
        receiver.receive_into(memoryview(sender.send_data(b"x")), 19, buf)


@pytest.mark.parametrize("size", [0, 1, MAX_PLAINTEXT, MAX_PLAINTEXT + 1])
def test_sending_into_a_buffer_sends_the_same(size: int) -> None:
    one, other = pair()[0], pair()[0]
    data = random.Random(size).randbytes(size)
    sealed = one.send_data(data)
    buf = memoryview(bytearray(len(sealed) + 3))
    assert other.send_into(data, buf) == len(sealed)
    assert buf[: len(sealed)] == sealed
    with pytest.raises(UsageError, match=f"of {len(sealed) + 3} bytes, 131074 needed"):
        other.send_into(bytes(2 * MAX_PLAINTEXT), buf[: len(sealed) + 3])


def test_sec_3_6_flipped_bit_ends_the_channel_with_no_plaintext() -> None:
    sealed = pair()[0].send_data(b"secret")
    for place in range(2, len(sealed)):
        for bit in (1, 128):
            bad = bytearray(sealed)
            bad[place] ^= bit
            _, receiver = pair()
            with pytest.raises(NoiseError, match="does not decrypt") as caught:
                receiver.receive_data(bad)
            assert caught.value.plaintexts == ()
            for step in (receiver.receive_data, receiver.send_data):
                with pytest.raises(NoiseError, match="over after an error"):
                    step(b"x")


def test_good_messages_before_a_bad_one_are_not_lost(chunkings) -> None:
    sender, _ = pair()
    sealed = sender.send_data(b"one") + sender.send_data(b"two") + b"\0\x10" + bytes(16)
    for chunks in chunkings(sealed):
        _, receiver = pair()
        found: list[bytes] = []
        with pytest.raises(NoiseError) as caught:
            feed(receiver, chunks, found)
        assert [*found, *caught.value.plaintexts] == [b"one", b"two"]


@pytest.mark.parametrize("size", [0, 1, 15])
def test_sec_3_message_shorter_than_its_tag_is_refused(size: int, chunkings) -> None:
    for chunks in chunkings(size.to_bytes(2, "big") + b"x"):
        _, receiver = pair()
        with pytest.raises(NoiseError, match=f"message of {size} bytes, at least 16"):
            feed(receiver, chunks, [])


def test_sec_3_truncated_message_is_told_at_the_end() -> None:
    sender, receiver = pair()
    sealed = sender.send_data(b"secret")
    assert receiver.receive_data(sealed[:-1]) == []
    assert receiver.pending == len(sealed) - 1
    with pytest.raises(NoiseError, match="23 bytes into a message"):
        receiver.receive_eof()
    with pytest.raises(NoiseError, match="over after"):
        receiver.receive_data(sealed[-1:])


def test_sec_7_repeated_or_reordered_message_is_refused() -> None:
    sender, receiver = pair()
    one, two = sender.send_data(b"one"), sender.send_data(b"two")
    assert receiver.receive_data(one) == [b"one"]
    with pytest.raises(NoiseError, match="does not decrypt"):
        receiver.receive_data(one)
    _, receiver = pair()
    with pytest.raises(NoiseError, match="does not decrypt"):
        receiver.receive_data(two + one)


def test_sec_6_last_nonce_ends_the_channel() -> None:
    sender, _ = pair()
    sender._sender.nonce = 2**64 - 1
    with pytest.raises(NoiseError, match="is the last one"):
        sender.send_data(b"x")
    with pytest.raises(NoiseError, match="over after an error"):
        sender.send_data(b"x")
