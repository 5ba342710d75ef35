"""The HTTP routes about the agent and its peers.

Keys are those of both upstream projects where they differ: clients of either find
their own, so the same thing may stand there twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from praxis_fast.api.access.access import Access
from praxis_fast.api.access.principals import principal_of
from praxis_fast.api.body import object_field, read_object, text_field
from praxis_fast.api.responses import HTTPError, JSONResponse
from praxis_fast.events.event import Event, EventFilter, utc_text
from praxis_fast.events.schema import event_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.requests import Request

    from praxis_fast.api.served import ServedAgent
    from praxis_fast.limits import Limits

# What a caller may ask a tool call to wait for.
DEFAULT_CALL_TIMEOUT = 30.0

# Who may not see this event of a peer does not see the peer in a list either.
PEER_EVENT = "p2p.peer_discovered"


class AgentRoutes:
    """The handlers, over one agent."""

    def __init__(
        self, agent: ServedAgent, limits: Limits, access: Access | None = None
    ) -> None:
        self._agent = agent
        self._access = access or Access()
        self._limits = limits

    def routes(self) -> list[Route]:
        """Every route with its method."""
        return [
            Route("/health", self._health, methods=["GET"]),
            Route("/ready", self._ready, methods=["GET"]),
            Route("/peers", self._peers, methods=["GET"]),
            Route("/events/schema", self._schema, methods=["GET"]),
            Route("/p2p/info", self._info, methods=["GET"]),
            Route("/p2p/peers", self._p2p_peers, methods=["GET"]),
            Route("/p2p/cards", self._cards, methods=["GET"]),
            Route("/p2p/tools", self._tools, methods=["GET"]),
            Route("/p2p/connect", self._connect, methods=["POST"]),
            Route("/p2p/tool", self._tool, methods=["POST"]),
        ]

    @property
    def _name(self) -> str:
        return self._agent.card.name

    async def _health(self, request: Request) -> JSONResponse:
        card = self._agent.card
        # An embedded agent keeps nothing on disk.
        journal = getattr(getattr(self._agent, "delivery", None), "journal", None)
        is_degraded = journal is not None and journal.is_degraded
        status = "degraded" if is_degraded else "healthy"
        return JSONResponse(
            {"status": status, "agent": card.name, "version": card.version}
        )

    async def _ready(self, request: Request) -> JSONResponse:
        host = self._agent.host
        waits = self._agent.expects_peers and host is not None and not host.addrs
        return JSONResponse(
            {"status": "starting" if waits else "ready", "agent": self._name},
            status_code=503 if waits else 200,
        )

    async def _schema(self, request: Request) -> JSONResponse:
        return JSONResponse(event_schema(), media_type="application/schema+json")

    async def _info(self, request: Request) -> JSONResponse:
        host = self._agent.host
        return JSONResponse(
            {
                "peer_id": None if host is None else str(host.peer_id),
                "addresses": [] if host is None else [str(a) for a in host.addrs],
                "protocol": "libp2p",
                "agent": self._name,
                "version": self._agent.card.version,
                "card": self._agent.card.to_message(),
            }
        )

    async def _peers(self, request: Request) -> JSONResponse:
        return JSONResponse(
            {"peers": [peer_entry(peer) for peer in self._seen(request)]}
        )

    async def _p2p_peers(self, request: Request) -> JSONResponse:
        peers = [peer_entry(peer) for peer in self._seen(request)]
        return self._listing("peers", peers)

    async def _cards(self, request: Request) -> JSONResponse:
        return self._listing("cards", self._peer_cards(request))

    async def _tools(self, request: Request) -> JSONResponse:
        tools = {
            peer: list(card.get("tools") or ())
            for peer, card in self._peer_cards(request).items()
        }
        own = self._agent.local_tools()
        return self._listing("tools", tools, local=own)

    async def _connect(self, request: Request) -> JSONResponse:
        body = await read_object(request, self._limits)
        addr = text_field(body, "multiaddr", "addr")
        if not addr:
            raise HTTPError(400, "multiaddr is missing")
        peers = self._agent.peer_snapshot()
        before = {peer["peer_id"] for peer in peers if peer["is_connected"]}
        peer_id = str(await self._agent.connect(addr))
        # Such a peer need not be dialled, so this tells nothing of the address.
        is_old = peer_id in before
        return JSONResponse(
            {"status": "connected", "peer_id": peer_id, "already_connected": is_old}
        )

    async def _tool(self, request: Request) -> JSONResponse:
        body = await read_object(request, self._limits)
        name = text_field(body, "tool", "name", "tool_name")
        if not name:
            raise HTTPError(400, "tool is missing")
        result = await self._agent.call_tool(
            name,
            object_field(body, "arguments", "args", "params"),
            peer=text_field(body, "peer_id", "peer") or None,
            timeout=self._timeout(body),
        )
        return JSONResponse({"result": result})

    def _timeout(self, body: Mapping[str, Any]) -> float:
        timeout = body.get("timeout", DEFAULT_CALL_TIMEOUT)
        limit = self._limits.tools.timeout
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
            raise HTTPError(400, "timeout is not a number of seconds")
        if not 0 < timeout <= limit:
            raise HTTPError(400, f"timeout of {timeout:g} s, limit {limit:g}")
        return float(timeout)

    def _seen(self, request: Request) -> Iterable[Mapping[str, Any]]:
        """The peers whose events the client may see."""
        principal = principal_of(request.scope)
        seen = self._access.policy.filter(principal, EventFilter())
        for peer in self._agent.peer_snapshot():
            told = Event(PEER_EVENT, dict(peer), peer_id=peer["peer_id"])
            if seen.matches(told):
                yield peer

    def _peer_cards(self, request: Request) -> dict[str, Mapping[str, Any]]:
        return {
            peer["peer_id"]: peer["agent_card"]
            for peer in self._seen(request)
            if peer.get("agent_card") is not None
        }

    def _listing(
        self, key: str, items: Sequence[Any] | Mapping[str, Any], **more: Any
    ) -> JSONResponse:
        return JSONResponse(
            {key: items, "count": len(items), "agent": self._name, **more}
        )


def peer_entry(peer: Mapping[str, Any]) -> dict[str, Any]:
    """One peer in a list; `peer` is a `peer_payload`."""
    addresses = list(peer["addresses"])
    card = peer.get("agent_card") or {}
    return {
        "id": peer["peer_id"],
        "connected": peer["is_connected"],
        "addr": addresses[0] if addresses else None,
        "addresses": addresses,
        "foundAt": utc_text(peer["found_at"]),
        "lastSeen": utc_text(peer["last_seen"]),
        "name": card.get("name"),
        "capabilities": list(peer.get("capabilities") or ()),
    }
