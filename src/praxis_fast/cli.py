"""The `praxis-fast` command; its options and output are relied on from outside.

Only click and what it needs are imported with this module; each command imports its own
when it runs, so that `--help` is quick.
"""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, NoReturn

import click

from praxis_fast import __version__
from praxis_fast.errors import PraxisError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from praxis_fast.agent.config import Loaded
    from praxis_fast.client import Client

DEFAULT_URL = "http://127.0.0.1:9000"

# Which setting an option of `run` stands for.
SETTINGS = {
    "name": "agent.name",
    "data_dir": "data_dir",
    "key": "key",
    "http_host": "http.host",
    "http_port": "http.port",
    "insecure_http": "http.insecure",
    "p2p_host": "p2p.host",
    "p2p_port": "p2p.port",
    "bootstrap": "p2p.bootstrap_nodes",
    "tools": "tools",
}


# Settings that are not printed.
SECRETS = ("http.token", "access.jwt.secret")


class Commands(click.Group):
    """Says an expected error in one line and leaves with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PraxisError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            _leave_quietly()


def _leave_quietly() -> NoReturn:
    """Whoever read our output has gone; that is no error of ours."""
    import os
    import sys

    # The interpreter flushes stdout once more on its way out.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="praxis-fast %(version)s")
def main() -> None:
    """Agents that find each other, call each other's tools and stream every event."""


