"""Tool calls: to our own tools, to peers' tools, and from peers to ours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from praxis_fast.agent.tool_protocol import ToolProtocol, value_of
from praxis_fast.errors import (
    DialError,
    NetworkError,
    ToolError,
    ToolNotFoundError,
    ToolRefusedError,
    ToolTimeoutError,
)
from praxis_fast.events.payloads import tool_request_payload, tool_response_payload
from praxis_fast.wire.envelope import ToolReply, ToolRequest
from praxis_fast.wire.peer_id import PeerID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from praxis_fast.agent.faults import Faults
    from praxis_fast.agent.peers import Peers
    from praxis_fast.agent.tools import ToolBox
    from praxis_fast.events.bus import EventBus
    from praxis_fast.limits import Limits
    from praxis_fast.p2p.host import Host


class Calls:
    """Finds who has the tool, calls it, and tells the bus of both ends of each call."""

    def __init__(
        self,
        host: Host,
        *,
        bus: EventBus,
        tools: ToolBox,
        peers: Peers,
        faults: Faults,
        allowed: frozenset[PeerID],
        limits: Limits,
        wall_clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._bus = bus
        self._tools = tools
        self._peers = peers
        self._faults = faults
        self._allowed = allowed
        self.protocol = ToolProtocol(
            host,
            serve=self._serve,
            reach=self._reach,
            limits=limits,
            wall_clock=wall_clock,
        )

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        peer: PeerID | str | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """The tool's answer; see `Agent.call_tool`."""
        if peer is not None:
            peer_id = peer if isinstance(peer, PeerID) else PeerID.parse(peer)
        elif name in self._tools:
            peer_id = self._host.peer_id
        elif (found := self._peers.with_tool(name)) is not None:
            peer_id = found
        else:
            message = f"neither this agent nor a connected peer has a tool {name!r}"
            raise ToolNotFoundError(message)
        if peer_id == self._host.peer_id:
            return await self._run(name, arguments, timeout, uuid4().hex)
        return await self._ask(peer_id, name, arguments, timeout)

    async def _run(
        self,
        name: str,
        arguments: Mapping[str, Any] | None,
        timeout: float | None,
        request_id: str,
    ) -> Any:
        """Run one of our own tools, with the events around it."""
        told: dict[str, Any] = {"tool_name": name, "request_id": request_id}
        self._bus.publish("tool.starting", told, correlation_id=request_id)
        begun = time.perf_counter()
        error: dict[str, Any] | None = None
        try:
            return await self._tools.call(name, arguments, timeout=timeout)
        except ToolError as raised:
            error = _as_message(raised)
            raise
        finally:
            # Another mapping: the first belongs to the event that was published.
            told = {
                **told,
                "engine": "python",
                "success": error is None,
                "duration": time.perf_counter() - begun,
                "error": error,
            }
            ended = "tool.completed" if error is None else "tool.failed"
            for event in (ended, "tool.executed"):
                self._bus.publish(event, told, correlation_id=request_id)

    async def _ask(
        self,
        peer_id: PeerID,
        name: str,
        arguments: Mapping[str, Any] | None,
        timeout: float,
    ) -> Any:
        """Call a peer's tool, with the events around it."""
        request = self.protocol.request(name, arguments)
        reply: ToolReply | None = None
        self._tell_request(peer_id, request, "out")
        begun = time.perf_counter()
        try:
            reply = await self.protocol.call(peer_id, request, timeout)
        except (ToolError, NetworkError) as raised:
            reply = ToolReply(id=request.id, error=_as_message(raised))
            raise
        finally:
            if reply is None:  # cancelled
                gone = ToolTimeoutError("the caller no longer waits")
                reply = ToolReply(id=request.id, error=_as_message(gone))
            self._tell_reply(peer_id, request, reply, "out", begun)
        return value_of(reply)

    async def _reach(self, peer_id: PeerID) -> None:
        """Connect to a peer that is known and not connected."""
        if self._host.is_connected(peer_id):
            return
        for record in self._peers:
            if record.id == peer_id and record.addresses:
                await self._host.connect_peer(peer_id, record.addresses)
                return
        raise DialError(f"not connected to {peer_id}, and no address of it is known")

    async def _serve(self, peer_id: PeerID, request: ToolRequest) -> ToolReply:
        """A peer calls one of our tools (PEER-1)."""
        self._tell_request(peer_id, request, "in")
        begun = time.perf_counter()
        reply: ToolReply | None = None
        try:
            self._check_allowed(peer_id, request.name)
            result = await self._run(request.name, request.arguments, None, request.id)
            reply = ToolReply(id=request.id, result=result)
        except ToolError as error:
            reply = ToolReply(id=request.id, error=_as_message(error))
        finally:
            if reply is None:  # cancelled: the peer or the agent is leaving
                gone = ToolTimeoutError("the caller left")
                reply = ToolReply(id=request.id, error=_as_message(gone))
            self._tell_reply(peer_id, request, reply, "in", begun)
        return reply

    def _check_allowed(self, peer_id: PeerID, name: str) -> None:
        called = self._tools.get(name)
        if called is None:
            raise ToolNotFoundError(f"no tool {name!r}")
        if not called.remote and peer_id not in self._allowed:
            message = f"tool {name!r} is not for peers"
            self._faults.audit("tool_refused", peer_id, message, tool_id=name)
            raise ToolRefusedError(message)

    def _tell_request(
        self, peer_id: PeerID, request: ToolRequest, direction: str
    ) -> None:
        payload = tool_request_payload(
            peer_id, request.name, request.arguments, request.id, direction=direction
        )
        self._bus.publish(
            "p2p.tool_request", payload, correlation_id=request.id, peer_id=peer_id
        )

    def _tell_reply(
        self,
        peer_id: PeerID,
        request: ToolRequest,
        reply: ToolReply,
        direction: str,
        begun: float,
    ) -> None:
        payload = tool_response_payload(
            peer_id,
            request.name,
            request.id,
            direction=direction,
            result=reply.result,
            error=reply.error,
            duration=time.perf_counter() - begun,
        )
        self._bus.publish(
            "p2p.tool_response", payload, correlation_id=request.id, peer_id=peer_id
        )


def _as_message(error: ToolError | NetworkError) -> dict[str, Any]:
    """The error as a reply carries it."""
    return {"code": getattr(error, "code", ToolError.code), "message": str(error)}
