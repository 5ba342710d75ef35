"""Every limit: what it bounds, its unit and its safe default.

Each field is a setting, `limits.<area>.<name>` in YAML. None is ever unlimited.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

KIB = 1024
MIB = 1024 * KIB

# yamux specification, "Flow Control": both sides start with this window.
INITIAL_WINDOW = 256 * KIB

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Size = Annotated[int, Meta(ge=1, le=2**40)]
Seconds = Annotated[float, Meta(gt=0, le=10**7)]
Rate = Annotated[float, Meta(gt=0, le=10**9)]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Connections of the peer-to-peer host."""

    max_connections: Annotated[Count, Meta(description="open at once")] = 512
    max_upgrading: Annotated[Count, Meta(description="not yet secured, at once")] = 64
    max_per_address: Annotated[
        Count, Meta(description="at once from one IPv4 address or IPv6 /56")
    ] = 8
    open_rate: Annotated[
        Rate, Meta(description="new ones a second from one address, after the burst")
    ] = 0.2
    open_burst: Annotated[Count, Meta(description="at once from one address")] = 16
    exempt_loopback: Annotated[
        bool, Meta(description="loopback is free of the per-address limits")
    ] = True
    reserved_descriptors: Annotated[
        Count, Meta(description="file descriptors kept free for other work")
    ] = 32
    stage_timeout: Annotated[Seconds, Meta(description="s for one upgrade stage")] = 5.0
    upgrade_timeout: Annotated[Seconds, Meta(description="s for the upgrade")] = 15.0
    dial_timeout: Annotated[Seconds, Meta(description="s for a whole dial")] = 30.0
    negotiation_timeout: Annotated[
        Seconds, Meta(description="s to agree on a stream's protocol")
    ] = 10.0
    ping_interval: Annotated[Seconds, Meta(description="s between pings")] = 15.0
    dead_after: Annotated[Seconds, Meta(description="s without an answer")] = 45.0
    backoff_min: Annotated[Seconds, Meta(description="s before the first redial")] = 1.0
    backoff_max: Annotated[Seconds, Meta(description="s between redials")] = 300.0
    write_buffer: Annotated[
        Size, Meta(description="bytes queued to one socket before writers wait")
    ] = 256 * KIB
    drain_timeout: Annotated[Seconds, Meta(description="s to end open streams")] = 10.0


@dataclass(frozen=True, slots=True)
class SecurityLimits:
    """multistream-select and the Noise channel."""

    max_line: Annotated[Size, Meta(description="bytes in a multistream line")] = KIB
    max_proposals: Annotated[Count, Meta(description="protocols proposed")] = 32
    max_handshake: Annotated[Size, Meta(description="bytes in a handshake message")] = (
        8 * KIB
    )
    rsa_min_bits: Annotated[int, Meta(ge=2048, le=8192)] = 2048
    rsa_max_bits: Annotated[int, Meta(ge=2048, le=8192)] = 8192


@dataclass(frozen=True, slots=True)
class MuxerLimits:
    """One yamux session."""

    max_window: Annotated[
        int,
        Meta(ge=INITIAL_WINDOW, le=2**31 - 1, description="bytes a stream may grow to"),
    ] = 16 * MIB
    max_streams: Annotated[Count, Meta(description="inbound at once")] = 1000
    max_backlog: Annotated[Count, Meta(description="inbound, not yet accepted")] = 256
    max_unread: Annotated[
        Size, Meta(description="bytes received and not yet read, whole session")
    ] = 32 * MIB
    max_pongs: Annotated[Count, Meta(description="pongs waiting to be sent")] = 32
    max_control: Annotated[Count, Meta(description="control frames waiting")] = 1024
    max_outbound: Annotated[Size, Meta(description="bytes waiting to be sent")] = (
        4 * MIB
    )
    control_rate: Annotated[Rate, Meta(description="control frames a second in")] = (
        1000.0
    )
    control_burst: Annotated[Count, Meta(description="control frames at once in")] = (
        5000
    )
    reset_rate: Annotated[Rate, Meta(description="resets a second by the peer")] = 200.0
    reset_burst: Annotated[Count, Meta(description="resets at once by the peer")] = 1000
    half_closed_timeout: Annotated[
        Seconds, Meta(description="s a stream closed by us waits for the peer's end")
    ] = 300.0


@dataclass(frozen=True, slots=True)
class JSONLimits:
    """JSON texts on streams."""

    max_frame: Annotated[
        Annotated[int, Meta(ge=1, le=16 * MIB)], Meta(description="bytes in one text")
    ] = MIB
    max_depth: Annotated[
        Annotated[int, Meta(ge=1, le=1024)], Meta(description="nesting")
    ] = 128
    max_blank: Annotated[
        Size, Meta(description="bytes of white space between texts")
    ] = 64 * KIB
    max_values: Annotated[Count, Meta(description="values in one text")] = 100_000
    max_digits: Annotated[Count, Meta(description="digits in one number")] = 400
    idle_timeout: Annotated[Seconds, Meta(description="s without a byte")] = 30.0


