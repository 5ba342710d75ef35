"""Clients judged anew after something about access changed (BUS-1)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from praxis_fast.api.access.rights import EVENTS
from praxis_fast.events.filter import EventFilter

if TYPE_CHECKING:
    from praxis_fast.api.access.access import Access
    from praxis_fast.events.access.policy import EventPolicy
    from praxis_fast.events.access.principal import Principal

logger = logging.getLogger(__name__)

REVOKED = "credentials revoked"
CHANGED = "access changed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of somebody who was let in."""

    principal: Principal | None
    """As it is now; None when it may stay no longer."""
    reason: str = ""
    """Why the client must be ended or served otherwise; empty when nothing changed."""


class Watching(Protocol):
    """A client as it is judged."""

    @property
    def principal(self) -> Principal: ...
    @property
    def address(self) -> str | None: ...


class Revision:
    """Judges each principal once, however many clients it has."""

    def __init__(self, access: Access, before: EventPolicy) -> None:
        self._access = access
        self._before = before
        self._verdicts: dict[Principal, Verdict] = {}

    def __call__(self, client: Watching) -> Verdict:
        """What became of whom the client is."""
        principal = client.principal
        if principal.address is None and self._access.policy.asks_for_address:
            # It did not matter when the client came.
            principal = replace(principal, address=client.address)
        if principal not in self._verdicts:
            self._verdicts[principal] = self._judge(principal)
        return self._verdicts[principal]

    def _judge(self, principal: Principal) -> Verdict:
        now = self._access.current(principal)
        if now is None or EVENTS not in self._access.rights(now):
            return Verdict(None, REVOKED)
        everything = EventFilter()
        try:
            seen = self._before.filter(principal, everything)
            is_same = seen == self._access.policy.filter(now, everything)
        except Exception:  # a policy is foreign code: whoever it cannot judge must go
            logger.exception("a client cannot be judged, and is ended")
            return Verdict(None, REVOKED)
        return Verdict(now, "" if is_same else CHANGED)
