"""The demo: everything it promises happens, and nothing is left running."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from praxis_fast import demo
from praxis_fast.errors import PraxisError
from tests.programs import Programs, programs


@pytest_asyncio.fixture
async def cli(tmp_path: Path) -> AsyncIterator[Programs]:
    folder = tmp_path / "a folder"
    folder.mkdir()
    async with programs(folder) as started:
        # The demo's own temporary folder is in here: what is left shows.
        started.environ["TMPDIR"] = str(folder)
        yield started


def running_in(folder: Path) -> list[str]:
    """The command lines of processes whose data is in the folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in lines if str(folder) in line and "run" in line]


async def test_the_demo_shows_every_event_twice_in_a_row(cli: Programs) -> None:
    for _ in range(2):
        code, out, err = await cli.run("demo", "--seconds", "0")
        assert (code, err) == (0, "")
        lines = [line for line in out.splitlines() if "bob" in line]
        types = [line.split()[1] for line in lines if line.split()[1:2]]
        told = [name for name in types if name in demo.EXPECTED]
        assert sorted(told, key=demo.EXPECTED.index) == list(demo.EXPECTED)
        assert told[:3] == list(demo.EXPECTED[:3])
        assert told[-1] == "p2p.peer_disconnected"
        assert 'bob answered "hello from the demo"' in out
        assert "By hand" in out
        assert "\x1b" not in out
    assert not running_in(cli.folder)
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
async def test_a_signal_ends_the_demo_and_its_agents(
    cli: Programs, number: signal.Signals, code: int
) -> None:
    program = await cli.start("demo", "--seconds", "600")
    await program.line_with("bob runs")
    assert len(running_in(cli.folder)) == 2
    program.send(number)
    ended = await program.end()
    assert ended[0] == code
    assert "Traceback" not in ended[2]
    assert not running_in(cli.folder)
    assert list(cli.folder.iterdir()) == []


async def test_without_multicast_a_bootstrap_address_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_no_multicast", lambda: "multicast is not available")
    assert await demo.play(0) == 0
    out = capsys.readouterr().out
    assert "-- multicast is not available: using a bootstrap address\n" in out


async def test_multicast_that_brings_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = demo.AgentProcess.start

    async def deaf(name: str, folder: Path, *options: str) -> demo.AgentProcess:
        return await start(name, folder, "--no-mdns", *options)

    monkeypatch.setattr(demo.AgentProcess, "start", deaf)
    monkeypatch.setattr(demo, "FIND", 0)
    assert await demo.play(0) == 0
    out = capsys.readouterr().out
    assert "brought nothing within 0 s: using a bootstrap address\n" in out


async def test_what_did_not_happen_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "EXPECTED", ("p2p.never",))
    assert await demo.play(0) == 1
    assert capsys.readouterr().err == "did not happen: p2p.never\n"


async def test_an_agent_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        PraxisError, match=r"(?s)bob did not start:.*not an IPv4 address"
    ):
        async with asyncio.timeout(60):
            await demo.AgentProcess.start("bob", tmp_path, "--p2p-host", "nowhere")
