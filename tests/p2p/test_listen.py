"""The accept loop: refusing, resting, binding."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from praxis_fast.errors import NetworkError, ResourceLimitError
from praxis_fast.limits import ConnectionLimits
from praxis_fast.p2p import interfaces, listen
from praxis_fast.p2p.listen import Listener, descriptor_limit
from praxis_fast.p2p.observers import Observers
from praxis_fast.wire.multiaddr import Multiaddr
from tests.p2p.network import LOOPBACK, Recorder, eventually, nothing_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Accepted:
    """Takes sockets, or refuses them."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.is_full = False
        self.heard = Recorder()
        self.observers = Observers(asyncio.get_running_loop().time)
        self.observers.add(self.heard)

    def __call__(self, accepted: socket.socket, host: str, port: int) -> None:
        if self.is_full:
            raise ResourceLimitError("1 connections, limit 1")
        self.sockets.append(accepted)

    def listener(self, text: str = LOOPBACK) -> Listener:
        return Listener(
            Multiaddr.parse(text),
            limits=ConnectionLimits(),
            observers=self.observers,
            on_socket=self,
        )

    def close(self) -> None:
        for accepted in self.sockets:
            accepted.close()


def connect(listener: Listener) -> socket.socket:
    port = listener.address.port
    assert port is not None
    return socket.create_connection(("127.0.0.1", port))


async def test_connections_are_handed_on_or_refused_before_a_byte() -> None:
    async with nothing_left():
        accepted = Accepted()
        listener = accepted.listener()
        listener.start()
        with connect(listener):
            await eventually(lambda: accepted.sockets)
            accepted.is_full = True
            with connect(listener) as refused:
                await eventually(lambda: accepted.heard.errors)
                assert refused.recv(1) == b""
        assert accepted.heard.errors[0][::2] == ("refused", "1 connections, limit 1")
        listener.close()
        listener.close()
        accepted.close()


class Flaky:
    """A listening socket whose accept fails as told."""

    def __init__(self, real: socket.socket, errors: list[int]) -> None:
        self.real = real
        self.errors = errors

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.errors:
            raise OSError(self.errors.pop(), "as told")
        return self.real.accept()

    def fileno(self) -> int:
        return self.real.fileno()

    def close(self) -> None:
        self.real.close()


@pytest.mark.parametrize(
    ("number", "kinds"),
    [
        (errno.EMFILE, ["descriptors"]),
        (errno.ENOBUFS, ["descriptors"]),
        (errno.ECONNABORTED, []),
        (errno.EINVAL, ["accept"]),
    ],
)
async def test_con_3_accepting_rests_when_descriptors_run_out(
    number: int, kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky: list[Flaky] = []
    bind: Callable[[Multiaddr], socket.socket] = listen._bind

    def bind_flaky(address: Multiaddr) -> Flaky:
        flaky.append(Flaky(bind(address), [number]))
        return flaky[0]

    async with nothing_left():
        accepted = Accepted()
        listener = accepted.listener()
        with monkeypatch.context() as patch:
            patch.setattr(listen, "_bind", bind_flaky)
            patch.setattr(
                Flaky,
                "getsockname",
                lambda self: self.real.getsockname(),
                raising=False,
            )
            listener.start()
            with connect(listener):
                await eventually(lambda: accepted.sockets)  # after the rest
            listener.close()
        assert [kind for kind, *_ in accepted.heard.errors] == kinds
        accepted.close()


async def test_con_3_a_resting_listener_can_be_closed() -> None:
    async with nothing_left():
        accepted = Accepted()
        listener = accepted.listener()
        listener._descriptors = 0
        listener.start()
        with connect(listener) as refused:
            await eventually(lambda: accepted.heard.errors)
            assert refused.recv(1) == b""
            listener.close()
        assert accepted.heard.errors[0][0] == "descriptors"
        await asyncio.sleep(2 * listen.PAUSE)
        assert not accepted.sockets


async def test_only_ip_addresses_with_a_port_can_be_listened_on() -> None:
    accepted = Accepted()
    with pytest.raises(NetworkError, match="not an IP address and a port"):
        accepted.listener("/dns4/localhost/tcp/1").start()
    with pytest.raises(NetworkError, match="cannot listen on /ip4/192"):
        accepted.listener("/ip4/192.0.2.250/tcp/0").start()


def test_con_3_descriptors_are_kept_in_reserve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = ConnectionLimits(reserved_descriptors=32)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert descriptor_limit(limits) == 992
    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 16))
    assert descriptor_limit(limits) == 1
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: infinite)
    assert descriptor_limit(limits) == 2**31 - 1


class FakeIP:
    def __init__(self, ip: str | tuple[str, int, int]) -> None:
        self.ip = ip


class FakeAdapter:
    def __init__(self, *ips: str | tuple[str, int, int]) -> None:
        self.ips = [FakeIP(ip) for ip in ips]


def adapters() -> Iterator[FakeAdapter]:
    yield FakeAdapter("127.0.0.1", ("::1", 0, 0))
    yield FakeAdapter("192.0.2.1", "169.254.1.1", ("2001:db8::1", 0, 0))
    yield FakeAdapter("192.0.2.1", ("fe80::1", 0, 2))


def test_an_unspecified_address_stands_for_every_interface(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interfaces.ifaddr, "get_adapters", adapters)

    def expand(text: str) -> list[str]:
        return [str(addr) for addr in interfaces.expand(Multiaddr.parse(text))]

    assert expand("/ip4/0.0.0.0/tcp/4001") == [
        "/ip4/192.0.2.1/tcp/4001",
        "/ip4/127.0.0.1/tcp/4001",
    ]
    assert expand("/ip6/::/tcp/4001") == [
        "/ip6/2001:db8::1/tcp/4001",
        "/ip6/::1/tcp/4001",
    ]
    assert expand("/ip4/192.0.2.9/tcp/1") == ["/ip4/192.0.2.9/tcp/1"]
    assert expand("/ip4/0.0.0.0") == []
