"""The command line, run as users run it."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import AgentConfig
from praxis_fast.cli import main
from tests.agent.network import eventually, settings
from tests.programs import ALONE, Program, Programs, programs

EXAMPLES = Path(__file__).parents[1] / "examples"
SEED_CLIENT = Path(__file__).parent / "upstream" / "monitor_agents.txt"

HEAVY = {
    "aiohttp",
    "cryptography",
    "msgspec",
    "orjson",
    "starlette",
    "uvicorn",
    "uvloop",
    "websockets",
    "yaml",
    "zeroconf",
}


@pytest_asyncio.fixture
async def cli(tmp_path: Path) -> AsyncIterator[Programs]:
    async with programs(tmp_path) as started:
        yield started


def stopped_well(ended: tuple[int, str, str]) -> bool:
    code, _, err = ended
    return code == 0 and "Traceback" not in err


@pytest.mark.parametrize("command", [[], *([name] for name in main.commands)])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "praxis_fast", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Usage: ")
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "click" in imported
    assert not imported & HEAVY


async def test_ready_line_tells_where_the_agent_listens(cli: Programs) -> None:
    agent = await cli.agent("--name", "a")
    assert agent.ready.keys() == {"peer_id", "p2p", "http"}
    (addr,) = agent.ready["p2p"]
    assert addr.startswith("/ip4/127.0.0.1/tcp/")
    assert addr.endswith(f"/p2p/{agent.ready['peer_id']}")
    assert agent.url.startswith("http://127.0.0.1:")
    code, out, _ = await cli.run("id", "--name", "a")
    assert (code, out.strip()) == (0, agent.ready["peer_id"])


async def test_without_json_there_is_one_line_for_each_address(cli: Programs) -> None:
    agent = await cli.start("run", *ALONE)
    line = await agent.line()
    assert re.fullmatch(r"p2p /ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+", line)
    assert re.fullmatch(r"http http://127\.0\.0\.1:\d+", await agent.line())
    agent.send(signal.SIGTERM)
    assert stopped_well(await agent.end())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_prc_1_signals_drain_and_leave_with_0(
    cli: Programs, number: signal.Signals
) -> None:
    agent = await cli.agent("--json-logs")
    agent.send(number)
    ended = await agent.end()
    assert stopped_well(ended)
    records = [json.loads(line) for line in ended[2].splitlines()]
    assert [record["message"] for record in records][-1] == "agent praxis-agent stopped"
    assert {record["level"] for record in records} == {"info"}
    assert ended[1] == ""


async def test_a_signal_while_starting_is_obeyed(cli: Programs) -> None:
    for _ in range(3):
        agent = await cli.start("run", "--http-port", "0", "--p2p-port", "0")
        assert agent.process.stderr is not None
        await agent.process.stderr.readline()
        agent.send(signal.SIGTERM)
        assert stopped_well(await agent.end())


async def test_a_second_signal_leaves_at_once(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(
        "import asyncio\n"
        "from praxis_fast import tool\n"
        "@tool\n"
        "async def hang() -> None:\n"
        "    print('hanging', flush=True)\n"
        "    await asyncio.Event().wait()\n"
    )
    agent = await cli.agent("--tools", "hanging")
    await cli.start("call", "hang", "--url", agent.url)
    assert await agent.line() == "hanging"
    agent.send(signal.SIGTERM)
    assert agent.process.stderr is not None
    while b"SIGTERM: leaving" not in await agent.process.stderr.readline():
        pass
    agent.send(signal.SIGTERM)
    code, _, _ = await agent.end()
    assert code == 128 + signal.SIGTERM


@pytest.mark.parametrize("option", ["--http-port", "--p2p-port"])
async def test_a_taken_port_is_one_line_and_exit_code_1(
    cli: Programs, option: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = await cli.run("run", *ALONE, option, port)
    assert (code, out) == (1, "")
    assert port in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in err


async def test_two_agents_of_one_name_are_told_apart(cli: Programs) -> None:
    await cli.agent()
    code, _, err = await cli.run("run", "--http-port", "0", "--p2p-port", "0")
    assert code == 1
    assert "in use by another agent; give this one another name (--name)" in err
    await cli.agent("--name", "other")


async def test_an_address_others_reach_needs_a_word(cli: Programs) -> None:
    code, _, err = await cli.run(
        "run", "--http-host", "0.0.0.0", "--http-port", "0", "--p2p-port", "0"
    )
    assert code == 1
    assert "--insecure-http" in err
    await cli.agent("--http-host", "0.0.0.0", "--insecure-http")


async def test_settings_come_from_file_environment_and_options(
    cli: Programs, tmp_path: Path
) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("agent: {name: filed}\np2p: {enable_dht: true}\n")
    cli.environ["PRAXIS_HTTP__HOST"] = "127.0.0.2"
    agent = await cli.agent("--config", "agent.yaml")
    assert agent.url.startswith("http://127.0.0.2:")
    assert (tmp_path / "data" / "praxis-fast" / "filed" / "identity.key").exists()
    agent.send(signal.SIGTERM)
    _, _, err = await agent.end()
    assert "WARNING" in err
    assert "agent.yaml:2: p2p.enable_dht has no effect yet" in err

    code, out, err = await cli.run("config", "check", "agent.yaml", "--name", "opted")
    assert code == 0
    lines = out.splitlines()
    assert 'agent.name = "opted"  # --name' in lines
    assert 'http.host = "127.0.0.2"  # environment PRAXIS_HTTP__HOST' in lines
    assert "p2p.port = 4001  # default" in lines
    assert "http.enabled = true  # praxis-fast run" in lines
    assert "agent.yaml:2: p2p.enable_dht has no effect yet" in err


async def test_a_wrong_setting_is_one_line(cli: Programs, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("p2p:\n  prot: 1\n")
    for command in (["run", "--config"], ["config", "check"]):
        code, _, err = await cli.run(*command, "bad.yaml")
        assert code == 1
        assert err == (
            "Error: bad.yaml:2: p2p.prot: unknown setting, value 1; "
            "did you mean p2p.port?\n"
        )


async def test_key_2_the_token_is_not_printed(cli: Programs) -> None:
    cli.environ["PRAXIS_HTTP__TOKEN"] = "canary"
    code, out, err = await cli.run("config", "check")
    assert code == 0
    assert "canary" not in out + err
    assert "http.token = (secret)" in out


async def test_schema_is_json(cli: Programs) -> None:
    code, out, _ = await cli.run("config", "schema")
    assert code == 0
    assert "max_depth" in json.loads(out)["$defs"]["JSONLimits"]["properties"]


async def test_key_1_id_makes_a_key_once_and_never_over_a_bad_one(
    cli: Programs, tmp_path: Path
) -> None:
    first = await cli.run("id", "--key", "my.key")
    assert (first[0], first[2]) == (0, "new key in my.key\n")
    assert (await cli.run("id", "--key", "my.key"))[1:] == (first[1], "")
    (tmp_path / "my.key").chmod(0o644)
    code, out, err = await cli.run("id", "--key", "my.key")
    assert (code, out) == (1, "")
    assert err.startswith("Error: my.key: ")


async def test_the_examples_tools_run_as_their_file_says(cli: Programs) -> None:
    cli.folder = EXAMPLES
    agent = await cli.agent("--config", "calc.yaml")
    call = ("call", "--url", agent.url)
    assert (await cli.run(*call, "add", "a=1", "b=2"))[1] == "3\n"
    code, out, _ = await cli.run(*call, "mean", '{"numbers": [1, 2, 4.5]}')
    assert (code, json.loads(out)) == (0, 2.5)
    code, _, err = await cli.run(*call, "mean", '{"numbers": []}')
    assert code == 1
    assert "tool mean failed: ValueError: no numbers" in err


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ("nowhere", "module 'nowhere' cannot be imported"),
        ("json", "json has no function marked @tool"),
        ("json:none", "json has no function 'none'"),
    ],
)
async def test_tools_that_cannot_be_had_are_one_line(
    cli: Programs, tools: str, message: str
) -> None:
    code, _, err = await cli.run("run", *ALONE, "--tools", tools)
    assert code == 1
    assert f"Error: tools: {message}" in err
    assert "Traceback" not in err


async def two_agents(cli: Programs) -> tuple[Program, Program]:
    one = await cli.agent("--name", "one")
    two = await cli.agent("--name", "two", "--bootstrap", one.ready["p2p"][0])
    # The name comes with the card.
    while " one " not in (await cli.run("peers", "--url", two.url))[1]:
        pass
    return one, two


async def test_peers_and_calls_across_processes(cli: Programs) -> None:
    one, two = await two_agents(cli)
    code, out, _ = await cli.run("peers", "--url", two.url)
    assert code == 0
    assert out.split()[:3] == ["connected", "one", one.ready["peer_id"]]

    call = ("call", "--url", two.url, "--peer", one.ready["peer_id"])
    assert await cli.run(*call, "echo", '{"text": "hé"}') == (0, '"hé"\n', "")
    assert await cli.run(*call, "echo", "text=hello you") == (0, '"hello you"\n', "")
    code, _, err = await cli.run(*call, "none")
    assert (code, err) == (1, "Error: tool not found: no tool 'none'\n")
    code, _, err = await cli.run(*call, "echo", "text=1")
    assert code == 1
    assert "argument text: expected str, got int" in err


@pytest.mark.parametrize("words", [["{"], ["text"], ["=1"]])
async def test_malformed_arguments_are_a_usage_error(
    cli: Programs, words: list[str]
) -> None:
    code, _, err = await cli.run("call", "echo", *words)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["peers", "events", "call"])
async def test_no_agent_is_one_line(cli: Programs, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    tool = ["echo"] if command == "call" else []
    code, out, err = await cli.run(command, *tool, "--url", f"http://127.0.0.1:{port}")
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: no agent answers at http://127.0.0.1:{port} (")
    assert err.endswith("start one with: praxis-fast run\n")
    assert len(err.splitlines()) == 1
    code, _, err = await cli.run(command, *tool, "--url", "nonsense")
    assert code == 1
    assert "url must begin with http:// or https://, not 'nonsense'" in err


async def test_events_prints_the_present_peers_and_ends(cli: Programs) -> None:
    one, two = await two_agents(cli)
    code, out, _ = await cli.run(
        "events", "--url", two.url, "--json", "--types", "p2p.peer_*"
    )
    assert code == 0
    told = [json.loads(line) for line in out.splitlines()]
    assert [message["type"] for message in told] == [
        "p2p.peer_discovered",
        "p2p.peer_connected",
    ]
    assert {message["payload"]["id"] for message in told} == {one.ready["peer_id"]}


@pytest.mark.parametrize("path", ["", "/events/stream"])
async def test_events_follows_an_agent_that_comes_back(
    cli: Programs, path: str
) -> None:
    agent = await cli.agent()
    port = agent.url.rpartition(":")[2]
    events = await cli.start("events", "--follow", "--url", agent.url + path)
    await cli.run("call", "now", "--url", agent.url)
    while await called(cli, events, agent.url) is None:
        pass
    agent.send(signal.SIGTERM)
    await events.line_with("agent.stopping")
    assert stopped_well(await agent.end())
    assert events.process.stderr is not None
    assert b"connection lost" in await events.process.stderr.readline()
    again = await cli.agent("--http-port", port)
    while await called(cli, events, again.url) is None:
        pass
    # A new life of the agent: what it did before we were back nobody can tell.
    while (told := await events.process.stderr.readline()).startswith(b"connection"):
        pass
    assert told.startswith(b"reset, events since ")
    events.send(signal.SIGINT)
    assert stopped_well(await events.end())


async def called(cli: Programs, events: Program, url: str) -> str | None:
    """The line that told of a call, once the client listens."""
    await cli.run("call", "now", "--url", url)
    try:
        async with asyncio.timeout(1):
            return await events.line_with("tool.executed")
    except TimeoutError:
        return None


async def test_a_reader_that_leaves_is_no_error(cli: Programs) -> None:
    agent = await cli.agent()
    shell = f"{shlex.quote(sys.executable)} -m praxis_fast config schema | head -1"
    program = await cli.start("-c", shell, command=("/bin/sh",))
    assert await program.end() == (0, "{\n", "")
    agent.send(signal.SIGTERM)
    assert stopped_well(await agent.end())


async def test_the_upstream_client_sees_a_second_agent_come_and_go(
    cli: Programs, tmp_path: Path
) -> None:
    values = settings("one") | {"http": {"enabled": True, "port": 0}}
    async with Agent(AgentConfig.from_mapping(values)) as one:
        assert one.http is not None
        gateway = one.http.gateway
        # Word for word but for the port, which may be in use where tests run.
        text = SEED_CLIENT.read_text()
        assert text.count("localhost:9000") == 1
        program = tmp_path / "monitor_agents.py"
        program.write_text(text.replace("9000", str(one.http.port)))
        cli.environ["PYTHONUNBUFFERED"] = "1"
        client = await cli.start(str(program), command=(sys.executable,))
        await eventually(lambda: gateway.clients == 1)

        two = await cli.agent("--name", "two", "--bootstrap", one.host.addrs[0])
        peer_id = two.ready["peer_id"]
        assert await client.line() == f"Discovered agent: {peer_id}"
        assert await client.line() == f"Connected to agent: {peer_id}"
        two.send(signal.SIGKILL)
        assert await client.line() == f"Disconnected from agent: {peer_id}"
    assert await client.end() == (0, "", "")
