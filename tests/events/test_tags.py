from __future__ import annotations

import pytest

from praxis_fast.events.tags import Tags


def test_tags_answer_as_mapping() -> None:
    tags = Tags({"env": "prod", "x": ""})
    assert tags["env"] == "prod"
    assert tags.get("none", "fallback") == "fallback"
    assert dict(tags) == {"env": "prod", "x": ""}


def test_tags_answer_as_set() -> None:
    tags = Tags(["a", "b"])
    assert "a" in tags
    assert tags == {"a", "b"}
    assert tags != {"a"}
    assert tags & {"a", "c"} == {"a"}
    assert {"a", "c"} & tags == {"a"}
    assert tags - {"a"} == {"b"}
    assert tags <= {"a", "b", "c"}
    assert tags >= {"a"}
    assert tags.issubset(["a", "b", "c"])
    assert tags.issuperset(["b"])
    assert tags.isdisjoint(["c"])
    assert len(tags) == 2


def test_tags_take_a_lone_name() -> None:
    assert Tags("abc") == {"abc"}


def test_tags_are_equal_and_hash_alike_when_their_items_are() -> None:
    assert Tags({"a": "1"}) == Tags({"a": "1"})
    assert hash(Tags({"a": "1", "b": "2"})) == hash(Tags({"b": "2", "a": "1"}))
    assert Tags({"a": "1"}) != Tags({"a": "2"})


@pytest.mark.parametrize("method", ["clear", "popitem", "update", "pop", "setdefault"])
def test_tags_refuse_when_changed_by_method(method: str) -> None:
    with pytest.raises(TypeError, match="read-only"):
        getattr(Tags(["a"]), method)()


def test_tags_refuse_when_changed_by_item() -> None:
    tags = Tags(["a"])
    with pytest.raises(TypeError, match="read-only"):
        tags["a"] = "x"
    with pytest.raises(TypeError, match="read-only"):
        del tags["a"]
