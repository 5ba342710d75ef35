"""The loopback multicast group, seen by an own socket; and machines without it."""

from __future__ import annotations

import asyncio
import functools
import secrets
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from zeroconf import DNSIncoming

from praxis_fast.errors import NetworkError
from praxis_fast.p2p.mdns import GROUP, LOOPBACK, MDNS, MDNS_PORT, check_multicast
from tests.p2p.peers import at, peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

# Other agents of this machine, and tests that run beside this one, use the group too.
LONELY_SERVICE = f"test-{secrets.token_hex(8)}.local."
PATIENCE = 15.0  # s; no test waits that long unless it fails


def has_multicast() -> bool:
    """Whether this machine lets a socket join the mDNS group on loopback."""
    try:
        check_multicast([LOOPBACK])
    except NetworkError:
        return False
    return True


def with_multicast(
    test: Callable[..., Awaitable[None]],
) -> Callable[..., Awaitable[None]]:
    """Run the test; where there is no multicast, check that this is said clearly."""

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        if has_multicast():
            await test(*args, **kwargs)
        else:
            await assert_missing_multicast_is_said()

    return run


async def assert_missing_multicast_is_said() -> None:
    mdns = MDNS(peer(1), [at(LOOPBACK)], lambda peer_id, addrs: None)
    with pytest.raises(NetworkError, match=r"^multicast is not available: .+"):
        await mdns.start()
    await mdns.close()


async def eventually(condition: Callable[[], object]) -> None:
    """Return when the condition holds; fail when it does not for long."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


class Wire:
    """What went over loopback multicast, and a way to send to it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.packets: list[DNSIncoming] = []

    def send(self, data: bytes) -> None:
        self._sock.sendto(data, (GROUP, MDNS_PORT))

    def pump(self) -> list[DNSIncoming]:
        """All packets so far."""
        while True:
            try:
                data = self._sock.recv(65536)
            except BlockingIOError:
                return self.packets
            self.packets.append(DNSIncoming(data))

    def answers(self, *names: str) -> list[DNSIncoming]:
        """The answers that speak of all these names."""
        labels = [name.partition(".")[0].encode() for name in names]
        packets = [packet for packet in self.pump() if packet.is_response()]
        return [p for p in packets if all(label in p.data for label in labels)]


@contextmanager
def loopback_wire() -> Iterator[Wire]:
    """A socket in the mDNS group on loopback, port 5353."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own = socket.inet_aton(LOOPBACK)
        sock.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + own
        )
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        sock.bind(("", MDNS_PORT))
        sock.setblocking(False)
        yield Wire(sock)
