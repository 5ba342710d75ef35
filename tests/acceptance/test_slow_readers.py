"""A slice of the run with 5,000 subscribers: what is told, not how fast."""

from __future__ import annotations

from praxis_fast.limits import EventLimits
from tests.acceptance.slow_readers import bound, run

# Small enough that the kernel's own buffers do not hold it all.
LIMITS = EventLimits(max_queued_events=64, max_queued_bytes=64 * 1024)


def test_ws_8_slow_readers_are_told_and_others_get_every_event() -> None:
    calm = run(50, 0, 320, LIMITS, pause=0.0)
    busy = run(200, 10, 3_200, LIMITS, pause=0.01)
    print(calm, busy, sep="\n")
    assert (calm.exact, busy.exact) == (50, 190)
    assert busy.gaps >= 5
    assert busy.dropped > 0
    assert busy.expelled == {4008: 5}
    assert busy.resident < calm.resident + bound(10, LIMITS)
