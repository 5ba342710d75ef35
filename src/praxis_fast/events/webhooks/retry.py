"""When a delivery that failed is tried again."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from praxis_fast.limits import WebhookLimits

# The slow tries of many messages should not fall together.
_SLOW_JITTER = 0.1


class RetrySchedule:
    """A few quick tries with full jitter, then slow ones until it gives up."""

    def __init__(self, limits: WebhookLimits, rng: random.Random) -> None:
        self._limits = limits
        self._rng = rng

    def delay(
        self, tries: int, age: float, retry_after: float | None = None
    ) -> float | None:
        """Seconds until the next try; None: no more.

        `tries` were made, the first one `age` seconds ago. `retry_after` is what the
        receiver asked for.
        """
        limits = self._limits
        if tries < limits.quick_tries:
            most = limits.first_delay * 2 ** (tries - 1)
            pause = self._rng.uniform(0.0, most)
        else:
            around = self._rng.uniform(1 - _SLOW_JITTER, 1 + _SLOW_JITTER)
            pause = limits.slow_interval * around
        if retry_after is not None:
            pause = max(pause, min(retry_after, limits.max_retry_after))
        return None if age + pause > limits.give_up_after else pause


def parse_retry_after(text: str | None, now: float) -> float | None:
    """The seconds of a `Retry-After` header (RFC 9110, 10.2.3); None for junk."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
