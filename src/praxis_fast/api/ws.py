"""The WebSocket protocol class for uvicorn: `--ws praxis_fast.api.ws:Protocol`.

It answers the handshake on our paths itself, with the raw transport and `websockets`
sans-IO, and hands every other path to uvicorn's stock class, so that applications keep
their own WebSocket routes. Either way it then steps aside: after the handshake the
transport talks to the client's own small object.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)
from websockets.http11 import Request
from websockets.server import ServerProtocol

from praxis_fast.api.access.access import Refusal, Visit
from praxis_fast.api.inbound import QUIET_LOGGER
from praxis_fast.events.encode import encode

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from praxis_fast.api.gateway import EventGateway
    from praxis_fast.events.access.principal import Principal

# Where an application's lifespan may put its gateway.
STATE_KEY = "praxis_fast.gateway"


class Protocol(asyncio.Protocol):
    """Answers one handshake and finds the object that goes on from there."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        gateway: EventGateway | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._gateway = gateway or app_state.get(STATE_KEY)
        self._transport: asyncio.Transport | None = None
        self._next: asyncio.Protocol | None = None
        self._looking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by uvicorn's HTTP protocol class, with the connection it had."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The upgrade request first, put together again by uvicorn."""
        if self._next is not None:
            self._next.data_received(data)
        elif self._looking is None:
            self._begin(data)

    def eof_received(self) -> bool | None:
        """Passed on until the transport talks to the next object itself."""
        return self._next.eof_received() if self._next is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Passed on likewise."""
        if self._looking is not None:
            self._looking.cancel()
        if self._next is not None:
            self._next.connection_lost(exc)

    def pause_writing(self) -> None:
        """Passed on likewise."""
        if self._next is not None:
            self._next.pause_writing()

    def resume_writing(self) -> None:
        """Passed on likewise."""
        if self._next is not None:
            self._next.resume_writing()

    def _begin(self, request: bytes) -> None:
        assert self._transport is not None
        target = request.split(b" ", 2)[1].decode("latin-1")
        path, _, query = target.partition("?")
        if self._gateway is not None and unquote(path) in self._gateway.paths:
            self._shake_hands(self._gateway, request, unquote(path), query)
        else:
            self._hand_over(request)
        if self._next is not None:
            # uvicorn sets this object as the transport's protocol when we return.
            loop = asyncio.get_running_loop()
            loop.call_soon(self._step_aside, self._transport, self._next)

    @staticmethod
    def _step_aside(transport: asyncio.Transport, successor: asyncio.Protocol) -> None:
        if not transport.is_closing():
            transport.set_protocol(successor)

    def _hand_over(self, request: bytes) -> None:
        assert self._transport is not None
        stock = WebSocketsSansIOProtocol(
            config=self._config,
            server_state=self._server_state,
            app_state=self._app_state,
        )
        stock.connection_made(self._transport)
        self._next = stock
        stock.data_received(request)

    def _shake_hands(
        self, gateway: EventGateway, data: bytes, path: str, query: str
    ) -> None:
        assert self._transport is not None
        handshake = ServerProtocol(extensions=gateway.extensions, logger=QUIET_LOGGER)
        handshake.receive_data(data)
        events = handshake.events_received()
        request = next((event for event in events if isinstance(event, Request)), None)
        if request is None:
            self._write(handshake)
            self._transport.close()
            return
        visit = self._visit(request, path, query)
        verdict = gateway.access.judge(visit)
        if isinstance(verdict, Refusal) and verdict.may_change:
            # Whatever the client says before our answer can wait as long.
            self._transport.pause_reading()
            self._looking = asyncio.get_running_loop().create_task(
                self._look_further(gateway, handshake, request, visit)
            )
        else:
            self._answer(gateway, handshake, request, visit, verdict)

    async def _look_further(
        self,
        gateway: EventGateway,
        handshake: ServerProtocol,
        request: Request,
        visit: Visit,
    ) -> None:
        """Answer when the issuer's keys have been looked at once more."""
        assert self._transport is not None
        verdict = await gateway.access.admit(visit)
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        self._answer(gateway, handshake, request, visit, verdict)
        if self._next is not None:
            self._step_aside(self._transport, self._next)

    def _visit(self, request: Request, path: str, query: str) -> Visit:
        assert self._transport is not None
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in request.headers.raw_items()
        ]
        local = self._transport.get_extra_info("sockname")
        client = self._transport.get_extra_info("peername")
        return Visit(
            headers=headers,
            path=path,
            query=query.encode("latin-1"),
            local=local[0] if isinstance(local, tuple) else None,
            client=client[0] if isinstance(client, tuple) else None,
        )

    def _answer(
        self,
        gateway: EventGateway,
        handshake: ServerProtocol,
        request: Request,
        visit: Visit,
        verdict: Principal | Refusal,
    ) -> None:
        assert self._transport is not None
        if isinstance(verdict, Refusal):
            body = encode({"error": verdict.title, "detail": verdict.message})
            response = handshake.reject(verdict.status, body.decode())
            response.headers["Content-Type"] = "application/json"
            for name, value in verdict.headers.items():
                response.headers[name] = value
        else:
            response = handshake.accept(request)
        handshake.send_response(response)
        self._write(handshake)
        if isinstance(verdict, Refusal) or response.status_code != 101:
            self._transport.close()
            return
        is_deflated = bool(handshake.extensions)
        self._enter(gateway, visit, verdict, is_deflated=is_deflated)

    def _write(self, handshake: ServerProtocol) -> None:
        assert self._transport is not None
        # Written at once, or the transport says that it waits: see EventSocket.
        self._transport.set_write_buffer_limits(high=0)
        self._transport.write(b"".join(handshake.data_to_send()))

    def _enter(
        self,
        gateway: EventGateway,
        visit: Visit,
        principal: Principal,
        *,
        is_deflated: bool,
    ) -> None:
        assert self._transport is not None
        query = visit.query.decode("latin-1")
        connections = cast("set[Any]", self._server_state.connections)
        client = gateway.enter(
            visit.path,
            self._transport,
            connections,
            query,
            is_deflated=is_deflated,
            principal=principal,
        )
        connections.add(client)
        self._next = client
