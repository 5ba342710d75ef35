"""Configuration from YAML, environment and Python."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from praxis_fast.agent import config as module
from praxis_fast.agent.config import AgentConfig, HTTPConfig, P2PConfig, load, schema
from praxis_fast.agent.settings import Entry
from praxis_fast.errors import ConfigError
from praxis_fast.limits import Limits
from praxis_fast.wire.keys import PrivateKey

PEER = str(PrivateKey.from_seed(bytes(32)).peer_id)
ADDR = f"/ip4/192.168.1.100/tcp/4001/p2p/{PEER}"

SEED_SAMPLE = f"""\
p2p:
  enabled: true
  port: 4001
  secure: true
  rendezvous: "praxis-agents"
  enable_mdns: true
  enable_dht: true
  bootstrap_nodes:
    - "{ADDR}"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text)
    return path


def load_text(folder: Path, text: str, **environ: str) -> AgentConfig:
    return AgentConfig.load(write(folder, text), environ=environ)


def error_of(folder: Path, text: str, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text, **environ)
    return caught.value


def test_seeds_sample_loads_with_one_warning_for_each_later_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        config = load_text(tmp_path, SEED_SAMPLE)
    assert config.p2p.bootstrap_nodes == (ADDR,)
    assert config.p2p.port == 4001
    told = [record.getMessage() for record in caplog.records]
    path = tmp_path / "agent.yaml"
    assert told == [
        f"{path}:5: p2p.rendezvous has no effect yet",
        f"{path}:7: p2p.enable_dht has no effect yet",
    ]


def test_a_section_of_other_sdks_warns_once_and_keys_that_are_off_never(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (
        "llm: {model: gpt-4, api_key: canary, temperature: 0.7}\n"
        "mcp: {enabled: true, servers: []}\n"
        "p2p: {enable_dht: false, enable_relay: false, autotls: {enabled: true}}\n"
    )
    with caplog.at_level(logging.WARNING):
        load_text(tmp_path, text)
    told = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert told == [
        "llm has no effect yet",
        "mcp has no effect yet",
        "p2p.autotls has no effect yet",
    ]
    assert "canary" not in caplog.text


def test_every_section_is_read(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        "agent: {name: calc, version: 2.0.0, description: adds}\n"
        f"p2p: {{host: 127.0.0.1, port: 0, enable_mdns: false, allow: [{PEER}]}}\n"
        "http: {enabled: true, host: 127.0.0.1, port: 0}\n"
        "logging: {level: WARN, format: json, file: ''}\n"
        "limits: {cards: {max_tools: 3}, json: {idle_timeout: 2}}\n"
        "tools: [praxis_fast.agent.samples]\n",
    )
    assert (config.name, config.version, config.description) == (
        "calc",
        "2.0.0",
        "adds",
    )
    assert config.p2p.allow == (PEER,)
    assert config.http.enabled
    assert (config.logging.level, config.logging.file) == ("warning", None)
    assert config.limits.cards.max_tools == 3
    assert config.limits.json.idle_timeout == 2.0
    assert config.tools == ("praxis_fast.agent.samples",)


def test_errors_name_file_line_key_and_value(tmp_path: Path) -> None:
    error = error_of(tmp_path, "agent:\n  name: a\np2p:\n  port: 70000\n")
    path = tmp_path / "agent.yaml"
    assert str(error) == f"{path}:4: p2p.port: must be int <= 65535, not 70000"
    assert (error.file, error.line, error.key) == (str(path), 4, "p2p.port")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p2p: {prot: 1}", "unknown setting, value 1; did you mean p2p.port?"),
        ("p2p: {Port: 1}", "unknown setting, value 1; did you mean p2p.port?"),
        ("name: calc", "unknown setting, value 'calc'; did you mean agent.name?"),
        ("zebra: 1", "zebra: unknown setting, value 1"),
        ("p2p: {port: '1'}", "must be int, not '1'"),
        ("p2p: {enabled: 1}", "must be bool, not 1"),
        ("p2p: 4001", "p2p: must be a mapping of keys to values"),
        ("[1, 2]", "must be a mapping"),
        ("p2p: {bootstrap_nodes: [1]}", "item 0 must be str, not [1]"),
        ("p2p: {bootstrap_nodes: [nonsense]}", "value 'nonsense'"),
        ("p2p: {allow: [nobody]}", "value 'nobody'"),
        ("p2p: {secure: false}", "plaintext connections are not supported"),
        ("agent: {name: ../key}", "must be a word without slashes"),
        ("agent: {name: é%s}" % ("x" * 127), "must be a word"),
        ("agent: {name: ''}", "agent.name: must be str of length >= 1"),
        ("agent: {version: 1.0}", "must be str, not 1.0"),
        ("agent: {name: a\n", "not YAML"),
        ("a: &a [*a]", "not YAML"),
        ("p2p: {port: 1, port: 2}", "p2p.port: given twice"),
        ("p2p: {port: 1, PORT: 2}", "p2p.PORT: given twice, first as p2p.port"),
        ("p2p: {autotls: {ca: x, CA: y}}", "p2p.autotls.CA: given twice"),
        ("p2p: {autotls: [{ca: x, ca: y}]}", "p2p.autotls.ca: given twice"),
        ("? [a, b]\n: 1", "a key must be a word"),
        ("limits: {cards: {max_tools: 0}}", "must be int >= 1, not 0"),
        ("logging: {level: loud}", "logging.level: invalid enum value 'loud'"),
    ],
)
def test_json_4_5_wrong_settings_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    error = error_of(tmp_path, text)
    assert message in str(error)
    assert error.line == 1 or "not YAML" in message


