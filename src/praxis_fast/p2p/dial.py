"""Dialling one peer at several addresses, whichever answers first (RFC 8305)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from praxis_fast.errors import DialError, PraxisError
from praxis_fast.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from praxis_fast.p2p.link import Link

# RFC 8305 section 5, "Connection Attempt Delay".
STAGGER = 0.25

_FAMILIES = {
    "ip4": socket.AF_INET,
    "ip6": socket.AF_INET6,
    "dns4": socket.AF_INET,
    "dns6": socket.AF_INET6,
    "dns": socket.AF_UNSPEC,
}


@dataclass(frozen=True, slots=True)
class Target:
    """One socket address to try."""

    ip: str
    """IPv4 or IPv6, in text."""
    port: int
    """TCP port."""

    @property
    def address(self) -> str:
        """The target as a multiaddr."""
        return str(Multiaddr.tcp(self.ip, self.port))


async def resolve(addresses: Sequence[Multiaddr]) -> list[Target]:
    """The targets behind the addresses, families taking turns, each once.

    DialError when none of them leads anywhere.
    """
    targets: list[Target] = []
    problems: list[str] = []
    for address in addresses:
        try:
            targets += await _resolve_one(address)
        except DialError as error:
            problems.append(str(error))
    if not targets:
        raise DialError("; ".join(problems) or "no address to dial")
    return _interleave(list(dict.fromkeys(targets)))


async def race(
    targets: Sequence[Target], attempt: Callable[[Target], Awaitable[Link]]
) -> Link:
    """The first link that is secured; the other attempts are given up.

    A new attempt starts when one failed or `STAGGER` seconds after the one before.
    DialError says what every attempt met.
    """
    waiting = list(targets)
    running: dict[asyncio.Task[Link], Target] = {}
    problems: list[str] = []
    try:
        while waiting or running:
            if waiting:
                target = waiting.pop(0)
                running[asyncio.ensure_future(attempt(target))] = target
            done, _ = await asyncio.wait(
                running,
                timeout=STAGGER if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                target = running.pop(task)
                link = _result(task, target, problems)
                if link is not None:
                    return link
        raise DialError("; ".join(problems))
    finally:
        await _give_up(running)


def _result(
    task: asyncio.Task[Link], target: Target, problems: list[str]
) -> Link | None:
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, (OSError, PraxisError)):
        raise error
    problems.append(f"{target.address}: {_reason(error)}")
    return None


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


async def _give_up(running: dict[asyncio.Task[Link], Target]) -> None:
    """Cancel the losers; one that had already won is ended too."""
    for task in running:
        task.cancel()
    results = await asyncio.gather(*running, return_exceptions=True)
    for result in results:
        if not isinstance(result, BaseException):
            result.end("another address was quicker")


async def _resolve_one(address: Multiaddr) -> list[Target]:
    kind, host = address.host
    port = address.port
    rest = [name for name, _ in address.parts if name not in ("tcp", "p2p", kind)]
    if kind == "dnsaddr":
        raise DialError(
            f"{address}: dnsaddr needs a TXT look-up, which is not built in; "
            "use ip4, ip6, dns4 or dns6"
        )
    if port is None or rest or kind not in _FAMILIES:
        raise DialError(f"{address}: not a TCP address")
    if kind in ("ip4", "ip6"):
        return [Target(str(ipaddress.ip_address(host)), port)]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host, port, family=_FAMILIES[kind], type=socket.SOCK_STREAM
        )
    except OSError as error:
        raise DialError(f"{address}: {_reason(error)}") from error
    return [Target(str(name[0]), port) for *_, name in found]


def _interleave(targets: list[Target]) -> list[Target]:
    """IPv6 and IPv4 in turns, the first one's family first (RFC 8305 section 4)."""
    first = ":" in targets[0].ip
    same = [target for target in targets if (":" in target.ip) == first]
    other = [target for target in targets if (":" in target.ip) != first]
    pairs = zip_longest(same, other)
    return [target for pair in pairs for target in pair if target is not None]
