"""A client of a running agent's HTTP surface, for programs without an event loop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from praxis_fast.client.address import DEFAULT_URL, websocket_url
from praxis_fast.errors import NetworkError, PraxisError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A body longer than this is no answer of ours.
MAX_BODY = 64 * 1024 * 1024


class Client:
    """Asks one agent: NetworkError when it is gone, PraxisError when it refuses."""

    def __init__(
        self, url: str = DEFAULT_URL, *, token: str | None = None, timeout: float = 60.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"url must begin with http:// or https://, not {url!r}")
        self.url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout = timeout
        # The agent is our neighbour: no proxy of the environment stands between.
        self._opener = build_opener(ProxyHandler({}))

    def get(self, path: str) -> Any:
        """The JSON value at the path."""
        return self._ask(Request(self.url + path, headers=self._headers))  # noqa: S310

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON value that answers the body."""
        headers = {**self._headers, "Content-Type": "application/json"}
        data = json.dumps(body).encode()
        return self._ask(Request(self.url + path, data, headers))  # noqa: S310

    def _ask(self, request: Request) -> Any:
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return json.loads(answer.read(MAX_BODY))
        except HTTPError as error:
            with error:
                raise PraxisError(_refusal(error)) from error
        except (URLError, OSError) as error:
            raise self._unreachable(error) from error
        except ValueError as error:
            raise NetworkError(f"{self.url} does not answer like an agent") from error

    def _unreachable(self, error: Exception) -> NetworkError:
        reason = getattr(error, "reason", None) or error
        return NetworkError(
            f"no agent answers at {self.url} ({reason}); "
            "start one with: praxis-fast run"
        )

    def events(
        self, types: Sequence[str] = ("*",), *, follow: bool = True
    ) -> Iterator[dict[str, Any]]:
        """The present peers as events, then every event as it happens.

        Without `follow` it ends after the present peers. Ends, too, when the agent
        closes the connection.
        """
        from websockets.exceptions import ConnectionClosed, InvalidHandshake
        from websockets.sync.client import connect

        try:
            with connect(
                websocket_url(self.url),
                additional_headers=self._headers,
                proxy=None,
                max_size=MAX_BODY,
            ) as socket:
                socket.send(subscription(types))
                socket.send('{"type":"PING","payload":{}}')
                for text in socket:
                    message = json.loads(text)
                    if message["type"] == "PONG" and not follow:
                        return
                    if is_event(message):
                        yield message
        except ConnectionClosed:
            return
        except (OSError, InvalidHandshake) as error:
            raise self._unreachable(error) from error


def subscription(types: Sequence[str]) -> str:
    """The message that asks for events, the present peers first."""
    payload = {"event_types": list(types), "snapshot": True}
    return json.dumps({"type": "SUBSCRIBE_EVENTS", "payload": payload})


def is_event(message: dict[str, Any]) -> bool:
    """Whether this is an event or a complaint, not the talk around them."""
    return message["type"] not in ("chatMessage", "PONG")


def _refusal(error: HTTPError) -> str:
    """What the agent said, else the status."""
    try:
        told = json.loads(error.read(MAX_BODY))
        message, detail = told["error"], told.get("detail")
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return f"the agent answered {error.code} {error.reason}"
    if isinstance(message, dict):
        message = message.get("message")
    return f"{message}: {detail}" if detail else str(message)
