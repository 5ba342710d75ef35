"""Where an agent serves what."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from praxis_fast.errors import UsageError

DEFAULT_URL = "http://127.0.0.1:9000"

_WEBSOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def websocket_url(url: str) -> str:
    """Where the agent at this URL sends its events."""
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/ws", "", ""))


def stream_url(url: str) -> str:
    """The same, or the URL itself when it names a path of a WebSocket."""
    parts = urlsplit(url)
    scheme = _WEBSOCKET.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise UsageError(
            f"url must begin with http://, https://, ws:// or wss://, not {url!r}"
        )
    if parts.username is not None or parts.password is not None:
        raise UsageError("url must not hold a password; pass it as token")
    if parts.scheme in ("ws", "wss") and parts.path.strip("/"):
        return url
    path = f"{parts.path.rstrip('/')}/ws"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))
