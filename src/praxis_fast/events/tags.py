"""The tags of an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable, Set


class Tags(dict[str, str]):
    """Labels of an event: a read-only mapping that also answers as a set of names.

    Made from a mapping or from bare names; a bare name has the value "".
    """

    __slots__ = ()

    def __init__(self, tags: Mapping[str, str] | Iterable[str] | None = None) -> None:
        if isinstance(tags, str):
            tags = (tags,)
        if not isinstance(tags, Mapping):
            tags = dict.fromkeys(tags or (), "")
        super().__init__(tags)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("tags are read-only")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (set, frozenset)):
            return self.keys() == other
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __and__(self, other: Set[str]) -> set[str]:
        return self.keys() & other

    def __rand__(self, other: Set[str]) -> set[str]:
        return self.keys() & other

    def __sub__(self, other: Set[str]) -> set[str]:
        return self.keys() - other

    def __le__(self, other: Set[str]) -> bool:
        return self.keys() <= other

    def __ge__(self, other: Set[str]) -> bool:
        return self.keys() >= other

    def issubset(self, other: Iterable[str]) -> bool:
        """Whether every name is in `other`."""
        return self.keys() <= set(other)

    def issuperset(self, other: Iterable[str]) -> bool:
        """Whether every name of `other` is here."""
        return self.keys() >= set(other)

    def isdisjoint(self, other: Iterable[str]) -> bool:
        """Whether no name is in both."""
        return self.keys().isdisjoint(other)
