"""What an agent is set up with: from Python, or from YAML, environment and options."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from praxis_fast.agent import settings
from praxis_fast.agent.access import AccessConfig
from praxis_fast.agent.later import LATER_SECTIONS, ignored_keys
from praxis_fast.agent.settings import Entry, Layer
from praxis_fast.errors import AddressError, ConfigError, UsageError
from praxis_fast.events.access.policy import EventPolicy
from praxis_fast.events.access.roles import Roles
from praxis_fast.events.patterns import DEFAULT_PATTERNS
from praxis_fast.events.redact import DEFAULT_NAMES, Redactor
from praxis_fast.events.stages import TIMED_EVERY
from praxis_fast.events.webhooks.address_gate import DEFAULT_PORTS
from praxis_fast.limits import Limits
from praxis_fast.wire.multiaddr import Multiaddr
from praxis_fast.wire.peer_id import PeerID

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

DEFAULT_P2P_PORT = 4001
DEFAULT_HTTP_PORT = 9000

# Who did what: security, tools, peers coming and going, the agent's own life.
AUDITED_TYPES = (
    "security_audit",
    "authentication",
    "tool.*",
    "tool_*",
    "p2p.tool_*",
    "p2p.peer_connected",
    "p2p.peer_disconnected",
    "agent.started",
    "agent.stopping",
    "agent.error",
    "config.changed",
    "task.*",
    "task_*",
    "status_change",
)

NO_PLAINTEXT = (
    "plaintext connections are not supported: every connection is encrypted "
    "and proves its peer; remove this key, value False"
)

Port = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """How the agent calls itself in its card."""

    name: Annotated[Name, Meta(description="in the card; names the data directory")] = (
        "praxis-agent"
    )
    version: Annotated[
        str, Meta(max_length=128, description="the agent's own version, in the card")
    ] = "1.0.0"
    description: Annotated[
        str, Meta(max_length=4096, description="one sentence for the card")
    ] = ""


@dataclass(frozen=True, kw_only=True)
class P2PConfig:
    """The peer-to-peer host."""

    enabled: Annotated[bool, Meta(description="listen, find and dial peers")] = True
    host: Annotated[str, Meta(description="IP address to listen on")] = "0.0.0.0"  # noqa: S104 - peers of the network are to reach us
    port: Annotated[Port, Meta(description="TCP port; 0 takes any free one")] = (
        DEFAULT_P2P_PORT
    )
    secure: Annotated[bool, Meta(description="always true; plaintext is refused")] = (
        True
    )
    enable_mdns: Annotated[bool, Meta(description="find peers by multicast")] = True
    bootstrap_nodes: Annotated[
        tuple[str, ...],
        Meta(description="multiaddrs of peers, dialled and redialled"),
    ] = ()
    allow: Annotated[
        tuple[str, ...], Meta(description="peer ids that may call every tool")
    ] = ()


@dataclass(frozen=True, kw_only=True)
class HTTPConfig:
    """The HTTP and WebSocket surface."""

    enabled: Annotated[
        bool, Meta(description="serve it; `praxis-fast run` does by default")
    ] = False
    host: Annotated[str, Meta(description="IP address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="TCP port; 0 takes any free one")] = (
        DEFAULT_HTTP_PORT
    )
    token: Annotated[
        str | None, Meta(description="clients must show it; secret, not printed")
    ] = field(default=None, repr=False)
    insecure: Annotated[
        bool, Meta(description="without a token, let other machines reach us")
    ] = False
    allowed_origins: Annotated[
        tuple[str, ...], Meta(description="web origins let in besides our own")
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...], Meta(description="Host names let in besides our own")
    ] = ()


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """Log records of `praxis-fast run`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="from this on")
    ] = "info"
    format: Annotated[Literal["text", "json"], Meta(description="one line each")] = (
        "text"
    )
    file: Annotated[str | None, Meta(description="appended to; else stderr")] = None


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """What events never show."""

    names: Annotated[
        tuple[str, ...],
        Meta(description="keys whose values become ***, by their end, or as globs"),
    ] = DEFAULT_NAMES
    patterns: Annotated[
        tuple[str, ...],
        Meta(description="regular expressions; what they find in texts becomes ***"),
    ] = DEFAULT_PATTERNS


@dataclass(frozen=True, kw_only=True)
class JournalConfig:
    """The journal on disk: clients go on where they were after a restart too."""

    enabled: Annotated[bool, Meta(description="keep one in the data directory")] = False
    path: Annotated[
        str | None, Meta(description="its file; else journal.db in the data directory")
    ] = None


