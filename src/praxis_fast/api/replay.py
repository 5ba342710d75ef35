"""One client on its way from an old event to the live stream (WS-9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from praxis_fast.api.encode import encode
from praxis_fast.api.shapes import event_frame
from praxis_fast.events.journal import ResetError

if TYPE_CHECKING:
    from praxis_fast.api.broadcast import Channel
    from praxis_fast.events.event import EventFilter
    from praxis_fast.events.journal import Journal

# Events looked at in one step, and bytes made of them: a step takes well under a
# millisecond, and that many bytes are all a slow client costs.
PAGE = 128
PAGE_BYTES = 64 * 1024


class Replay:
    """Gives frames page by page; when `is_level` the client joins the live stream.

    Between a `take` that made it level and joining nothing may be awaited; see the
    journal's theory of operation.
    """

    __slots__ = (
        "_channel",
        "_journal",
        "_max_event",
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
        journal, channel = self._journal, self._channel
        try:
            events, position = journal.read(self._position, self.wanted, PAGE)
        except ResetError as error:
            return self._reset(error.reason)
        frames: list[bytes] = []
        size = 0
        for event in events:
            frame = event_frame(event, channel.shape, self._max_event, channel.pack)
            frames.append(frame)
            size += len(frame)
            if size >= PAGE_BYTES:
                position = event.seq
                break
        self._position = position
        return b"".join(frames)

    def _reset(self, reason: str) -> bytes:
        """Say that there is no continuation; the present is where it goes on."""
        journal = self._journal
        self.is_reset = True
        self._position = journal.last
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
