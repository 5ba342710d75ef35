"""The WebSocket protocol class for uvicorn: `--ws praxis_fast.api.ws:Protocol`.

It answers the handshake on our paths itself, with the raw transport and `websockets`
sans-IO, and hands every other path to uvicorn's stock class, so that applications keep
their own WebSocket routes. Either way it then steps aside: after the handshake the
transport talks to the client's own small object.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, unquote

from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)
from websockets.http11 import Request
from websockets.server import ServerProtocol

from praxis_fast.api.encode import encode
from praxis_fast.api.inbound import QUIET_LOGGER
from praxis_fast.events.mailbox import POLICIES

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from praxis_fast.api.gateway import EventGateway
    from praxis_fast.events.mailbox import Policy

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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by uvicorn's HTTP protocol class, with the connection it had."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The upgrade request first, put together again by uvicorn."""
        if self._next is None:
            self._begin(data)
        else:
            self._next.data_received(data)

    def eof_received(self) -> bool | None:
        """Passed on until the transport talks to the next object itself."""
        return self._next.eof_received() if self._next is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Passed on likewise."""
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
        accepted = False
        for request in handshake.events_received():
            if isinstance(request, Request):
                accepted = self._answer(gateway, handshake, request, query)
        # Written at once, or the transport says that it waits: see EventSocket.
        self._transport.set_write_buffer_limits(high=0)
        self._transport.write(b"".join(handshake.data_to_send()))
        if not accepted:
            self._transport.close()
            return
        self._enter(gateway, path, query, is_deflated=bool(handshake.extensions))

    def _answer(
        self,
        gateway: EventGateway,
        handshake: ServerProtocol,
        request: Request,
        query: str,
    ) -> bool:
        assert self._transport is not None
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in request.headers.raw_items()
        ]
        local = self._transport.get_extra_info("sockname")
        refusal = gateway.access.refuse(
            headers,
            local=local[0] if isinstance(local, tuple) else None,
            query=query.encode("latin-1"),
        )
        if refusal is None:
            response = handshake.accept(request)
        else:
            body = encode({"error": refusal.title, "detail": refusal.message})
            response = handshake.reject(refusal.status, body.decode())
            response.headers["Content-Type"] = "application/json"
        handshake.send_response(response)
        return response.status_code == 101

    def _enter(
        self, gateway: EventGateway, path: str, query: str, *, is_deflated: bool
    ) -> None:
        assert self._transport is not None
        asked = parse_qs(query).get("policy", [""])[-1]
        policy = cast("Policy", asked if asked in POLICIES else "drop_oldest")
        connections = cast("set[Any]", self._server_state.connections)
        client = gateway.enter(
            path,
            self._transport,
            lambda: connections.discard(client),
            policy,
            query,
            is_deflated=is_deflated,
        )
        connections.add(client)
        self._next = client