@dataclass(frozen=True, kw_only=True)
class EventsConfig:
    """Which events are told, and how loudly."""

    filter_level: Annotated[
        Literal["low", "normal", "high", "critical"],
        Meta(description="no client and no webhook gets an event below it"),
    ] = "low"
    timed_every: Annotated[
        int,
        Meta(ge=1, le=10**9, description="one event in so many is timed for /metrics"),
    ] = TIMED_EVERY
    performance: Annotated[
        bool, Meta(description="publish service.status with numbers again and again")
    ] = False
    performance_interval: Annotated[
        float, Meta(ge=1, le=86400, description="s between those")
    ] = 60.0
    debug: Annotated[
        bool, Meta(description="log a line EVENT_EMITTED for each event")
    ] = False
    journal: JournalConfig = field(default_factory=JournalConfig)


@dataclass(frozen=True, kw_only=True)
class WebhooksConfig:
    """Webhooks: events posted to registered endpoints; needs the extra `webhooks`."""

    enabled: Annotated[
        bool, Meta(description="keep an outbox in the data directory and send it")
    ] = False
    allow_loopback: Annotated[
        bool, Meta(description="send to this machine too, for development")
    ] = False
    ports: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=65535)], ...],
        Meta(description="ports endpoints may have"),
    ] = DEFAULT_PORTS


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """The audit log."""

    enabled: Annotated[bool, Meta(description="keep one in the data directory")] = False
    types: Annotated[
        tuple[str, ...], Meta(description="event types to write, names and globs")
    ] = AUDITED_TYPES
    retention_days: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="days an entry stays; none: for ever"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Sections:
    """Everything but the introduction."""

    p2p: P2PConfig = field(default_factory=P2PConfig)
    http: HTTPConfig = field(default_factory=HTTPConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    webhooks: WebhooksConfig = field(default_factory=WebhooksConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    limits: Limits = field(default_factory=Limits)
    tools: Annotated[
        tuple[str, ...], Meta(description="module or module:function, offered as tools")
    ] = ()
    data_dir: Annotated[
        str | None,
        Meta(description="keeps the key; else $XDG_DATA_HOME/praxis-fast/<name>"),
    ] = None
    key: Annotated[str | None, Meta(description="identity key file")] = None


@dataclass(frozen=True, kw_only=True)
class ConfigFile(Sections):
    """A configuration as YAML writes it; this is what `config schema` tells."""

    agent: Introduction = field(default_factory=Introduction)


@dataclass(frozen=True, kw_only=True)
class AgentConfig(Introduction, Sections):
    """All settings of one agent.

    Made in Python without `data_dir` and `key`, its agent keeps its identity in memory;
    `load` and the command line keep it in the data directory.
    """

    def __post_init__(self) -> None:
        for key, message in _faults(self):
            raise ConfigError(message, key=key)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        env_file: str | Path | None = None,
    ) -> AgentConfig:
        """The settings of a YAML file, overridden by `PRAXIS_<SECTION>__<KEY>`."""
        loaded = load(path, environ=environ, env_file=env_file)
        for warning in loaded.warnings:
            logger.warning("%s", warning)
        return loaded.config

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> AgentConfig:
        """The settings of a mapping shaped like the YAML file; no environment."""
        loaded = _loaded(_flat(values, ""))
        for warning in loaded.warnings:
            logger.warning("%s", warning)
        return loaded.config

    @property
    def data_path(self) -> Path:
        """The data directory, whether or not the key is kept in it."""
        return Path(self.data_dir) if self.data_dir else default_data_dir(self.name)

    @property
    def key_path(self) -> Path | None:
        """Where the identity key is kept; none: in memory."""
        if self.key:
            return Path(self.key)
        return self.data_path / "identity.key" if self.data_dir else None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where each of its settings came from."""

    config: AgentConfig
    entries: Layer
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[tuple[str, Any, str]]:
        """Every setting: its key, its value and its place."""
        for key in KEYS:
            entry = self.entries.get(key)
            value = _value_at(self.config, key.removeprefix("agent."))
            yield key, value, "default" if entry is None else entry.place


KEYS = tuple(settings.leaves(ConfigFile))
_SECTIONS = frozenset(
    key[:at] for key in KEYS for at, char in enumerate(key) if char == "."
)


def load(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: str | Path | None = None,
    base: Layer | None = None,
    options: Layer | None = None,
) -> Loaded:
    """All layers: `base`, the file, the `.env` file, the environment, `options`."""
    from praxis_fast.agent.environment import read_env_file, read_environment

    layers = [base or {}]
    if path is not None:
        from praxis_fast.agent.yaml_layer import read_yaml

        layers.append(read_yaml(path, _SECTIONS))
    if env_file is not None:
        layers.append(read_env_file(env_file))
    layers.append(read_environment(os.environ if environ is None else environ))
    layers.append(options or {})
    entries = settings.merge(layers)
    loaded = _loaded(entries)
    if loaded.config.data_dir:
        return loaded
    folder = str(default_data_dir(loaded.config.name))
    config = dataclasses.replace(loaded.config, data_dir=folder)
    return dataclasses.replace(loaded, config=config)


def _flat(values: Mapping[str, Any], prefix: str) -> Layer:
    entries: Layer = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in _SECTIONS and isinstance(value, Mapping):
            entries |= _flat(value, f"{key}.")
        else:
            entries[key] = Entry(value, None)
    return entries


def _loaded(entries: Layer) -> Loaded:
    warnings, entries = ignored_keys(entries, KEYS)
    for key, entry in entries.items():
        if key not in KEYS:
            hint = settings.did_you_mean(key, KEYS)
            text = f"unknown setting, value {settings.shown(entry.value)}{hint}"
            raise entry.error(key, text)
    file = settings.build(ConfigFile, {k: _tidy(k, e) for k, e in entries.items()})
    return Loaded(_from_file(file, entries), entries, warnings)


def _from_file(file: ConfigFile, entries: Layer) -> AgentConfig:
    values = {f.name: getattr(file, f.name) for f in dataclasses.fields(Sections)}
    values |= {
        f.name: getattr(file.agent, f.name) for f in dataclasses.fields(file.agent)
    }
    try:
        return AgentConfig(**values)
    except ConfigError as error:
        if (entry := entries.get(error.key or "")) is None:
            raise
        message = str(error).removeprefix(f"{error.key}: ")
        raise entry.error(str(error.key), message) from error


def _tidy(key: str, entry: Entry) -> Entry:
    """Both SDKs' spellings of a value: `INFO` is `info`, `warn` is `warning`."""
    if key == "logging.level" and isinstance(entry.value, str):
        level = entry.value.lower()
        return dataclasses.replace(entry, value="warning" if level == "warn" else level)
    return entry


def _faults(config: AgentConfig) -> Iterator[tuple[str, str]]:
    """What no type says; the first one becomes an error."""
    if not _names_a_folder(config.name):
        message = "must be a word without slashes that begins with no dot"
        yield "agent.name", f"{message}, not {settings.shown(config.name)}"
    if not config.p2p.secure:
        yield "p2p.secure", NO_PLAINTEXT
    for key, texts, parse in (
        ("p2p.bootstrap_nodes", config.p2p.bootstrap_nodes, Multiaddr.parse),
        ("p2p.allow", config.p2p.allow, PeerID.parse),
    ):
        for text in texts:
            try:
                parse(text)
            except AddressError as error:
                yield key, f"{error}, value {settings.shown(text)}"
    yield from _access_faults(config.access)
    try:
        Redactor(patterns=config.masking.patterns)
    except UsageError as error:
        yield "masking.patterns", str(error)


def _access_faults(access: AccessConfig) -> Iterator[tuple[str, str]]:
    if access.file is not None:
        # It may name what the rules here mean; both are looked at when it is read.
        return
    try:
        EventPolicy(
            roles=Roles(access.roles),
            rules=access.rules,
            segments=access.segments,
            levels=access.levels,
            clearances=access.clearances,
        )
    except UsageError as error:
        yield "access", str(error)


def _names_a_folder(name: str) -> bool:
    """Whether the data directory may be called so, and a card (128 bytes) as well."""
    is_short = 0 < len(name.encode()) <= 128
    is_plain = name.isprintable() and not set(name) & set("/\\") and name[0] != "."
    return is_short and is_plain


def _value_at(config: object, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config


def default_data_dir(name: str) -> Path:
    """`$XDG_DATA_HOME/praxis-fast/<name>`, so that two names never share a key."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "praxis-fast" / name


def schema() -> dict[str, Any]:
    """JSON Schema of the YAML file, every limit with its description and default."""
    told = msgspec.json.schema(ConfigFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **told}


def schema_text() -> str:
    """The schema as a file holds it."""
    return json.dumps(schema(), indent=2)


__all__ = [
    "KEYS",
    "LATER_SECTIONS",
    "AccessConfig",
    "AgentConfig",
    "AuditConfig",
    "EventsConfig",
    "HTTPConfig",
    "JournalConfig",
    "Loaded",
    "LoggingConfig",
    "MaskingConfig",
    "P2PConfig",
    "WebhooksConfig",
    "load",
    "schema",
]
