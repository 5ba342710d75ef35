"""What all links of a host hold in buffers, together bounded."""

from __future__ import annotations


class Pool:
    """Counts bytes; each holder tells every change of its share."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    @property
    def is_over(self) -> bool:
        """Whether more is held than allowed."""
        return self.held > self.limit

    def change(self, size: int) -> None:
        """A holder holds so many bytes more, or fewer."""
        self.held += size
