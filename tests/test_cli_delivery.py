"""`praxis-fast outbox` and `praxis-fast audit`, run as users run them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from tests.programs import Programs, programs

CONFIG = """
webhooks: {enabled: true, allow_loopback: true}
audit: {enabled: true, types: ["tool.*"]}
"""


@pytest_asyncio.fixture
async def cli(tmp_path: Path) -> AsyncIterator[Programs]:
    (tmp_path / "agent.yaml").write_text(CONFIG)
    async with programs(tmp_path) as started:
        yield started


async def test_outbox_lists_deliveries_and_redrives(
    cli: Programs, tmp_path: Path
) -> None:
    runner = web.ServerRunner(web.Server(refuse), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    agent = await cli.agent("--config", str(tmp_path / "agent.yaml"))
    url = ("--url", agent.url)
    code, out, err = await cli.run("outbox", *url)
    assert (code, out, err.strip()) == (0, "", "no webhooks yet")
    hook = {
        "id": "mine",
        "url": f"http://127.0.0.1:{runner.addresses[0][1]}/",
        "types": ["tool.executed"],
    }
    async with httpx.AsyncClient(base_url=agent.url, trust_env=False) as http:
        assert (await http.post("/webhooks", json=hook)).status_code == 201
        assert (await cli.run("call", "echo", "text=hello", *url))[0] == 0
        while not (await http.get("/webhooks/mine")).json()["dead"]:
            continue
    code, out, _ = await cli.run("outbox", *url)
    assert (code, out.split()[:2]) == (0, ["failing", "mine"])
    assert "waiting 0  delivered 0  dead 1" in out
    code, out, _ = await cli.run("outbox", "deliveries", "mine", *url)
    assert (code, out.split()[1]) == (0, "dead")
    assert out.strip().endswith("tool.executed  attempts 1  status 400")
    code, out, _ = await cli.run("outbox", *url, "redrive", "mine")
    assert (code, out.strip()) == (0, "1 sent again")
    code, _, err = await cli.run("outbox", "redrive", "a/b", *url)
    assert code == 1
    assert err.startswith("Error: ")
    await runner.cleanup()


async def refuse(request: web.BaseRequest) -> web.Response:
    return web.Response(status=400)


async def test_audit_is_printed_verified_and_exported(
    cli: Programs, tmp_path: Path
) -> None:
    data = tmp_path / "kept"
    settings = ("--config", str(tmp_path / "agent.yaml"), "--data-dir", str(data))
    agent = await cli.agent(*settings)
    url = ("--url", agent.url)
    assert (await cli.run("call", "echo", "text=hello", *url))[0] == 0
    out = ""
    while "tool.executed" not in out:
        code, out, _ = await cli.run("audit", "--since", "1h", *url)
        assert code == 0
    assert '"tool_name": "echo"' in out.splitlines()[0]
    code, out, _ = await cli.run("audit", "--json", "--type", "tool.executed", *url)
    assert (code, json.loads(out)["event_type"]) == (0, "tool.executed")
    code, out, _ = await cli.run("audit", "verify", *url)
    assert (code, out.strip()) == (0, "intact: 3 entries")
    code, out, _ = await cli.run("audit", *url, "export")
    assert (code, len(out.splitlines())) == (0, 3)
    database = sqlite3.connect(data / "audit.db")
    database.execute("DROP TRIGGER entries_stay")
    database.execute("UPDATE entries SET type='other' WHERE n=2")
    database.commit()
    database.close()
    code, _, err = await cli.run("audit", "verify", *url)
    assert (code, err.strip()) == (1, "Error: entry 2: entry was changed")


@pytest.mark.parametrize("command", ["outbox", "audit"])
async def test_agent_without_it_says_how_to_turn_it_on(
    cli: Programs, command: str
) -> None:
    agent = await cli.agent()
    code, _, err = await cli.run(command, "--url", agent.url)
    assert code == 1
    assert "enabled" in err
