"""What an answer other than an open stream means."""

from __future__ import annotations

import json

from praxis_fast.errors import AccessDeniedError, NetworkError, WrongServerError


def refusal(url: str, status: int, reason: str, body: bytes) -> NetworkError:
    """A plain NetworkError where trying again may help."""
    told = _told(body) or reason
    if status in (401, 403):
        return AccessDeniedError(f"{url} refuses us: {status} {told}")
    if status in (408, 429) or status >= 500:
        return NetworkError(f"{url} cannot serve us now: {status} {told}")
    return WrongServerError(f"{url} is no event stream: {status} {told}")


def _told(body: bytes) -> str:
    """What an agent says in the body of a refusal."""
    try:
        told = json.loads(body)
        return str(told.get("detail") or told["error"])
    except (ValueError, KeyError, AttributeError):
        return ""
