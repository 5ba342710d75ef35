"""One port: uvicorn inside the running loop, with our WebSocket class."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from praxis_fast.api.access.access import Access
from praxis_fast.api.access.hosts import is_loopback
from praxis_fast.api.app import make_app
from praxis_fast.api.gateway import EventGateway
from praxis_fast.api.http_protocol import make_http_protocol
from praxis_fast.api.ws import Protocol
from praxis_fast.errors import ConfigError, NetworkError
from praxis_fast.events.priority import Priority
from praxis_fast.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from praxis_fast.api.served import ServedAgent
    from praxis_fast.events.journal.file import JournalFile

# Connections besides the event streams: requests, and clients on their way in or out.
SPARE_CONNECTIONS = 256

# Long enough for a burst of 10,000 clients between two loop turns.
BACKLOG = 4096


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its host and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The program around us owns the signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self.up.set_result(None)


class HTTPServer:
    """Serves an agent over HTTP and WebSocket until it is closed.

    An address that other machines reach needs a token, or `insecure_http`. An `access`
    takes the place of token, hosts and origins.
    """

    def __init__(
        self,
        agent: ServedAgent,
        host: str = "127.0.0.1",
        port: int = 9000,
        limits: Limits | None = None,
        *,
        token: str | None = None,
        insecure_http: bool = False,
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
        min_priority: Priority = Priority.LOW,
        journal: JournalFile | None = None,
        access: Access | None = None,
    ) -> None:
        self._journal = journal
        self._min_priority = min_priority
        limits = limits or Limits()
        self._access = access or Access(
            host=host,
            hosts=allowed_hosts,
            origins=allowed_origins,
            token=token,
            limits=limits.http,
        )
        is_open = not self._access.is_guarded
        if is_open and not insecure_http and not is_loopback(host):
            raise ConfigError(
                f"{host} can be reached by other machines; "
                "use 127.0.0.1, or --insecure-http to allow it without a token",
                key="http.host",
            )
        self._agent = agent
        self._host = host
        self._port = port
        self._limits = limits
        self._gateway: EventGateway | None = None
        self._server: QuietServer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port in use; after `start` never 0."""
        return self._port

    @property
    def url(self) -> str:
        """Where a program of this machine reaches us."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return (
            f"http://[{host}]:{self._port}"
            if ":" in host
            else (f"http://{host}:{self._port}")
        )

    @property
    def gateway(self) -> EventGateway:
        """The WebSocket clients; there between `start` and `close`."""
        assert self._gateway is not None
        return self._gateway

    async def start(self) -> None:
        """Listen; returns when clients can connect."""
        listener = await self._bind()
        self._port = listener.getsockname()[1]
        self._gateway = EventGateway(
            self._agent.bus,
            self._access,
            limits=self._limits,
            max_clients=max_clients(self._limits),
            peers=self._agent.peer_snapshot,
            version=self._agent.card.version,
            min_priority=self._min_priority,
            journal=self._journal,
        )
        self._server = QuietServer(self._config(self._gateway))
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({self._server.up, self._task}, return_when=first)
        if self._task.done():
            listener.close()
            await self.close()

    async def close(self) -> None:
        """Say goodbye to every client, finish requests, and leave nothing behind."""
        server, task, gateway = self._server, self._task, self._gateway
        self._server = self._task = self._gateway = None
        if server is None or task is None or gateway is None:
            return
        for listener in getattr(server, "servers", ()):
            listener.close()
        # Before uvicorn waits for its connections, or it would wait for ours in vain.
        await gateway.close()
        server.should_exit = True
        await task

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

    def _config(self, gateway: EventGateway) -> uvicorn.Config:
        drain = max(1, int(self._limits.process.drain_timeout))
        protocol: Any = functools.partial(Protocol, gateway=gateway)
        return uvicorn.Config(
            make_app(
                self._agent, limits=self._limits, access=self._access, gateway=gateway
            ),
            http=make_http_protocol(
                self._limits.http,
                gateway.max_clients + SPARE_CONNECTIONS,
                gateway.counters.hits,
            ),
            ws=protocol,
            ws_max_size=self._limits.websocket.max_message,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=drain,
        )

    async def _bind(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            raise NetworkError(f"http host {self._host}: {error.strerror}") from error
        family, kind, number, _, address = found[0]
        listener = socket.socket(family, kind, number)
        try:
            # A port whose old connections linger may be taken; one in use may not.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise self._bind_error(error) from error
        listener.setblocking(False)
        return listener

    def _bind_error(self, error: OSError) -> NetworkError:
        place = f"http port {self._port} on {self._host}"
        if error.errno == errno.EADDRINUSE:
            return NetworkError(f"{place} is taken by another program")
        return NetworkError(f"{place}: {error.strerror}")


def max_clients(limits: Limits) -> int:
    """How many clients the setting and the file descriptors allow (WS-10)."""
    try:
        import resource
    except ImportError:  # no such limit on this system
        return limits.websocket.max_clients
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits.websocket.max_clients
    # Requests must still get through when the event streams are full.
    free = soft - limits.connections.reserved_descriptors - SPARE_CONNECTIONS
    return max(1, min(limits.websocket.max_clients, free))
