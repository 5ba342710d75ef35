"""`/praxis/tool/1.0.0`: one request and one reply per stream."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from praxis_fast.agent.json_stream import JSONStream
from praxis_fast.errors import (
    NegotiationError,
    NetworkError,
    ProtocolError,
    ToolError,
    ToolFailedError,
    ToolNotFoundError,
    ToolTimeoutError,
)
from praxis_fast.wire.envelope import ToolReply, ToolRequest
from praxis_fast.wire.json_text import encode_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from praxis_fast.limits import Limits
    from praxis_fast.p2p.host import Host
    from praxis_fast.p2p.stream import Stream
    from praxis_fast.wire.peer_id import PeerID

    Serve = Callable[[PeerID, ToolRequest], Awaitable[ToolReply]]

logger = logging.getLogger(__name__)

TOOL_PROTOCOL = "/praxis/tool/1.0.0"

PARSE_ERROR = -32700
BUSY = -32000


class ToolProtocol:
    """Calls peers' tools, and answers their calls through `serve`."""

    def __init__(
        self,
        host: Host,
        *,
        serve: Serve,
        reach: Callable[[PeerID], Awaitable[None]],
        limits: Limits,
        wall_clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._serve = serve
        self._reach = reach
        self._limits = limits
        self._wall_clock = wall_clock
        self._running: Counter[PeerID] = Counter()

    def request(self, name: str, arguments: Mapping[str, Any] | None) -> ToolRequest:
        """A new request, not sent yet."""
        return ToolRequest(
            id=uuid4().hex,
            name=name,
            arguments=dict(arguments or {}),
            timestamp=int(self._wall_clock()),
        )

    async def call(
        self, peer_id: PeerID, request: ToolRequest, timeout: float
    ) -> ToolReply:
        """Send the request and wait for its reply; raises ToolError, NetworkError."""
        try:
            async with asyncio.timeout(timeout) as deadline:
                return await self._exchange(peer_id, request)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            message = f"{peer_id} did not answer {request.name} within {timeout:g} s"
            raise ToolTimeoutError(message) from error
        except NegotiationError as error:
            raise ToolNotFoundError(f"{peer_id} serves no tools") from error
        except ProtocolError as error:
            message = f"answer of {peer_id} to {request.name} refused: {error}"
            raise ToolFailedError(message) from error

    async def _exchange(self, peer_id: PeerID, request: ToolRequest) -> ToolReply:
        await self._reach(peer_id)
        # Left by an error, the stream is reset: the peer need not go on working.
        async with await self._host.open_stream(peer_id, [TOOL_PROTOCOL]) as stream:
            messages = JSONStream(stream, self._limits.json, is_timed=True)
            await messages.send(request.to_message())
            return ToolReply.from_message(await messages.receive())

    def _encoded(self, reply: ToolReply) -> bytes:
        """The reply as text; an error instead of one no peer would read."""
        text = encode_json(reply.to_message())
        limit = self._limits.json.max_frame
        if len(text) <= limit:
            return text
        message = f"answer of {len(text)} bytes, limit {limit}"
        error = {"code": ToolFailedError.code, "message": message}
        return encode_json(ToolReply(id=reply.id, error=error).to_message())

    async def handle(self, stream: Stream) -> None:
        """The peer opened a stream to call a tool."""
        try:
            async with stream:
                messages = JSONStream(stream, self._limits.json)
                reply = await self._reply(stream, messages)
                await messages.send_text(self._encoded(reply))
        except NetworkError as error:
            logger.debug("tool call of %s broke off: %s", stream.peer_id, error)

    async def _reply(self, stream: Stream, messages: JSONStream) -> ToolReply:
        peer_id = stream.peer_id
        if self._running[peer_id] >= self._limits.tools.max_calls:
            message = f"{self._limits.tools.max_calls} calls are running, no more"
            return ToolReply(id="", error={"code": BUSY, "message": message})
        self._running[peer_id] += 1
        try:
            request = ToolRequest.from_message(await messages.receive())
            return await self._serve_while_open(stream, request)
        except ProtocolError as error:
            # The host logs it, not too often, and tells its observers.
            self._host.observers.error("tool request", peer_id, None, str(error))
            return ToolReply(id="", error={"code": PARSE_ERROR, "message": str(error)})
        finally:
            self._running[peer_id] -= 1
            if not self._running[peer_id]:
                del self._running[peer_id]

    async def _serve_while_open(
        self, stream: Stream, request: ToolRequest
    ) -> ToolReply:
        """Run the tool; cancel it when the caller resets the stream."""
        serving = asyncio.ensure_future(self._serve(stream.peer_id, request))
        watching = asyncio.create_task(_until_broken(stream))
        try:
            await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                raise NetworkError("the caller left")
            return serving.result()
        finally:
            watching.cancel()
            serving.cancel()
            await asyncio.gather(serving, watching, return_exceptions=True)


async def _until_broken(stream: Stream) -> None:
    """Ends when the peer resets the stream; a peer that only ended it may wait."""
    try:
        while await stream.read(1024):
            pass
    except NetworkError:
        return
    await asyncio.get_running_loop().create_future()


def value_of(reply: ToolReply) -> Any:
    """What the tool answered; raises the ToolError the reply tells."""
    if reply.error is not None:
        raise tool_error(reply.error)
    return reply.result


def tool_error(error: Mapping[str, Any]) -> ToolError:
    """The typed error for a reply's code."""
    message = str(error.get("message", "the tool failed"))
    code = error.get("code")
    for kind in ToolError.__subclasses__():
        if kind.code == code and kind is not ToolFailedError:
            return kind(message)
    return ToolFailedError(message)
