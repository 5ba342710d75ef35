"""JSON texts over a stream of the host: bounded, never waiting without end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from praxis_fast.core import JSONSplitter
from praxis_fast.errors import MessageError
from praxis_fast.wire.json_text import decode_json, encode_json

if TYPE_CHECKING:
    from praxis_fast.limits import JSONLimits
    from praxis_fast.p2p.stream import Stream

# One read's worth: what a muxer frame of the reference carries at most.
READ_SIZE = 64 * 1024


class JSONStream:
    """One message after another, each way; a newline stands behind each we send."""

    def __init__(
        self,
        stream: Stream,
        limits: JSONLimits,
        *,
        max_frame: int | None = None,
        is_timed: bool = False,
    ) -> None:
        """`is_timed`: the caller has a deadline of its own, silence is no fault."""
        self._stream = stream
        self._limits = limits
        self._is_timed = is_timed
        self._splitter = JSONSplitter(
            max_frame=max_frame or limits.max_frame,
            max_depth=limits.max_depth,
            max_blank=limits.max_blank,
        )
        self._texts: deque[bytes] = deque()

    async def send(self, message: Any) -> None:
        """Write one message; waits for credit like any write."""
        await self.send_text(encode_json(message))

    async def send_text(self, text: bytes) -> None:
        """Write one message that is encoded already."""
        await self._stream.write(text + b"\n")

    async def receive(self, *, strict_keys: bool = False) -> Any:
        """The next message; JSONStreamError or MessageError for a wrong one."""
        while not self._texts:
            data = await self._read()
            if data:
                self._texts.extend(self._splitter.receive_data(data))
                continue
            self._texts.extend(self._splitter.receive_eof())
            if not self._texts:
                raise MessageError("stream ended before a message")
        text = self._texts.popleft()
        return decode_json(text, self._limits, strict_keys=strict_keys)

    async def _read(self) -> bytes:
        if self._is_timed:
            return await self._stream.read(READ_SIZE)
        seconds = self._limits.idle_timeout
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await self._stream.read(READ_SIZE)
        except TimeoutError as error:
            # Somebody else's deadline passes through as it is.
            if not deadline.expired():
                raise
            raise MessageError(f"no byte for {seconds:g} s") from error
