"""Masks what nobody outside may read: values under sensitive names, texts by pattern.

Theory of operation
-------------------
Nearly every event has nothing to mask, so that case is a few calls that run in C: the
names of a mapping are compared with a set of names already found harmless, the types of
its values with a set of types that hold nothing, and its texts, joined, are searched
for what every pattern needs. Only what fails is looked at piece by piece. A container
is copied when something in it was masked, so the caller's own objects never change and
clean ones are handed on as they are.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Set
from fnmatch import translate
from typing import Any

from praxis_fast.events.filter import is_glob
from praxis_fast.events.patterns import DEFAULT_PATTERNS, MASK, Patterns

# Compared with the end of a name without its separators: `api_key` is found in
# `apiKey`, `X-API-Key` and `openai_api_key`, and `token` is not in `token_count`.
DEFAULT_NAMES = (
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "secrets",
    "token",
    "api_key",
    "api_keys",
    "authorization",
    "credential",
    "credentials",
    "private_key",
    "secret_key",
    "access_key",
    "signing_key",
    "cookie",
)

# A name with one of these behind it is as sensitive: `password_hash`, `token_value`.
_TAILS = ("value", "hash", "text", "plain", "raw")

# Hold nothing that could be sensitive by its own name.
_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
_EMPTY: frozenset[type] = frozenset({bool, type(None)})

# Names in tool arguments are a peer's choice; memory must not be.
_MAX_HARMLESS = 4096
_MAX_NAME = 64
# Deeper than any JSON text we take; whoever nests on gets a mask.
_MAX_DEPTH = 200

# What stays of a JSON Schema that describes a sensitive field: no example, no default.
_SCHEMA_WORDS = ("type", "title", "description", "format", "minLength", "maxLength")


def squashed(name: str) -> str:
    """The name's letters and digits in lower case."""
    return "".join(filter(str.isalnum, name)).lower()


class Redactor:
    """Gives events without what is sensitive; `names` and `patterns` are settings.

    A name is compared with the end of keys, whatever their case and separators; one
    with glob signs with the whole key. What a pattern (a regular expression) finds in
    a text is masked there, but for its group `kept`. Values that are true, false or
    null are left.
    """

    __slots__ = ("_endings", "_globs", "_harmless", "_patterns", "_scalars", "_signs")

    def __init__(
        self,
        names: Iterable[str] = DEFAULT_NAMES,
        patterns: Iterable[str] = DEFAULT_PATTERNS,
    ) -> None:
        names = tuple(names)
        plain = {squashed(name) for name in names if not is_glob(name)} - {""}
        tails = ("", *_TAILS)
        self._endings = tuple(sorted(name + tail for name in plain for tail in tails))
        globs = "|".join(translate(name.lower()) for name in names if is_glob(name))
        self._globs = re.compile(globs) if globs else None
        self._patterns = Patterns(patterns)
        self._signs = self._patterns.signs
        self._scalars = _SCALARS - {str} if self._patterns else _SCALARS
        self._harmless: set[str] = set()

    def is_sensitive(self, name: object) -> bool:
        """Whether the value under this name must not be read."""
        if not isinstance(name, str) or name in self._harmless:
            return False
        text = squashed(name).rstrip("0123456789")
        if text.endswith(self._endings):
            return True
        if self._globs is not None and self._globs.match(name.lower()):
            return True
        if len(name) <= _MAX_NAME:
            if len(self._harmless) >= _MAX_HARMLESS:
                self._harmless.clear()
            self._harmless.add(name)
        return False

    def mask(self, data: dict[str, Any]) -> dict[str, Any]:
        """The mapping itself, or a copy where something in it had to be masked."""
        if not data:
            return data
        masked: dict[str, Any] = self._mask_mapping(data, 0)
        return masked

    def mask_text(self, text: str) -> str:
        """The text with everything the patterns find in it masked."""
        return self._patterns.mask(text)

    def mask_tags(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        """The tags with sensitive values masked; a bare name has none."""
        masked = self.mask({name: value for name, value in tags.items() if value})
        return {**tags, **masked}

    def _mask_mapping(self, data: Mapping[Any, Any], depth: int) -> Any:
        if depth > _MAX_DEPTH:
            return MASK
        is_harmless = self._harmless.issuperset(data)
        clean = self._clean_types(data.values())
        if is_harmless and clean.issuperset(map(type, data.values())):
            return data
        changed: dict[Any, Any] = {}
        for key, value in data.items():
            is_clean = type(value) in clean
            if is_clean and is_harmless:
                continue
            kept = self._mask_entry(key, value, depth + 1, is_clean=is_clean)
            if kept is not value:
                changed[key] = kept
        return {**data, **changed} if changed else data

    def _clean_types(self, values: Iterable[Any]) -> frozenset[type]:
        """The types of which none of the values has anything in itself."""
        if self._scalars is _SCALARS:
            return _SCALARS
        text = "\n".join([value for value in values if type(value) is str])
        for sign in self._signs:
            if sign in text:
                return self._scalars
        return _SCALARS

    def _mask_entry(self, key: Any, value: Any, depth: int, *, is_clean: bool) -> Any:
        if self.is_sensitive(key):
            return value if type(value) in _EMPTY else MASK
        if key == "properties" and isinstance(value, Mapping):
            return self._mask_schema(value, depth)
        return value if is_clean else self._mask_value(value, depth)

    def _mask_value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.mask_text(value)
        if isinstance(value, Mapping):
            return self._mask_mapping(value, depth)
        if isinstance(value, (list, tuple, Set)):
            return self._mask_items(value, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            # The encoder writes those as mappings of their fields.
            names = [field.name for field in dataclasses.fields(value)]
            fields = {name: getattr(value, name) for name in names}
            masked = self._mask_mapping(fields, depth)
            return value if masked is fields else masked
        return value

    def _mask_items(self, items: Any, depth: int) -> Any:
        if self._scalars.issuperset(map(type, items)):
            return items
        clean = self._clean_types(items)
        if clean.issuperset(map(type, items)):
            return items
        if depth > _MAX_DEPTH:
            return MASK
        masked = [
            item if type(item) in clean else self._mask_value(item, depth + 1)
            for item in items
        ]
        is_same = all(new is old for new, old in zip(masked, items, strict=True))
        return items if is_same else masked

    def _mask_schema(self, properties: Mapping[Any, Any], depth: int) -> Any:
        """The `properties` of a JSON Schema: sensitive names, descriptions as values.

        A card tells which arguments a tool wants; that one is a password is no secret.
        """
        rest = {
            name: value
            for name, value in properties.items()
            if not (self.is_sensitive(name) and _is_schema(value))
        }
        masked = self._mask_mapping(rest, depth)
        if masked is rest and len(rest) == len(properties):
            return properties
        return {
            name: masked[name] if name in rest else _bare_schema(value)
            for name, value in properties.items()
        }


def _is_schema(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("type"), str)


def _bare_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        word: schema[word]
        for word in _SCHEMA_WORDS
        if isinstance(schema.get(word), (str, int))
    }
