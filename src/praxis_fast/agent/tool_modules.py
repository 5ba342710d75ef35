"""Tools named in settings: `package.module` or `package.module:function`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxis_fast.agent.settings import shown
from praxis_fast.agent.tools import is_tool
from praxis_fast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def load_tools(names: Iterable[str]) -> list[Callable[..., Any]]:
    """The functions that the names stand for; a module stands for its `@tool`s.

    Modules are looked for in the working directory too, as `python -m` does.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return [function for name in names for function in _load(name)]


def _load(name: str) -> list[Callable[..., Any]]:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        message = f"module {shown(module_name)} cannot be imported: {error}"
        raise ConfigError(message, key="tools") from error
    if attribute:
        function = getattr(module, attribute, None)
        if not callable(function):
            message = f"{module_name} has no function {shown(attribute)}"
            raise ConfigError(message, key="tools")
        return [function]
    found = [value for value in vars(module).values() if is_tool(value)]
    if not found:
        raise ConfigError(f"{module_name} has no function marked @tool", key="tools")
    return found
