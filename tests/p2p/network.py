"""Hosts on loopback for tests, and what they must leave behind: nothing."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from praxis_fast.p2p.host import Host
from praxis_fast.p2p.observers import LinkInfo, Observer
from praxis_fast.wire.keys import PrivateKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from praxis_fast.p2p.stream import Stream
    from praxis_fast.wire.identify import Identify
    from praxis_fast.wire.peer_id import PeerID

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
ECHO = "/echo/1.0.0"
PATIENCE = 30.0


class Recorder(Observer):
    """Writes down all that a host tells."""

    def __init__(self) -> None:
        self.connected: list[LinkInfo] = []
        self.disconnected: list[tuple[str, str]] = []
        self.identified: list[tuple[str, Identify]] = []
        self.errors: list[tuple[str, str | None, str]] = []

    def on_connected(self, peer_id: PeerID, info: LinkInfo) -> None:
        self.connected.append(info)

    def on_disconnected(self, peer_id: PeerID, reason: str) -> None:
        self.disconnected.append((peer_id, reason))

    def on_identified(self, peer_id: PeerID, identity: Identify) -> None:
        self.identified.append((peer_id, identity))

    def on_error(
        self, kind: str, peer_id: PeerID | None, address: str | None, message: str
    ) -> None:
        self.errors.append((kind, peer_id, message))


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait for a state; the bound only ends a test that failed."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def echo(stream: Stream) -> None:
    """Handler: send back what comes until the peer ends."""
    while data := await stream.read(256 * 1024):
        await stream.write(data)
    await stream.close_write()


def key(number: int) -> PrivateKey:
    """A key that is the same in every run."""
    return PrivateKey.from_seed(number.to_bytes(32, "big"))


def sockets() -> int:
    """The sockets this process has open."""
    count = 0
    for name in os.listdir("/dev/fd"):
        try:
            count += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
        except OSError:  # the listing's own descriptor
            continue
    return count


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """What the block opened is gone behind it: tasks and sockets."""
    tasks, opened = asyncio.all_tasks(), sockets()
    yield
    await eventually(lambda: asyncio.all_tasks() <= tasks and sockets() <= opened)


@asynccontextmanager
async def running(*hosts: Host) -> AsyncIterator[list[Recorder]]:
    """The hosts, started, each with a recorder; nothing is left behind."""
    async with nothing_left():
        recorders = [Recorder() for _ in hosts]
        for host, recorder in zip(hosts, recorders, strict=True):
            host.add_observer(recorder)
            await host.start()
        try:
            yield recorders
        finally:
            await asyncio.gather(*(host.close() for host in hosts))
        for host in hosts:
            assert host.resources.connections == 0
            assert host.resources.upgrading == 0
            assert not host.resources.by_address
            assert host.pool.held == 0


def make(number: int = 1, **settings: Any) -> Host:
    """A host on loopback that echoes."""
    settings.setdefault("listen", [LOOPBACK])
    host = Host(key(number), **settings)
    host.handle(ECHO, echo)
    return host


@asynccontextmanager
async def pair(**settings: Any) -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts, the first connected to the second and identified."""
    first, second = make(1, **settings), make(2, **settings)
    async with running(first, second):
        await first.connect(second.addrs[0])
        assert await first.identify(second.peer_id) is not None
        await eventually(lambda: second.identity(first.peer_id) is not None)
        yield first, second
