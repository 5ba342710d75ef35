"""The identify protocols: asked at once, answered at once, pushed on change."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from praxis_fast.errors import IdentifyError
from praxis_fast.wire.identify import Identify, IdentifyReader
from praxis_fast.wire.protobuf import encode_varint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praxis_fast.limits import Limits
    from praxis_fast.p2p.link import Link
    from praxis_fast.p2p.stream import Stream

IDENTIFY = "/ipfs/id/1.0.0"
IDENTIFY_PUSH = "/ipfs/id/push/1.0.0"
PROTOCOL_VERSION = "ipfs/0.1.0"

READ_SIZE = 16 * 1024

# Pushes read at once on one link; each may hold a whole message.
MAX_PUSHES = 4


class IdentifyOwner(Protocol):
    """What the exchange needs from the host."""

    limits: Limits

    def describe(self, link: Link) -> Identify:
        """Who we are, as said on this link."""

    def on_identity(self, link: Link, identity: Identify) -> None:
        """The peer at the other end said who it is."""

    def known(self, link: Link) -> Identify | None:
        """What that peer said before."""

    def on_told(self, link: Link) -> None:
        """The peer has read what we say on this link."""


class IdentifyService:
    """Asks, answers and pushes; one failed exchange is one stream lost."""

    def __init__(self, owner: IdentifyOwner) -> None:
        self._owner = owner
        self._pushing: Counter[Link] = Counter()

    async def ask(self, link: Link) -> None:
        """Ask the peer who it is; IdentifyError when it does not say."""
        async with (
            self._in_time(),
            await link.open_stream((IDENTIFY,), lazy=False) as stream,
        ):
            # Our end comes with the answer: some peers miss one before it.
            self._owner.on_identity(link, await self._read(stream))

    async def answer(self, stream: Stream) -> None:
        """Handler: say who we are; the end of the stream shows it was read."""
        async with self._in_time():
            await self._write(stream)
        try:
            async with asyncio.timeout(self._owner.limits.identify.timeout):
                while await stream.read(READ_SIZE):
                    pass
        except TimeoutError:
            return
        self._owner.on_told(stream.link)

    async def push(self, link: Link) -> None:
        """Tell the peer who we are now."""
        async with (
            self._in_time(),
            await link.open_stream((IDENTIFY_PUSH,), lazy=True) as stream,
        ):
            await self._write(stream)
            while await stream.read(READ_SIZE):
                pass

    async def accept_push(self, stream: Stream) -> None:
        """Handler: the peer says what changed; absent fields did not."""
        link = stream.link
        if self._pushing[link] >= MAX_PUSHES:
            raise IdentifyError(f"{MAX_PUSHES} pushes at once, limit {MAX_PUSHES}")
        self._pushing[link] += 1
        try:
            async with self._in_time():
                news = await self._read(stream)
        finally:
            self._pushing[link] -= 1
            if not self._pushing[link]:
                del self._pushing[link]
        known = self._owner.known(link)
        self._owner.on_identity(link, news if known is None else _merge(known, news))

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Bound the whole exchange (ID-1)."""
        timeout = self._owner.limits.identify.timeout
        try:
            async with asyncio.timeout(timeout):
                yield
        except TimeoutError:
            raise IdentifyError(f"no identify in {timeout:g} s") from None

    async def _write(self, stream: Stream) -> None:
        message = self._owner.describe(stream.link).encode()
        await stream.write(encode_varint(len(message)) + message)
        await stream.close_write()

    async def _read(self, stream: Stream) -> Identify:
        """The whole message, checked to be about the peer itself (ID-1, ID-2)."""
        reader = IdentifyReader(self._owner.limits.identify)
        while data := await stream.read(READ_SIZE):
            reader.receive_data(data)
        identity = reader.receive_eof()
        _check_key(identity, stream)
        return identity


def _check_key(identity: Identify, stream: Stream) -> None:
    """A key has one encoding only, so other bytes are another key."""
    told = identity.public_key
    if told is not None and told != stream.link.public_key.to_protobuf():
        raise IdentifyError(
            f"identify tells a key of {len(told)} bytes, not the peer's own"
        )


def _merge(known: Identify, news: Identify) -> Identify:
    """The news over what was known; a field that is not there did not change."""
    return replace(
        known,
        **{
            name: value
            for name in known.__dataclass_fields__
            if (value := getattr(news, name))
        },
    )
