"""Who may see which events.

Theory of operation
-------------------
A policy turns a principal into a `View`: what that principal may see, with all that
depends on the principal alone worked out. Principals that may see the same have equal
views. A view becomes part of the filter of each subscription, so it is asked where an
event is queued, and again wherever a filter is asked: when the journal is read, when a
snapshot is made, when a webhook is sent.

Most principals are restricted by nothing but a built-in role. They have no view at all
but a filter with that role, which the compiled matcher knows by itself. For all others
see `view_matcher`: one question for each view and event, however many subscribe.

    required role     ─► held?            ─ no ─► hidden
    attributes        ─► all hold?        ─ no ─► hidden
    deny rules        ─► one covers it?   ─ yes ► hidden
    allow rules       ─► some cover it, none of them ours? ─► hidden
                                          ─ else ► seen
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from praxis_fast.errors import UsageError
from praxis_fast.events.access.roles import ADMIN, GUEST, USER, Roles, filter_role
from praxis_fast.events.access.rule import (
    DOMAIN,
    SENSITIVITY,
    Rule,
    Segments,
    is_below,
    label,
    network_of,
    tag_rule,
)
from praxis_fast.events.filter import (
    EventFilter,
    any_glob,
    any_source,
    refuse_async,
    tag_holds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from praxis_fast.events.access.principal import Attributes, Principal
    from praxis_fast.events.event import Event

logger = logging.getLogger(__name__)

# From harmless to most sensitive; a value that is not here is above them all.
LEVELS = ("public", "internal", "confidential", "secret")

# Admins see every level, and whoever holds none of these roles the lowest one.
CLEARANCES: Mapping[str, str] = {GUEST: "public", USER: "internal"}

# Event types whose rules a view remembers.
_MAX_TYPES = 1024

_Rules = tuple[Rule, ...]


class View:
    """What one principal may see; equal views see the same."""

    __slots__ = (
        "_by_type",
        "_hash",
        "_key",
        "_level",
        "_levels",
        "_segments",
        "attributes",
        "held",
        "rules",
    )

    def __init__(
        self,
        held: frozenset[str],
        attributes: Attributes,
        rules: tuple[_Rules, _Rules, _Rules],
        level: int | None,
        levels: Mapping[str, int],
        segments: Segments,
    ) -> None:
        self.held = held
        self.attributes = attributes
        self.rules = rules
        """Those that deny, those that allow us, those that allow others."""
        self._level = level
        self._levels = levels
        self._segments = segments
        self._by_type: dict[str, tuple[_Rules, _Rules, _Rules] | None] = {}
        self._key = (held, attributes, rules, level, tuple(levels), segments)
        self._hash = hash(self._key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, View) and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"<View of {', '.join(sorted(self.held)) or 'nobody'}>"

    @property
    def is_plain(self) -> bool:
        """Whether the roles are all there is to ask."""
        return self._level is None and not any(self.rules) and not _narrows(self)

    @property
    def reads_data(self) -> bool:
        """Whether what is seen depends on the data of events."""
        return self._segments.reads_data

    def may_see(self, event: Event) -> bool:
        """Whether the event may be shown."""
        required = event.required_role
        if required is not None and required not in self.held:
            return False
        rules = self._rules_for(event.type)
        if rules is None or not self._is_cleared(event) or not self._fits(event):
            return False
        denying, ours, others = rules
        if any(rule.covers(event, self._segments) for rule in denying):
            return False
        return (
            not others
            or any(rule.covers(event, self._segments) for rule in ours)
            or not any(rule.covers(event, self._segments) for rule in others)
        )

    def never_sees(self, name: str) -> bool:
        """Whether no event of this type is ever shown."""
        rules = self._rules_for(name)
        return (
            rules is None
            or any(rule.is_about_types_alone for rule in rules[0])
            or (not rules[1] and any(rule.is_about_types_alone for rule in rules[2]))
        )

    def _rules_for(self, name: str) -> tuple[_Rules, _Rules, _Rules] | None:
        """The rules that may cover a type; None when the type is not for us."""
        try:
            return self._by_type[name]
        except KeyError:
            pass
        if len(self._by_type) >= _MAX_TYPES:
            self._by_type.clear()
        found = self._by_type[name] = self._find_rules(name)
        return found

    def _find_rules(self, name: str) -> tuple[_Rules, _Rules, _Rules] | None:
        given = self.attributes
        if given.types is not None and not any_glob(frozenset(given.types), name):
            return None
        if any_glob(frozenset(given.denied_types), name):
            return None
        denying, ours, others = (
            tuple(r for r in rules if r.types is None or any_glob(r.types, name))
            for rules in self.rules
        )
        return denying, ours, others

    def _is_cleared(self, event: Event) -> bool:
        if self._level is None or (told := label(event, SENSITIVITY)) is None:
            return True
        return self._levels.get(told, len(self._levels)) <= self._level

    def _fits(self, event: Event) -> bool:
        given = self.attributes
        return (
            all(tag_holds(tag_rule(text), event) for text in given.tags)
            and (
                given.sources is None
                or any_source(frozenset(given.sources), event.source)
            )
            and (
                given.peers is None
                or event.peer_id is None
                or event.peer_id in given.peers
            )
            and (
                given.domains is None
                or (domain := label(event, DOMAIN)) is None
                or is_below(domain, given.domains)
            )
            and (given.segments is None or self._is_in(event, given.segments))
        )

    def _is_in(self, event: Event, segments: tuple[str, ...]) -> bool:
        found = self._segments.of(event)
        names = frozenset(segments)
        return not found or any(any_glob(names, name) for name in found)


class VisibleFilter(EventFilter):
    """What somebody asked for, as far as they may see it."""

    def __init__(self, wanted: EventFilter, view: View) -> None:
        super().__init__()
        own: Any = self.__dict__
        own["wanted"] = wanted
        own["view"] = view

    wanted: EventFilter
    view: View

    def __hash__(self) -> int:
        return hash((self.wanted, self.view))

    @property
    def reads_data(self) -> bool:
        """Addresses are in the data, where segments have networks."""
        return self.wanted.reads_data or self.view.reads_data

    def matches(self, event: Event) -> bool:
        """Whether it was asked for and may be seen."""
        return self.view.may_see(event) and self.wanted.matches(event)


class JudgedFilter(EventFilter):
    """What somebody asked for, with a policy of users' own asked for each event."""

    def __init__(
        self, wanted: EventFilter, policy: EventPolicy, principal: Principal
    ) -> None:
        super().__init__()
        own: Any = self.__dict__
        own |= {"wanted": wanted, "policy": policy, "principal": principal}

    wanted: EventFilter
    policy: EventPolicy
    principal: Principal

    def __hash__(self) -> int:
        return hash((self.wanted, self.principal))

    def matches(self, event: Event) -> bool:
        """Whether it was asked for and the policy shows it."""
        return self.wanted.matches(event) and self.policy.shows(self.principal, event)


