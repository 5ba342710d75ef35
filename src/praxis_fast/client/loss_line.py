"""What a stream could not give, as one line for a person."""

from __future__ import annotations

from praxis_fast.client.items import Gap, Reset


def loss_line(item: Gap | Reset) -> str:
    """Which events are missing, and why."""
    if isinstance(item, Gap):
        why = f": {_one_line(item.reason)}" if item.reason else ""
        between = f"between {item.first} and {item.last}"
        return f"gap, {item.dropped} events left out {between}{why}"
    since = f" since {item.since}" if item.since else ""
    return f"reset, events{since} may be missing: {_one_line(item.reason)}"


def _one_line(text: str) -> str:
    """Control characters are shown as such: the text is the agent's."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:200])
