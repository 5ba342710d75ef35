"""Real hosts on loopback find each other, in one process and in two."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from praxis_fast.p2p.discovery import Discovery
from praxis_fast.p2p.host import Host
from praxis_fast.p2p.peer_record import PeerState
from tests.p2p.multicast import LONELY_SERVICE, eventually, with_multicast
from tests.p2p.test_discovery import Diary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
LISTEN = ["/ip4/127.0.0.1/tcp/0"]


@asynccontextmanager
async def found(
    listen: list[str] = LISTEN, **options: Any
) -> AsyncIterator[tuple[Host, Discovery, Diary]]:
    """A host with its discovery and what its observer was told."""
    async with Host(listen=listen) as host:
        diary = Diary()
        discovery = Discovery(
            host, rng=random.Random(1), service=LONELY_SERVICE, **options
        )
        discovery.add_observer(diary)
        async with discovery:
            yield host, discovery, diary


@with_multicast
async def test_two_hosts_find_each_other_by_mdns() -> None:
    async with found() as (ann, seen_by_ann, told_ann), found() as (bob, _, told_bob):
        await eventually(lambda: ("connected", bob.peer_id) in told_ann.lines)
        await eventually(lambda: ("connected", ann.peer_id) in told_bob.lines)
        assert told_ann.lines == [
            ("discovered", bob.peer_id),
            ("connected", bob.peer_id),
        ]
        (record,) = seen_by_ann.snapshot()
        assert record.is_connected
        await eventually(lambda: bob.addrs[0] in seen_by_ann.snapshot()[0].addresses)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_bootstrap_connects_hosts_without_mdns() -> None:
    async with (
        found(enable_mdns=False) as (ann, _, told_ann),
        found(enable_mdns=False, bootstrap=[ann.addrs[0]]) as (bob, _, told_bob),
    ):
        await eventually(lambda: len(told_ann.lines) == len(told_bob.lines) == 2)
        assert told_ann.lines == [
            ("discovered", bob.peer_id),
            ("connected", bob.peer_id),
        ]
        assert told_ann.records[0].source == "inbound"
        assert told_bob.records[0].source == "bootstrap"


async def test_nameless_bootstrap_address_learns_its_peer() -> None:
    async with found(enable_mdns=False) as (ann, _, _):
        bare = ann.addrs[0].partition("/p2p/")[0]
        async with found(enable_mdns=False, bootstrap=[bare]) as (_, _, told):
            await eventually(lambda: ("connected", ann.peer_id) in told.lines)


async def test_bootstrap_peer_that_comes_later_is_found() -> None:
    async with found(enable_mdns=False) as (ann, _, _):
        address, key = ann.addrs[0], ann.key
    async with found(enable_mdns=False, bootstrap=[address]) as (_, seen, told):
        listen = [address.partition("/p2p/")[0]]
        await eventually(lambda: seen.snapshot()[0].state is not PeerState.DIALING)
        async with Host(key, listen=listen) as late:
            await eventually(lambda: ("connected", late.peer_id) in told.lines)
        await eventually(lambda: len(told.lines) == 3)


async def test_con_6_all_of_a_crowd_are_connected_once_to_each() -> None:
    async with AsyncExitStack() as stack:
        crowd: list[tuple[Host, Discovery, Diary]] = []
        for _ in range(6):
            known = [host.addrs[0] for host, _, _ in crowd]
            entered = found(enable_mdns=False, bootstrap=known)
            host, seen, told = await stack.enter_async_context(entered)
            # Both sides dial at once.
            for _, other_seen, _ in crowd:
                other_seen.add(host.peer_id, host.addrs)
            crowd.append((host, seen, told))
        diaries = [told for _, _, told in crowd]
        await eventually(lambda: all(len(told.lines) >= 10 for told in diaries))
        for told in diaries:
            names = sorted(line for line, _ in told.lines)
            assert names == ["connected"] * 5 + ["discovered"] * 5


@asynccontextmanager
async def far_host(*bootstrap: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.p2p.far_host",
        LONELY_SERVICE,
        *bootstrap,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, word: str) -> str:
    """The peer id in the next line that begins with the word."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        async for line in process.stdout:
            first, _, rest = line.decode().strip().partition(" ")
            if first == word:
                return rest
    raise AssertionError(f"the other process ended without {word!r}")


@with_multicast
async def test_two_processes_find_each_other_and_one_is_killed() -> None:
    async with found() as (ann, _, told), far_host() as far:
        name = await said(far, "ready")
        assert await said(far, "connected") == ann.peer_id
        await eventually(lambda: ("connected", name) in told.lines)
        far.kill()
        await eventually(lambda: len(told.lines) == 3)
        assert told.lines[-1][0].startswith("disconnected: ")
        assert [peer_id for _, peer_id in told.lines] == [name] * 3


async def test_other_process_is_told_when_we_go() -> None:
    async with AsyncExitStack() as stack:
        ann, _, told = await stack.enter_async_context(found(enable_mdns=False))
        async with far_host(ann.addrs[0]) as far:
            name = await said(far, "ready")
            await eventually(lambda: ("connected", name) in told.lines)
            ours = ann.peer_id
            await stack.aclose()
            assert await said(far, "disconnected") == ours


def test_two_hosts_find_each_other_on_uvloop() -> None:
    uvloop.run(test_two_hosts_find_each_other_by_mdns())
    uvloop.run(test_con_6_all_of_a_crowd_are_connected_once_to_each())
