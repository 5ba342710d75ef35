"""Foreign peers as fixtures; each runs as a process driven by JSON lines."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.interop.install import PROGRAMS, command_of, has_browser, is_installed

LINE_LIMIT = 1024 * 1024
ANSWER_TIMEOUT = 120


class ForeignPeer:
    """A libp2p peer nobody here wrote."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.peer_id = ""
        self.addrs: list[str] = []
        self._numbers = itertools.count(1)

    async def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), ANSWER_TIMEOUT)
        if not line:
            code = await self.process.wait()
            raise AssertionError(f"the {self.name} peer ended with code {code}")
        message: dict[str, Any] = orjson.loads(line)
        return message

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command, answered."""
        assert self.process.stdin is not None
        number = next(self._numbers)
        request = {"id": number, "command": command, **arguments}
        self.process.stdin.write(orjson.dumps(request) + b"\n")
        answer = await self.hear()
        assert answer["id"] == number
        assert "error" not in answer, answer["error"]
        return answer


async def start(name: str) -> ForeignPeer:
    process = await asyncio.create_subprocess_exec(
        *command_of(name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
    )
    peer = ForeignPeer(name, process)
    hello = await peer.hear()
    peer.peer_id, peer.addrs = hello["peer_id"], hello["addrs"]
    return peer


# The same goes for a browser.
collect_ignore = [] if has_browser() else ["test_chromium.py"]

# A peer whose language is not on this machine cannot be had; install.py says so aloud.
AVAILABLE = [name for name, (tool, _, _) in PROGRAMS.items() if shutil.which(tool)]


@pytest_asyncio.fixture(params=AVAILABLE)
async def foreign(request: pytest.FixtureRequest) -> AsyncIterator[ForeignPeer]:
    """One running foreign peer; never skipped: what can be had must be installed."""
    name = request.param
    if not is_installed(name):
        pytest.fail(f"the {name} peer is not installed: run make interop")
    peer = await start(name)
    yield peer
    assert peer.process.stdin is not None
    peer.process.stdin.close()
    try:
        await asyncio.wait_for(peer.process.wait(), 20)
    except TimeoutError:
        peer.process.kill()
        await peer.process.wait()
