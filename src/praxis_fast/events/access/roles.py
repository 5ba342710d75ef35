"""Roles, and which of them hold others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxis_fast.errors import UsageError
from praxis_fast.events.filter import ROLE_RANKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

GUEST, USER, ADMIN = "guest", "user", "admin"

DEFAULT_ROLES: Mapping[str, tuple[str, ...]] = {GUEST: (), USER: (GUEST,), ADMIN: ()}

# What a filter of the matcher calls a subscriber that holds no role at all.
NOBODY = "nobody"


class Roles:
    """A hierarchy: each role and those it inherits from; admin holds every role."""

    def __init__(self, inherits: Mapping[str, Iterable[str]] | None = None) -> None:
        given = {name: tuple(held) for name, held in (inherits or {}).items()}
        table = {**DEFAULT_ROLES, **given}
        for name, held in table.items():
            for other in held:
                if other not in table:
                    raise UsageError(f"role {name!r} inherits from unknown {other!r}")
        self._held = {name: _closed(table, name) for name in table}
        self._held[ADMIN] = frozenset(table)

    def __contains__(self, role: object) -> bool:
        return role in self._held

    def held_by(self, roles: Iterable[str]) -> frozenset[str]:
        """These roles and all they inherit; names nobody knows count for nothing."""
        nothing: frozenset[str] = frozenset()
        return nothing.union(*[self._held.get(role, nothing) for role in roles])


def filter_role(held: Set[str]) -> str | None:
    """The role of a filter that sees as much; None when none does."""
    for role, rank in ROLE_RANKS.items():
        if held == {name for name in ROLE_RANKS if ROLE_RANKS[name] <= rank}:
            return role
    return None if held else NOBODY


def _closed(table: Mapping[str, tuple[str, ...]], name: str) -> frozenset[str]:
    """The role and everything below it; rings are no harm."""
    held: set[str] = set()
    todo = [name]
    while todo:
        role = todo.pop()
        if role not in held:
            held.add(role)
            todo += table[role]
    return frozenset(held)
