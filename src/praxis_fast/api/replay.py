"""One client on its way from an old event to the live stream (WS-9)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from praxis_fast.api.shapes import event_frame, gap_frame
from praxis_fast.events.encode import encode
from praxis_fast.events.journal.ring import ResetError

if TYPE_CHECKING:
    from praxis_fast.api.broadcast import Channel
    from praxis_fast.events.event import Event, EventFilter
    from praxis_fast.events.journal.ring import Entry, Journal

# Events looked at in one step, and bytes made of them: a step takes well under a
# millisecond, and that many bytes are all a slow client costs.
PAGE = 128
PAGE_BYTES = 64 * 1024

# Why numbers are left out of what was kept.
LOST = "not kept: the agent ended without writing them, or its disk failed"


class Replay:
    """Gives frames page by page; when `is_level` the client joins the live stream.

    What is older than the ring must be fetched first (`needs_fetch`).

    Between a `take` that made it level and joining nothing may be awaited; see the
    journal's theory of operation.
    """

    __slots__ = (
        "_channel",
        "_fault",
        "_journal",
        "_max_event",
        "_past",
        "_past_upto",
        "_position",
        "_token",
        "is_reset",
        "wanted",
    )

    def __init__(
        self,
        journal: Journal,
        token: str,
        wanted: EventFilter,
        channel: Channel,
        max_event: int,
    ) -> None:
        self.wanted = wanted
        self.is_reset = False
        self._journal = journal
        self._token = token
        self._channel = channel
        self._max_event = max_event
        self._position = journal.last
        self._past: deque[Entry] = deque()
        # Up to here `_past` tells everything; nothing was fetched when it is behind.
        self._past_upto = -1
        self._fault: str | None = None

    @property
    def needs_fetch(self) -> bool:
        """Whether what is next is neither in the ring nor fetched."""
        return (
            self._fault is None
            and self._past_upto <= self._position
            and self._journal.is_past(self._position)
        )

    async def fetch(self) -> None:
        """Get the next page from the journal's past."""
        try:
            past = await self._journal.fetch(self._position, PAGE)
        except ResetError as error:
            self._fault = error.reason
            return
        self._past.extend(past.entries)
        self._past_upto = past.upto

    @property
    def is_level(self) -> bool:
        """Whether nothing older than the live stream is left."""
        return self._position == self._journal.last

    def begin(self, *, is_silent: bool = False) -> bytes:
        """The answer to the wish: `resumed` (unless silent) or `reset`."""
        journal = self._journal
        try:
            self._position = journal.position(self._token)
        except ResetError as error:
            return self._reset(error.reason)
        if is_silent:
            return b""
        told = {"from": self._position + 1, "to": journal.last, "epoch": journal.epoch}
        return self._message("resumed", told)

    def take(self) -> bytes:
        """The next frames, none where nothing matched; `reset` when they are gone."""
        if self._fault is not None:
            return self._reset(self._fault)
        if self._past_upto > self._position:
            return self._take_past()
        try:
            events, position = self._journal.read(self._position, self.wanted, PAGE)
        except ResetError as error:
            return self._reset(error.reason)
        frames: list[bytes] = []
        size = 0
        for event in events:
            frames.append(self._frame(event))
            size += len(frames[-1])
            if size >= PAGE_BYTES:
                position = event.seq
                break
        self._position = position
        return b"".join(frames)

    def _take_past(self) -> bytes:
        """The same from what was fetched; numbers that are left out are a gap."""
        frames: list[bytes] = []
        looked = size = 0
        while self._past and looked < PAGE and size < PAGE_BYTES:
            entry = self._past.popleft()
            looked += 1
            frames += self._gap_before(entry.event.seq)
            self._position = entry.event.seq
            if entry.matches(self.wanted):
                frames.append(self._frame(entry.event))
                size += len(frames[-1])
        if not self._past:
            frames += self._gap_before(self._past_upto + 1)
            self._position = self._past_upto
        return b"".join(frames)

    def _gap_before(self, seq: int) -> list[bytes]:
        first, last = self._position + 1, seq - 1
        if first > last:
            return []
        told = {"epoch": self._journal.epoch, "reason": LOST}
        return [gap_frame(first, last, seq - first, pack=self._channel.pack, **told)]

    def _frame(self, event: Event) -> bytes:
        channel = self._channel
        return event_frame(event, channel.shape, self._max_event, channel.pack)

    def _reset(self, reason: str) -> bytes:
        """Say that there is no continuation; the present is where it goes on."""
        journal = self._journal
        self.is_reset = True
        self._fault = None
        self._past.clear()
        self._position = self._past_upto = journal.last
        told = {
            "reason": reason,
            "since": self._token[:128],
            "epoch": journal.epoch,
            "seq": journal.last,
        }
        return self._message("reset", told)

    def _message(self, kind: str, payload: dict[str, Any]) -> bytes:
        message = encode({"type": kind, "payload": payload})
        return self._channel.pack(message, self._position)
