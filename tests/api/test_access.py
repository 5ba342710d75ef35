from __future__ import annotations

import pytest

from praxis_fast.api.access.access import Access, Refusal, Visit
from praxis_fast.api.access.hosts import is_loopback, split_host
from praxis_fast.api.access.rights import RIGHTS
from praxis_fast.events.access.principal import Principal


def headers(**values: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in values.items()]


def status(access: Access, *, local: str = "127.0.0.1", **values: str) -> int:
    """200, or the status of the refusal."""
    verdict = access.judge(Visit(headers=headers(**values), local=local))
    return verdict.status if isinstance(verdict, Refusal) else 200


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:9000", "127.0.0.1", "localhost:9000", "LOCALHOST", "[::1]:9000"),
        *("app.localhost", "localhost."),
    ],
)
def test_ws_2_own_host_is_let_in(host: str) -> None:
    assert status(Access(), host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:9000", "10.0.0.1:9000", "localhost.evil.com"),
        "127.0.0.1.nip.io",
    ],
)
def test_ws_2_foreign_host_is_refused(host: str) -> None:
    assert status(Access(), host=host) == 403


@pytest.mark.parametrize(
    "host", ["", "a b", "user@127.0.0.1", "127.0.0.1:x", "127.0.0.1/a", "[::1"]
)
def test_ws_2_malformed_host_is_refused(host: str) -> None:
    assert status(Access(), host=host) == 400


def test_ws_2_missing_and_repeated_hosts_are_refused() -> None:
    assert status(Access()) == 400
    twice = [(b"host", b"localhost"), (b"host", b"localhost")]
    refusal = Access().judge(Visit(headers=twice))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


@pytest.mark.parametrize("host", ["10.0.0.7:9000", "agent.lan", "a.example.com"])
def test_ws_2_listed_and_local_hosts_are_let_in(host: str) -> None:
    access = Access(hosts=["agent.lan", "*.example.com"])
    assert status(access, local="10.0.0.7", host=host) == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("127.0.0.1:9000", "http://localhost:9000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost:443", "https://localhost"),
        ("127.0.0.1:9000", "https://Dash.example/"),
    ],
)
def test_ws_2_own_and_listed_origins_are_let_in(host: str, origin: str) -> None:
    access = Access(origins=["https://dash.example"])
    assert status(access, host=host, origin=origin) == 200


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "", "http://127.0.0.1:3000", "file://"),
        *("http://127.0.0.1:9000.evil.example", "chrome-extension://abc"),
        *("http://127.0.0.1:9000@evil.example", "http://evil.example/127.0.0.1:9000"),
    ],
)
def test_ws_2_foreign_origin_is_refused(origin: str) -> None:
    assert status(Access(), host="127.0.0.1:9000", origin=origin) == 403


def test_ws_2_any_origin_is_let_in_when_the_list_says_so() -> None:
    access = Access(origins=["*"])
    assert status(access, host="localhost", origin="http://evil.example") == 200


@pytest.mark.parametrize("text", ["Bearer secret", "bearer  secret"])
def test_http_5_token_in_the_header_is_taken(text: str) -> None:
    access = Access(token="secret")
    assert status(access, host="localhost", authorization=text) == 200


@pytest.mark.parametrize("text", ["Bearer wrong", "Bearer ", "Basic secret", "secret"])
def test_http_5_wrong_token_is_refused(text: str) -> None:
    assert status(Access(token="secret"), host="localhost", authorization=text) == 401
    assert status(Access(token="secret"), host="localhost") == 401


def test_http_5_token_in_the_query_is_taken() -> None:
    access = Access(token="secret")
    host = headers(host="localhost")
    admin = access.judge(Visit(headers=host, query=b"a=1&token=secret"))
    assert isinstance(admin, Principal)
    assert admin.roles == {"admin"}
    refusal = access.judge(Visit(headers=host, query=b"token=wrong"))
    assert isinstance(refusal, Refusal)
    assert "secret" not in refusal.message


def test_everybody_is_a_guest_who_may_do_everything_when_nothing_is_set() -> None:
    access = Access()
    visit = Visit(headers=headers(host="localhost"), method="POST", path="/nowhere")
    guest = access.judge(visit)
    assert isinstance(guest, Principal)
    assert guest.roles == {"guest"}
    assert access.rights(guest) == RIGHTS


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("localhost", True), ("127.5.5.5", True), ("::1", True)),
        *(("0.0.0.0", False), ("10.0.0.1", False), ("example.com", False)),
    ],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_split_host_takes_name_and_port() -> None:
    assert split_host("A.b:1") == ("a.b", 1)
    assert split_host("[::1]") == ("::1", None)
    assert split_host(":80") is None
