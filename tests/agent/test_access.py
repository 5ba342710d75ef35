"""The settings of access, and fresh tokens for them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from praxis_fast.agent.access import Credential
from praxis_fast.agent.config import AgentConfig
from praxis_fast.cli import main
from praxis_fast.errors import ConfigError

HASH = "ab" * 32

SAMPLE = f"""\
access:
  file: null
  credentials:
    - {{name: dash, hash: {HASH}, roles: [operator], expires: 2027-01-01T00:00:00Z}}
    - {{name: probe, hash: {HASH}, roles: [guest], peers: [p1], clearance: public}}
  roles: {{operator: [user]}}
  rights: {{operator: [webhooks, audit]}}
  segments: {{plant: [10.1.0.0/16]}}
  rules:
    - {{effect: deny, roles: [guest, user], types: ["log.*", security_audit]}}
    - {{effect: allow, roles: [operator], segments: [plant]}}
    - {{effect: deny, networks: [192.0.2.0/24], tags: [payroll]}}
  jwt:
    issuer: https://issuer.example
    audience: [agent]
    jwks_url: https://issuer.example/.well-known/jwks.json
"""


def load(folder: Path, text: str) -> AgentConfig:
    path = folder / "agent.yaml"
    path.write_text(text)
    return AgentConfig.load(path, environ={})


def test_access_is_read_from_the_settings(tmp_path: Path) -> None:
    access = load(tmp_path, SAMPLE).access
    dash, probe = access.credentials
    assert dash.expires is not None
    assert (dash.name, dash.roles, dash.expires.year) == ("dash", {"operator"}, 2027)
    assert (probe.peers, probe.clearance) == (("p1",), "public")
    assert access.roles == {"operator": ("user",)}
    assert [rule.effect for rule in access.rules] == ["deny", "allow", "deny"]
    assert access.jwt.issuer == "https://issuer.example"
    assert access.jwt.algorithms == ("RS256", "ES256", "EdDSA")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{effect: deny, role: [user]}]", "unknown field role"),
        ("rules: [{effect: maybe}]", "access.rules"),
        ("rules: [{effect: deny, roles: [boss]}]", "rule names an unknown role 'boss'"),
        ("rules: [{effect: deny, networks: [10.0.0.1/8]}]", "has host bits set"),
        ("roles: {operator: [boss]}", "inherits from unknown 'boss'"),
        ("segments: {plant: [x]}", "network 'x'"),
        ("clearances: {user: cosmic}", "'cosmic' of user is not a level"),
        ("credentials: [{name: a, hash: secret, roles: []}]", "access.credentials"),
        ("jwt: {secret: short}", "access.jwt.secret"),
        ("jwt: {algorithms: [none]}", "access.jwt.algorithms"),
        ("tokens: []", "unknown setting"),
    ],
)
def test_wrong_access_is_an_error_that_names_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, f"access:\n  {text}\n")
    assert "agent.yaml" in str(caught.value) or caught.value.key == "access"


def test_secrets_are_not_printed_with_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(
        f"access: {{jwt: {{secret: {'s3cret' * 8}}}}}\nhttp: {{token: t0p}}"
    )
    result = CliRunner().invoke(main, ["config", "check", str(path)])
    assert result.exit_code == 0
    assert "access.jwt.secret = (secret)" in result.output
    assert "s3cret" not in result.output
    assert "t0p" not in result.output
    assert "s3cret" not in repr(load(tmp_path, path.read_text()))


def test_new_token_is_told_once_and_known_by_its_hash() -> None:
    words = ["token", "new", "--name", 'a "b": c', "--role", "user", "--role", "ops"]
    outputs = [
        CliRunner().invoke(main, [*words, *more]).output
        for more in ([], ["--days", "2"])
    ]
    tokens = set()
    for output in outputs:
        first, _, rest = output.partition("\n")
        token = first.removeprefix("token: ")
        tokens.add(token)
        (told,) = yaml.safe_load(rest)
        entry: Any = msgspec.convert(told, Credential)
        assert entry.hash == sha256(token.encode()).hexdigest()
        assert (entry.name, entry.roles) == ('a "b": c', {"user", "ops"})
        assert token not in rest
        assert len(token) > 40
    assert len(tokens) == 2
    assert "expires" in outputs[1]
    assert "expires" not in outputs[0]
