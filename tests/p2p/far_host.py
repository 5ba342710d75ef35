"""A host in a process of its own: finds peers and prints what happens to them.

`python -m tests.p2p.far_host SERVICE [BOOTSTRAP]...`; without addresses it uses mDNS
under the service name.
"""

from __future__ import annotations

import asyncio
import sys

from praxis_fast.p2p.discovery import Discovery
from praxis_fast.p2p.host import Host
from praxis_fast.p2p.peer_record import PeerRecord


class Printer:
    def on_peer_discovered(self, record: PeerRecord) -> None:
        print("discovered", record.id, flush=True)

    def on_peer_connected(self, record: PeerRecord) -> None:
        print("connected", record.id, flush=True)

    def on_peer_disconnected(self, record: PeerRecord, reason: str) -> None:
        print("disconnected", record.id, flush=True)


async def main(service: str, bootstrap: list[str]) -> None:
    async with Host(listen=["/ip4/127.0.0.1/tcp/0"]) as host:
        discovery = Discovery(
            host, bootstrap=bootstrap, enable_mdns=not bootstrap, service=service
        )
        discovery.add_observer(Printer())
        async with discovery:
            print("ready", host.peer_id, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
