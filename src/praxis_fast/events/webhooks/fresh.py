"""New messages of the outbox, kept for their first try: the disk is not asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praxis_fast.events.webhooks.store import Message


class Fresh:
    """As many messages as fit in `limit` bytes; the others are read when it is time."""

    __slots__ = ("_limit", "_messages", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: dict[str, dict[int, Message]] = {}
        self.size = 0
        """Bytes of all bodies."""

    def put(self, endpoint: str, message: Message) -> None:
        """Keep a message if there is room."""
        if self.size + len(message.body) <= self._limit:
            self.size += len(message.body)
            self._messages.setdefault(endpoint, {})[message.number] = message

    def take(self, endpoint: str, number: int) -> Message | None:
        """Give a message away; None when it is not here."""
        messages = self._messages.get(endpoint, {})
        message = messages.pop(number, None)
        if message is not None:
            self.size -= len(message.body)
            if not messages:
                del self._messages[endpoint]
        return message

    def drop(self, endpoint: str) -> None:
        """Forget all messages of an endpoint."""
        gone = self._messages.pop(endpoint, {})
        self.size -= sum(len(message.body) for message in gone.values())
