"""What went wrong, told to the bus: one event for each fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxis_fast.events.payloads import error_payload

if TYPE_CHECKING:
    from praxis_fast.events.bus import EventBus
    from praxis_fast.wire.peer_id import PeerID


class Faults:
    """An observer of the host, and the others' place to report to."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def on_error(
        self, kind: str, peer_id: PeerID | None, address: str | None, message: str
    ) -> None:
        """The host reports a connection, a stream or a handler that failed."""
        self.report("p2p", kind, message, peer_id=peer_id, address=address)

    def report(
        self,
        component: str,
        code: str,
        message: str,
        *,
        severity: str = "error",
        peer_id: PeerID | None = None,
        address: str | None = None,
    ) -> None:
        """Publish `system.error`."""
        where = {"peer_id": peer_id and str(peer_id), "address": address}
        payload = error_payload(
            message,
            component=component,
            error_code=code,
            severity=severity,
            diagnostic_data={key: value for key, value in where.items() if value},
        )
        self._bus.publish("system.error", payload, priority="high", peer_id=peer_id)

    def audit(self, what: str, peer_id: PeerID, message: str, **details: str) -> None:
        """Publish `security_audit`: a peer did what it may not do."""
        payload = {
            "event_type": what,
            "severity": "high",
            "peer_id": str(peer_id),
            "user_id": str(peer_id),
            "message": message,
            "details": details,
        }
        self._bus.publish("security_audit", payload, priority="high", peer_id=peer_id)
