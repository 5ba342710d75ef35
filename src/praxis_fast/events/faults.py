"""Faults of handlers: logged, and told as events at most once a second per cause."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# Causes are made of code names, so few; the bound is for the one who proves it wrong.
_MAX_CAUSES = 256
_PERIOD = 1.0


class FaultLimiter:
    """Lets each cause through once a second and counts the rest."""

    __slots__ = ("_causes", "_clock")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._causes: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def admit(self, cause: object) -> int | None:
        """None when the cause must keep quiet, else how often it had to since."""
        now = self._clock()
        last, held = self._causes.get(cause, (now - _PERIOD, 0))
        if now - last < _PERIOD:
            self._causes[cause] = (last, held + 1)
            return None
        self._causes[cause] = (now, 0)
        self._causes.move_to_end(cause)
        if len(self._causes) > _MAX_CAUSES:
            self._causes.popitem(last=False)
        return held


def handler_name(handler: Any) -> str:
    """How logs and events name a handler."""
    name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
    module = getattr(handler, "__module__", None)
    return f"{module}.{name}" if module else str(name)
