"""Two tools. In this folder: praxis-fast run --config calc.yaml"""

from praxis_fast import tool


@tool(remote=True)
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def mean(numbers: list[float]) -> float:
    """Find the middle of some numbers; only for callers on this machine.

    Args:
        numbers: At least one.
    """
    if not numbers:
        raise ValueError("no numbers")
    return sum(numbers) / len(numbers)
