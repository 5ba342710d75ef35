"""What a yamux session tells its owner."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream; take it with `accept_stream` or reset it."""

    stream_id: int


@dataclass(frozen=True, slots=True, repr=False)
class DataReceived:
    """A piece of a stream's data, in order.

    `data` is a read-only buffer with a length: `bytes`, or a slice of the bytes given
    to `receive_data`, which it keeps alive. It stays valid for ever. Slice it through
    `memoryview(data)`; give the credit back with `consume`.
    """

    stream_id: int
    data: bytes | memoryview

    def __repr__(self) -> str:
        # The bytes themselves stay out of logs.
        return (
            f"DataReceived(stream_id={self.stream_id}, data=<{len(self.data)} bytes>)"
        )


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The peer will send nothing more on this stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream is gone in both directions; its unread bytes need no `consume`."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """The stream can be written to (again); `size` is its whole send window now."""

    stream_id: int
    size: int


@dataclass(frozen=True, slots=True)
class PingReceived:
    """The peer pinged; the answer is already queued."""

    value: int


@dataclass(frozen=True, slots=True)
class PongReceived:
    """Our ping was answered after `rtt` seconds."""

    rtt: float


@dataclass(frozen=True, slots=True)
class GoAway:
    """The peer ends the session: 0 in peace, 1 protocol error, 2 internal error."""

    code: int


Event = (
    StreamOpened
    | DataReceived
    | StreamClosed
    | StreamReset
    | WindowOpened
    | PingReceived
    | PongReceived
    | GoAway
)
