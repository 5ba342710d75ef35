"""Peers on the local network, announced and heard by multicast DNS as go-libp2p does.

Theory of operation: python-zeroconf owns the sockets, the announcements and the answers
(one packet each: PTR, SRV, TXT and the addresses, because go-libp2p judges packets one
by one). Its browser refuses a service name like ours, so PTR questions are asked here,
at once, after 4 s, then ever less often up to once a minute; a listener reads the
records of every packet that comes in. Packets pass a gate first (DSC-1).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import string
from typing import TYPE_CHECKING, Any, cast

from zeroconf import (
    DNSOutgoing,
    DNSQuestion,
    Error,
    InterfaceChoice,
    IPVersion,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
)
from zeroconf.asyncio import AsyncZeroconf

from praxis_fast.errors import NetworkError, UsageError
from praxis_fast.limits import DiscoveryLimits
from praxis_fast.p2p.announcement import announced_text, heard_peers, is_announceable
from praxis_fast.p2p.packet_gate import MDNS_PORT, TYPE_PTR, PacketGate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from praxis_fast.p2p.announcement import Addresses
    from praxis_fast.p2p.packet_gate import DatagramReceiver
    from praxis_fast.wire.multiaddr import Multiaddr
    from praxis_fast.wire.peer_id import PeerID

logger = logging.getLogger(__name__)

SERVICE = "praxis-p2p-mcp.local."
GROUP = "224.0.0.251"  # RFC 6762, 3
LOOPBACK = "127.0.0.1"
CLASS_IN = 1
QUERY = 0  # the flags of a question
# Under 300 s, so that Go agents, which forget what they have not seen for that long,
# ask again in time; long enough that one lost packet does no harm.
TTL = 120
NAME_ALPHABET = string.ascii_lowercase + string.digits
NAME_LENGTH = 32  # go-libp2p takes 32 to 63
SECOND_QUESTION = 4.0  # s, as go-libp2p asks
LONGEST_PAUSE = 60.0
# A full set answers every question for our records; not more often than RFC 6762, 6
# allows one record to be multicast.
ANSWER_PAUSE = 1.0


class MDNS(RecordUpdateListener):
    """Announces one host and reports what others announce.

    `on_found(peer_id, addresses)` is called for every packet that names a peer, also
    for one already known; `on_goodbye(peer_id)` when a peer says it leaves. Both are
    hints of strangers.
    """

    def __init__(
        self,
        host_peer_id: PeerID,
        addrs: Sequence[Multiaddr],
        on_found: Callable[[PeerID, list[Multiaddr]], None],
        *,
        on_goodbye: Callable[[PeerID], None] | None = None,
        limits: DiscoveryLimits | None = None,
        interfaces: Sequence[str] | None = None,
        service: str = SERVICE,
        rng: random.Random | None = None,
    ) -> None:
        self._peer_id = host_peer_id
        self._addrs = [addr for addr in addrs if is_announceable(addr)]
        self._on_found = on_found
        self._on_goodbye = on_goodbye
        self._limits = limits or DiscoveryLimits()
        self._interfaces = self._chosen_interfaces(interfaces)
        self._service = service
        self._rng = rng or random.SystemRandom()
        self._zeroconf: AsyncZeroconf | None = None
        self._info: ServiceInfo | None = None
        self._tasks: list[asyncio.Future[Any]] = []
        self._answered_at = 0.0

    async def start(self) -> None:
        """Announce and begin to ask; NetworkError when there is no multicast."""
        if self._zeroconf is not None:
            raise UsageError("mdns is already started")
        check_multicast(self._interfaces)
        self._zeroconf = AsyncZeroconf(zc=self._open())
        try:
            await self._begin(self._zeroconf)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Say goodbye and release the sockets; safe to repeat."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is None:
            return
        self._info = None
        await finished(self._shut(zeroconf))

    async def _shut(self, zeroconf: AsyncZeroconf) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(KeyError):
            zeroconf.zeroconf.async_remove_listener(self)
        await zeroconf.async_close()

    def async_update_records(
        self, zc: Zeroconf, now: float, records: list[RecordUpdate]
    ) -> None:
        """Called by zeroconf with the records of one packet."""
        alive = [update.new for update in records if update.new.ttl]
        gone = [update.new for update in records if not update.new.ttl]
        for peer_id, addrs in self._heard(alive).items():
            self._on_found(peer_id, list(addrs))
        if self._on_goodbye is not None:
            for peer_id in self._heard(gone):
                self._on_goodbye(peer_id)

    def _heard(self, records: list[Any]) -> dict[PeerID, Addresses]:
        heard = heard_peers(records, self._service, self._limits.max_addresses)
        heard.pop(self._peer_id, None)
        return heard

    def _chosen_interfaces(self, interfaces: Sequence[str] | None) -> list[str] | None:
        """A host that listens on loopback only is nobody else's business."""
        if interfaces is not None:
            return list(interfaces)
        if self._addrs and all(addr.is_loopback for addr in self._addrs):
            return [LOOPBACK]
        return None

    def _open(self) -> Zeroconf:
        try:
            if self._interfaces is not None:
                return Zeroconf(interfaces=self._interfaces, use_asyncio=True)
            return Zeroconf(
                interfaces=InterfaceChoice.All,
                ip_version=IPVersion.V4Only,
                use_asyncio=True,
            )
        except (OSError, RuntimeError) as error:
            raise NetworkError(f"multicast is not available: {error}") from error

    async def _begin(self, zeroconf: AsyncZeroconf) -> None:
        zc = zeroconf.zeroconf
        try:
            await finished(zc.async_wait_for_start())
        except (Error, OSError) as error:
            raise NetworkError(f"multicast is not available: {error}") from error
        if not zc.engine.senders:
            raise NetworkError("multicast is not available: no interface can send")
        self._guard(zc)
        zc.async_add_listener(self, None)
        if self._addrs:
            self._info = self._service_info()
            # The name is random, nobody else has it: no probing (that is what
            # cooperating_responders means), so the announcement goes out at once.
            announcing = await zeroconf.async_register_service(
                self._info, strict=False, cooperating_responders=True
            )
            self._tasks.append(cast("asyncio.Future[Any]", announcing))
        self._tasks.append(asyncio.create_task(self._ask(zc), name="mdns questions"))

    def _guard(self, zc: Zeroconf) -> None:
        clock = asyncio.get_running_loop().time
        for reader in zc.engine.readers:
            transport = reader.transport
            receiver = cast("DatagramReceiver", transport.get_protocol())
            gate = PacketGate(receiver, self._limits, self._answer, clock)
            transport.set_protocol(gate)

    def _service_info(self) -> ServiceInfo:
        name = "".join(self._rng.choices(NAME_ALPHABET, k=NAME_LENGTH))
        return ServiceInfo(
            self._service,
            f"{name}.{self._service}",
            port=next((addr.port for addr in self._addrs if addr.port), 4001),
            server=f"{name}.local.",
            parsed_addresses=first_of_each_family(self._addrs),
            properties=announced_text(self._peer_id, self._addrs),
            host_ttl=TTL,
            other_ttl=TTL,
        )

    def _answer(self, names: set[str]) -> bool:
        """Answer a question for any of our records with all of them."""
        zeroconf, info = self._zeroconf, self._info
        if zeroconf is None or info is None or info.server is None:
            return False
        if not names & {self._service, info.name.lower(), info.server.lower()}:
            return False
        now = asyncio.get_running_loop().time()
        if now - self._answered_at >= ANSWER_PAUSE:
            self._answered_at = now
            zc = zeroconf.zeroconf
            zc.async_send(zc.generate_service_broadcast(info, None))
        return True

    async def _ask(self, zc: Zeroconf) -> None:
        pause = SECOND_QUESTION
        while True:
            question = DNSOutgoing(QUERY)
            question.add_question(DNSQuestion(self._service, TYPE_PTR, CLASS_IN))
            zc.async_send(question)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * self._rng.uniform(1.5, 2.5))


