"""Who is told what happens to peers, and how often failures are logged."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praxis_fast.p2p.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.wire.identify import Identify
    from praxis_fast.wire.peer_id import PeerID

logger = logging.getLogger(__name__)

# docs/limits.md, "Close": logged at most once per second per cause.
LOG_INTERVAL = 1.0

# Failures told in a second, after a burst; beyond, only the count grows. A peer must
# not turn bad streams into as many events for everybody who watches.
TELL_RATE = 100.0
TELL_BURST = 1000

# Causes a stranger can repeat for free; they are told as rarely as they are logged.
FLOOD_KINDS = frozenset({"refused"})


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What is known of a connection when it is there."""

    peer_id: PeerID
    """Who is at the other end, proven."""
    address: str
    """The other end's socket, as a multiaddr without the peer id."""
    inbound: bool
    """Whether they dialled us."""


class Observer:
    """Told of every change, once each; all methods are quick and do not raise."""

    def on_connected(self, peer_id: PeerID, info: LinkInfo) -> None:
        """The first link to the peer is there."""

    def on_disconnected(self, peer_id: PeerID, reason: str) -> None:
        """The last link to the peer is gone."""

    def on_identified(self, peer_id: PeerID, identity: Identify) -> None:
        """The peer said who it is, or said something new."""

    def on_error(
        self, kind: str, peer_id: PeerID | None, address: str | None, message: str
    ) -> None:
        """A connection, stream or handler failed."""


class Observers:
    """All observers of a host; one that raises hurts nobody else."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._observers: list[object] = []
        self._logged_at: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()
        self._buckets: dict[str, TokenBucket] = {}

    def add(self, observer: object) -> None:
        """Tell this one too; methods it does not have are passed over."""
        self._observers.append(observer)

    def discard(self, observer: object) -> None:
        """Tell this one no more."""
        if observer in self._observers:
            self._observers.remove(observer)

    def connected(self, peer_id: PeerID, info: LinkInfo) -> None:
        """The first link to the peer is there."""
        logger.info("connected to %s at %s", peer_id, info.address)
        self._tell("on_connected", peer_id, info)

    def disconnected(self, peer_id: PeerID, reason: str) -> None:
        """The last link to the peer is gone."""
        logger.info("disconnected from %s: %s", peer_id, reason)
        self._tell("on_disconnected", peer_id, reason)

    def identified(self, peer_id: PeerID, identity: Identify) -> None:
        """The peer said who it is."""
        self._tell("on_identified", peer_id, identity)

    def error(
        self,
        kind: str,
        peer_id: PeerID | None,
        address: str | None,
        message: str,
        *,
        cause: BaseException | None = None,
    ) -> None:
        """A failure: counted and told once, logged at most once a second per kind."""
        self.counts[kind] += 1
        is_said = self._log(kind, peer_id, address, message, cause)
        if is_said or self._may_tell(kind):
            self._tell("on_error", kind, peer_id, address, message)

    def _may_tell(self, kind: str) -> bool:
        if kind in FLOOD_KINDS:
            return False
        bucket = self._buckets.get(kind)
        now = self._clock()
        if bucket is None:
            bucket = self._buckets[kind] = TokenBucket(TELL_RATE, TELL_BURST, now)
        return bucket.take(now)

    def _log(
        self,
        kind: str,
        peer_id: PeerID | None,
        address: str | None,
        message: str,
        cause: BaseException | None,
    ) -> bool:
        now = self._clock()
        if now - self._logged_at.get(kind, -LOG_INTERVAL) < LOG_INTERVAL:
            self._unsaid[kind] += 1
            return False
        self._logged_at[kind] = now
        unsaid = self._unsaid.pop(kind, 0)
        logger.warning(
            "%s error with %s at %s: %s%s",
            kind,
            peer_id or "unknown peer",
            address or "unknown address",
            message,
            f" ({unsaid} more like it not logged)" if unsaid else "",
            exc_info=cause,
        )
        return True

    def _tell(self, method: str, *arguments: object) -> None:
        for observer in tuple(self._observers):
            told = getattr(observer, method, None)
            if told is None:
                continue
            try:
                told(*arguments)
            except Exception:
                # The observer's fault ends with its own call.
                logger.exception("observer %r failed in %s", observer, method)
