"""Tokens, API keys, failed logins and the access file, on injected clocks (HTTP-5)."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from praxis_fast.agent.access import AccessConfig, JWTConfig
from praxis_fast.api.access.access import Access, Refusal, Visit
from praxis_fast.api.access.failed_logins import FailedLogins, network_key
from praxis_fast.api.access.proxies import Proxies
from praxis_fast.errors import ConfigError, UsageError
from praxis_fast.events.access.principal import Principal
from praxis_fast.events.access.rule import Rule
from praxis_fast.events.event import EventFilter
from praxis_fast.limits import HTTPLimits
from tests.api.tokens import AUDIENCE, ISSUER, NOW, SigningKey, credential, key_set


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def visit(*shown: tuple[str, str], client: str = "192.0.2.1", **more: Any) -> Visit:
    """A request with these headers."""
    headers = [(b"host", b"localhost")]
    headers += [(name.encode(), value.encode()) for name, value in shown]
    return Visit(headers=headers, client=client, **more)


def shows(token: str, **more: Any) -> Visit:
    return visit(("authorization", f"Bearer {token}"), **more)


def access(clock: Clock | None = None, token: str | None = None, **more: Any) -> Access:
    return Access(
        config=AccessConfig(**more),
        token=token,
        clock=clock or Clock(),
        wall_clock=lambda: NOW,
    )


def status(verdict: Principal | Refusal) -> int:
    return verdict.status if isinstance(verdict, Refusal) else 200


def name(verdict: Principal | Refusal) -> str:
    assert isinstance(verdict, Principal), verdict
    return verdict.name


def test_http_5_credentials_are_taken_wherever_they_may_stand() -> None:
    ann = access(credentials=(credential("ann", "user"),))
    for good in (
        shows("ann-token"),
        visit(("x-api-key", "ann-token")),
        visit(query=b"token=ann-token"),
        visit(query=b"a=1&token=ann%2Dtoken"),
        visit(("x-api-key", "wrong"), ("authorization", "bEaReR ann-token")),
    ):
        assert name(ann.judge(good)) == "ann"
    for bad in (
        visit(),
        shows("ann-token "[:-2]),
        shows("ann-tokenn"),
        visit(("authorization", "Basic ann-token")),
        visit(("authorization", "ann-token")),
        visit(("cookie", "token=ann-token")),
        shows(credential("ann", "user").hash),
    ):
        verdict = ann.judge(bad)
        assert isinstance(verdict, Refusal)
        assert verdict.status == 401
        assert verdict.headers == {"WWW-Authenticate": "Bearer"}


def test_http_5_token_of_the_settings_is_the_admin_beside_others() -> None:
    both = access(token="pässword", credentials=(credential("ann", "user"),))
    assert name(both.judge(shows("pässword"))) == "token"
    assert name(both.judge(shows("ann-token"))) == "ann"


def test_http_5_empty_credential_is_none() -> None:
    with pytest.raises(ConfigError, match="token is empty"):
        access(token="")
    nothing = credential("", "admin", hash=sha256(b"").hexdigest())
    ours = access(credentials=(nothing,))
    for shown in (visit(("x-api-key", "")), visit(("authorization", "Bearer  "))):
        assert status(ours.judge(shown)) == 401


def test_http_5_many_credentials_at_once_are_refused() -> None:
    ann = access(credentials=(credential("ann", "user"),))
    shown = [("x-api-key", f"k{number}") for number in range(4)]
    verdict = ann.judge(visit(*shown, ("authorization", "Bearer ann-token")))
    assert isinstance(verdict, Refusal)
    assert verdict.message == "5 credentials, limit 4"


def test_http_5_expired_credential_is_refused() -> None:
    def until(seconds: float) -> datetime:
        return datetime.fromtimestamp(NOW + seconds, UTC)

    both = access(
        credentials=(
            credential("old", "user", expires=until(0)),
            credential("new", "user", expires=until(1)),
        )
    )
    assert status(both.judge(shows("old-token"))) == 401
    assert name(both.judge(shows("new-token"))) == "new"


def test_anonymous_is_a_guest_and_a_wrong_credential_is_nobody() -> None:
    guests = access(anonymous=True, credentials=(credential("ann", "user"),))
    guest = guests.judge(visit())
    assert name(guest) == "anonymous"
    assert status(guests.judge(visit(path="/stats"))) == 403
    assert status(guests.judge(shows("wrong"))) == 401


def test_http_5_ten_wrong_credentials_a_minute_and_then_none() -> None:
    clock = Clock()
    ann = access(clock, credentials=(credential("ann", "user"),))
    for _ in range(10):
        assert status(ann.judge(shows("wrong"))) == 401
    for shown in ("wrong", "ann-token"):
        verdict = ann.judge(shows(shown))
        assert isinstance(verdict, Refusal)
        assert (verdict.status, verdict.headers) == (429, {"Retry-After": "6"})
    assert status(ann.judge(visit())) == 401
    assert status(ann.judge(shows("wrong", client="192.0.2.2"))) == 401
    assert status(ann.judge(shows("wrong", client="127.0.0.1"))) == 401
    clock.now += 6
    assert status(ann.judge(shows("ann-token"))) == 200
    assert status(ann.judge(shows("wrong"))) == 401
    assert status(ann.judge(shows("wrong"))) == 429
    assert ann.denied == {401: 14, 403: 0, 429: 3}


def test_http_5_each_wrong_credential_of_a_request_counts() -> None:
    ann = access(credentials=(credential("ann", "user"),))
    guess = [("x-api-key", f"guess {number}") for number in range(3)]
    for _ in range(4):
        verdict = ann.judge(visit(*guess))
    assert status(verdict) == 401
    assert status(ann.judge(visit(*guess))) == 429


def test_http_5_right_credential_hides_no_guesses() -> None:
    both = access(credentials=(credential("ann", "guest"), credential("bob", "admin")))
    own = ("x-api-key", "ann-token")
    for number in range(12):
        guess = ("x-api-key", f"guess {number}")
        assert name(both.judge(visit(guess, own))) == "ann"
    bobs = ("x-api-key", "bob-token")
    assert name(both.judge(visit(bobs, own))) == "ann"


def test_http_5_loopback_is_throttled_and_known_clients_there_are_not() -> None:
    both = access(credentials=(credential("ann", "user"), credential("bob", "user")))
    here = "127.0.0.1"
    assert name(both.judge(shows("ann-token", client=here))) == "ann"
    for _ in range(11):
        verdict = both.judge(shows("wrong", client=here))
    assert status(verdict) == 429
    assert status(both.judge(shows("bob-token", client=here))) == 429
    assert name(both.judge(shows("ann-token", client=here))) == "ann"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8:0:ff::2", True),
        ("2001:db8::1", "2001:db8:0:100::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix", "", True),
    ],
)
def test_failures_count_together_for_one_network(
    one: str, other: str, same: bool
) -> None:
    assert (network_key(one) == network_key(other)) is same


def test_http_5_table_of_failures_is_bounded() -> None:
    limits = HTTPLimits(failed_logins=2, max_failing_addresses=3)
    failed = FailedLogins(limits, Clock())
    for number in range(100):
        for _ in range(2):
            failed.add(f"192.0.2.{number}")
        failed.prove(f"192.0.2.{number}", bytes(32), "ann")
    assert len(failed) == 3
    assert failed.wait("192.0.2.99") == 30
    assert failed.wait("192.0.2.0") is None


def test_http_5_one_holder_takes_the_places_of_few_others() -> None:
    failed = FailedLogins(HTTPLimits(), Clock())
    others = [str(number).encode() for number in range(4000)]
    for digest in others:
        failed.prove("192.0.2.1", digest, digest.decode())
    for number in range(10_000):
        failed.prove("192.0.2.2", str(number).encode(), "ann")
    kept = sum(failed.is_proven("192.0.2.1", digest) for digest in others)
    assert kept == 4096 - 256
    assert failed.is_proven("192.0.2.2", b"9999")
    failed.prove("192.0.2.3", b"new", "bob")
    assert failed.is_proven("192.0.2.3", b"new")


def test_http_5_refusals_are_told_without_the_credential() -> None:
    told: list[tuple[Visit, Refusal]] = []
    ann = access(credentials=(credential("ann", "user"),))
    ann.on_denied = lambda visit, refusal: told.append((visit, refusal))
    ann.judge(visit())
    ann.judge(visit(("x-api-key", "canary"), query=b"token=canary"))
    ann.judge(shows("ann-token", method="POST", path="/webhooks"))
    ann.judge(Visit(headers=[(b"host", b"evil.example")]))
    assert [(r.status, r.kind, r.reason, r.who) for _, r in told] == [
        (401, "none", "missing", None),
        (401, "api_key", "unknown", None),
        (403, "none", "no right webhooks", "ann"),
    ]
    assert "canary" not in repr(told)


def test_program_around_us_may_know_its_clients() -> None:
    def by_cookie(visit: Visit) -> Principal | None:
        if (b"cookie", b"session=ann") in visit.headers:
            return Principal(name="ann", roles=frozenset({"user"}))
        return None

    ours = Access(authenticate=by_cookie)
    assert ours.is_guarded
    assert name(ours.judge(visit(("cookie", "session=ann")))) == "ann"
    assert status(ours.judge(visit(("cookie", "session=eve")))) == 401
    bob = Principal(name="bob", roles=frozenset({"guest"}))
    assert name(ours.judge(visit(), known=bob)) == "bob"
    assert status(ours.judge(visit(path="/audit"), known=bob)) == 403


def test_http_5_program_that_names_nobody_lets_nobody_in() -> None:
    for nobody in (None, "", False):
        given: Any = nobody
        ours = Access(authenticate=lambda visit, given=given: given)
        assert status(ours.judge(visit())) == 401

    async def later(visit: Visit) -> Principal:
        return Principal(name="ann")

    wrong: Any = later
    with pytest.raises(UsageError, match="authenticate must not be async"):
        Access(authenticate=wrong)
    given = "ann"
    ours = Access(authenticate=lambda visit: given)
    with pytest.raises(UsageError, match="authenticate gave a str, no principal"):
        ours.judge(visit())


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
        ("10.0.0.1", None, "10.0.0.1"),
    ],
)
def test_http_5_only_a_trusted_proxy_says_for_whom_it_asks(
    peer: str, told: str | None, client: str
) -> None:
    ann = access(credentials=(credential("ann", "user"),))
    ann.proxies = Proxies("10.0.0.1")
    seen: list[str | None] = []
    ann.on_denied = lambda visit, refusal: seen.append(visit.client)
    headers = [] if told is None else [("x-forwarded-for", told)]
    ann.judge(visit(*headers, ("x-api-key", "wrong"), client=peer))
    assert seen == [client]
    found = ann.judge(visit(*headers, ("x-api-key", "ann-token"), client=peer))
    assert isinstance(found, Principal)
    assert found.address == (None if client == peer else client)


def test_address_is_kept_where_a_rule_asks_for_it() -> None:
    near = Rule(effect="deny", networks=frozenset({"192.0.2.0/24"}))
    listed = (credential("ann", "user"),)
    for rules, expected in (((near,), "192.0.2.1"), ((), None)):
        found = access(credentials=listed, rules=rules).judge(shows("ann-token"))
        assert isinstance(found, Principal)
        assert found.address == expected


# the access file


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def open_to_others(path: Path) -> None:
    path.chmod(0o622)
    os.utime(path, (1, 1))


def test_http_5_file_of_another_user_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = os.fstat

    def foreign(descriptor: int) -> os.stat_result:
        told = list(found(descriptor))
        told[stat.ST_UID] = 4711
        return os.stat_result(told)

    monkeypatch.setattr("praxis_fast.api.access.trusted_file.os.fstat", foreign)
    with pytest.raises(ConfigError, match="owned by user 4711, neither us nor root"):
        access(file=str(path))


def entry(who: str, *roles: str) -> str:
    told = credential(who, *roles)
    return f"- {{name: {who}, hash: {told.hash}, roles: [{', '.join(roles)}]}}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "access.yaml"
    write(found, "credentials:\n" + entry("ann", "user"))
    return found


async def test_bus_1_file_is_read_again_when_it_changes(path: Path) -> None:
    ours = access(file=str(path))
    changes: list[None] = []
    ours.on_change.append(lambda: changes.append(None))
    ann = ours.judge(shows("ann-token"))
    assert isinstance(ann, Principal)
    assert not ours.is_stale
    write(path, "credentials:\n" + entry("ann", "guest") + entry("bob", "user"))
    assert ours.is_stale
    assert await ours.refresh()
    assert len(changes) == 1
    now = ours.current(ann)
    assert now is not None
    assert now.roles == {"guest"}
    assert name(ours.judge(shows("bob-token"))) == "bob"
    write(path, "credentials:\n" + entry("ann", "guest") + "revoked: [ann]\n")
    assert await ours.refresh()
    assert ours.current(ann) is None
    assert status(ours.judge(shows("ann-token"))) == 401
    assert not await ours.refresh()


async def test_bus_1_whoever_is_revoked_comes_in_no_way(path: Path) -> None:
    write(path, "revoked: [token, ann, bob]")
    ann, bob = Principal(name="ann"), Principal(name="bob")
    ours = Access(
        token="secret",
        config=AccessConfig(file=str(path)),
        authenticate=lambda visit: bob if visit.client == "bob" else None,
    )
    assert status(ours.judge(shows("secret"))) == 401
    assert status(ours.judge(visit(), known=ann)) == 401
    assert status(ours.judge(visit(client="bob"))) == 401


async def test_file_adds_roles_rights_rules_and_segments(path: Path) -> None:
    write(
        path,
        "roles: {operator: [user]}\n"
        "rights: {operator: [webhooks]}\n"
        "segments: {plant: [10.1.0.0/16]}\n"
        "clearances: {operator: secret}\n"
        "rules:\n"
        "- {effect: deny, roles: [operator], types: ['a.*'], segments: [plant]}\n"
        "credentials:\n" + entry("ann", "operator"),
    )
    ours = access(file=str(path))
    ann = ours.judge(shows("ann-token", path="/webhooks", method="POST"))
    assert isinstance(ann, Principal)
    assert ours.rights(ann) == {
        *("webhooks", "health", "events", "metrics", "network", "tools")
    }
    assert len(ours.policy.rules) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("credentials: [{name: a, hash: x, roles: [user]}]", "credentials"),
        ("credentials: [{name: a, roles: [user]}]", "hash"),
        ("credential: []", "credential"),
        ("rules: [{effect: deny, role: [user]}]", "unknown field role"),
        ("rules: [{effect: deny, roles: [boss]}]", "unknown role 'boss'"),
        ("rights: {boss: [events]}", "unknown role 'boss'"),
        ("rights: {user: [everything]}", "right 'everything' of user is none of"),
        ("- a", "mapping"),
        ("{", "not YAML"),
        ("credentials: []\ncredentials: []", "given twice"),
        # A bad value, and what is there while the file is being written.
        ("revoked: [2027-13-01]", "revoked: month must be in 1..12"),
        ("", "says nothing"),
        ("# rules of the plant\n", "says nothing"),
        ("credentials:\n" + entry("ann", "admin") * 2, "'ann' is given twice"),
    ],
)
async def test_file_that_says_nothing_usable_changes_nothing(
    path: Path, text: str, message: str
) -> None:
    ours = access(file=str(path))
    faults: list[str] = []
    ours.on_fault = faults.append
    write(path, text)
    assert not await ours.refresh()
    assert message in faults[0]
    assert name(ours.judge(shows("ann-token"))) == "ann"
    assert not ours.is_stale
    with pytest.raises(ConfigError, match=message):
        access(file=str(path))


async def test_file_that_is_gone_or_open_to_others_changes_nothing(path: Path) -> None:
    ours = access(file=str(path))
    open_to_others(path)
    assert not await ours.refresh()
    os.unlink(path)
    assert ours.is_stale
    assert not await ours.refresh()
    assert not ours.is_stale
    assert name(ours.judge(shows("ann-token"))) == "ann"
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        access(file=str(path))


async def test_bus_1_web_token_ends_with_its_time_its_key_or_by_name(
    tmp_path: Path,
) -> None:
    key, other = SigningKey("one"), SigningKey("two")
    keys, file = tmp_path / "keys.json", tmp_path / "access.yaml"
    keys.write_bytes(key_set(key))
    write(file, "{}")
    clock, wall = Clock(), Clock(NOW)
    jwt = JWTConfig(issuer=ISSUER, audience=(AUDIENCE,), jwks_file=str(keys))
    ours = Access(
        config=AccessConfig(jwt=jwt, file=str(file)), clock=clock, wall_clock=wall
    )
    first = ours.judge(shows(key.sign(jti="j1")))
    assert isinstance(first, Refusal)
    assert first.may_change
    assert ours.denied[401] == 0
    ann = await ours.admit(shows(key.sign(jti="j1")))
    assert isinstance(ann, Principal)
    assert name(ann) == "ann"
    assert ours.current(ann) == ann
    strange = await ours.admit(shows(other.sign()))
    assert status(strange) == 401
    assert ours.denied[401] == 1

    wall.now = NOW + 630
    assert ours.current(ann) is None
    wall.now = NOW
    for revoked in ("ann", "j1", "urn:uuid:1"):
        mark = "j1" if revoked == "ann" else revoked
        ann = await ours.admit(shows(key.sign(jti=mark)))
        assert isinstance(ann, Principal)
        write(file, f"revoked: ['{revoked}']")
        assert await ours.refresh()
        assert ours.current(ann) is None
        assert ours.visible(ann, EventFilter()) is None
        assert status(await ours.admit(shows(key.sign(jti=mark)))) == 401
        write(file, "revoked: []")
        assert await ours.refresh()
    assert ours.current(ann) == ann
    keys.write_bytes(key_set(other))
    clock.now += 300
    assert ours.is_stale
    assert await ours.refresh()
    assert ours.current(ann) is None
    # What ann has set up stays: tokens and keys come and go.
    assert ours.visible(ann, EventFilter()) is not None
