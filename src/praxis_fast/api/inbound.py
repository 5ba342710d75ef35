"""What a WebSocket client sends: frames in, whole messages out (sans-IO).

After the handshake the connection needs no request and no headers any more, so this
starts from an open `websockets` protocol object instead of keeping the handshake's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from websockets.frames import Opcode
from websockets.protocol import OPEN, Protocol, Side

if TYPE_CHECKING:
    from websockets.frames import Frame

    from praxis_fast.limits import WebSocketLimits

_CONTROL = frozenset({Opcode.PING, Opcode.PONG, Opcode.CLOSE})


def quiet_logger() -> logging.Logger:
    """The library logs every opening and closing at INFO; we want its warnings only."""
    logger = logging.Logger("websockets.server", logging.WARNING)  # noqa: LOG001
    logger.parent = logging.getLogger(__name__)
    return logger


QUIET_LOGGER = quiet_logger()


class Inbound:
    """Checks and joins one client's frames; knows the closing handshake.

    Violations end the connection with the code RFC 6455 gives them (WS-1, WS-4): 1002
    for frames, 1007 for text that is not UTF-8, 1009 for size; 1008 for floods (WS-6).
    """

    __slots__ = (
        "_allowance",
        "_fragments",
        "_has_failed",
        "_is_text",
        "_limits",
        "_parts",
        "_protocol",
        "_seen",
    )

    def __init__(self, limits: WebSocketLimits, now: float = 0.0) -> None:
        self._limits = limits
        self._protocol = Protocol(
            Side.SERVER, state=OPEN, max_size=limits.max_message, logger=QUIET_LOGGER
        )
        self._parts: list[bytes] = []
        self._fragments = 0
        self._has_failed = False
        self._is_text = False
        self._allowance = limits.control_rate
        self._seen = now

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close."""
        return self._protocol.state is OPEN

    @property
    def wants_end(self) -> bool:
        """Whether the TCP connection is to be closed once everything is sent."""
        return self._protocol.eof_sent

    def receive_data(self, data: bytes, now: float = 0.0) -> list[str | bytes]:
        """Whole messages: `str` for text, `bytes` for binary."""
        self._protocol.receive_data(data)
        messages: list[str | bytes] = []
        for frame in self._protocol.events_received():
            if self._is_admitted(cast("Frame", frame), now):
                self._join(cast("Frame", frame), messages)
            if self._has_failed:
                break
        return messages

    def receive_eof(self) -> None:
        """The client will send nothing more."""
        self._protocol.receive_eof()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; nothing happens when it has begun."""
        if self.is_open:
            self._protocol.send_close(code, reason)

    def fail(self, code: int, reason: str) -> None:
        """Tell the client what it did wrong and end the connection."""
        self._has_failed = True
        # Pongs still waiting are not worth sending any more.
        self._protocol.data_to_send()
        self._protocol.fail(code, reason)

    def data_to_send(self) -> bytes:
        """Pongs and close frames for the client."""
        return b"".join(self._protocol.data_to_send())

    def _is_admitted(self, frame: Frame, now: float) -> bool:
        if frame.opcode not in _CONTROL:
            return True
        rate = self._limits.control_rate
        self._allowance = min(rate, self._allowance + (now - self._seen) * rate)
        self._seen = now
        self._allowance -= 1
        if self._allowance >= 0:
            return True
        self.fail(1008, f"more than {rate:g} control frames a second")
        return False

    def _join(self, frame: Frame, messages: list[str | bytes]) -> None:
        if frame.opcode in _CONTROL:
            return
        is_first = frame.opcode is not Opcode.CONT
        self._fragments = 1 if is_first else self._fragments + 1
        if self._fragments > self._limits.max_fragments:
            self.fail(1008, f"more than {self._limits.max_fragments} fragments")
            return
        if is_first:
            self._parts = []
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if frame.fin:
            self._finish(messages)

    def _finish(self, messages: list[str | bytes]) -> None:
        data = b"".join(self._parts)
        self._parts = []
        if not self._is_text:
            messages.append(data)
            return
        try:
            messages.append(data.decode())
        except UnicodeDecodeError as error:
            self.fail(1007, f"{error.reason} at position {error.start}")
