"""What a run of the suite brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from praxis_fast.benchmarks import table as form
from praxis_fast.benchmarks.machine import machine

if TYPE_CHECKING:
    from praxis_fast.benchmarks.rows import Table

__all__ = ["Report"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(slots=True)
class Report:
    """The tables by part, what failed, who was not there, which limits were raised."""

    scale: str
    tables: list[tuple[str, Table]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    paces: list[float] = field(default_factory=list)
    """Before each step, what a fixed computation took."""
    started: str = field(default_factory=_now)

    def message(self) -> dict[str, Any]:
        """Everything, for a program."""
        return {
            "started": self.started,
            "scale": self.scale,
            "machine": machine(),
            "not_installed": self.missing,
            "failed": self.failed,
            "limits_raised": self.raised,
            "paces": self.paces,
            "tables": [
                {"part": part, **form.message(table)} for part, table in self.tables
            ],
        }
