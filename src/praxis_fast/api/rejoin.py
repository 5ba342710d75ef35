"""WebSocket clients that come back: from an old event to the live stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praxis_fast.api.replay import Replay

if TYPE_CHECKING:
    from praxis_fast.api.broadcast import Broadcast
    from praxis_fast.api.counters import Counters
    from praxis_fast.api.event_socket import EventSocket
    from praxis_fast.events.event import EventFilter
    from praxis_fast.events.journal.ring import Journal


def count_rejoin(counters: Counters, replay: Replay) -> None:
    """Count how a client's wish to go on was answered."""
    if replay.is_reset:
        counters.resets += 1
    else:
        counters.resumed += 1


class Rejoining:
    """Writes each client its pages as fast as it reads them, then hands it over.

    While a client is here it is no receiver of the broadcast; the journal is its queue.
    A page that is on disk is fetched aside, one for each client at a time.
    """

    def __init__(
        self,
        journal: Journal,
        broadcast: Broadcast,
        max_event: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._journal = journal
        self._broadcast = broadcast
        self._max_event = max_event
        self._loop = loop
        self._replays: dict[EventSocket, Replay] = {}
        self._fetches: dict[EventSocket, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Wait for no page any more."""
        tasks = tuple(self._fetches.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __contains__(self, client: EventSocket) -> bool:
        return client in self._replays

    def begin(self, client: EventSocket, token: str, wanted: EventFilter) -> None:
        """Answer `resumed` or `reset`, and begin with what the client missed.

        What it was promised so far is written first.
        """
        self._broadcast.flush(client)
        self._broadcast.remove(client)
        replay = Replay(self._journal, token, wanted, client.channel, self._max_event)
        self._replays[client] = replay
        client.send(replay.begin())
        count_rejoin(self._broadcast.counters, replay)
        self._pump(client, replay)

    def change(self, client: EventSocket, wanted: EventFilter) -> bool:
        """Give the client another filter from here on; False when it is not here."""
        replay = self._replays.get(client)
        if replay is None:
            return False
        replay.wanted = wanted
        return True

    def leave(self, client: EventSocket) -> None:
        """Forget a client."""
        self._replays.pop(client, None)
        task = self._fetches.pop(client, None)
        if task is not None:
            task.cancel()

    def on_writable(self, client: EventSocket) -> None:
        """The kernel took everything the client was given."""
        replay = self._replays.get(client)
        if replay is not None:
            self._pump(client, replay)

    def _pump(self, client: EventSocket, replay: Replay) -> None:
        if client.is_paused or self._replays.get(client) is not replay:
            return
        if replay.needs_fetch:
            self._fetch(client, replay)
            return
        client.send(replay.take())
        if replay.is_level:
            # In the same step as `take`: nothing is published between the two.
            self.leave(client)
            self._broadcast.add(client, replay.wanted)
        elif not client.is_paused:
            self._loop.call_soon(self._pump, client, replay)

    def _fetch(self, client: EventSocket, replay: Replay) -> None:
        if client not in self._fetches:
            task = self._loop.create_task(self._fetch_and_pump(client, replay))
            self._fetches[client] = task

    async def _fetch_and_pump(self, client: EventSocket, replay: Replay) -> None:
        await replay.fetch()
        del self._fetches[client]
        # The client may have wished to go on from elsewhere meanwhile.
        if (present := self._replays.get(client)) is not None:
            self._pump(client, present)
