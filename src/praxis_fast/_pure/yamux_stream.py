"""What a yamux session knows of one stream."""

from __future__ import annotations

from collections import deque

from praxis_fast.limits import INITIAL_WINDOW


class Stream:
    """One stream's state; `owed` are the bytes it will add to `data_to_send`."""

    __slots__ = (
        "credit",
        "epoch",
        "fin_due",
        "fin_received",
        "fin_sent",
        "greeting",
        "id",
        "is_accepted",
        "is_acked",
        "is_inbound",
        "owed",
        "queue",
        "queued",
        "send_window",
        "unread",
        "update",
        "window",
    )

    def __init__(self, stream_id: int, is_inbound: bool, now: float) -> None:
        self.id = stream_id
        self.is_inbound = is_inbound
        self.is_accepted = not is_inbound
        self.is_acked = is_inbound
        # inbound
        self.window = INITIAL_WINDOW
        self.credit = INITIAL_WINDOW
        self.unread = 0
        self.epoch = now
        self.fin_received = False
        # outbound
        self.send_window = INITIAL_WINDOW
        self.greeting = 0  # SYN or ACK, not yet sent
        self.update = 0  # window update, not yet sent
        self.queue: deque[bytes | memoryview] = deque()
        self.queued = 0
        self.fin_due = False
        self.fin_sent = False
        self.owed = 0
