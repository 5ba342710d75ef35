"""The JSON object in a request body, within the limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from praxis_fast.api.responses import HTTPError
from praxis_fast.api.sse import EXTENSION
from praxis_fast.errors import MessageError
from praxis_fast.wire.json_text import decode_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from praxis_fast.limits import HTTPLimits, Limits


async def read_object(request: Request, limits: Limits) -> dict[str, Any]:
    """The body as a JSON object.

    Only `application/json` is taken: a page of another site cannot send that without
    asking first, so a form of theirs never gets here.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type.lower() != "application/json":
        raise HTTPError(415, f"content type {media_type[:128]!r} is not json")
    body = await _read(request, limits.http)
    try:
        value = decode_json(body, limits.json)
    except MessageError as error:
        raise HTTPError(400, f"body is not valid json: {error}") from None
    if not isinstance(value, dict):
        raise HTTPError(400, "body is not a json object")
    return value


async def _read(request: Request, limits: HTTPLimits) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit():
        _check_size(request, int(announced), limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_timeout):
            async for chunk in request.stream():
                body += chunk
                _check_size(request, len(body), limits)
    except TimeoutError:
        _count(request, "body_timeout")
        raise HTTPError(
            408, f"body not complete after {limits.body_timeout:g} s"
        ) from None
    except ClientDisconnect:
        # Nobody reads this; without it every such client would be a fault in the log.
        raise HTTPError(400, "the client left before its body was complete") from None
    return bytes(body)


def _check_size(request: Request, size: int, limits: HTTPLimits) -> None:
    if size > limits.max_body:
        _count(request, "max_body")
        raise HTTPError(413, f"body of {size} bytes, limit {limits.max_body}")


def _count(request: Request, limit: str) -> None:
    """Count a limit that was hit, where our own HTTP class serves the request."""
    told = request.scope.get("extensions", {}).get(EXTENSION, {})
    if (hits := told.get("hits")) is not None:
        hits[f"http.{limit}"] += 1


def text_field(body: dict[str, Any], *names: str) -> str | None:
    """The first of the fields that is there; None when none is."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise HTTPError(400, f"{name} is not a text")
        return value
    return None


def object_field(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """The first of the fields that is there and not empty, as an object."""
    for name in names:
        value = body.get(name)
        if value is None or value == {}:
            continue
        if not isinstance(value, dict):
            raise HTTPError(400, f"{name} is not an object")
        return value
    return {}