def test_a_missing_or_endless_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.yaml: cannot be read: No such file"):
        AgentConfig.load(tmp_path / "agent.yaml", environ={})
    error = error_of(tmp_path, "#" * (1024 * 1024 + 1))
    assert "1048577 bytes, limit 1048576" in str(error)


def test_deep_nesting_is_an_error_not_a_crash(tmp_path: Path) -> None:
    assert "nested deeper than 64" in str(
        error_of(tmp_path, "llm: " + "[" * 100_000 + "]" * 100_000)
    )


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        "p2p: {port: 1, enable_mdns: true}\n",
        PRAXIS_P2P__PORT="2",
        PRAXIS_P2P__ENABLE_MDNS="false",
        PRAXIS_AGENT__NAME="007",
        PRAXIS_P2P__BOOTSTRAP_NODES=f"{ADDR}, {ADDR}",
        PRAXIS_LIMITS__CARDS__TIMEOUT="1.5",
        PRAXIS_DATA_DIR=str(tmp_path),
        PRAXIS_FAST_PURE="1",
        HOME="/nowhere",
    )
    assert config.p2p.port == 2
    assert not config.p2p.enable_mdns
    assert config.name == "007"
    assert config.p2p.bootstrap_nodes == (ADDR, ADDR)
    assert config.limits.cards.timeout == 1.5
    assert config.key_path == tmp_path / "identity.key"


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    error = error_of(tmp_path, "", PRAXIS_P2P__PORT="many")
    assert (
        str(error) == "environment PRAXIS_P2P__PORT: p2p.port: must be int, not 'many'"
    )
    error = error_of(tmp_path, "", PRAXIS_P2P__PROT="1")
    assert "unknown setting, value '1'; did you mean p2p.port?" in str(error)


def test_an_env_file_stands_between_file_and_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PRAXIS_P2P__PORT=5\nPRAXIS_HTTP__PORT=6\nOTHER=1\n")
    config = AgentConfig.load(
        write(tmp_path, "p2p: {port: 1}"),
        env_file=tmp_path / ".env",
        environ={"PRAXIS_HTTP__PORT": "7"},
    )
    assert (config.p2p.port, config.http.port) == (5, 7)
    with pytest.raises(ConfigError, match="cannot be read"):
        AgentConfig.load(env_file=tmp_path / "none", environ={})


def test_options_win_and_every_setting_has_a_source(tmp_path: Path) -> None:
    path = write(tmp_path, "p2p:\n  port: 1\n")
    loaded = load(
        path,
        environ={"PRAXIS_HTTP__HOST": "::1"},
        base={"http.enabled": Entry(True, "praxis-fast run")},
        options={"agent.name": Entry("opted", "--name")},
    )
    told = {key: (value, place) for key, value, place in loaded.lines()}
    assert told["p2p.port"] == (1, f"{path}:2")
    assert told["http.host"] == ("::1", "environment PRAXIS_HTTP__HOST")
    assert told["http.enabled"] == (True, "praxis-fast run")
    assert told["agent.name"] == ("opted", "--name")
    assert told["p2p.enabled"] == (True, "default")
    assert told["limits.json.max_depth"] == (128, "default")


def test_the_data_directory_is_the_names_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    config = load_text(tmp_path, "agent: {name: calc}")
    assert config.key_path == tmp_path / "praxis-fast" / "calc" / "identity.key"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert module.default_data_dir("x").parts[-4:] == (
        ".local",
        "share",
        "praxis-fast",
        "x",
    )


def test_python_made_configuration_keeps_its_key_in_memory(tmp_path: Path) -> None:
    config = AgentConfig(name="calc", p2p=P2PConfig(port=0))
    assert config.key_path is None
    assert dataclasses.replace(config, key="k").key_path == Path("k")
    with pytest.raises(ConfigError, match=r"agent\.name: must be a word"):
        AgentConfig(name="../x")
    with pytest.raises(ConfigError, match=r"p2p\.secure"):
        AgentConfig(p2p=P2PConfig(secure=False))


def test_a_mapping_is_read_like_a_file() -> None:
    config = AgentConfig.from_mapping({"agent": {"name": "x"}, "p2p": {"port": 0}})
    assert (config.name, config.p2p.port, config.data_dir) == ("x", 0, None)
    with pytest.raises(ConfigError, match=r"p2p\.port: must be int, not 'a'"):
        AgentConfig.from_mapping({"p2p": {"port": "a"}})


def test_key_2_the_token_is_not_in_a_repr() -> None:
    assert "canary" not in repr(AgentConfig(http=HTTPConfig(token="canary")))


def test_the_schema_lists_every_limit_with_its_description_and_default() -> None:
    told = schema()
    definitions = told["$defs"]
    assert told["$ref"] == "#/$defs/ConfigFile"
    for area in dataclasses.fields(Limits):
        kind = type(getattr(Limits(), area.name))
        properties = definitions[kind.__name__]["properties"]
        for limit in dataclasses.fields(kind):
            assert "default" in properties[limit.name]
    for section in ("P2PConfig", "HTTPConfig", "LoggingConfig", "Introduction"):
        for name, property_ in definitions[section]["properties"].items():
            assert property_.get("description"), name
