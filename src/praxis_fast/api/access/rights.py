"""What each route asks for, and which roles have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxis_fast.errors import UsageError
from praxis_fast.events.access.roles import ADMIN, GUEST, USER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

    from praxis_fast.events.access.roles import Roles

# Everything one may be allowed to do.
HEALTH, EVENTS, METRICS, NETWORK = "health", "events", "metrics", "network"
TOOLS, CONNECT, WEBHOOKS, AUDIT = "tools", "connect", "webhooks", "audit"
ADMINISTER = "administer"
RIGHTS = frozenset(
    {HEALTH, EVENTS, METRICS, NETWORK, TOOLS, CONNECT, WEBHOOKS, AUDIT, ADMINISTER}
)
ALL = "*"

DEFAULT_RIGHTS: Mapping[str, tuple[str, ...]] = {
    GUEST: (HEALTH, EVENTS),
    USER: (METRICS, NETWORK, TOOLS),
    ADMIN: (ALL,),
}

# A path, the right to read it and the right to change something by it. The longest
# path that fits counts, for what is below it too; what is not here is for admins.
ROUTES: tuple[tuple[str, str, str], ...] = (
    ("/health", HEALTH, ADMINISTER),
    ("/ready", HEALTH, ADMINISTER),
    ("/access", HEALTH, ADMINISTER),
    ("/ws", EVENTS, EVENTS),
    ("/events", EVENTS, EVENTS),
    ("/streaming", EVENTS, EVENTS),
    ("/metrics", METRICS, ADMINISTER),
    ("/stats", METRICS, ADMINISTER),
    ("/peers", NETWORK, ADMINISTER),
    ("/p2p", NETWORK, ADMINISTER),
    ("/p2p/tool", TOOLS, TOOLS),
    ("/p2p/connect", CONNECT, CONNECT),
    ("/webhooks", WEBHOOKS, WEBHOOKS),
    ("/audit", AUDIT, ADMINISTER),
)

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def needed(method: str, path: str) -> str:
    """The right that a request asks for."""
    found = _entry(path)
    if found is None:
        return ADMINISTER
    _, reading, changing = found
    return reading if method in _READING else changing


def route_of(path: str) -> str:
    """The path of the table that a request's path is at or below."""
    found = _entry(path)
    return "other" if found is None else found[0]


def _entry(path: str) -> tuple[str, str, str] | None:
    fitting = [
        entry for entry in ROUTES if path == entry[0] or path.startswith(entry[0] + "/")
    ]
    return max(fitting, key=lambda entry: len(entry[0]), default=None)


class Rights:
    """Which roles may do what; a role's own table takes the place of the default."""

    def __init__(
        self, roles: Roles, given: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self._given = {
            role: frozenset(names)
            for role, names in {**DEFAULT_RIGHTS, **(given or {})}.items()
        }
        for role, names in self._given.items():
            if role not in roles:
                raise UsageError(f"rights of an unknown role {role!r}")
            for name in names - RIGHTS - {ALL}:
                known = ", ".join(sorted(RIGHTS))
                raise UsageError(f"right {name!r} of {role} is none of {known}")

    def of(self, held: Set[str]) -> frozenset[str]:
        """The rights of whoever holds these roles."""
        nothing: frozenset[str] = frozenset()
        found = nothing.union(*[self._given.get(role, nothing) for role in held])
        return RIGHTS if ALL in found else found
