"""`/praxis/card/1.0.0`: each side sends its card, then reads the other's (CARD-4)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from praxis_fast.agent.json_stream import JSONStream
from praxis_fast.errors import NegotiationError, NetworkError, ProtocolError
from praxis_fast.wire.card import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.limits import Limits
    from praxis_fast.p2p.host import Host
    from praxis_fast.p2p.stream import Stream
    from praxis_fast.wire.peer_id import PeerID

logger = logging.getLogger(__name__)

CARD_PROTOCOL = "/praxis/card/1.0.0"


class CardProtocol:
    """Exchanges cards with peers, whoever opens the stream."""

    def __init__(
        self,
        host: Host,
        *,
        own_card: Callable[[PeerID], Card],
        on_card: Callable[[PeerID, Card], None],
        on_rejected: Callable[[PeerID, str], None],
        limits: Limits,
        wall_clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._own_card = own_card
        self._on_card = on_card
        self._on_rejected = on_rejected
        self._limits = limits
        self._wall_clock = wall_clock

    async def handle(self, stream: Stream) -> None:
        """The peer opened a stream."""
        await self._swap(stream)

    async def exchange(self, peer_id: PeerID) -> None:
        """Open a stream to the peer; says nothing when the peer knows no cards."""
        try:
            stream = await self._host.open_stream(peer_id, [CARD_PROTOCOL])
        except NegotiationError:
            logger.debug("%s does not exchange cards", peer_id)
        except (NetworkError, ProtocolError) as error:
            logger.debug("no card stream to %s: %s", peer_id, error)
        else:
            await self._swap(stream)

    async def _swap(self, stream: Stream) -> None:
        seconds = self._limits.cards.timeout
        try:
            async with stream, asyncio.timeout(seconds):
                card = await self._send_and_read(stream)
        except ProtocolError as error:
            self._reject(stream.peer_id, str(error))
        except TimeoutError:
            self._reject(stream.peer_id, f"no card within {seconds:g} s")
        except NetworkError as error:
            # The link's end is told by the host.
            logger.debug("card exchange with %s broke off: %s", stream.peer_id, error)
        else:
            self._on_card(stream.peer_id, card)

    async def _send_and_read(self, stream: Stream) -> Card:
        messages = JSONStream(
            stream,
            self._limits.json,
            max_frame=self._limits.cards.max_card,
            is_timed=True,
        )
        await messages.send(self._own_card(stream.peer_id).to_message())
        # No half-close yet: some peers take it for the end of both directions.
        return Card.from_message(
            await messages.receive(strict_keys=True),
            peer_id=stream.peer_id,
            now=self._wall_clock(),
            limits=self._limits.cards,
        )

    def _reject(self, peer_id: PeerID, message: str) -> None:
        # The host logs it, not too often, and tells its observers.
        self._host.observers.error("card", peer_id, None, message)
        self._on_rejected(peer_id, message)