@dataclass(frozen=True, slots=True)
class IdentifyLimits:
    """The identify protocol."""

    max_message: Annotated[Size, Meta(description="bytes in one message")] = 8 * KIB
    max_messages: Annotated[Count, Meta(description="messages joined")] = 10
    timeout: Annotated[Seconds, Meta(description="s for the exchange")] = 5.0
    max_protocols: Annotated[Count, Meta(description="protocols kept")] = 128
    max_addresses: Annotated[Count, Meta(description="addresses read")] = 500


@dataclass(frozen=True, slots=True)
class DiscoveryLimits:
    """mDNS, bootstrap and the peer table."""

    max_packet: Annotated[Size, Meta(description="bytes in an mDNS packet")] = 9000
    max_records: Annotated[Count, Meta(description="records in an mDNS packet")] = 128
    packet_rate: Annotated[
        Rate, Meta(description="mDNS packets a second read from one socket")
    ] = 100.0
    max_candidates: Annotated[
        Count, Meta(description="peers heard of, not verified")
    ] = 1024
    candidate_rate: Annotated[Rate, Meta(description="new candidates a second")] = 20.0
    max_dials: Annotated[Count, Meta(description="dials at once")] = 8
    dials_per_address: Annotated[
        Count, Meta(description="dials a minute to one address")
    ] = 3
    max_peers: Annotated[Count, Meta(description="peers in the table")] = 1024
    max_addresses: Annotated[Count, Meta(description="addresses kept for a peer")] = 20
    change_interval: Annotated[
        Seconds, Meta(description="s between changes of a peer's announced addresses")
    ] = 2.0
    check_interval: Annotated[Seconds, Meta(description="s between checks")] = 10.0
    stale_after: Annotated[Seconds, Meta(description="s unseen until forgotten")] = (
        300.0
    )


@dataclass(frozen=True, slots=True)
class CardLimits:
    """Cards that peers send."""

    max_card: Annotated[Size, Meta(description="bytes in a card")] = 256 * KIB
    max_tools: Annotated[Count, Meta(description="tools in a card")] = 256
    max_name: Annotated[Size, Meta(description="bytes in a name")] = 128
    max_description: Annotated[Size, Meta(description="bytes in a description")] = (
        4 * KIB
    )
    timeout: Annotated[Seconds, Meta(description="s for the exchange")] = 10.0
    skew_warn: Annotated[Seconds, Meta(description="s of clock skew flagged")] = 300.0
    skew_reject: Annotated[Seconds, Meta(description="s of clock skew refused")] = (
        86400.0
    )


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """Tool calls."""

    timeout: Annotated[Seconds, Meta(description="s for one call")] = 60.0
    max_result: Annotated[Size, Meta(description="bytes in an answer")] = MIB
    max_calls: Annotated[Count, Meta(description="inbound calls at once, per peer")] = (
        64
    )
    max_threads: Annotated[
        Count, Meta(description="tools that are plain functions, running at once")
    ] = 16


@dataclass(frozen=True, slots=True)
class EventLimits:
    """The event bus and its subscribers."""

    max_queued_events: Annotated[
        Count, Meta(description="events waiting, per subscriber")
    ] = 1024
    max_queued_bytes: Annotated[
        Size, Meta(description="bytes waiting, per subscriber")
    ] = MIB
    stall_timeout: Annotated[Seconds, Meta(description="s a subscriber may stall")] = (
        10.0
    )
    handler_timeout: Annotated[Seconds, Meta(description="s for one handler call")] = (
        30.0
    )
    max_subscribers: Annotated[Count, Meta(description="in-process subscribers")] = (
        100_000
    )
    max_event: Annotated[Size, Meta(description="bytes in one encoded event")] = MIB


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """The newest events, kept for subscribers that come back."""

    max_events: Annotated[Count, Meta(description="events kept")] = 10_000
    max_age: Annotated[Seconds, Meta(description="s an event is kept")] = 600.0
    max_bytes: Annotated[Size, Meta(description="bytes of events kept")] = 64 * MIB


@dataclass(frozen=True, slots=True)
class JournalFileLimits:
    """The journal on disk, which reaches further back and outlives the process."""

    max_events: Annotated[Count, Meta(description="events kept")] = 1_000_000
    max_age: Annotated[Seconds, Meta(description="s an event is kept")] = 7 * 86400.0
    max_bytes: Annotated[Size, Meta(description="bytes of events kept")] = 1024 * MIB
    max_waiting: Annotated[Count, Meta(description="events not yet written")] = 100_000
    max_waiting_bytes: Annotated[
        Size, Meta(description="bytes of events not yet written")
    ] = 64 * MIB


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """WebSocket clients."""

    max_clients: Annotated[Count, Meta(description="open at once")] = 10_000
    max_message: Annotated[
        Size, Meta(description="bytes in one message from a client")
    ] = 64 * KIB
    max_fragments: Annotated[Count, Meta(description="fragments in one message")] = 1024
    control_rate: Annotated[Rate, Meta(description="control frames a second")] = 20.0
    max_filters: Annotated[
        Count, Meta(description="event types in one subscription")
    ] = 256
    handshake_timeout: Annotated[Seconds, Meta(description="s for the handshake")] = (
        10.0
    )
    ping_interval: Annotated[Seconds, Meta(description="s between heartbeats")] = 30.0
    compression: Annotated[
        bool, Meta(description="events are compressed for clients that ask for it")
    ] = False


