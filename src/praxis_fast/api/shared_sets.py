"""Equal sets of names, kept once."""

from __future__ import annotations

from weakref import WeakValueDictionary


class SharedSets:
    """Gives the first of equal sets for all of them, as long as somebody has it.

    Most clients want the same types; a set of one name takes 300 bytes with the name.
    """

    __slots__ = ("_by_hash",)

    def __init__(self) -> None:
        # By hash: were the sets keys, they would keep themselves alive.
        self._by_hash: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._by_hash)

    def __call__(self, names: frozenset[str]) -> frozenset[str]:
        """The set that is kept: these names, in whichever object."""
        found = self._by_hash.setdefault(hash(names), names)
        return found if found == names else names
