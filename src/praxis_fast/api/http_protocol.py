"""uvicorn's httptools protocol with bounds of size and time (HTTP-2, HTTP-3).

Three things a client may be slow with, and one deadline for each:

    headers   all of them within `header_timeout`
    body      `body_rate` bytes a second after `body_grace`, counted from its start, so
              that each byte buys time; not while it is us who read nothing
    reading   some of what waits for it leaves within `reader_timeout`; event streams
              have rules of their own
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from praxis_fast.api.deadline import Deadline
from praxis_fast.api.event_socket import limit_unsent
from praxis_fast.api.sse import EXTENSION, IS_STREAM
from praxis_fast.events.encode import encode

if TYPE_CHECKING:
    import asyncio

    from praxis_fast.limits import HTTPLimits


class TooMuchError(Exception):
    """Stops the parser; the answer is ready in `refusal`."""


class BoundedHTTPProtocol(HttpToolsProtocol):
    """Refuses long lines and headers and cuts slow ones, before anything is routed."""

    limits: HTTPLimits
    max_connections: int
    hits: Counter[str]
    """Which limits were hit, and how often."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: tuple[int, str, str] | None = None
        self._header_bytes = 0
        self._headers_due = Deadline(self.loop, self._on_late_headers)
        self._body_due = Deadline(self.loop, self._on_late_body)
        self._reader_due = Deadline(self.loop, self._on_late_reader)
        self._has_body = False
        self._body_began = 0.0
        self._body_bytes = 0
        self._unread = 0
        # What the application learns of the connection, and may tell us of its answer.
        self._extension: dict[str, Any] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client must say what it wants in time, and there may be too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            count = f"{self.max_connections} connections are open"
            self._count("max_connections")
            self._answer(503, "service unavailable", count)
        else:
            self._headers_due.start(self.limits.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; what is not complete after them is waited for."""
        super().data_received(data)
        if self._has_body and not self.transport.is_closing():
            grace, rate = self.limits.body_grace, self.limits.body_rate
            due = self._body_began + grace + self._body_bytes / rate
            self._body_due.move(due, grace)

    def pause_writing(self) -> None:
        """The client does not read what was written."""
        super().pause_writing()
        if not self._extension.get(IS_STREAM):
            limit_unsent(self.transport)
            self._watch_reader()

    def resume_writing(self) -> None:
        """The client read enough of it."""
        self._reader_due.cancel()
        super().resume_writing()

    def handle_websocket_upgrade(self) -> None:
        """The connection belongs to a WebSocket object from now on."""
        self._disarm()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """A request begins, perhaps not the first."""
        super().on_message_begin()
        # Event streams look at how much of theirs has left.
        self._extension = {"transport": self.transport, "hits": self.hits}
        extensions: dict[str, dict[Any, Any]] = {EXTENSION: self._extension}
        self.scope["extensions"] = extensions
        self._header_bytes = 0
        if not self._headers_due.is_set:
            self._headers_due.start(self.limits.header_timeout)

    def on_url(self, url: bytes) -> None:
        """Part of the request line."""
        super().on_url(url)
        if len(self.url) > self.limits.max_line:
            self._count("max_line")
            self._refuse(414, "uri too long", len(self.url), self.limits.max_line)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value) + 4
        title = "request header fields too large"
        if self._header_bytes > self.limits.max_header_bytes:
            self._count("max_header_bytes")
            self._refuse(431, title, self._header_bytes, self.limits.max_header_bytes)
        if len(self.headers) > self.limits.max_headers:
            self._count("max_headers")
            self._refuse(431, title, len(self.headers), self.limits.max_headers)

    def on_headers_complete(self) -> None:
        """From here on the body's own limits hold."""
        self._headers_due.cancel()
        self._has_body = True
        self._restart_body()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing more belongs to this request."""
        self._has_body = False
        self._body_due.cancel()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused, and close."""
        refusal = self._refusal or (400, "bad request", msg.lower())
        self._answer(*refusal)

    def _refuse(self, status: int, title: str, size: int, limit: int) -> None:
        self._refusal = (status, title, f"{size}, limit {limit}")
        raise TooMuchError(title)

    def _answer(self, status: int, title: str, detail: str) -> None:
        self._disarm()
        body = encode({"error": title, "detail": detail})
        self.transport.write(
            f"HTTP/1.1 {status} {title.title()}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()

    def _count(self, limit: str) -> None:
        self.hits[f"http.{limit}"] += 1

    def _disarm(self) -> None:
        self._has_body = False
        for deadline in (self._headers_due, self._body_due, self._reader_due):
            deadline.cancel()

    def _restart_body(self) -> None:
        self._body_began = self.loop.time()
        self._body_bytes = 0

    def _on_late_headers(self) -> None:
        self._count("header_timeout")
        seconds = f"{self.limits.header_timeout:g} s"
        self._cut(f"headers not complete in {seconds}", may_answer=True)

    def _on_late_body(self) -> None:
        if self.flow.read_paused:
            # We have not looked: the client may have sent all of it.
            self._restart_body()
            self._body_due.start(self.limits.body_grace)
            return
        self._count("body_rate")
        rate = f"{self.limits.body_rate:g} bytes a second"
        self._cut(
            f"body of {self._body_bytes} bytes so far, at least {rate} are needed",
            may_answer=not self.cycle.response_started,
        )

    def _cut(self, why: str, *, may_answer: bool) -> None:
        if self.transport.is_closing():
            return
        if may_answer:
            self._answer(408, "request timeout", why)
        else:
            self._disarm()
            self.transport.close()

    def _watch_reader(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._reader_due.start(self.limits.reader_timeout)

    def _on_late_reader(self) -> None:
        if self.transport.get_write_buffer_size() < self._unread:
            self._watch_reader()
            return
        self._count("reader_timeout")
        # Closing would wait for what nobody reads.
        self.transport.abort()


def make_http_protocol(
    limits: HTTPLimits, max_connections: int, hits: Counter[str] | None = None
) -> type[BoundedHTTPProtocol]:
    """The class for one server; WebSockets count as connections too."""
    hits = Counter() if hits is None else hits
    members = {"limits": limits, "max_connections": max_connections, "hits": hits}
    return type("HTTPProtocol", (BoundedHTTPProtocol,), members)
