"""A YAML file as a layer of settings: every value knows its line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from praxis_fast.agent.settings import Entry
from praxis_fast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

# A configuration is written by hand; a bigger file is something else.
MAX_FILE = 1024 * 1024
MAX_DEPTH = 64


def read_yaml(path: str | Path, sections: frozenset[str]) -> dict[str, Entry]:
    """The dotted keys of a file; `sections` are the keys that hold other keys."""
    name = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=name) from error
    if len(data) > MAX_FILE:
        raise ConfigError(f"{len(data)} bytes, limit {MAX_FILE}", file=name)
    return parse_yaml(data, name, sections)


def parse_yaml(
    data: bytes | str, name: str, sections: frozenset[str]
) -> dict[str, Entry]:
    """The dotted keys of a text that errors call `name`."""
    loader: Any = None
    try:
        _check_depth(data, name)
        loader = Loader(data)
        root = loader.get_single_node()
        return {} if root is None else dict(_walk(loader, root, name, sections))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = None if mark is None else mark.line + 1
        raise ConfigError(f"not YAML: {problem}", file=name, line=line) from error
    finally:
        if loader is not None:
            loader.dispose()


def _check_depth(data: bytes | str, name: str) -> None:
    """Events come without recursion; the tree made of them would need it."""
    depth = 0
    for event in yaml.parse(data, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"nested deeper than {MAX_DEPTH}", file=name)


def _walk(
    loader: Any, node: Any, name: str, sections: frozenset[str], prefix: str = ""
) -> Iterator[tuple[str, Entry]]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, name, prefix[:-1], "must be a mapping of keys to values")
    for key, key_node, value_node in _pairs(node, name, prefix):
        if key in sections and not _is_empty(value_node):
            yield from _walk(loader, value_node, name, sections, f"{key}.")
        elif key not in sections:
            _refuse_twins(value_node, name, key, set())
            try:
                value = loader.construct_object(value_node, deep=True)
            except ValueError as error:  # such as a month 13
                raise _wrong(value_node, name, key, str(error)) from error
            yield key, Entry(value, name, key_node.start_mark.line + 1)


def _key(node: Any, name: str, prefix: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(node, name, prefix[:-1], "a key must be a word")
    return str(node.value)


def _is_empty(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value in ("", "~", "null")


def _pairs(node: Any, name: str, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """A mapping's keys; none twice, and none twice but for upper and lower case."""
    seen: dict[str, str] = {}
    for key_node, value_node in node.value:
        key = prefix + _key(key_node, name, prefix)
        if (first := seen.get(key.lower())) is not None:
            raise _wrong(key_node, name, key, f"given twice, first as {first}")
        seen[key.lower()] = key
        yield key, key_node, value_node


def _refuse_twins(node: Any, name: str, key: str, visited: set[int]) -> None:
    """No key twice inside a value either; a node with aliases is looked at once."""
    if id(node) in visited or isinstance(node, yaml.ScalarNode):
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twins(item, name, key, visited)
        return
    for inner, _, value_node in _pairs(node, name, f"{key}."):
        _refuse_twins(value_node, name, inner, visited)


def _wrong(node: Any, name: str, key: str, message: str) -> ConfigError:
    line = node.start_mark.line + 1
    return ConfigError(message, file=name, line=line, key=key or None)
