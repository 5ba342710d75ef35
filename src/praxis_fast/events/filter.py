"""Which events a subscriber asks for, and which of them it may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, ClassVar

from praxis_fast.errors import UsageError
from praxis_fast.events.priority import Priority

if TYPE_CHECKING:
    from praxis_fast.events.event import Event

TagRule = str | tuple[str, str]
Names = Iterable[str] | str | None
TagRules = Mapping[str, str] | Iterable[TagRule] | str | None

# A role sees what asks for a role of its rank or below.
ROLE_RANKS: Mapping[str, int] = {"guest": 1, "user": 2, "admin": 3}
_DENIED = 4

_GLOB_SIGNS = frozenset("*?[")


def is_glob(pattern: str) -> bool:
    """Whether the pattern is more than a plain name."""
    return not _GLOB_SIGNS.isdisjoint(pattern)


def role_sees(role: str | None, required: str | None) -> bool:
    """Whether a subscriber with `role` may see an event that asks for `required`.

    No role is a trusted subscriber of this process. Roles nobody knows see only what
    asks for none; events that ask for one nobody knows are for trusted eyes only.
    """
    if role is None or required is None:
        return True
    return ROLE_RANKS.get(role, 0) >= ROLE_RANKS.get(required, _DENIED)


def freeze_names(names: Names) -> frozenset[str] | None:
    """A set that cannot change; a lone string is one name, None stays None."""
    if names is None:
        return None
    return frozenset((names,) if isinstance(names, str) else names)


def freeze_tags(rules: TagRules) -> frozenset[TagRule]:
    """Tag rules, each a name or a (name, value) pair."""
    if rules is None:
        return frozenset()
    if isinstance(rules, str):
        return frozenset((rules,))
    if isinstance(rules, Mapping):
        return frozenset(rules.items())
    return frozenset(
        rule if isinstance(rule, str) else (rule[0], rule[1]) for rule in rules
    )


def tag_holds(rule: TagRule, event: Event) -> bool:
    """Whether the event has the tag, with the value where one is asked for."""
    if isinstance(rule, str):
        return rule in event.tags
    return event.tags.get(rule[0]) == rule[1]


def any_glob(patterns: frozenset[str], text: str) -> bool:
    """Whether the text is one of the names or fits one of the globs."""
    return text in patterns or any(
        fnmatchcase(text, pattern) for pattern in patterns if is_glob(pattern)
    )


def any_source(patterns: frozenset[str], source: str | None) -> bool:
    """Whether a glob fits the source, or a pattern without glob signs is in it."""
    if source is None:
        return False
    return any(
        fnmatchcase(source, pattern) if is_glob(pattern) else pattern in source
        for pattern in patterns
    )


def refuse_async(*methods: Callable[..., object]) -> None:
    """Refuse methods that give a coroutine, which would count as yes."""
    for method in methods:
        if iscoroutinefunction(method):
            raise UsageError(f"{method.__qualname__} must not be async")


@dataclass(frozen=True, eq=False)
class EventFilter:
    """All conditions must hold; one that is None restricts nothing.

    An empty set of types, sources, peers or tasks matches nothing. Equal filters share
    one group of the matcher. Subclasses may override `matches` (they are then asked
    event by event) and may set attributes of their own.
    """

    event_types: frozenset[str] | None = None
    """Names and globs."""
    source_patterns: frozenset[str] | None = None
    """Globs; a pattern without glob signs may stand anywhere in the source."""
    required_tags: frozenset[TagRule] = frozenset()
    """Names or (name, value) pairs that must all be there."""
    excluded_tags: frozenset[TagRule] = frozenset()
    """Names or (name, value) pairs of which none may be there."""
    peers: frozenset[str] | None = None
    tasks: frozenset[str] | None = None
    min_priority: Priority | None = None
    role: str | None = None
    """The subscriber's own role: guest, user or admin; None is trusted."""

    overrides_matches: ClassVar[bool] = False

    if TYPE_CHECKING:

        def __init__(
            self,
            event_types: Names = None,
            source_patterns: Names = None,
            required_tags: TagRules = None,
            excluded_tags: TagRules = None,
            peers: Names = None,
            tasks: Names = None,
            min_priority: Priority | str | int | None = None,
            role: str | None = None,
        ) -> None: ...

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        refuse_async(cls.matches)
        cls.overrides_matches = cls.matches is not EventFilter.matches

    def __post_init__(self) -> None:
        # The class is frozen for everybody else; its own fields are made proper here.
        own = self.__dict__
        for name in ("event_types", "source_patterns", "peers", "tasks"):
            own[name] = freeze_names(own[name])
        for name in ("required_tags", "excluded_tags"):
            own[name] = freeze_tags(own[name])
        if own["min_priority"] is not None:
            own["min_priority"] = Priority.parse(own["min_priority"])

    def __eq__(self, other: object) -> bool:
        # Attributes of a subclass count as well: a user's filter is not an admin's.
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), self.event_types, self.source_patterns, self.role))

    @property
    def reads_data(self) -> bool:
        """Whether `matches` may look at the data of an event."""
        return self.overrides_matches

    def matches(self, event: Event) -> bool:
        """Whether the subscriber asked for the event and may see it."""
        return (
            role_sees(self.role, event.required_role)
            and (self.event_types is None or any_glob(self.event_types, event.type))
            and (
                self.source_patterns is None
                or any_source(self.source_patterns, event.source)
            )
            and (self.peers is None or event.peer_id in self.peers)
            and (self.tasks is None or event.task_id in self.tasks)
            and (self.min_priority is None or event.priority >= self.min_priority)
            and all(tag_holds(rule, event) for rule in self.required_tags)
            and not any(tag_holds(rule, event) for rule in self.excluded_tags)
        )
