"""The host: who we are, what we serve, and the links to our peers."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from praxis_fast import __version__
from praxis_fast.errors import (
    ConnectionLostError,
    DialError,
    NetworkError,
    ResourceLimitError,
    StreamResetError,
    UsageError,
)
from praxis_fast.limits import Limits
from praxis_fast.p2p import ping
from praxis_fast.p2p.dialer import Dialer
from praxis_fast.p2p.identify import (
    IDENTIFY,
    IDENTIFY_PUSH,
    PROTOCOL_VERSION,
    IdentifyService,
)
from praxis_fast.p2p.interfaces import expand
from praxis_fast.p2p.link import ASKED, PLAIN_BUFFER, READ_BUFFER, SHUTDOWN, Link
from praxis_fast.p2p.listen import Listener
from praxis_fast.p2p.observers import LinkInfo, Observers
from praxis_fast.p2p.peer import Peer
from praxis_fast.p2p.pool import Pool
from praxis_fast.p2p.resources import Resources
from praxis_fast.p2p.upgrading import Upgrading
from praxis_fast.wire.identify import Identify
from praxis_fast.wire.keys import PrivateKey
from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.noise import StaticKey
from praxis_fast.wire.peer_id import PeerID

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from praxis_fast.p2p.duties import Handler
    from praxis_fast.p2p.stream import Stream

logger = logging.getLogger(__name__)

AGENT_VERSION = f"praxis-fast/{__version__}"

# How long the addresses of this machine's interfaces are taken to stay the same.
ADDRESSES_AGE = 10.0


class Host:
    """A libp2p peer: listens, dials, and opens and serves streams.

    Lives in one event loop. `async with`, or `start` and `close`; what was opened is
    gone when `close` returns.
    """

    def __init__(
        self,
        key: PrivateKey | None = None,
        *,
        listen: Sequence[str] = (),
        limits: Limits | None = None,
        agent_version: str = AGENT_VERSION,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.key = key if key is not None else PrivateKey.generate()
        """Our identity."""
        self.static_key = StaticKey(self.key)
        """What proves our identity in every handshake."""
        self.peer_id = self.key.peer_id
        """The id under which others know us."""
        self.limits = limits if limits is not None else Limits()
        """The limits of this host and of all its links."""
        self.clock = clock if clock is not None else time.monotonic
        """Monotonic seconds."""
        self.observers = Observers(self.clock)
        """Who is told of connections, identities and failures."""
        self.resources = Resources(self.limits.connections, self.clock)
        """Which connections are open, counted."""
        self.pool = Pool(self.limits.process.buffer_pool)
        """What all links hold in buffers."""
        self.read_buffer = memoryview(bytearray(READ_BUFFER))
        """Where every link of this host reads into."""
        self.plain_buffer = memoryview(bytearray(PLAIN_BUFFER))
        """Where every link decrypts what it read."""
        self.spares: list[bytearray] = []
        """Buffers that links fill when they send much."""
        self._identify = IdentifyService(self)
        self.handlers: dict[str, Handler] = {
            IDENTIFY: self._identify.answer,
            IDENTIFY_PUSH: self._identify.accept_push,
            ping.PING: ping.answer,
        }
        """Handlers by protocol id; changed by `handle` and `unhandle`."""
        self._agent_version = agent_version
        self._listen = [Multiaddr.parse(text) for text in listen]
        self._listeners: list[Listener] = []
        self._addresses: tuple[float, list[Multiaddr]] = (0.0, [])
        self._connections: set[Link | Upgrading] = set()
        self._peers: dict[PeerID, Peer] = {}
        self._dialer = Dialer(self, self.resources, self._connections.add)
        self._tasks: set[asyncio.Task[Any]] = set()  # sockets on their way to a link
        self._all_gone: asyncio.Future[None] | None = None
        self._is_running = False
        self._is_telling = False

    # -- life --------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind the listeners; NetworkError when an address cannot be had."""
        if self._is_running:
            raise UsageError("host is already started")
        self._is_running = True
        try:
            for address in self._listen:
                self._start_listener(address)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Accept nothing more, let busy streams end, then close everything."""
        self._is_running = False
        drain = self.limits.connections.drain_timeout
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await self._dialer.close()
        await asyncio.gather(
            *(one.close(SHUTDOWN, drain) for one in tuple(self._connections))
        )
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._wait_gone(drain)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Host {self.peer_id}, {len(self._peers)} peers>"

    # -- what we serve -----------------------------------------------------------------

    @property
    def addrs(self) -> list[str]:
        """The addresses others may dial, our peer id included."""
        return [str(addr.with_peer(self.peer_id)) for addr in self._listen_addresses()]

    @property
    def protocols(self) -> list[str]:
        """The protocol ids served."""
        return list(self.handlers)

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve a protocol: `handler(stream)` runs as a task for each new stream."""
        if not protocol.startswith("/"):
            raise UsageError(f"protocol id {protocol!r} does not start with /")
        is_new = protocol not in self.handlers
        self.handlers[protocol] = handler
        if is_new:
            self._push_soon()

    def unhandle(self, protocol: str) -> None:
        """Serve a protocol no more; streams that run go on."""
        if self.handlers.pop(protocol, None) is not None:
            self._push_soon()

    def add_observer(self, observer: object) -> None:
        """Tell `observer` of changes; see `praxis_fast.p2p.observers.Observer`."""
        self.observers.add(observer)

    def remove_observer(self, observer: object) -> None:
        """Tell `observer` nothing more."""
        self.observers.discard(observer)

    # -- peers -------------------------------------------------------------------------

    def peers(self) -> list[PeerID]:
        """The peers connected now."""
        return list(self._peers)

    def is_connected(self, peer_id: str) -> bool:
        """Whether there is a link to the peer."""
        return _as_peer_id(peer_id) in self._peers

    async def connect(
        self, addr: str | Multiaddr | Sequence[str | Multiaddr]
    ) -> PeerID:
        """Connect to the peer at an address, or at several of one peer.

        A link that is there is used again. DialError when nobody can be reached or
        another peer answers.
        """
        given = [addr] if isinstance(addr, (str, Multiaddr)) else addr
        addresses = [_as_multiaddr(one) for one in given]
        ids = {one.peer_id for one in addresses if one.peer_id is not None}
        if len(ids) > 1:
            raise UsageError(f"addresses of {len(ids)} peers, expected one")
        if ids:
            return await self.connect_peer(ids.pop(), addresses)
        return await self._connect_nameless(addresses)

    async def connect_peer(
        self, peer_id: str, addrs: Sequence[str | Multiaddr]
    ) -> PeerID:
        """Connect to this peer and no other at any of the addresses."""
        wanted = _as_peer_id(peer_id)
        self._check_running()
        if wanted == self.peer_id:
            raise DialError("a host does not dial itself")
        if wanted not in self._peers:
            await self._dialer.dial(wanted, [_as_multiaddr(addr) for addr in addrs])
        return wanted

    async def disconnect(self, peer_id: str) -> None:
        """End all links to the peer, with what runs on them."""
        peer = self._peers.get(_as_peer_id(peer_id))
        if peer is not None:
            for link in tuple(peer.links):
                link.end(ASKED)

    async def open_stream(self, peer_id: str, protocols: Sequence[str]) -> Stream:
        """Open a stream to a connected peer, on the first protocol it speaks."""
        names = (protocols,) if isinstance(protocols, str) else tuple(protocols)
        peer = self._require(peer_id)
        link = self._choose(peer)
        lazy = len(names) == 1 and names[0] in peer.protocols
        try:
            return await link.open_stream(names, lazy=lazy)
        except (ConnectionLostError, StreamResetError, ResourceLimitError):
            # The link may just have been left for another one (CON-6).
            other = peer.choose()
            if other is None or other is link:
                raise
        return await other.open_stream(names, lazy=lazy)

    async def ping(self, peer_id: str) -> float:
        """Seconds for one round trip to the peer and back."""
        timeout = self.limits.connections.negotiation_timeout
        try:
            async with asyncio.timeout(timeout):
                async with await self.open_stream(peer_id, (ping.PING,)) as stream:
                    return await ping.measure(stream)
        except TimeoutError:
            raise NetworkError(f"no ping from {peer_id} in {timeout:g} s") from None

    async def identify(self, peer_id: str) -> Identify | None:
        """What the peer says of itself, waited for; None when it says nothing."""
        peer = self._peers.get(_as_peer_id(peer_id))
        if peer is None:
            return None
        await peer.wait_identified()
        return peer.identity

    def identity(self, peer_id: str) -> Identify | None:
        """What the peer said of itself so far."""
        peer = self._peers.get(_as_peer_id(peer_id))
        return None if peer is None else peer.identity

    def links(self, peer_id: str) -> list[Link]:
        """The links to the peer, the newest last."""
        peer = self._peers.get(_as_peer_id(peer_id))
        return [] if peer is None else list(peer.links)

    # -- for links (LinkOwner) ---------------------------------------------------------

    def on_secured(self, link: Link) -> None:
        """A peer has proven who it is."""
        self._connections.add(link)
        peer = self._peers.get(link.peer_id)
        is_new = peer is None
        if peer is None:
            peer = self._peers[link.peer_id] = Peer(link.peer_id, self.peer_id)
        peer.links.append(link)
        if is_new:
            info = LinkInfo(link.peer_id, link.address, link.inbound)
            self.observers.connected(link.peer_id, info)
        peer.settle()
        if not link.is_gone:
            link.spawn("identify", self._ask, link, peer)

    def on_ended(self, link: Link, reason: str) -> None:
        """A link carries nothing any more."""
        peer = self._peers.get(link.peer_id)
        if peer is None or link not in peer.links:
            return
        peer.links.remove(link)
        if peer.links:
            peer.settle()
            return
        del self._peers[link.peer_id]
        peer.wake()
        self.observers.disconnected(link.peer_id, reason)

    def on_memory_short(self) -> None:
        """All buffers together are over their limit: whoever holds most pays."""
        links = [link for peer in self._peers.values() for link in peer.links]
        if links:
            max(links, key=lambda link: link.held).shed()

    def on_gone(self, connection: Link | Upgrading) -> None:
        """A connection's socket and tasks are gone, or it became a link."""
        self._connections.discard(connection)
        waiter = self._all_gone
        if not self._connections and waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- for identify (IdentifyOwner) --------------------------------------------------

    def describe(self, link: Link) -> Identify:
        """Who we are, as said on this link."""
        return Identify(
            protocol_version=PROTOCOL_VERSION,
            agent_version=self._agent_version,
            public_key=self.key.public_key.to_protobuf(),
            listen_addrs=tuple(addr.to_bytes() for addr in self._listen_addresses()),
            observed_addr=Multiaddr.parse(link.address).to_bytes(),
            protocols=tuple(self.handlers),
            signed_peer_record=None,
        )

    def known(self, link: Link) -> Identify | None:
        """What the peer at the other end said before."""
        return self.identity(link.peer_id)

    def on_identity(self, link: Link, identity: Identify) -> None:
        """The peer at the other end said who it is."""
        peer = self._peers.get(link.peer_id)
        if peer is None:
            return
        is_news = peer.learn(identity)
        peer.settle()
        if is_news:
            self.observers.identified(link.peer_id, identity)
        if peer.needs_push:
            self._push(peer)

    def on_told(self, link: Link) -> None:
        """The peer has read what we say on this link."""
        link.was_told = True
        peer = self._peers.get(link.peer_id)
        if peer is not None:
            peer.settle()

    async def _ask(self, link: Link, peer: Peer) -> None:
        try:
            await self._identify.ask(link)
        finally:
            peer.wake()

    def _push_soon(self) -> None:
        """Tell all peers, once for all changes of this loop turn."""
        if self._is_running and self._peers and not self._is_telling:
            self._is_telling = True
            asyncio.get_running_loop().call_soon(self._push_all)

    def _push_all(self) -> None:
        self._is_telling = False
        for peer in tuple(self._peers.values()):
            peer.needs_push = True
            if peer.identity is not None:
                self._push(peer)

    def _push(self, peer: Peer) -> None:
        link = peer.choose()
        if link is None or peer.is_pushing or IDENTIFY_PUSH not in peer.protocols:
            return
        peer.is_pushing = True
        link.spawn("identify", self._push_to, peer, link)

    async def _push_to(self, peer: Peer, link: Link) -> None:
        """Push until the peer knows the latest."""
        try:
            while peer.needs_push:
                peer.needs_push = False
                await self._identify.push(link)
        finally:
            peer.is_pushing = False

    # -- inside ------------------------------------------------------------------------

    def _check_running(self) -> None:
        if not self._is_running:
            raise UsageError("host is not started")

    def _require(self, peer_id: str) -> Peer:
        peer = self._peers.get(_as_peer_id(peer_id))
        if peer is None:
            raise ConnectionLostError(f"not connected to {peer_id}")
        return peer

    def _choose(self, peer: Peer) -> Link:
        link = peer.choose()
        if link is None:
            raise ConnectionLostError(f"not connected to {peer.peer_id}")
        return link

    def _start_listener(self, address: Multiaddr) -> None:
        listener = Listener(
            address,
            limits=self.limits.connections,
            observers=self.observers,
            on_socket=self._on_socket,
        )
        listener.start()
        self._listeners.append(listener)
        self._addresses = (0.0, [])

    def _listen_addresses(self) -> list[Multiaddr]:
        now = self.clock()
        if not self._addresses[1] or now - self._addresses[0] > ADDRESSES_AGE:
            found = [expand(listener.address) for listener in self._listeners]
            flat = dict.fromkeys(address for some in found for address in some)
            self._addresses = (now, list(flat))
        return self._addresses[1]

    def _on_socket(self, accepted: socket.socket, host: str, port: int) -> None:
        """A stranger connected; ResourceLimitError when there is no place."""
        slot = self.resources.admit_inbound(host)
        address = str(Multiaddr.tcp(host, port))
        upgrading = Upgrading(self, inbound=True, address=address, slot=slot)
        self._connections.add(upgrading)
        accepted.setblocking(False)
        adopting = asyncio.ensure_future(
            upgrading.loop.connect_accepted_socket(lambda: upgrading, accepted)
        )
        self._tasks.add(adopting)
        adopting.add_done_callback(partial(self._on_adopted, upgrading, accepted))

    def _on_adopted(
        self,
        upgrading: Upgrading,
        accepted: socket.socket,
        adopting: asyncio.Task[Any],
    ) -> None:
        self._tasks.discard(adopting)
        if adopting.cancelled() or adopting.exception() is not None:
            upgrading.discard()
            accepted.close()

    async def _connect_nameless(self, addresses: Sequence[Multiaddr]) -> PeerID:
        """Connect to whoever is there; a link we dialled to that place is used."""
        self._check_running()
        wanted = {str(address) for address in addresses}
        for peer in self._peers.values():
            for link in peer.links:
                if not link.inbound and link.address in wanted:
                    return peer.peer_id
        return (await self._dialer.dial(None, addresses)).peer_id

    async def _wait_gone(self, timeout: float) -> None:
        if not self._connections:
            return
        self._all_gone = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._all_gone
        except TimeoutError:
            logger.warning(
                "%d connections still have work that does not end",
                len(self._connections),
            )


def _as_peer_id(peer_id: str) -> PeerID:
    return peer_id if isinstance(peer_id, PeerID) else PeerID.parse(peer_id)


def _as_multiaddr(addr: str | Multiaddr) -> Multiaddr:
    return addr if isinstance(addr, Multiaddr) else Multiaddr.parse(addr)
