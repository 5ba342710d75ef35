"""JSON as this layer sends it."""

from praxis_fast.events.encode import encode

__all__ = ["encode"]
