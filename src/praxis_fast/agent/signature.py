"""A Python function seen as a tool: its schema, and arguments checked against it."""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from praxis_fast.errors import ToolArgumentsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REFUSED: dict[object, str] = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of arguments",
    inspect.Parameter.VAR_KEYWORD: "takes any keyword",
}

# "name: text" or "name (int): text", the first line of an entry under "Args:".
_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


class Signature:
    """The parameters of a function as a JSON object."""

    __slots__ = ("_arguments", "_name", "schema")

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name = name
        self._arguments = _struct(function, name)
        try:
            self.schema = _schema(self._arguments, parameter_texts(function))
        except TypeError as error:
            raise UsageError(f"tool {name}: {_first_line(error)}") from error

    def bind(self, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
        """The keyword arguments for the function, converted and checked."""
        given = {} if arguments is None else arguments
        try:
            bound = msgspec.convert(given, self._arguments)
        except msgspec.ValidationError as error:
            raise ToolArgumentsError(f"tool {self._name}: {_named(error)}") from error
        names = self._arguments.__struct_fields__
        return {name: getattr(bound, name) for name in names}


def _struct(function: Callable[..., Any], name: str) -> type[msgspec.Struct]:
    hints = _hints(function, name)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if (reason := _REFUSED.get(parameter.kind)) is not None:
            raise UsageError(f"tool {name}: parameter {parameter.name} {reason}")
        kind = hints.get(parameter.name, Any)
        fields.append((parameter.name, kind, *_default(parameter)))
    try:
        return msgspec.defstruct(
            "Arguments", fields, kw_only=True, forbid_unknown_fields=True
        )
    except TypeError as error:
        raise UsageError(f"tool {name}: {_first_line(error)}") from error


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The annotations; a partial and a callable object have those inside them."""
    inner: Any = function
    while isinstance(inner, partial):
        inner = inner.func
    if not inspect.isroutine(inner):
        inner = type(inner).__call__
    try:
        return get_type_hints(inner, include_extras=True)
    except NameError as error:
        raise UsageError(f"tool {name}: annotation cannot be read: {error}") from error


def _default(parameter: inspect.Parameter) -> tuple[Any, ...]:
    default = parameter.default
    if default is inspect.Parameter.empty:
        return ()
    if default is None or isinstance(default, (str, int, float, bool)):
        return (default,)
    # A struct refuses a default that may change; the function lives with it.
    return (msgspec.field(default_factory=lambda: default),)


def _schema(
    arguments: type[msgspec.Struct], texts: Mapping[str, str]
) -> dict[str, Any]:
    """JSON Schema of the arguments, definitions of nested types beside it."""
    (reference,), definitions = msgspec.json.schema_components(
        [arguments], ref_template="#/$defs/{name}"
    )
    name = reference["$ref"].rpartition("/")[2]
    schema = {"type": "object", **definitions.pop(name)}
    schema.pop("title", None)
    for parameter, told in schema.get("properties", {}).items():
        if parameter in texts:
            told.setdefault("description", texts[parameter])
    if definitions:
        schema["$defs"] = definitions
    return schema


def parameter_texts(function: Callable[..., Any]) -> dict[str, str]:
    """The parameters' descriptions in the docstring's `Args:` section."""
    lines = (inspect.getdoc(function) or "").splitlines()
    texts: dict[str, str] = {}
    name = ""
    for line in _section(lines, ("Args:", "Arguments:", "Parameters:")):
        # Entries share one indentation; what stands deeper continues the entry.
        entry = None if line.startswith(" ") else _ENTRY.match(line)
        if entry is not None:
            name, texts[name] = entry[1], entry[2]
        elif name:
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts


def _section(lines: list[str], titles: tuple[str, ...]) -> list[str]:
    """The lines under a title, without the indentation they share."""
    starts = [i for i, line in enumerate(lines) if line.strip() in titles]
    if not starts:
        return []
    body: list[str] = []
    for line in lines[starts[0] + 1 :]:
        if line and not line.startswith(" "):
            break
        if line.strip():
            body.append(line)
    shared = min((len(line) - len(line.lstrip()) for line in body), default=0)
    return [line[shared:] for line in body]


def summary(function: Callable[..., Any]) -> str:
    """The docstring's first line."""
    return (inspect.getdoc(function) or "").partition("\n")[0].strip()


def _named(error: msgspec.ValidationError) -> str:
    """msgspec's message, with the argument's name first."""
    text, _, place = str(error).replace("`", "").partition(" - at $")
    if (
        missing := re.match(r"Object missing required field (\w+)", text)
    ) and not place:
        return f"argument {missing[1]} is missing"
    if (unknown := re.match(r"Object contains unknown field (.+)", text)) and not place:
        return f"unknown argument {unknown[1]}"
    text = text[:1].lower() + text[1:]
    return f"argument {place.lstrip('.')}: {text}" if place else f"arguments: {text}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
