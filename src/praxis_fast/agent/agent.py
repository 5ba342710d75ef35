"""The agent: makes every long-lived part, connects them, and takes them down again.

host ──► discovery ──► peers ──► bus ──► HTTP, subscribers
  ▲                      ▲
  └─ card and tool protocols ◄── tools
"""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from praxis_fast.agent.calls import Calls
from praxis_fast.agent.card_protocol import CARD_PROTOCOL
from praxis_fast.agent.config import AgentConfig
from praxis_fast.agent.data_dir import DataDir
from praxis_fast.agent.delivery import Delivery
from praxis_fast.agent.faults import Faults
from praxis_fast.agent.introductions import Introductions
from praxis_fast.agent.peers import Peers
from praxis_fast.agent.tasks import Tasks
from praxis_fast.agent.tool_protocol import TOOL_PROTOCOL
from praxis_fast.agent.tools import ToolBox
from praxis_fast.agent.watch import log_event, tell_performance
from praxis_fast.errors import UsageError
from praxis_fast.events.bus import EventBus
from praxis_fast.events.priority import Priority
from praxis_fast.events.redact import Redactor
from praxis_fast.p2p.discovery import Discovery
from praxis_fast.p2p.host import Host
from praxis_fast.wire.keys import PrivateKey
from praxis_fast.wire.peer_id import PeerID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from praxis_fast.api.access.access import Access
    from praxis_fast.api.server import HTTPServer
    from praxis_fast.wire.card import Card
    from praxis_fast.wire.multiaddr import Multiaddr

logger = logging.getLogger(__name__)


