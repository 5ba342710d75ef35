"""Which subscribers want an event: the plain twin of the compiled matcher.

Subscribers with equal filters share one group; an event is held against every group.
"""

from __future__ import annotations

import logging
import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, KeysView

logger = logging.getLogger(__name__)

# A role sees what asks for its rank or below; no role at all is trusted with anything.
ROLE_RANKS = {"guest": 1, "user": 2, "admin": 3}
NO_RANK = 0
TRUSTED = 4


def role_rank(role: str | None) -> int:
    """The rank of a subscriber's role."""
    return TRUSTED if role is None else ROLE_RANKS.get(role, NO_RANK)


def required_rank(role: str | None) -> int:
    """The rank an event asks for; a role nobody knows is for trusted eyes only."""
    return NO_RANK if role is None else ROLE_RANKS.get(role, TRUSTED)


def is_glob(pattern: str) -> bool:
    """Whether the pattern is more than a plain name."""
    return "*" in pattern or "?" in pattern or "[" in pattern


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """The glob as a regular expression; fnmatch itself remembers too few."""
    return re.compile(translate(pattern))


def glob_fits(pattern: str, text: str) -> bool:
    """Whether the whole text fits the glob, as fnmatch.fnmatchcase says."""
    return compile_glob(pattern).match(text) is not None


def type_holds(pattern: str, kind: str) -> bool:
    """Whether the event type is this name or fits this glob."""
    return kind == pattern or (is_glob(pattern) and glob_fits(pattern, kind))


def source_holds(pattern: str, source: str | None) -> bool:
    """Whether a glob fits the whole source, or a plain text stands anywhere in it."""
    if source is None:
        return False
    return glob_fits(pattern, source) if is_glob(pattern) else pattern in source


def tag_holds(rule: Any, tags: Any) -> bool:
    """Whether the tag is there, with the value where the rule gives one."""
    return rule in tags if isinstance(rule, str) else tags.get(rule[0]) == rule[1]


def fields_hold(filter: Any, event: Any) -> bool:  # noqa: A002
    """Whether every condition of the filter holds; an absent one does not restrict."""
    kinds, sources = filter.event_types, filter.source_patterns
    peers, tasks, least = filter.peers, filter.tasks, filter.min_priority
    return (
        role_rank(filter.role) >= required_rank(event.required_role)
        and (least is None or event.priority >= least)
        and (kinds is None or any(type_holds(each, event.type) for each in kinds))
        and (sources is None or any(source_holds(p, event.source) for p in sources))
        and (peers is None or event.peer_id in peers)
        and (tasks is None or event.task_id in tasks)
        and all(tag_holds(rule, event.tags) for rule in filter.required_tags)
        and not any(tag_holds(rule, event.tags) for rule in filter.excluded_tags)
    )


def filter_identity(filter: Any) -> Hashable:  # noqa: A002
    """A key equal for equal filters only; spreads well even if their hash does not."""
    return (
        filter.event_types,
        filter.source_patterns,
        filter.required_tags,
        filter.excluded_tags,
        filter.peers,
        filter.tasks,
        filter.min_priority,
        filter.role,
        filter,
    )


class Group:
    """Subscribers whose filters are equal.

    `keys` is a live, read-only, set-like view of their keys.
    """

    __slots__ = ("filter", "keys")

    def __init__(self, filter: Any, members: dict[Hashable, None]) -> None:  # noqa: A002
        self.filter = filter
        self.keys: KeysView[Hashable] = members.keys()

    def __repr__(self) -> str:
        return f"<Group of {len(self.keys)}: {self.filter!r}>"


class Matcher:
    """Finds the groups of subscribers whose filter an event meets.

    A filter that overrides `matches` is asked event by event. When it raises, it does
    not match, `on_error(filter, error)` is called (without one the first error of each
    group is logged), and no other filter notices.
    """

    __slots__ = ("_by_key", "_failed", "_groups", "_members", "_on_error")

    def __init__(
        self, *, on_error: Callable[[Any, Exception], object] | None = None
    ) -> None:
        self._on_error = on_error
        self._groups: dict[Hashable, Group] = {}
        self._members: dict[Group, dict[Hashable, None]] = {}
        self._by_key: dict[Hashable, Group] = {}
        self._failed: set[Group] = set()

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._by_key

    @property
    def groups(self) -> int:
        """How many different filters there are."""
        return len(self._groups)

    def add(self, key: Hashable, filter: Any) -> Group:  # noqa: A002
        """The group the subscriber is in from now on; replaces its former filter."""
        hash(key)
        identity = filter_identity(filter)
        group = self._groups.get(identity)
        if group is None or self._by_key.get(key) is not group:
            self.discard(key)
            group = self._groups.get(identity) or self._make_group(identity, filter)
            self._members[group][key] = None
            self._by_key[key] = group
        return group

    def _make_group(self, identity: Hashable, filter: Any) -> Group:  # noqa: A002
        members: dict[Hashable, None] = {}
        group = Group(filter, members)
        self._groups[identity] = group
        self._members[group] = members
        return group

    def discard(self, key: Hashable) -> None:
        """Forget the subscriber; a key that is not there is ignored."""
        group = self._by_key.pop(key, None)
        if group is None:
            return
        del self._members[group][key]
        if not group.keys:
            del self._groups[filter_identity(group.filter)]
            del self._members[group]
            self._failed.discard(group)

    def match(self, event: Any) -> tuple[Group, ...]:
        """The groups that want the event, in no particular order."""
        groups = tuple(self._groups.values())
        return tuple(group for group in groups if self._wants(group, event))

    def _wants(self, group: Group, event: Any) -> bool:
        test = group.filter
        try:
            if test.overrides_matches:
                return bool(test.matches(event))
            return fields_hold(test, event)
        except Exception as error:  # a filter is foreign code: it may only hurt itself
            self._report(group, error)
            return False

    def _report(self, group: Group, error: Exception) -> None:
        if self._on_error is not None:
            self._on_error(group.filter, error)
        elif group not in self._failed:
            self._failed.add(group)
            logger.warning("filter %r raised %r: no match", group.filter, error)
