"""How urgent an event is."""

from __future__ import annotations

from enum import IntEnum

from praxis_fast.errors import UsageError


class Priority(IntEnum):
    """Four steps; `str()` gives the name used outside."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, value: Priority | str | int) -> Priority:
        """The priority with this name or number."""
        try:
            return cls[value.upper()] if isinstance(value, str) else cls(value)
        except (KeyError, ValueError):
            names = ", ".join(map(str, cls))
            raise UsageError(f"priority {value!r} is not one of {names}") from None
