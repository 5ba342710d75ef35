"""Imports go right, never left: the order of layers in docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "praxis_fast"

# Each layer may import those of a higher number. p2p and events are siblings, and so
# are a2a's peers below: siblings share a number and do not import each other.
LAYERS = {
    "__main__": 0,
    "cli": 1,
    "demo": 1.5,
    "benchmarks": 1.5,
    "api": 2,
    "client": 2,
    "agent": 3,
    "a2a": 4,
    "events": 5,
    "p2p": 5,
    "store": 6,
    "wire": 7,
    "core": 8,
    "_core": 9,
    "_pure": 9,
    "limits": 10,
    "errors": 11,
}
# agent/agent.py makes every long-lived object and hands it down, the HTTP server too.
ALLOWED = {("agent.agent", "api")}
# The sans-IO side knows no sockets, loops, clocks, threads or environment.
IMPURE = {"asyncio", "socket", "selectors", "threading", "time", "uvloop", "ssl"}


def modules() -> list[tuple[str, ast.Module]]:
    return [
        (
            ".".join(path.relative_to(SOURCE).with_suffix("").parts),
            ast.parse(path.read_text()),
        )
        for path in sorted(SOURCE.rglob("*.py"))
        if path.parent != SOURCE or path.name != "__init__.py"
    ]


def imports(tree: ast.Module) -> set[str]:
    """Full dotted names this module imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "praxis_fast":
                found |= {f"praxis_fast.{alias.name}" for alias in node.names}
    return found


MODULES = modules()
EACH_MODULE = pytest.mark.parametrize(
    ("name", "tree"), MODULES, ids=[name for name, _ in MODULES]
)


@EACH_MODULE
def test_imports_go_right(name: str, tree: ast.Module) -> None:
    layer = name.split(".")[0]
    ours = {
        imported.split(".")[1]
        for imported in imports(tree)
        if imported.startswith("praxis_fast.")
    }
    known = {other for other in ours if other in LAYERS and other != layer}
    wrong = {
        other
        for other in known
        if LAYERS[other] <= LAYERS[layer] and (name, other) not in ALLOWED
    }
    assert layer in LAYERS, f"{name} is in no layer"
    assert not wrong, f"{name} imports {wrong}, which stand to its left"


@EACH_MODULE
def test_sans_io_modules_touch_no_outside(name: str, tree: ast.Module) -> None:
    if LAYERS[name.split(".")[0]] < LAYERS["wire"]:
        return
    used = {imported.split(".")[0] for imported in imports(tree)} & IMPURE
    assert not used, f"{name} imports {used}"
