"""Every error praxis-fast raises on purpose.

PraxisError
├── ProtocolError            a peer broke a protocol; carries the wire `code`
│   ├── JSONStreamError      a text on a JSON stream is malformed or over a limit
│   ├── MultistreamError
│   ├── NoiseError           handshake or decryption failed
│   ├── ProtobufError        a protobuf message or a varint is malformed
│   ├── PublicKeyError       a public key is malformed, weak or not canonical
│   ├── YamuxError
│   ├── IdentifyError
│   ├── MessageError         a card, tool or RPC message is malformed
│   └── AddressError         malformed multiaddr or peer id (also a ValueError)
├── NetworkError
│   ├── DialError            nobody could be reached, or the wrong peer answered
│   ├── NegotiationError     the peer speaks none of the protocols asked for
│   ├── ConnectionLostError  the link under a stream went away
│   ├── StreamResetError     the stream was reset, by us or by the peer
│   ├── ResourceLimitError   a local limit refused the operation
│   ├── AccessDeniedError    an agent refuses our token, or us without one
│   └── WrongServerError     something else than an agent answers there
├── ToolError
│   ├── ToolNotFoundError
│   ├── ToolRefusedError     the tool exists; this caller may not use it
│   ├── ToolArgumentsError   arguments do not fit the tool's schema
│   ├── ToolTimeoutError
│   └── ToolFailedError      the tool ran and raised, or answered junk
├── StoreError               nothing could be written to or read from a database
├── WebhookSignatureError    a webhook is not from whom it says, or too old
├── ConfigError              names file, line, key and value
├── KeyFileError             the identity key cannot be trusted or read
└── UsageError               our caller's fault
    └── WebhookRefusedError  an endpoint's address is one we do not send to
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class PraxisError(Exception):
    """Base of everything praxis-fast raises on purpose."""


class ProtocolError(PraxisError):
    """A peer broke a protocol; `code` is the wire's own code where it has one."""

    code = 1

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class JSONStreamError(ProtocolError):
    """A text on a JSON stream is malformed or over a limit."""


class MultistreamError(ProtocolError):
    """Protocol negotiation went wrong."""


class NoiseError(ProtocolError):
    """The secure channel's handshake or a decryption failed.

    `plaintexts` are those of the good messages before, in the same call.
    """

    plaintexts: tuple[bytes, ...] = ()


class ProtobufError(ProtocolError):
    """A protobuf message or a varint is malformed."""


class PublicKeyError(ProtocolError):
    """A public key is malformed, weak or not canonical."""


class YamuxError(ProtocolError):
    """A yamux frame is malformed or breaks the session's rules.

    `events` holds what the same call had parsed before the bad frame.
    """

    def __init__(
        self, message: str, code: int | None = None, events: Sequence[object] = ()
    ) -> None:
        super().__init__(message, code)
        self.events = list(events)


class IdentifyError(ProtocolError):
    """An identify message is malformed, over a limit, or not the peer's own."""


class MessageError(ProtocolError):
    """A card, tool or RPC message is malformed or over a limit."""


class AddressError(ProtocolError, ValueError):
    """A multiaddr or a peer id is malformed."""


class NetworkError(PraxisError):
    """Something between two hosts failed."""


class DialError(NetworkError):
    """Nobody could be reached at the addresses given, or the wrong peer answered."""


class NegotiationError(NetworkError):
    """The peer speaks none of the protocols asked for."""


class ConnectionLostError(NetworkError):
    """The connection under a stream went away."""


class StreamResetError(NetworkError):
    """The stream was reset, by us or by the peer."""


class ResourceLimitError(NetworkError):
    """A local limit refused the operation."""


class AccessDeniedError(NetworkError):
    """The agent at this URL refuses our token, or us without one."""


class WrongServerError(NetworkError):
    """What answers at this URL is no agent, or not on this path."""


class ToolError(PraxisError):
    """A tool call failed; `code` is the JSON-RPC code sent on the wire."""

    code = -32603


class ToolNotFoundError(ToolError):
    """Neither this agent nor a connected peer has the tool."""

    code = -32601


class ToolRefusedError(ToolError):
    """The tool exists, and this caller may not use it."""

    code = -32001


class ToolArgumentsError(ToolError):
    """The arguments do not fit the tool's schema."""

    code = -32602


class ToolTimeoutError(ToolError):
    """The tool did not answer in time."""

    code = -32002


class ToolFailedError(ToolError):
    """The tool ran and raised, or answered something that cannot be sent."""


class StoreError(PraxisError):
    """A database could not be written or read; nothing of it was acknowledged."""


class WebhookSignatureError(PraxisError):
    """A webhook's signature is missing, wrong or too old; do not act on its body."""


class ConfigError(PraxisError):
    """A setting is wrong; says where it stands, its key and its value."""

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
    ) -> None:
        where = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(": ".join(part for part in (where, key, message) if part))
        self.file = file
        self.line = line
        self.key = key


class KeyFileError(PraxisError):
    """The identity key file cannot be read or cannot be trusted."""


class UsageError(PraxisError, ValueError):
    """The caller of this library used it wrongly."""


class WebhookRefusedError(UsageError):
    """An endpoint's address is one we do not send to: its scheme, port or network."""
