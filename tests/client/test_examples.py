"""The examples about watching an agent run as written."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.api.conftest import CARD
from tests.client.conftest import PATIENCE, Place

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "client.md").read_text()
STREAM, REGISTRY = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WATCH = (ROOT / "examples" / "watch.py").read_text()


async def start(code: str, place: Place) -> asyncio.subprocess.Process:
    # Only the port differs: 9000 may be in use where the tests run.
    code = code.replace("http://127.0.0.1:9000", place.url)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-u", "-c", code),
        stdout=asyncio.subprocess.PIPE,
    )


async def test_the_stream_of_the_page_prints_events(place: Place) -> None:
    program = await start(STREAM, place)
    assert program.stdout is not None
    async with asyncio.timeout(PATIENCE):
        line = asyncio.create_task(program.stdout.readline())
        while not line.done():
            place.bus.publish("tool.executed", {"tool": "add"})
            await asyncio.sleep(0.02)
        program.terminate()
        await program.wait()
    assert line.result() == b"tool.executed {'tool': 'add'}\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (REGISTRY, ["connected ('/ip4/10.0.0.5/tcp/4001',)", "1 True"]),
        (WATCH, ["connected calc", "calc can add"]),
    ],
    ids=["page", "watch.py"],
)
async def test_the_registries_show_the_peer(
    place: Place, code: str, told: list[str]
) -> None:
    assert CARD["name"] == "calc"
    program = await start(code, place)
    async with asyncio.timeout(PATIENCE):
        out, _ = await program.communicate()
    assert program.returncode == 0
    assert all(text in out.decode() for text in told), out.decode()