class Agent:
    """Finds peers, swaps cards with them, calls their tools and serves its own.

    Lives in one event loop: `async with`, or `start` and `close`. When `start` fails,
    everything it had started is closed again.
    """

    def __init__(
        self,
        config: AgentConfig | None = None,
        tools: Iterable[Callable[..., Any]] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config or AgentConfig()
        self._clock = clock
        self._wall_clock = wall_clock
        limits, p2p = self.config.limits, self.config.p2p
        masking = self.config.masking
        allowed = frozenset(PeerID.parse(text) for text in p2p.allow)
        redactor = Redactor(masking.names, masking.patterns)
        self.bus = EventBus(
            source=f"agent.{self.config.name}",
            limits=limits.events,
            clock=clock,
            wall_clock=wall_clock,
            redactor=redactor,
            timed_every=self.config.events.timed_every,
        )
        if self.config.events.debug or self.config.logging.level == "debug":
            self.bus.add_sink(log_event)
        self.tools = ToolBox(
            tuple(tools), limits=limits.tools, clock=clock, mask=redactor.mask_text
        )
        self.host = Host(_key(self.config), listen=_listen(self.config), limits=limits)
        self.discovery = Discovery(
            self.host,
            limits=limits,
            bootstrap=p2p.bootstrap_nodes if p2p.enabled else (),
            enable_mdns=p2p.enable_mdns and p2p.enabled,
            clock=clock,
            wall_clock=wall_clock,
        )
        self.peers = Peers(self.bus, self.discovery.snapshot)
        self.http: HTTPServer | None = None
        self.access: Access | None = None
        self._faults = Faults(self.bus)
        self.delivery = Delivery(
            self.config, self.bus, self._faults, clock=clock, wall_clock=wall_clock
        )
        self._tasks = Tasks()
        self._introductions = Introductions(
            self.host,
            self.config,
            tools=self.tools,
            peers=self.peers,
            faults=self._faults,
            tasks=self._tasks,
            allowed=allowed,
            wall_clock=wall_clock,
        )
        self._calls = Calls(
            self.host,
            bus=self.bus,
            tools=self.tools,
            peers=self.peers,
            faults=self._faults,
            allowed=allowed,
            limits=limits,
            wall_clock=wall_clock,
        )
        self._running: AsyncExitStack | None = None
        self._is_used = False

    @property
    def card(self) -> Card:
        """Our card as any peer gets it."""
        return self._introductions.card_for()

    @property
    def expects_peers(self) -> bool:
        """Whether the configuration has us listen for peers."""
        return self.config.p2p.enabled

    def local_tools(self) -> list[dict[str, Any]]:
        """Our own tools; `remote` tells which of them every peer may call."""
        return [
            {**tool.spec.to_message(), "remote": tool.remote} for tool in self.tools
        ]

    def peer_snapshot(self) -> list[dict[str, Any]]:
        """Every known peer, as the events tell it."""
        return self.peers.snapshot()

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        peer: PeerID | str | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """What the tool answers: ours if we have it, else a connected peer's.

        With `peer` that peer is asked. Raises ToolError (not found, refused, arguments,
        timeout, failed) or NetworkError.
        """
        return await self._calls.call(name, arguments, peer=peer, timeout=timeout)

    async def reload_access(self) -> None:
        """Read the access file and the keys of web tokens again, as SIGHUP does."""
        if self.access is not None:
            await self.access.refresh(is_forced=True)

    async def connect(self, addr: str | Multiaddr) -> PeerID:
        """Connect to a peer by its address; DialError when it cannot be reached."""
        return await self.host.connect(addr)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen, serve and begin to look for peers."""
        if self._is_used:
            raise UsageError("an agent starts once; make another one")
        self._is_used = True
        self._publish("agent.starting")
        try:
            async with AsyncExitStack() as parts:
                await self._start_parts(parts)
                self._running = parts.pop_all()
        except BaseException as error:
            told = {"error": str(error), "component": "startup"}
            self._publish("agent.error", told, priority="high")
            await self.bus.close()
            raise
        started = {
            "components": ["p2p", "events", *(["http"] if self.http else [])],
            "listen_addresses": list(self.host.addrs),
            "peer_id": str(self.host.peer_id),
        }
        self._publish("agent.started", started)
        logger.info("agent %s is %s", self.config.name, self.host.peer_id)

    async def _start_parts(self, parts: AsyncExitStack) -> None:
        if self.config.data_dir:
            folder = DataDir(self.config.data_path)
            folder.open()
            parts.callback(folder.close)
        access = self.access = self._make_access()
        # Early, so that it is closed late: what the others say at their end is kept.
        parts.push_async_callback(self.delivery.close)
        await self.delivery.start(judge=None if access is None else access.visible)
        if access is not None:
            access.on_change.append(self.delivery.rejudge)
        self.host.handle(CARD_PROTOCOL, self._introductions.protocol.handle)
        self.host.handle(TOOL_PROTOCOL, self._calls.protocol.handle)
        self.discovery.add_observer(self.peers)
        self.host.add_observer(self._faults)
        self.host.add_observer(self._introductions)
        self.tools.on_change = self._introductions.tools_changed
        # Closed behind the host, whose leave of its peers it tells.
        parts.push_async_callback(self.discovery.close)
        parts.push_async_callback(self.host.close)
        await self.host.start()
        parts.push_async_callback(self._tasks.close)
        if self.config.events.performance:
            self._tasks.spawn(self._tell_performance(), "performance events")
        await self._start_http(parts)
        parts.push_async_callback(self.discovery.rest)
        await self.discovery.start()
        if (fault := self.discovery.mdns_error) is not None:
            self._faults.report("mdns", "no_multicast", str(fault), severity="warning")

    async def _tell_performance(self) -> None:
        interval = self.config.events.performance_interval
        name, clock = self.config.name, self._clock
        await tell_performance(name, self.bus, self.peers, interval, clock)

    def _make_access(self) -> Access | None:
        http = self.config.http
        # Webhooks have owners, who may have lost their rights, without HTTP as well.
        if not (http.enabled or self.config.webhooks.enabled):
            return None
        # Imported here, as the server below: an agent without HTTP need not load it.
        from praxis_fast.api.access.access import Access

        return Access(
            host=http.host,
            hosts=http.allowed_hosts,
            origins=http.allowed_origins,
            token=http.token,
            config=self.config.access,
            limits=self.config.limits.http,
            clock=self._clock,
            wall_clock=self._wall_clock,
        )

    async def _start_http(self, parts: AsyncExitStack) -> None:
        http = self.config.http
        if not http.enabled:
            return
        from praxis_fast.api.server import HTTPServer

        server = HTTPServer(
            self,
            http.host,
            http.port,
            self.config.limits,
            insecure_http=http.insecure,
            access=self.access,
            min_priority=Priority.parse(self.config.events.filter_level),
            journal=self.delivery.journal,
        )
        parts.push_async_callback(server.close)
        await server.start()
        self.http = server

    async def close(self) -> None:
        """End every conversation and give everything back; may be called twice."""
        parts, self._running = self._running, None
        if parts is None:
            return
        self._publish("agent.stopping")
        self.tools.on_change = None
        try:
            await parts.aclose()
        finally:
            self._publish("agent.stopped")
            logger.info("agent %s stopped", self.config.name)
            await self.bus.close()

    def _publish(
        self, name: str, told: Mapping[str, Any] | None = None, **fields: Any
    ) -> None:
        self.bus.publish(
            name, {"agent_name": self.config.name, **(told or {})}, **fields
        )


def _key(config: AgentConfig) -> PrivateKey:
    path = config.key_path
    return PrivateKey.generate() if path is None else PrivateKey.load_or_create(path)


def _listen(config: AgentConfig) -> list[str]:
    """The multiaddrs to listen on."""
    p2p = config.p2p
    if not p2p.enabled:
        return []
    kind = "ip6" if ":" in p2p.host else "ip4"
    return [f"/{kind}/{p2p.host}/tcp/{p2p.port}"]
