"""A short yamux session with a hostile peer and a busy owner; all that came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from praxis_fast.errors import PraxisError, YamuxError
from praxis_fast.limits import MuxerLimits
from tests.core.test_yamux_twins import NERVOUS, TIGHT, note

LIMITS = (
    MuxerLimits(),
    TIGHT,
    NERVOUS,
    replace(TIGHT, max_streams=2, max_backlog=1, max_control=3, control_burst=4),
)
# The bits of the first byte; the two left out say which limits.
SERVER, LIMIT_BITS, OPENS, ANSWERS, CUTS, ACTS = 1, 1, 8, 16, 32, 64
# Seconds between two pieces; the last one is longer than a peer may be silent.
TIMES = (0.0, 0.0, 0.2, 5.0, 46.0)
SIZES = (0, 1, 300, 70_000, 300_000)
PIECE = memoryview(bytes(300_000))
CODES = (0, 0, 2, 1 << 32)


class Conversation:
    """Feeds a session; the control byte and the seed say what its owner does."""

    def __init__(self, backend: Any, control: int, seed: int) -> None:
        self.session = backend.YamuxSession(
            client=not control & SERVER, limits=LIMITS[control >> LIMIT_BITS & 3]
        )
        self.control = control
        self.seed = seed
        self.now = 0.25
        self.trace: list[Any] = []

    def run(self, chunks: list[bytes]) -> list[Any]:
        """All events, answers, errors and bytes, in order."""
        session, control, trace = self.session, self.control, self.trace
        if control & OPENS:
            trace.append(session.open_stream())
        for chunk in chunks:
            events = self.receive(chunk)
            if control & ANSWERS:
                self.answer(events)
            if control & ACTS:
                self.act()
        trace += [session.num_streams, session.unread, session.dropped_frames]
        trace += [session.is_closed, session.pending_out, session.next_deadline()]
        trace.append(session.data_to_send())
        trace += [note(event) for event in session.receive_eof()]
        return trace

    def receive(self, chunk: bytes) -> Sequence[Any]:
        fault: list[Any] = []
        events: Sequence[Any]
        try:
            events = self.session.receive_data(chunk, self.now)
        except YamuxError as error:
            fault = [(type(error), str(error), error.code)]
            events = error.events
        self.trace += [note(event) for event in events] + fault
        return events

    def answer(self, events: Sequence[Any]) -> None:
        """What an owner does about events."""
        session = self.session
        for event in events:
            match type(event).__name__:
                case "StreamOpened":
                    session.accept_stream(event.stream_id)
                    self.attempt(session.send_data, event.stream_id, b"hello")
                case "DataReceived":
                    self.attempt(session.consume, event.stream_id, len(event.data))
                case "StreamClosed":
                    session.close_stream(event.stream_id)
                case "PingReceived":
                    self.trace.append(session.data_to_send(13))

    def act(self) -> None:
        """What an owner does when it likes to, some time later."""
        seed = self.seed = self.seed * 1664525 + 1013904223 & 0xFFFFFFFF
        session, stream_id, size = self.session, 1 + (seed >> 8 & 3), SIZES[seed % 5]
        self.now += TIMES[(seed >> 12) % len(TIMES)]
        match seed >> 16 & 15:
            case 0 | 1 | 2:
                self.attempt(session.open_stream)
            case 3 | 4 | 5:
                self.attempt(session.send_data, stream_id, PIECE[:size])
            case 6:
                self.attempt(session.consume, stream_id, size)
            case 7 | 8:
                self.attempt(session.close_stream, stream_id)
            case 9:
                self.attempt(session.reset_stream, stream_id)
            case 10 | 11:
                self.attempt(session.data_to_send, size)
            case 12 | 13:
                self.attempt(session.on_deadline, self.now)
            case 14:
                self.attempt(session.ping, self.now)
            case _:
                self.attempt(session.go_away, CODES[seed >> 24 & 3])

    def attempt(self, call: Callable[..., Any], *args: Any) -> None:
        """Note what a call answers or refuses."""
        try:
            answer = call(*args)
        except PraxisError as error:
            events = [note(event) for event in getattr(error, "events", ())]
            self.trace.append((type(error), str(error), events))
        else:
            is_events = isinstance(answer, list)
            self.trace.append([note(each) for each in answer] if is_events else answer)
