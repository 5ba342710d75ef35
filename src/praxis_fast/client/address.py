"""Where an agent serves what."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from praxis_fast.errors import UsageError

DEFAULT_URL = "http://127.0.0.1:9000"

_SSE_PATHS = ("/events/stream", "/streaming/sse")
_WEBSOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def websocket_url(url: str) -> str:
    """Where the agent at this URL sends its events."""
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/ws", "", ""))


def is_sse(url: str) -> bool:
    """Whether the URL is that of Server-Sent Events, not of an agent."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return parts.scheme in ("http", "https") and path.endswith(_SSE_PATHS)


def shown_url(url: str) -> str:
    """The URL as people may see it: a token may stand in its query."""
    bare, mark, _ = url.partition("?")
    return f"{bare}?***" if mark else url


def stream_url(url: str) -> str:
    """The same, or the URL itself when it names a stream, of whichever kind."""
    parts = urlsplit(url)
    scheme = _WEBSOCKET.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise UsageError(
            "url must begin with http://, https://, ws:// or wss://, "
            f"not {shown_url(url)!r}"
        )
    if parts.username is not None or parts.password is not None:
        raise UsageError("url must not hold a password; pass it as token")
    if is_sse(url) or (parts.scheme in ("ws", "wss") and parts.path.strip("/")):
        return url
    path = f"{parts.path.rstrip('/')}/ws"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))
