"""What the outbox counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from praxis_fast.events.histogram import SLOW_BOUNDS, Histogram
from praxis_fast.events.stages import Stages

if TYPE_CHECKING:
    from praxis_fast.events.stages import Stopwatch
    from praxis_fast.events.webhooks.sender import Answer

# Told by number; receivers may answer with any other, and metrics must not grow.
_TOLD = frozenset({401, 403, 404, 408, 410, 413, 425, 429, 500, 502, 503, 504})


class WebhookCounters:
    """Since the start of the process, all endpoints together."""

    __slots__ = (
        "attempts",
        "dead_letters",
        "durations",
        "failures",
        "redriven",
        "refused",
        "stages",
        "successes",
    )

    def __init__(self, watch: Stopwatch | None = None) -> None:
        # Webhooks are few beside the events: `written` is of every one of them.
        self.stages = Stages(watch, SLOW_BOUNDS)
        self.attempts = 0
        """Requests that ended, one way or another."""
        self.successes = 0
        self.failures: Counter[str] = Counter()
        """The others, by reason."""
        self.dead_letters = 0
        """Messages given up."""
        self.redriven = 0
        """Dead letters sent again."""
        self.refused = 0
        """Messages that could not be taken: too many waiting, or the disk is full."""
        self.durations = Histogram(SLOW_BOUNDS)
        """Seconds of requests."""

    def answered(self, answer: Answer, duration: float) -> None:
        """A request ended."""
        self.attempts += 1
        self.durations.observe(duration)
        if answer.is_success:
            self.successes += 1
        else:
            self.failures[reason_of(answer)] += 1


def reason_of(answer: Answer) -> str:
    """Why a request failed, in one of a few words."""
    status = answer.status
    if status is None:
        return answer.reason
    return f"status_{status}" if status in _TOLD else f"status_{status // 100}xx"
