"""Settings from several layers, each value with the place it came from.

A layout is a tree of dataclasses. Its leaves have dotted keys (`p2p.port`); a layer
maps such keys to entries. Later layers win. Errors name file, line, key and value.
"""

from __future__ import annotations

import dataclasses
import re
import reprlib
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from praxis_fast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

Layer = dict[str, "Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One value and the place it stands at."""

    value: Any
    source: str | None
    """A file, a variable, an option: what an error names first."""
    line: int | None = None
    is_text: bool = False
    """Came as text, so that "4001" is right where a number is wanted."""

    @property
    def place(self) -> str:
        source = self.source or "mapping"
        return source if self.line is None else f"{source}:{self.line}"

    def error(self, key: str, message: str) -> ConfigError:
        return ConfigError(message, file=self.source, line=self.line, key=key)


def shown(value: object) -> str:
    """A value as an error may show it: short, whatever it is."""
    return reprlib.repr(value)


def is_section(kind: Any) -> TypeGuard[type[Any]]:
    """Whether a field of this type holds further settings."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def leaves(layout: type[Any], prefix: str = "") -> dict[str, Any]:
    """The dotted keys of a layout and the type of each."""
    hints = get_type_hints(layout, include_extras=True)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(layout):
        kind = hints[field.name]
        key = prefix + field.name
        if is_section(kind):
            found |= leaves(kind, f"{key}.")
        else:
            found[key] = kind
    return found


def merge(layers: Sequence[Layer]) -> Layer:
    """All layers in one; a later one wins."""
    return {key: entry for layer in layers for key, entry in layer.items()}


def build(layout: type[T], entries: Mapping[str, Entry], prefix: str = "") -> T:
    """The layout filled with the entries, defaults where there is none."""
    hints = get_type_hints(layout, include_extras=True)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(layout):  # type: ignore[arg-type]
        kind, key = hints[field.name], prefix + field.name
        if is_section(kind):
            values[field.name] = build(kind, entries, f"{key}.")
        elif key in entries:
            values[field.name] = convert(key, entries[key], kind)
    return layout(**values)


def convert(key: str, entry: Entry, kind: Any) -> Any:
    """The entry's value as its type wants it."""
    value = _as_list(entry.value) if _wants_list(kind) else entry.value
    if value == "" and _is_optional(kind):
        value = None
    try:
        return msgspec.convert(value, kind, strict=not entry.is_text)
    except msgspec.ValidationError as error:
        message = f"{_plain(str(error))}, not {shown(entry.value)}"
        raise entry.error(key, message) from error


def did_you_mean(key: str, known: Sequence[str]) -> str:
    """`; did you mean p2p.port?`, or nothing when no key is near."""
    last = key.rpartition(".")[2].lower()
    near = get_close_matches(key.lower(), known, n=1, cutoff=0.75)
    near = near or [name for name in known if name.rpartition(".")[2] == last][:1]
    return f"; did you mean {near[0]}?" if near else ""


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _wants_list(kind: Any) -> bool:
    return get_origin(_bare(kind)) in (tuple, list)


def _is_optional(kind: Any) -> bool:
    bare = _bare(kind)
    return get_origin(bare) in (Union, UnionType) and type(None) in get_args(bare)


def _as_list(value: Any) -> Any:
    """A list; a text is cut at its commas, nothing is an empty list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [] if value is None else value


def _plain(message: str) -> str:
    """msgspec's message in our style: "must be an int >= 1"."""
    text, _, place = message.partition(" - at `$")
    text, _, _ = text.partition(", got ")
    text = re.sub(r"^Expected ", "must be ", text.replace("`", ""))
    text = text[:1].lower() + text[1:]
    return f"item {place.strip('`[]')} {text}" if place else text