@dataclass(frozen=True, slots=True)
class HTTPLimits:
    """The HTTP surface."""

    max_line: Annotated[Size, Meta(description="bytes in the request line")] = 8 * KIB
    max_headers: Annotated[Count, Meta(description="header fields")] = 100
    max_header_bytes: Annotated[
        Size, Meta(description="bytes in all header fields")
    ] = 16 * KIB
    max_body: Annotated[Size, Meta(description="bytes in a request body")] = MIB
    header_timeout: Annotated[Seconds, Meta(description="s for the headers")] = 10.0
    body_timeout: Annotated[Seconds, Meta(description="s for a body")] = 30.0
    body_grace: Annotated[
        Seconds, Meta(description="s a body may begin slower than `body_rate`")
    ] = 5.0
    body_rate: Annotated[Rate, Meta(description="bytes a second of a body after")] = (
        240.0
    )
    reader_timeout: Annotated[
        Seconds, Meta(description="s a client may read nothing of an answer")
    ] = 30.0
    failed_logins: Annotated[
        Count, Meta(description="wrong credentials a minute, per address")
    ] = 10
    max_failing_addresses: Annotated[
        Count, Meta(description="addresses whose failures are counted")
    ] = 4096


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Databases: the webhooks' outbox, the audit log and the journal on disk."""

    commit_interval: Annotated[
        Seconds, Meta(description="s a write may wait for others to share its commit")
    ] = 0.005
    max_batch: Annotated[Count, Meta(description="writes in one commit")] = 256
    max_queued: Annotated[Count, Meta(description="writes waiting")] = 10_000
    min_free: Annotated[
        Size,
        Meta(description="bytes kept free on the disk, or 2 % of it when that is less"),
    ] = 64 * MIB


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """Webhook endpoints and what waits for them."""

    max_endpoints: Annotated[Count, Meta(description="registered")] = 256
    max_waiting: Annotated[
        Count, Meta(description="messages waiting, per endpoint")
    ] = 100_000
    max_fresh: Annotated[
        Size,
        Meta(description="bytes of new messages kept in memory for their first try"),
    ] = 8 * MIB
    per_endpoint: Annotated[
        Count, Meta(description="requests at once, per endpoint")
    ] = 4
    total: Annotated[Count, Meta(description="requests at once, all endpoints")] = 64
    connect_timeout: Annotated[Seconds, Meta(description="s to connect")] = 5.0
    response_timeout: Annotated[Seconds, Meta(description="s for the answer")] = 15.0
    max_response: Annotated[Size, Meta(description="bytes read of an answer")] = (
        64 * KIB
    )
    quick_tries: Annotated[Count, Meta(description="tries with growing pauses")] = 5
    first_delay: Annotated[
        Seconds, Meta(description="s before the second try at most; doubles each time")
    ] = 1.0
    slow_interval: Annotated[
        Seconds, Meta(description="s between tries after the quick ones")
    ] = 300.0
    max_retry_after: Annotated[
        Seconds, Meta(description="s a receiver may ask us to wait, `Retry-After`")
    ] = 86400.0
    give_up_after: Annotated[
        Seconds, Meta(description="s after which a message becomes a dead letter")
    ] = 120 * 3600.0
    history: Annotated[
        Seconds, Meta(description="s that delivered messages stay in the history")
    ] = 7 * 86400.0
    dead_letters: Annotated[Seconds, Meta(description="s that dead letters stay")] = (
        30 * 86400.0
    )


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """The whole process."""

    buffer_pool: Annotated[Size, Meta(description="bytes in all network buffers")] = (
        128 * MIB
    )
    drain_timeout: Annotated[Seconds, Meta(description="s to drain at shutdown")] = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """All areas; hand one down instead of reading settings in many places."""

    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    security: SecurityLimits = field(default_factory=SecurityLimits)
    muxer: MuxerLimits = field(default_factory=MuxerLimits)
    json: JSONLimits = field(default_factory=JSONLimits)
    identify: IdentifyLimits = field(default_factory=IdentifyLimits)
    discovery: DiscoveryLimits = field(default_factory=DiscoveryLimits)
    cards: CardLimits = field(default_factory=CardLimits)
    tools: ToolLimits = field(default_factory=ToolLimits)
    events: EventLimits = field(default_factory=EventLimits)
    journal: JournalLimits = field(default_factory=JournalLimits)
    journal_file: JournalFileLimits = field(default_factory=JournalFileLimits)
    websocket: WebSocketLimits = field(default_factory=WebSocketLimits)
    http: HTTPLimits = field(default_factory=HTTPLimits)
    store: StoreLimits = field(default_factory=StoreLimits)
    webhooks: WebhookLimits = field(default_factory=WebhookLimits)
    process: ProcessLimits = field(default_factory=ProcessLimits)
