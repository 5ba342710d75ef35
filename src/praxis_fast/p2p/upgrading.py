"""A connection on its way to be a link: the upgrade with its deadlines (CON-1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from praxis_fast.errors import (
    ConnectionLostError,
    MultistreamError,
    NetworkError,
    NoiseError,
    ProtocolError,
)
from praxis_fast.p2p.alarm import Alarm
from praxis_fast.p2p.link import LINGER, Link
from praxis_fast.p2p.upgrade import Stage, Upgrade

if TYPE_CHECKING:
    from praxis_fast.p2p.link_owner import LinkOwner
    from praxis_fast.p2p.resources import Slot
    from praxis_fast.wire.peer_id import PeerID


class Upgrading(asyncio.BufferedProtocol):
    """One TCP connection until it is secured; then the link takes the transport over.

    No byte puts a deadline off: a stage has its time, and so have all of them.
    """

    __slots__ = (
        "_alarm",
        "_expected_peer",
        "_is_over",
        "_linger",
        "_owner",
        "_ready",
        "_slot",
        "_stage_deadline",
        "_transport",
        "_upgrade",
        "_upgrade_deadline",
        "address",
        "inbound",
        "loop",
    )

    def __init__(
        self,
        owner: LinkOwner,
        *,
        inbound: bool,
        address: str,
        slot: Slot,
        expected_peer: PeerID | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.address = address
        """The other end's socket, as a multiaddr without the peer id."""
        self.inbound = inbound
        """Whether they dialled us."""
        self._owner = owner
        self._slot = slot
        self._expected_peer = expected_peer
        self._upgrade = Upgrade(
            initiator=not inbound,
            key=owner.static_key,
            expected_peer=expected_peer,
            limits=owner.limits.security,
        )
        self._ready: asyncio.Future[Link] = self.loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._stage_deadline = self._upgrade_deadline = 0.0
        self._alarm = Alarm(owner.clock, self._on_deadline)
        self._linger: asyncio.TimerHandle | None = None
        self._is_over = False

    async def secured(self) -> Link:
        """The link, when it is there; raises what stopped the upgrade."""
        return await self._ready

    async def close(self, reason: str, drain: float) -> None:
        """Give the connection up; there is nothing to wait for."""
        self.discard(reason)

    def discard(self, reason: str = "given up") -> None:
        """Give the connection up without a word to anybody."""
        self._stop(ConnectionLostError(reason))

    # -- asyncio.BufferedProtocol ------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        if self._is_over:
            self._transport.abort()
            return
        limits = self._owner.limits.connections
        now = self._owner.clock()
        self._upgrade_deadline = now + limits.upgrade_timeout
        self._stage_deadline = now + limits.stage_timeout
        if self.inbound:
            # A dialer's first words are mostly here already: our header leaves with the
            # answer to them, or a turn later to a dialer that waits for it.
            self.loop.call_soon(self._speak)
        else:
            self._speak()
        self._arm()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._owner.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """A read came in."""
        if self._is_over or self._transport is None:
            return
        upgrade = self._upgrade
        stage = upgrade.stage
        try:
            upgrade.receive_data(bytes(self._owner.read_buffer[:nbytes]))
            self._check_identity()
        except ProtocolError as error:
            self._send(self._transport)
            self._fail(error, _kind_of(error))
            return
        self._send(self._transport)
        if upgrade.stage is Stage.DONE:
            self._hand_over(self._transport)
        elif upgrade.stage is not stage:
            limits = self._owner.limits.connections
            self._stage_deadline = self._owner.clock() + limits.stage_timeout

    def eof_received(self) -> bool:
        """The peer closed its side, which ends the connection."""
        self._on_lost("closed by the peer")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._on_lost("closed by the peer" if exc is None else f"lost: {exc}")
        if self._linger is not None:
            self._linger.cancel()
        self._transport = None
        self._leave()

    # -- inside ------------------------------------------------------------------------

    def _speak(self) -> None:
        """Say what needs no word of the peer."""
        if self._transport is not None and not self._is_over:
            self._send(self._transport)

    def _send(self, transport: asyncio.Transport) -> None:
        data = self._upgrade.data_to_send()
        if data:
            transport.write(data)

    def _check_identity(self) -> None:
        if self._upgrade.remote_peer == self._owner.peer_id:
            raise NoiseError("the peer has our own identity")

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """Make the link, which reads and closes the transport from now on."""
        upgrade = self._upgrade
        # The handshake is done, so all of them are there.
        assert upgrade.remote_peer is not None
        assert upgrade.remote_key is not None
        assert upgrade.transport is not None
        self._is_over = True
        self._alarm.cancel()
        link = Link(
            self._owner,
            transport=transport,
            noise=upgrade.transport,
            peer_id=upgrade.remote_peer,
            public_key=upgrade.remote_key,
            inbound=self.inbound,
            address=self.address,
            slot=self._slot,
        )
        transport.set_protocol(link)
        self._slot.secured()
        if not self._ready.done():
            self._ready.set_result(link)
        self._owner.on_secured(link)
        self._owner.on_gone(self)
        link.receive(b"".join(upgrade.leftover))

    def _arm(self) -> None:
        self._alarm.set(min(self._stage_deadline, self._upgrade_deadline))

    def _on_deadline(self) -> None:
        """End the connection if it is late; stages that passed moved the deadline."""
        limits = self._owner.limits.connections
        now = self._owner.clock()
        if now >= self._upgrade_deadline:
            message = f"not secured in {limits.upgrade_timeout:g} s"
        elif now >= self._stage_deadline:
            stage = self._upgrade.stage
            message = f"{stage} not done in {limits.stage_timeout:g} s"
        else:
            self._arm()
            return
        self._fail(ConnectionLostError(message), "timeout")

    def _on_lost(self, reason: str) -> None:
        message = f"{reason} in the {self._upgrade.stage}"
        self._fail(ConnectionLostError(message), "upgrade")

    def _fail(self, error: ProtocolError | NetworkError, kind: str) -> None:
        """Say once what went wrong and end the connection."""
        if self._is_over:
            return
        peer_id = self._expected_peer
        self._owner.observers.error(kind, peer_id, self.address, str(error))
        self._stop(error)

    def _stop(self, error: ProtocolError | NetworkError) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._alarm.cancel()
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # an inbound one has nobody waiting for it
        if self._transport is None:
            self._leave()
            return
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._linger = self.loop.call_later(LINGER, self._transport.abort)

    def _leave(self) -> None:
        self._slot.release()
        self._owner.on_gone(self)


def _kind_of(error: ProtocolError) -> str:
    """What an observer is told went wrong."""
    return "negotiation" if isinstance(error, MultistreamError) else "security"
