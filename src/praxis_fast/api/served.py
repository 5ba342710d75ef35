"""What the HTTP surface needs of an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from praxis_fast.events.bus import EventBus


class ServedCard(Protocol):
    """The agent's own card."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...

    def to_message(self) -> dict[str, Any]: ...


class ServedHost(Protocol):
    """The agent's peer-to-peer host."""

    @property
    def peer_id(self) -> str: ...
    @property
    def addrs(self) -> Sequence[str]: ...


class ServedAgent(Protocol):
    """An agent as the routes see it; tests give a small one of their own."""

    @property
    def bus(self) -> EventBus: ...
    @property
    def card(self) -> ServedCard: ...
    @property
    def host(self) -> ServedHost | None: ...

    @property
    def expects_peers(self) -> bool:
        """Whether peers are to reach it; without that it is ready at once."""

    def local_tools(self) -> Sequence[Mapping[str, Any]]:
        """Its own tools, those peers may not call included."""

    def peer_snapshot(self) -> Sequence[Mapping[str, Any]]:
        """One `peer_payload` for each peer known."""

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        peer: str | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """The tool's result; raises ToolError or NetworkError."""

    async def connect(self, addr: str) -> str:
        """The peer id of whoever answers at the multiaddr."""
