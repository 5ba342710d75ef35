"""Tools from plain functions."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import pytest

from praxis_fast.agent.tools import ToolBox, is_tool, tool
from praxis_fast.errors import (
    ToolArgumentsError,
    ToolFailedError,
    ToolNotFoundError,
    ToolTimeoutError,
    UsageError,
)
from praxis_fast.limits import ToolLimits


@dataclass
class Point:
    x: int
    y: int = 0


@tool(remote=True)
async def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    More about it.

    Args:
        a: The first
            of two.
        b (int): The second: a number.

    Returns:
        Not: a parameter.
    """
    return a + b


@tool
def shape(
    points: list[Point],
    kind: Literal["line", "ring"] = "line",
    label: str | None = None,
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0,
    more: dict[str, Any] | None = None,
    tags: list[str] = [],  # noqa: B006
) -> Point:
    return Point(int(sum(p.x for p in points) * scale), len(tags))


def test_a_marked_function_stays_a_function() -> None:
    assert is_tool(add)
    assert is_tool(shape)
    assert not is_tool(tool)
    assert asyncio.iscoroutinefunction(add)
    assert asyncio.run(add(1, 1)) == 2


def test_spec_comes_from_annotations_and_docstring() -> None:
    (spec,) = ToolBox((add,)).specs()
    assert (spec.name, spec.description) == ("add", "Add two numbers.")
    first, second = spec.parameters
    assert (first.name, first.type, first.required) == ("a", "integer", True)
    assert first.description == "The first of two."
    assert (second.description, second.required) == ("The second: a number.", False)
    assert spec.input_schema == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "The first of two."},
            "b": {
                "type": "integer",
                "default": 2,
                "description": "The second: a number.",
            },
        },
        "required": ["a"],
        "additionalProperties": False,
    }


def test_rich_annotations_have_a_schema() -> None:
    (spec,) = ToolBox((shape,)).specs()
    assert [(p.name, p.type) for p in spec.parameters] == [
        ("points", "array"),
        ("kind", "string"),
        ("label", "string"),
        ("scale", "number"),
        ("more", "object"),
        ("tags", "array"),
    ]
    assert spec.input_schema is not None
    properties = spec.input_schema["properties"]
    assert properties["points"]["items"] == {"$ref": "#/$defs/Point"}
    assert spec.input_schema["$defs"]["Point"]["required"] == ["x"]
    assert properties["kind"]["enum"] == ["line", "ring"]


async def test_arguments_are_converted_and_the_result_is_plain() -> None:
    box = ToolBox((shape, add))
    result = await box.call("shape", {"points": [{"x": 2}], "scale": 2})
    assert result == {"x": 4, "y": 0}
    assert await box.call("add", {"a": 1}) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "tool add: argument a is missing"),
        (None, "tool add: argument a is missing"),
        ({"a": "1"}, "tool add: argument a: expected int, got str"),
        ({"a": True}, "tool add: argument a: expected int, got bool"),
        ({"a": 1, "c": 2}, "tool add: unknown argument c"),
        ([1], "tool add: arguments: expected object, got array"),
    ],
)
async def test_wrong_arguments_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        await ToolBox((add,)).call("add", arguments)
    assert str(caught.value) == message


async def test_a_wrong_nested_argument_is_named() -> None:
    with pytest.raises(ToolArgumentsError, match=r"argument points\[0\]\.x: expected"):
        await ToolBox((shape,)).call("shape", {"points": [{"x": "no"}]})


async def test_plain_functions_run_beside_the_loop_with_its_context() -> None:
    def where() -> str:
        return threading.current_thread().name

    assert await ToolBox((where,)).call("where") == "praxis-fast-tool"


async def test_a_bounded_number_of_plain_functions_runs_at_once() -> None:
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()
    go = threading.Event()

    def busy() -> None:
        with lock:
            running.append(1)
            most.append(len(running))
        go.wait(10)
        with lock:
            running.pop()

    box = ToolBox((busy,), limits=ToolLimits(max_threads=2))
    calls = [asyncio.create_task(box.call("busy")) for _ in range(5)]
    while len(running) < 2:
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*calls)
    assert max(most) == 2