def remote(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that asks a running agent."""
    command = click.option("--token", metavar="T", help="Shown to the agent.")(command)
    return click.option(
        "--url", default=DEFAULT_URL, show_default=True, help="Where the agent serves."
    )(command)


def below(command: Callable[..., None]) -> Callable[..., None]:
    """The same options behind a subcommand; what stands there wins."""

    def run(url: str | None, token: str | None, **rest: Any) -> None:
        above = click.get_current_context().obj
        command(_client(url or above[0], token or above[1]), **rest)

    update_wrapper(run, command)
    run = click.option("--token", metavar="T", help="Shown to the agent.")(run)
    return click.option("--url", help="Where the agent serves.")(run)


def identity(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which agent this is."""
    command = click.option("--key", metavar="FILE", help="Identity key file.")(command)
    command = click.option(
        "--data-dir",
        metavar="DIR",
        help="Keeps the key. [default: $XDG_DATA_HOME/praxis-fast/NAME]",
    )(command)
    command = click.option("--name", metavar="N", help="The agent's name.")(command)
    command = click.option(
        "--env-file", metavar="FILE", help="PRAXIS_<SECTION>__<KEY> variables."
    )(command)
    return click.option("--config", metavar="FILE", help="YAML settings.")(command)


@main.command()
@identity
@click.option("--http-host", metavar="H", help="[default: 127.0.0.1]")
@click.option("--http-port", metavar="P", type=int, help="[default: 9000; 0: any free]")
@click.option(
    "--insecure-http", is_flag=True, help="Let other machines use HTTP without a token."
)
@click.option("--p2p-host", metavar="H", help="[default: 0.0.0.0]")
@click.option("--p2p-port", metavar="P", type=int, help="[default: 4001; 0: any free]")
@click.option("--bootstrap", metavar="ADDR", multiple=True, help="A peer to dial.")
@click.option("--no-mdns", is_flag=True, help="Do not look for peers by multicast.")
@click.option(
    "--tools",
    metavar="MODULE",
    multiple=True,
    help="Offer its @tool functions, or MODULE:FUNCTION. [default: echo and now]",
)
@click.option("--json-logs", is_flag=True, help="Log one JSON object a line.")
@click.option("--ready-json", is_flag=True, help="Say in JSON when we are listening.")
def run(ready_json: bool, **options: Any) -> None:
    """Run an agent until Ctrl-C."""
    from praxis_fast.agent.logs import set_up_logs
    from praxis_fast.agent.run import run_agent
    from praxis_fast.events.redact import Redactor

    loaded = _load(options)
    masking = loaded.config.masking
    mask = Redactor(masking.names, masking.patterns).mask_text
    set_up_logs(loaded.config.logging, mask)
    raise SystemExit(run_agent(loaded, ready_json=ready_json))


@main.command()
@click.option("--seconds", type=float, default=20, show_default=True, metavar="N")
def demo(seconds: float) -> None:
    """Watch two agents find each other and call a tool."""
    from praxis_fast.demo import run_demo

    raise SystemExit(run_demo(seconds))


@main.command()
@remote
def peers(url: str, token: str | None) -> None:
    """List the peers an agent knows."""
    listed = _client(url, token).get("/p2p/peers")["peers"]
    for peer in listed:
        state = "connected" if peer["connected"] else "known"
        name = peer.get("name") or "-"
        click.echo(f"{state:<10} {name:<16} {peer['id']}  {peer['addr'] or '-'}")
    if not listed:
        click.echo("no peers yet", err=True)


@main.command()
@remote
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens.")
@click.option("--types", metavar="GLOB", multiple=True, help="Only these. [default: *]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def events(
    url: str, token: str | None, follow: bool, types: tuple[str, ...], as_json: bool
) -> None:
    """Print the present peers, and with --follow every event as it happens."""
    client, wanted = _client(url, token), types or ("*",)
    try:
        if follow:
            _follow(client.url, token, wanted, as_json=as_json)
        else:
            for message in client.events(wanted, follow=False):
                _print_event(message, as_json=as_json)
    except KeyboardInterrupt:
        # The only way to end it: nothing went wrong.
        raise SystemExit(0) from None


def _follow(
    url: str, token: str | None, types: tuple[str, ...], *, as_json: bool
) -> None:
    """Print events for ever, also after the agent went away and came back."""
    import asyncio

    from praxis_fast.client import EventStream, Snapshot, StreamedEvent
    from praxis_fast.client.address import is_sse
    from praxis_fast.client.loss_line import loss_line

    def say_lost(error: Exception) -> None:
        click.echo(f"connection lost, trying again ({error})", err=True)

    async def follow() -> None:
        # The present peers come over WebSocket only.
        has_peers = not is_sse(url)
        stream = EventStream(
            url, types=types, token=token, snapshot=has_peers, on_lost=say_lost
        )
        async with stream:
            async for item in stream:
                if isinstance(item, StreamedEvent):
                    _print_event(item.message, as_json=as_json)
                elif isinstance(item, Snapshot):
                    for event in item.events:
                        _print_event(event.message, as_json=as_json)
                else:
                    click.echo(loss_line(item), err=True)

    asyncio.run(follow())


def _print_event(message: Mapping[str, Any], *, as_json: bool) -> None:
    import json

    from praxis_fast.agent.event_line import event_line

    click.echo(json.dumps(message) if as_json else event_line(message))


@main.command()
@click.argument("tool")
@click.argument("arguments", metavar="[ARGS]...", nargs=-1)
@remote
@click.option("--peer", metavar="ID", help="Ask this peer. [default: whoever has it]")
@click.option("--timeout", type=float, default=30, show_default=True, metavar="S")
def call(
    tool: str,
    arguments: tuple[str, ...],
    url: str,
    token: str | None,
    peer: str | None,
    timeout: float,
) -> None:
    """Call a tool of an agent or of its peers.

    ARGS is a JSON object, or words like text=hello.
    """
    import json

    body = {"tool": tool, "arguments": _arguments(arguments), "timeout": timeout}
    if peer is not None:
        body["peer_id"] = peer
    answer = _client(url, token, timeout=timeout + 10).post("/p2p/tool", body)
    click.echo(json.dumps(answer["result"], ensure_ascii=False))


def _arguments(words: tuple[str, ...]) -> dict[str, Any]:
    """The arguments out of one JSON object or of key=value words."""
    import json

    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            value = json.loads(words[0])
        except ValueError as error:
            raise click.BadParameter(f"not JSON: {error}") from error
        return dict(value)
    pairs: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key:
            raise click.BadParameter(f"{word!r} is neither a JSON object nor key=value")
        try:
            pairs[key] = json.loads(text)
        except ValueError:
            pairs[key] = text
    return pairs


@main.group(invoke_without_command=True)
@remote
@click.option("--since", metavar="T", help="ISO 8601 time, or an age like 90m or 7d.")
@click.option("--until", metavar="T", help="The same, for the end.")
@click.option("--type", "types", metavar="GLOB", multiple=True, help="Only these.")
@click.option("--limit", type=int, default=100, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def audit(
    ctx: click.Context, /, url: str, token: str | None, as_json: bool, **asked: Any
) -> None:
    """Print the audit log, oldest entry first."""
    ctx.obj = (url, token)
    if ctx.invoked_subcommand is not None:
        return
    import json

    asked["type"] = asked.pop("types")
    for entry in _client(url, token).get(_path("/audit", **asked))["entries"]:
        if as_json:
            click.echo(json.dumps(entry))
            continue
        about = json.dumps(entry["event"]["data"], ensure_ascii=True)
        click.echo(
            f"{entry['number']:>6} {entry['timestamp']} {entry['event_type']} {about}"
        )


@audit.command()
@below
def verify(client: Client) -> None:
    """Check that nobody changed the audit log; leaves with 1 if somebody did."""
    report = client.get("/audit/verify")
    if not report["intact"]:
        raise click.ClickException(f"entry {report['at']}: {report['fault']}")
    click.echo(f"intact: {report['entries']} entries")


@audit.command()
@below
def export(client: Client) -> None:
    """Print every entry, one JSON object a line."""
    import json

    after: int | None = 0
    while after is not None:
        page = client.get(_path("/audit", after=after, limit=100))
        for entry in page["entries"]:
            click.echo(json.dumps(entry))
        after = page["next"]


@main.group(invoke_without_command=True)
@remote
@click.pass_context
def outbox(ctx: click.Context, url: str, token: str | None) -> None:
    """List the webhooks of an agent and what waits for them."""
    ctx.obj = (url, token)
    if ctx.invoked_subcommand is not None:
        return
    listed = _client(url, token).get("/webhooks")["webhooks"]
    for hook in listed:
        counts = "  ".join(f"{k} {hook[k]}" for k in ("waiting", "delivered", "dead"))
        click.echo(f"{hook['status']:<9} {hook['id']}  {counts}  {hook['url']}")
    if not listed:
        click.echo("no webhooks yet", err=True)


@outbox.command()
@click.argument("webhook")
@click.option("--state", type=click.Choice(["waiting", "delivered", "dead"]))
@click.option("--limit", type=int, default=100, show_default=True, metavar="N")
@below
def deliveries(client: Client, webhook: str, **asked: Any) -> None:
    """Print what became of a webhook's messages, newest first."""
    path = _path(f"/webhooks/{_quoted(webhook)}/deliveries", **asked)
    for told in client.get(path)["deliveries"]:
        why = told["error"] or ""
        click.echo(
            f"{told['created_at']} {told['state']:<9} {told['id']}  "
            f"{told['event_type']}  attempts {told['attempts']}  {why}".rstrip()
        )


@outbox.command()
@click.argument("webhook")
@click.argument("messages", metavar="[MESSAGE]...", nargs=-1)
@below
def redrive(client: Client, webhook: str, messages: tuple[str, ...]) -> None:
    """Send the dead letters of a webhook again, all or these."""
    body = {"ids": list(messages)} if messages else {}
    path = f"/webhooks/{_quoted(webhook)}/redrive"
    click.echo(f"{client.post(path, body)['redriven']} sent again")


def _path(path: str, **asked: Any) -> str:
    """The path with what was asked for as its query."""
    from urllib.parse import urlencode

    given = {name: value for name, value in asked.items() if value not in (None, ())}
    return f"{path}?{urlencode(given, doseq=True)}"


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


@main.command()
@identity
def id(**options: Any) -> None:  # noqa: A001  the command's name
    """Print the agent's peer id; makes its key if there is none."""
    from praxis_fast.wire.keys import PrivateKey

    path = _load(options).config.key_path
    assert path is not None
    if not path.exists():
        click.echo(f"new key in {path}", err=True)
    click.echo(PrivateKey.load_or_create(path).peer_id)


@main.group()
def token() -> None:
    """Make credentials for those who may use the agent."""


@token.command()
@click.option("--name", required=True, metavar="N", help="Who will show it.")
@click.option(
    "--role", "roles", required=True, multiple=True, metavar="R", help="What they are."
)
@click.option("--days", type=float, metavar="D", help="How long it holds. [for ever]")
def new(name: str, roles: tuple[str, ...], days: float | None) -> None:
    """Print a fresh token, and its entry for access.credentials or the access file."""
    from praxis_fast.agent.new_token import new_token

    secret, entry = new_token(name, roles, days)
    click.echo(f"token: {secret}")
    click.echo("# Told this once. The agent needs only this:")
    click.echo(entry)


@main.command()
@click.option("--parts", metavar="PART", multiple=True, help="Only these.")
@click.option("--quick", is_flag=True, help="Less of everything.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, no tables.")
@click.option("--plot", metavar="FILE", help="Draw into FILE.svg or FILE.png.")
def bench(parts: tuple[str, ...], quick: bool, as_json: bool, plot: str | None) -> None:
    """Measure the compiled core, links and sockets on this machine."""
    from praxis_fast.benchmarks.command import check, run_bench

    scale = "quick" if quick else "normal"
    check(run_bench(parts=parts, scale=scale, as_json=as_json, plot=plot))


@main.group()
def config() -> None:
    """Check settings, or tell what there is to set."""


@config.command()
@click.argument("file", required=False)
@identity
def check(file: str | None, **options: Any) -> None:
    """Print every setting and where it comes from."""
    if file is not None:
        options["config"] = file
    loaded = _load(options)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    for key, value, place in loaded.lines():
        shown = "(secret)" if key in SECRETS and value else _shown(value)
        click.echo(f"{key} = {shown}  # {place}")


@config.command()
def schema() -> None:
    """Print the JSON Schema of the YAML file."""
    from praxis_fast.agent.config import schema_text

    click.echo(schema_text())


def _shown(value: object) -> str:
    import json

    import msgspec

    plain = msgspec.to_builtins(value, order="sorted")
    return json.dumps(plain, ensure_ascii=False)


def _client(url: str, token: str | None, timeout: float = 60) -> Client:
    from praxis_fast.client import Client

    return Client(url, token=token, timeout=timeout)


def _load(options: dict[str, Any]) -> Loaded:
    """The settings of file, environment and options; HTTP is on unless said."""
    from praxis_fast.agent.config import load
    from praxis_fast.agent.settings import Entry

    given: dict[str, Entry] = {}
    for option, key in SETTINGS.items():
        value = options.get(option)
        # Not given; 0 is a port that was.
        if value is None or value is False or value == ():
            continue
        value = list(value) if isinstance(value, tuple) else value
        given[key] = Entry(value, "--" + option.replace("_", "-"))
    if options.get("no_mdns"):
        given["p2p.enable_mdns"] = Entry(False, "--no-mdns")
    if options.get("json_logs"):
        given["logging.format"] = Entry("json", "--json-logs")
    return load(
        options.get("config"),
        env_file=options.get("env_file"),
        base={"http.enabled": Entry(True, "praxis-fast run")},
        options=given,
    )


if __name__ == "__main__":
    main()
