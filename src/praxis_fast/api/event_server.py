"""The HTTP surface of a program that has events, and neither tools nor peers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from praxis_fast.api.server import HTTPServer
from praxis_fast.errors import NetworkError, ToolNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from praxis_fast.api.served import ServedCard
    from praxis_fast.events.bus import EventBus


class EventServer(HTTPServer):
    """Serves the events of a bus, inside any running asyncio program.

    Used like HTTPServer and takes its options; the bus stays its owner's.
    """

    def __init__(
        self,
        bus: EventBus,
        host: str = "127.0.0.1",
        port: int = 9000,
        *,
        name: str = "events",
        version: str = "",
        **options: Any,
    ) -> None:
        super().__init__(_Program(bus, name, version), host, port, **options)


class _Program:
    """What stands where the routes look for an agent."""

    host = None
    expects_peers = False

    def __init__(self, bus: EventBus, name: str, version: str) -> None:
        self.bus = bus
        told = {"name": name, "version": version, "tools": []}
        self.card: ServedCard = SimpleNamespace(
            name=name, version=version, to_message=told.copy
        )

    def local_tools(self) -> tuple[()]:
        return ()

    def peer_snapshot(self) -> tuple[()]:
        return ()

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        peer: str | None = None,
        timeout: float = 30.0,
    ) -> NoReturn:
        raise ToolNotFoundError(f"tool {name!r} is unknown, this program has none")

    async def connect(self, addr: str) -> NoReturn:
        raise NetworkError("this program connects to no peers")
