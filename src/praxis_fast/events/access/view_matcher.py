"""A matcher that knows views: each is asked once for an event, not once a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxis_fast.core import Matcher
from praxis_fast.events.access.policy import VisibleFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from praxis_fast.core import Group
    from praxis_fast.events.access.policy import View
    from praxis_fast.events.event import Event, EventFilter


class ViewMatcher:
    """Like a Matcher; filters with a view are in a matcher of their own for each view.

    So what somebody may see costs one question for each view, and what they want is the
    compiled matcher's work with a view as without.
    """

    __slots__ = ("_all", "_homes", "_plain", "match")

    def __init__(self) -> None:
        self._plain = Matcher()
        # With each matcher the view that all its subscribers are to keep.
        self._all: dict[View, tuple[View, Matcher]] = {}
        self._homes: dict[Hashable, View] = {}
        # The compiled method itself as long as nobody has a view.
        self.match: Callable[[Event], tuple[Group, ...]] = self._plain.match

    def __len__(self) -> int:
        return len(self._plain) + len(self._homes)

    def add(self, key: Hashable, wanted: EventFilter) -> Group:
        """The group the subscriber is in from now on; replaces its former filter."""
        if type(wanted) is not VisibleFilter:
            self._leave_view(key)
            return self._plain.add(key, wanted)
        view = wanted.view
        if self._homes.get(key) != view:
            self.discard(key)
        view, matcher = self._all.setdefault(view, (view, Matcher()))
        self.match = self._match
        self._homes[key] = view
        return matcher.add(key, wanted.wanted)

    def discard(self, key: Hashable) -> None:
        """Forget the subscriber; a key that is not there is ignored."""
        self._leave_view(key)
        self._plain.discard(key)

    def _leave_view(self, key: Hashable) -> None:
        view = self._homes.pop(key, None)
        if view is None:
            return
        _, matcher = self._all[view]
        matcher.discard(key)
        if not len(matcher):
            del self._all[view]
        if not self._all:
            self.match = self._plain.match

    def _match(self, event: Event) -> tuple[Group, ...]:
        groups: tuple[Group, ...] = self._plain.match(event)
        for view, matcher in tuple(self._all.values()):
            found = matcher.match(event)
            if found and view.may_see(event):
                groups += found
        return groups
