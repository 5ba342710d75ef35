"""Refused requests as events: `authentication` and `security_audit` (HTTP-5)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from praxis_fast.api.access.hosts import header_values
from praxis_fast.api.access.rights import route_of
from praxis_fast.events.access.roles import ADMIN
from praxis_fast.p2p.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.api.access.access import Refusal, Visit
    from praxis_fast.events.bus import EventBus

# A flood of bad logins must not push everything else out of journal and audit log.
_RATE = 1.0
_BURST = 30
_MAX_AGENT = 256


class Denials:
    """Publishes refusals, for admins only; beyond a rate it counts them instead."""

    def __init__(self, bus: EventBus, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._clock = clock
        self._bucket = TokenBucket(_RATE, _BURST, clock())
        self._held = 0

    def __call__(self, visit: Visit, refusal: Refusal) -> None:
        """Tell of one refusal."""
        if not self._bucket.take(self._clock()):
            self._held += 1
            return
        held, self._held = self._held, 0
        about = {
            "client_ip": visit.client or "",
            "user_agent": _user_agent(visit),
            # As the route table has it: what else a client writes is its own affair.
            "path": route_of(visit.path),
            "reason": refusal.reason,
            "suppressed": held,
        }
        if refusal.status == HTTPStatus.FORBIDDEN:
            self._publish("security_audit", _audit(refusal, about))
        else:
            told = {"type": refusal.kind, "status": "failure", **about}
            self._publish("authentication", told)

    def _publish(self, name: str, told: dict[str, Any]) -> None:
        self._bus.publish(name, told, required_role=ADMIN)


def _audit(refusal: Refusal, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "event_type": "access_denied",
        "user_id": refusal.who or "",
        "severity": "warning",
        "message": refusal.message,
        "details": about,
    }


def _user_agent(visit: Visit) -> str:
    return " ".join(header_values(visit.headers, b"user-agent"))[:_MAX_AGENT]