class EventPolicy:
    """Decides what principals may see.

    Rules are looked at as a whole: a `deny` that covers an event hides it; an event
    that `allow` rules cover is seen by those they name; all others are seen by
    everybody whose roles and attributes let them. Without `levels` the sensitivity of
    events hides nothing. Subclasses override `may_see`, or `filter` to make filters of
    their own.
    """

    # Subclasses need not call `__init__` for it.
    _has_failed = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        refuse_async(cls.may_see, cls.filter)

    def __init__(
        self,
        *,
        roles: Roles | None = None,
        rules: Iterable[Rule] = (),
        segments: Mapping[str, Iterable[str]] | None = None,
        levels: Iterable[str] = LEVELS,
        clearances: Mapping[str, str] | None = None,
    ) -> None:
        self.roles = roles or Roles()
        self.rules = tuple(rules)
        self._segments = Segments(segments)
        self._levels = {name: place for place, name in enumerate(levels)}
        if clearances is None:
            clearances = CLEARANCES if self._levels else {}
        self._clearances = clearances
        self._check()

    @property
    def asks_for_address(self) -> bool:
        """Whether it matters where somebody connects from."""
        return any(rule.networks is not None for rule in self.rules)

    def view(self, principal: Principal) -> View:
        """What the principal may see."""
        held = self.roles.held_by(principal.roles)
        about = [rule for rule in self.rules if rule.is_about(principal, held)]
        allowing = tuple(rule for rule in self.rules if rule.effect == "allow")
        ours = tuple(rule for rule in about if rule.effect == "allow")
        others = tuple(rule for rule in allowing if rule not in ours)
        return View(
            held,
            principal.attributes,
            (
                tuple(rule for rule in about if rule.effect == "deny"),
                # Without others to hide from, being allowed means nothing.
                ours if others else (),
                others,
            ),
            self._level(principal, held),
            self._levels,
            self._segments,
        )

    def may_see(self, principal: Principal, event: Event) -> bool:
        """Whether the principal may see the event."""
        return self.view(principal).may_see(event)

    def shows(self, principal: Principal, event: Event) -> bool:
        """The same, where an event that cannot be judged is hidden."""
        try:
            return bool(self.may_see(principal, event))
        except Exception as error:  # foreign code: one event must not end a stream
            if not self._has_failed:
                self._has_failed = True
                name = type(self).__name__
                logger.warning("policy %s raised %r: event hidden", name, error)
            return False

    def filter(self, principal: Principal, wanted: EventFilter) -> EventFilter:
        """What the principal gets of that which is wanted."""
        if type(self).may_see is not EventPolicy.may_see:
            return JudgedFilter(wanted, self, principal)
        view = self.view(principal)
        role = filter_role(view.held)
        if view.is_plain and role is not None and type(wanted) is EventFilter:
            return dataclasses.replace(wanted, role=role)
        return VisibleFilter(wanted, view)

    def hidden(self, principal: Principal, types: Iterable[str]) -> list[str]:
        """Those of the types the principal never sees."""
        view = self.view(principal)
        if view.is_plain:
            return []
        return sorted(name for name in types if view.never_sees(name))

    def _level(self, principal: Principal, held: frozenset[str]) -> int | None:
        """The highest level shown; None is no bound."""
        own = principal.attributes.clearance
        if own is not None:
            return self._levels.get(own, -1)
        if ADMIN in held or not self._levels:
            return None
        given = [self._clearances[role] for role in held & self._clearances.keys()]
        # Whoever has none sees the lowest level.
        return max((self._levels[name] for name in given), default=0)

    def _check(self) -> None:
        for rule in self.rules:
            for text in rule.networks or ():
                network_of(text)
            for role in rule.roles or ():
                if role not in self.roles:
                    raise UsageError(f"rule names an unknown role {role!r}")
            for name in rule.sensitivity or ():
                if name not in self._levels:
                    raise UsageError(f"rule names an unknown sensitivity {name!r}")
        for role, name in self._clearances.items():
            if role not in self.roles:
                raise UsageError(f"clearance of an unknown role {role!r}")
            if name not in self._levels:
                raise UsageError(f"clearance {name!r} of {role} is not a level")


def _narrows(view: View) -> bool:
    given = view.attributes
    limits = (given.types, given.sources, given.peers, given.segments, given.domains)
    return bool(given.denied_types or given.tags) or any(
        names is not None for names in limits
    )
