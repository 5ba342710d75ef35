"""Event streams beside an application's own routes, without any peers.

Run it with `uvicorn embedded:app --app-dir examples --ws praxis_fast.api.ws:Protocol`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from praxis_fast import EventBus
from praxis_fast.api.embedding import event_lifespan, event_routes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

bus = EventBus(source="shop")


async def order(request: Request) -> JSONResponse:
    event = bus.publish("order.placed", {"item": request.path_params["item"]})
    return JSONResponse({"seq": event.seq})


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


app = Starlette(
    routes=[
        Route("/order/{item}", order, methods=["POST"]),
        WebSocketRoute("/echo", echo),
        *event_routes(),
    ],
    lifespan=event_lifespan(bus),
)
