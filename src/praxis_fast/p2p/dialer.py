"""Dials that several callers wait for together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praxis_fast.errors import DialError, ResourceLimitError
from praxis_fast.p2p.dial import race, resolve
from praxis_fast.p2p.listen import descriptor_limit
from praxis_fast.p2p.upgrading import Upgrading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from praxis_fast.p2p.dial import Target
    from praxis_fast.p2p.link import Link
    from praxis_fast.p2p.link_owner import LinkOwner
    from praxis_fast.p2p.resources import Resources
    from praxis_fast.wire.multiaddr import Multiaddr
    from praxis_fast.wire.peer_id import PeerID


class Dialer:
    """Dials peers; one dial a peer at a time, given up when nobody waits for it."""

    def __init__(
        self,
        owner: LinkOwner,
        resources: Resources,
        on_made: Callable[[Upgrading], None],
    ) -> None:
        self._owner = owner
        self._resources = resources
        self._on_made = on_made
        self._dials: dict[PeerID, asyncio.Task[Link]] = {}
        self._waiting: dict[asyncio.Task[Link], int] = {}

    async def dial(
        self, peer_id: PeerID | None, addresses: Sequence[Multiaddr]
    ) -> Link:
        """A secured link to the peer; DialError when there is no way to it."""
        task = self._dials.get(peer_id) if peer_id is not None else None
        if task is None:
            task = self._start(peer_id, addresses)
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise DialError(f"the dial of {peer_id} was given up") from None
            raise
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                task.cancel()

    async def close(self) -> None:
        """Give up all dials."""
        tasks = list(self._waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(
        self, peer_id: PeerID | None, addresses: Sequence[Multiaddr]
    ) -> asyncio.Task[Link]:
        task = asyncio.create_task(self._run(peer_id, addresses))
        self._waiting[task] = 0
        if peer_id is not None:
            self._dials[peer_id] = task
            task.add_done_callback(lambda _: self._dials.pop(peer_id, None))
        return task

    async def _run(
        self, peer_id: PeerID | None, addresses: Sequence[Multiaddr]
    ) -> Link:
        name = peer_id or "the peer"
        timeout = self._owner.limits.connections.dial_timeout
        try:
            async with asyncio.timeout(timeout):
                targets = await resolve(addresses)
                return await race(targets, lambda target: self._try(target, peer_id))
        except TimeoutError:
            raise DialError(f"no answer from {name} in {timeout:g} s") from None
        except DialError as error:
            raise DialError(f"cannot reach {name}: {error}") from error

    async def _try(self, target: Target, peer_id: PeerID | None) -> Link:
        slot = self._resources.admit_outbound()
        upgrading = Upgrading(
            self._owner,
            inbound=False,
            address=target.address,
            slot=slot,
            expected_peer=peer_id,
        )
        self._on_made(upgrading)
        try:
            transport, _ = await upgrading.loop.create_connection(
                lambda: upgrading, target.ip, target.port
            )
            self._check_descriptor(transport)
            return await upgrading.secured()
        except BaseException:
            upgrading.discard()
            raise

    def _check_descriptor(self, transport: asyncio.Transport) -> None:
        """Keep some file descriptors free for other work (docs/limits.md CON-3)."""
        limit = descriptor_limit(self._owner.limits.connections)
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.fileno() >= limit:
            raise ResourceLimitError(f"descriptor limit {limit} reached")
