from __future__ import annotations

import random

import pytest

from praxis_fast.events.webhooks.retry import RetrySchedule, parse_retry_after
from praxis_fast.limits import WebhookLimits


class Most(random.Random):
    """Draws the largest number there is."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_hk_5_tries_are_quick_five_times_then_slow_until_120_hours() -> None:
    schedule = RetrySchedule(WebhookLimits(), Most())
    pauses = [schedule.delay(tries, 0.0) for tries in range(1, 8)]
    assert pauses == pytest.approx([1, 2, 4, 8, 330, 330, 330])
    assert schedule.delay(9, 120 * 3600 - 331) == pytest.approx(330)
    assert schedule.delay(9, 120 * 3600 - 329) is None


def test_hk_5_jitter_is_full() -> None:
    schedule = RetrySchedule(WebhookLimits(), random.Random(1))
    drawn = [schedule.delay(3, 0.0) or 0.0 for _ in range(1000)]
    assert 0 <= min(drawn) < 0.1
    assert 3.9 < max(drawn) <= 4


def test_hk_5_retry_after_makes_the_pause_longer_never_shorter() -> None:
    schedule = RetrySchedule(WebhookLimits(), Most())
    assert schedule.delay(1, 0.0, 60.0) == 60
    assert schedule.delay(1, 0.0, 0.0) == 1
    assert schedule.delay(1, 0.0, 1e12) == 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        (" 0 ", 0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("9" * 400, 999999999),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Thu, 99 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    text: str | None, seconds: float | None
) -> None:
    assert parse_retry_after(text, 100.0) == seconds
