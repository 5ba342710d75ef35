"""Answers of the HTTP surface: JSON, errors included."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from praxis_fast.errors import (
    AddressError,
    DialError,
    NetworkError,
    PraxisError,
    ResourceLimitError,
    StoreError,
    ToolArgumentsError,
    ToolError,
    ToolNotFoundError,
    ToolRefusedError,
    ToolTimeoutError,
    UsageError,
)
from praxis_fast.events.encode import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

# First fit wins, so the narrow classes come before their bases.
_STATUSES: tuple[tuple[type[PraxisError], int, str], ...] = (
    (AddressError, 400, "bad address"),
    (ToolNotFoundError, 404, "tool not found"),
    (ToolRefusedError, 403, "tool refused"),
    (ToolArgumentsError, 400, "bad tool arguments"),
    (ToolTimeoutError, 504, "tool timed out"),
    (ToolError, 502, "tool failed"),
    (ResourceLimitError, 503, "limit reached"),
    (DialError, 502, "peer cannot be reached"),
    (NetworkError, 502, "network error"),
    (StoreError, 503, "storage unavailable"),
    (UsageError, 400, "bad request"),
)


class HTTPError(Exception):
    """Ends a request with a status and a reason."""

    def __init__(self, status: int, detail: str, title: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title or HTTPStatus(status).phrase.lower()


class JSONResponse(Response):
    """A JSON answer made by the same encoder as the events."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return encode(content)


def error_response(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """`{"error", "detail"}` with a status."""
    return JSONResponse(
        {"error": title, "detail": detail}, status_code=status, headers=headers
    )


def praxis_error_response(error: PraxisError) -> JSONResponse:
    """The status that fits one of our errors; a tool's code goes along."""
    for kind, status, title in _STATUSES:
        if isinstance(error, kind):
            return error_response(status, title, str(error))
    return error_response(500, "internal error", str(error))
