from __future__ import annotations

from typing import Any

from praxis_fast.api.shared_sets import SharedSets


def fresh(*names: str) -> frozenset[str]:
    return frozenset(list(names))


def test_equal_sets_are_one_object_while_somebody_has_it() -> None:
    share = SharedSets()
    first = share(fresh("a", "b"))
    assert share(fresh("b", "a")) is first
    assert share(fresh("a")) == {"a"}
    del first
    assert len(share) == 0
    assert share(fresh("a", "b")) == {"a", "b"}


def test_sets_with_equal_hashes_are_kept_apart() -> None:
    class Colliding(frozenset[str]):
        def __hash__(self) -> int:
            return 7

    share: Any = SharedSets()
    first, second = Colliding({"a"}), Colliding({"b"})
    assert share(first) is first
    assert share(second) is second
    assert share(Colliding({"a"})) is first