async def test_a_late_tool_is_a_timeout_and_gives_its_thread_back() -> None:
    go = threading.Event()

    def stuck() -> None:
        go.wait(10)

    async def sleeper() -> None:
        await asyncio.Event().wait()

    box = ToolBox((stuck, sleeper), limits=ToolLimits(timeout=0.01, max_threads=1))
    with pytest.raises(
        ToolTimeoutError, match=r"tool sleeper did not .* within 0\.01 s"
    ):
        await box.call("sleeper")
    with pytest.raises(ToolTimeoutError):
        await box.call("stuck")
    with pytest.raises(ToolTimeoutError):  # the only thread is still busy
        await box.call("stuck")
    go.set()
    await box.call("stuck", timeout=10)


async def test_cancelling_a_call_cancels_the_tool() -> None:
    begun = asyncio.Event()
    ended = asyncio.Event()

    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    call = asyncio.create_task(ToolBox((slow,)).call("slow"))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no"), "tool t failed: ValueError: no"),
        (
            StopIteration("s"),
            "tool t failed: RuntimeError: coroutine raised StopIteration",
        ),
        (TimeoutError("mine"), "tool t failed: TimeoutError: mine"),
        (ToolFailedError("own words"), "own words"),
        (ValueError("x" * 9999), "tool t failed: ValueError: " + "x" * 473),
    ],
)
async def test_a_tool_that_raises_is_a_failed_call(
    error: Exception, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ToolFailedError) as caught:
        await ToolBox((tool(name="t")(partial(_raise, error)),)).call("t")
    assert str(caught.value) == message


async def test_a_tool_that_wants_to_leave_does_not_take_the_agent_along() -> None:
    async def leave() -> None:
        sys.exit(3)

    def leave_too() -> None:
        sys.exit(3)

    box = ToolBox((leave, leave_too))
    for name in ("leave", "leave_too"):
        with pytest.raises(ToolFailedError, match="SystemExit: 3"):
            await box.call(name)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (object(), "answered what JSON cannot carry"),
        ("x" * 100, "tool t answered 102 bytes, limit 100"),
    ],
)
async def test_json_2_a_result_nobody_can_read_is_a_failed_call(
    result: object, message: str
) -> None:
    @tool(name="t")
    async def answer() -> object:
        return result

    with pytest.raises(ToolFailedError, match=message):
        await ToolBox((answer,), limits=ToolLimits(max_result=100)).call("t")


async def test_changes_are_told_and_names_are_unique() -> None:
    told: list[int] = []
    box = ToolBox((add,), on_change=lambda: told.append(1))
    assert not told
    box.add(shape)
    assert "shape" in box
    assert len(box) == 2
    box.remove("shape")
    assert len(told) == 2
    with pytest.raises(UsageError, match="a tool named 'add' already"):
        box.add(add)
    for missing in (box.call("shape"), asyncio.to_thread(box.remove, "shape")):
        with pytest.raises(ToolNotFoundError, match="no tool 'shape'"):
            await missing
    assert len(told) == 2


def test_only_remote_tools_are_told_to_peers() -> None:
    box = ToolBox((add, shape))
    assert [spec.name for spec in box.specs(remote_only=True)] == ["add"]


async def test_methods_and_callables_are_tools_too() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        @tool(name="count", description="Count.")
        async def step(self, by: int = 1) -> int:
            self.count += by
            return self.count

    box = ToolBox((Counter().step,))
    assert await box.call("count", {"by": 2}) == 2
    assert box.specs()[0].description == "Count."


def _star(*args: int) -> None: ...
def _stars(**kwargs: int) -> None: ...
def _positional(a: int, /) -> None: ...
def _callback(a: Callable[[], Awaitable[None]]) -> None: ...
def _unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_star, "parameter args takes any number of arguments"),
        (_stars, "parameter kwargs takes any keyword"),
        (_positional, "parameter a is positional-only"),
        (_callback, "tool _callback: "),
        (_unknown, "annotation cannot be read: name 'Nowhere'"),
        (3, "a tool must be a function, not 3"),
        (partial(print), "a tool needs a printable name"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(function: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ToolBox((function,))
