"""Who asks: a name, roles, and what narrows the view of this one."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct

from praxis_fast.events.access.roles import GUEST


class Attributes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody may see at most, besides what the roles say; all must hold.

    An event without a peer, a segment, a domain or a sensitivity is not narrowed by
    that condition.
    """

    types: tuple[str, ...] | None = None
    """Names and globs; others are never seen."""
    denied_types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """`name` or `name:value`; every event seen has them all."""
    sources: tuple[str, ...] | None = None
    """Globs; a pattern without glob signs may stand anywhere in the source."""
    peers: tuple[str, ...] | None = None
    segments: tuple[str, ...] | None = None
    """Names and globs of network segments."""
    domains: tuple[str, ...] | None = None
    """Domains; those below them are meant too."""
    clearance: str | None = None
    """The highest sensitivity seen; without it that of the roles."""


NO_ATTRIBUTES = Attributes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who proved who they are, or nobody in particular."""

    name: str
    roles: frozenset[str] = frozenset({GUEST})
    """As given; what they inherit is the policy's to know."""
    attributes: Attributes = NO_ATTRIBUTES
    expires: float | None = None
    """Epoch seconds after which the credential is nothing any more."""
    credential: str = field(default="", repr=False)
    """Names the credential without telling it: how it was shown, and its mark."""
    address: str | None = None
    """Where the connection comes from, for rules about networks."""

    def is_expired(self, now: float) -> bool:
        """Whether the credential's time is over; `now` in epoch seconds."""
        return self.expires is not None and now >= self.expires
