"""How often an unproven address may be dialled."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praxis_fast.wire.multiaddr import Multiaddr

WINDOW = 60.0  # s; the limit is stated per minute (DSC-2)
# Addresses remembered at once. A dial to one more than that is refused, so a flood of
# made-up addresses costs dials, never memory.
MAX_KEYS = 4096


class DialBudget:
    """At most so many dials a minute to one address, whoever it is said to be.

    Keeps strangers from turning this host against a third one by announcing its
    address under many peer ids (DSC-2). The port counts only on loopback, where many
    agents share one address.
    """

    __slots__ = ("_per_minute", "_times")

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def frees_at(self, addr: Multiaddr, now: float) -> float:
        """When the address may be dialled: `now`, or the moment a dial is forgotten."""
        self._expire(now)
        times = self._times.get(budget_key(addr))
        if times is None:
            return now if len(self._times) < MAX_KEYS else self._oldest() + WINDOW
        recent = [moment for moment in times if moment > now - WINDOW]
        if len(recent) < self._per_minute:
            return now
        return recent[-self._per_minute] + WINDOW

    def spend(self, addr: Multiaddr, now: float) -> None:
        key = budget_key(addr)
        times = self._times.setdefault(key, deque(maxlen=self._per_minute))
        times.append(now)
        self._times.move_to_end(key)

    def _oldest(self) -> float:
        return next(iter(self._times.values()))[-1]

    def _expire(self, now: float) -> None:
        while self._times and self._oldest() <= now - WINDOW:
            self._times.popitem(last=False)


def budget_key(addr: Multiaddr) -> str:
    """What counts as one address: the host, on loopback with its port."""
    kind, host = addr.host
    port = f":{addr.port}" if addr.is_loopback else ""
    return f"{kind}/{host}{port}"
