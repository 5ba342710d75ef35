from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

# More than the kernel takes from a sender whose reader sleeps.
HUGE = b"x" * 16_000_000


class End:
    """One end of a connection; `got` reads what the other end has."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.fd = self.near.fileno()

    def got(self, size: int) -> bytes:
        return self.far.recv(size, socket.MSG_WAITALL)

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def ends() -> Iterator[list[End]]:
    ends = [End(name) for name in range(150)]
    yield ends
    for end in ends:
        end.close()


class Written:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, receiver: End, size: int) -> None:
        self.calls.append((receiver.name, size))


def test_each_receiver_gets_its_own_bytes_in_order(
    backend: SimpleNamespace, ends: list[End]
) -> None:
    written = Written()
    for turn in range(2):
        pairs = [(end, b"%d:%d;" % (end.name, turn)) for end in ends]
        assert backend.send_all(pairs, written) == []
    sizes = [(end.name, len(b"%d:0;" % end.name)) for end in ends]
    assert written.calls == sizes * 2
    for end in ends:
        expected = b"%d:0;%d:1;" % (end.name, end.name)
        assert end.got(len(expected)) == expected


def test_rest_is_told_when_the_kernel_is_full(
    backend: SimpleNamespace, ends: list[End]
) -> None:
    written = Written()
    full, other = ends[:2]
    ((receiver, data, size),) = backend.send_all([(full, HUGE), (other, b"a")], written)
    assert receiver is full
    assert data is HUGE
    assert 0 < size < len(HUGE)
    assert written.calls == [(1, 1)]
    assert backend.send_all([(full, b"b")], written) == [(full, b"b", 0)]
    assert full.got(size) == HUGE[:size]


def test_nothing_is_taken_when_there_is_no_descriptor(
    backend: SimpleNamespace, ends: list[End]
) -> None:
    written = Written()
    ends[0].fd = -1
    pairs = [(ends[0], b"a"), (ends[1], b"b")]
    assert backend.send_all(pairs, written) == [(ends[0], b"a", 0)]
    assert written.calls == [(1, 1)]


def test_nothing_is_taken_when_the_other_end_is_gone(
    backend: SimpleNamespace, ends: list[End]
) -> None:
    ends[0].far.close()
    assert backend.send_all([(ends[0], b"a")], Written()) == [(ends[0], b"a", 0)]


def test_no_pairs_are_no_work(backend: SimpleNamespace) -> None:
    assert backend.send_all([], Written()) == []


def test_text_is_refused(backend: SimpleNamespace, ends: list[End]) -> None:
    with pytest.raises(TypeError, match="a bytes-like object is required, not 'str'"):
        backend.send_all([(ends[0], "text")], Written())
