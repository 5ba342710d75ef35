"""A FastAPI application that was there before its events; tests have it served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, WebSocket

from praxis_fast import EventBus
from praxis_fast.api.embedding import mount_events

bus = EventBus(source="shop")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    bus.publish("order.opened")
    yield {"greeting": "hello"}
    bus.publish("order.closed")


app = FastAPI(lifespan=lifespan)


@app.post("/order/{item}")
async def order(item: str) -> dict[str, int]:
    return {"seq": bus.publish("order.placed", {"item": item}).seq}


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


@app.get("/{path:path}")
async def everything(path: str, request: Request) -> dict[str, str]:
    return {"path": path, "greeting": request.state.greeting}


mount_events(app, bus)