async def finished(work: Coroutine[Any, Any, None]) -> None:
    """Wait for something short to its end, even when cancelled meanwhile.

    Zeroconf cancelled while it opens or closes leaves its sockets open.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def check_multicast(interfaces: Sequence[str] | None) -> None:
    """NetworkError with the reason when no interface can join the mDNS group."""
    fault: OSError | None = None
    for interface in interfaces or ("0.0.0.0", LOOPBACK):  # noqa: S104 - system's choice
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        if family == socket.AF_INET6:
            return  # zeroconf finds the interface's index and says what is wrong
        try:
            join_group(interface)
        except OSError as error:
            fault = error
        else:
            return
    raise NetworkError(f"multicast is not available: udp port {MDNS_PORT}: {fault}")


def join_group(interface: str) -> None:
    """Join the group as zeroconf will, and see whether there is a way to send to it."""
    own = socket.inet_aton(interface)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("", MDNS_PORT))
        member = socket.inet_aton(GROUP) + own
        probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        probe.connect((GROUP, MDNS_PORT))


def first_of_each_family(addrs: Sequence[Multiaddr]) -> list[str]:
    """The first IPv4 and the first IPv6 address, as go-libp2p puts into A and AAAA."""
    first: dict[str, str] = {}
    for addr in addrs:
        kind, host = addr.host
        first.setdefault(kind, host)
    return list(first.values())
