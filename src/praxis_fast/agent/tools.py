"""Tools: plain Python functions that the agent offers."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec
import orjson

from praxis_fast.agent.signature import Signature, summary
from praxis_fast.agent.threads import Threads
from praxis_fast.errors import (
    ToolError,
    ToolFailedError,
    ToolNotFoundError,
    ToolTimeoutError,
    UsageError,
)
from praxis_fast.events.faults import FaultLimiter
from praxis_fast.limits import ToolLimits
from praxis_fast.wire.card import ToolParameter, ToolSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

logger = logging.getLogger(__name__)

F = TypeVar("F", bound="Callable[..., Any]")

_MARK = "__praxis_tool__"

# What a card's parameter may be called; the schema beside it says more.
_TYPES = frozenset({"string", "boolean", "number", "integer", "object", "array"})

# A tool's own error text travels to the caller; a longer one is cut.
MAX_ERROR_TEXT = 500


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """What `@tool(...)` was given."""

    remote: bool = False
    name: str | None = None
    description: str | None = None


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(
    *, remote: bool = False, name: str | None = None, description: str | None = None
) -> Callable[[F], F]: ...


def tool(
    function: F | None = None,
    /,
    *,
    remote: bool = False,
    name: str | None = None,
    description: str | None = None,
) -> F | Callable[[F], F]:
    """Mark a function as a tool; it stays the function it was.

    `remote=True` lets every connected peer call it. Without it only this process, its
    HTTP clients and the peers in `p2p.allow` may.
    """
    options = ToolOptions(remote=remote, name=name, description=description)

    def mark(marked: F) -> F:
        setattr(marked, _MARK, options)
        return marked

    return mark if function is None else mark(function)


def is_tool(value: object) -> bool:
    """Whether this was marked with `@tool`."""
    return isinstance(getattr(value, _MARK, None), ToolOptions)


class Tool:
    """One function with its name, its description and its schema."""

    __slots__ = ("description", "function", "is_async", "name", "remote", "signature")

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise UsageError(f"a tool must be a function, not {function!r}")
        options = getattr(function, _MARK, ToolOptions())
        name = options.name or getattr(function, "__name__", "")
        if not name or not name.isprintable() or name.strip() != name:
            raise UsageError(f"a tool needs a printable name, not {name!r}")
        self.name: str = name
        self.function = function
        self.remote: bool = options.remote
        self.description: str = options.description or summary(function)
        self.signature = Signature(function, name)
        self.is_async = inspect.iscoroutinefunction(function)

    def __repr__(self) -> str:
        return f"<Tool {self.name}{' remote' if self.remote else ''}>"

    @property
    def spec(self) -> ToolSpec:
        """The tool as a card tells it."""
        schema = self.signature.schema
        required = schema.get("required", ())
        parameters = tuple(
            ToolParameter(
                name=name,
                type=_type_of(told),
                description=told.get("description", ""),
                required=name in required,
            )
            for name, told in schema.get("properties", {}).items()
        )
        return ToolSpec(
            name=self.name,
            description=self.description,
            parameters=parameters,
            input_schema=schema,
        )


def _type_of(schema: Mapping[str, Any]) -> str:
    """The one word for a parameter that a card without schemas has room for."""
    kinds = [schema, *schema.get("anyOf", ())]
    for kind in kinds:
        if kind.get("type") in _TYPES:
            return str(kind["type"])
        if "enum" in kind and all(isinstance(value, str) for value in kind["enum"]):
            return "string"
    return "object"


class ToolBox:
    """The agent's tools by name; tells its owner when they change."""

    def __init__(
        self,
        tools: tuple[Callable[..., Any], ...] = (),
        *,
        limits: ToolLimits | None = None,
        on_change: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        mask: Callable[[str], str] = str,
    ) -> None:
        # What a tool raises may quote its database's address, or its arguments.
        self._mask = mask
        self._limits = limits or ToolLimits()
        self._threads = Threads(self._limits.max_threads)
        self._faults = FaultLimiter(clock)
        self._tools: dict[str, Tool] = {}
        self.on_change: Callable[[], None] | None = None
        for function in tools:
            self.add(function)
        self.on_change = on_change

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __iter__(self) -> Iterator[Tool]:
        return iter(tuple(self._tools.values()))

    def __len__(self) -> int:
        return len(self._tools)

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def add(self, function: Callable[..., Any]) -> Tool:
        """Offer one more function; a second tool of the same name is refused."""
        added = Tool(function)
        if added.name in self._tools:
            raise UsageError(f"there is a tool named {added.name!r} already")
        self._tools[added.name] = added
        self._changed()
        return added

    def remove(self, name: str) -> None:
        """Offer a tool no longer; calls that run go on."""
        if self._tools.pop(name, None) is None:
            raise ToolNotFoundError(f"no tool {name!r}")
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def specs(self, *, remote_only: bool = False) -> tuple[ToolSpec, ...]:
        """The tools as a card lists them."""
        return tuple(t.spec for t in self if t.remote or not remote_only)

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Check the arguments, run the tool, and return what JSON can carry."""
        called = self._tools.get(name)
        if called is None:
            raise ToolNotFoundError(f"no tool {name!r}")
        bound = called.signature.bind(arguments)
        seconds = self._limits.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds) as deadline:
                result = await self._run(called, bound)
        except TimeoutError as error:
            if not deadline.expired():
                raise self._failure(called, error) from error
            message = f"tool {name} did not answer within {seconds:g} s"
            raise ToolTimeoutError(message) from error
        except ToolError:
            raise
        except (Exception, SystemExit) as error:
            if self._faults.admit(name) is not None:
                logger.warning("tool %s failed", name, exc_info=error)
            raise self._failure(called, error) from error
        return self._checked(called, result)

    async def _run(self, called: Tool, arguments: dict[str, Any]) -> Any:
        if called.is_async:
            return await called.function(**arguments)
        result = await self._threads.run(partial(called.function, **arguments))
        # A partial or a callable object may hide a coroutine function.
        return await result if inspect.isawaitable(result) else result

    def _checked(self, called: Tool, result: Any) -> Any:
        """The result as JSON types, within the limit."""
        try:
            plain = msgspec.to_builtins(result, str_keys=True)
            size = len(orjson.dumps(plain))
        except (TypeError, ValueError, RecursionError) as error:
            message = f"tool {called.name} answered what JSON cannot carry: {error}"
            raise ToolFailedError(self._mask(message)[:MAX_ERROR_TEXT]) from error
        if size > self._limits.max_result:
            raise ToolFailedError(
                f"tool {called.name} answered {size} bytes, "
                f"limit {self._limits.max_result}"
            )
        return plain

    def _failure(self, called: Tool, error: BaseException) -> ToolFailedError:
        text = f"tool {called.name} failed: {type(error).__name__}: {error}"
        return ToolFailedError(self._mask(text)[:MAX_ERROR_TEXT])
