from __future__ import annotations

import pytest

from praxis_fast.errors import WebhookRefusedError
from praxis_fast.events.webhooks.address_gate import AddressGate, Target

INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.88.99.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2001:0:4136:e378::1",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "5f00::1",
    "100::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_hk_1_inside_addresses_are_refused(address: str) -> None:
    gate = AddressGate()
    with pytest.raises(WebhookRefusedError, match="is not public"):
        gate.check_address(address, 443)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(WebhookRefusedError, match="is not public"):
        gate.check_url(f"https://{host}/hook")


def test_hk_1_link_local_with_a_scope_is_refused() -> None:
    with pytest.raises(WebhookRefusedError):
        AddressGate().check_address("fe80::1%eth0", 443)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "2a00:1450::1"])
@pytest.mark.parametrize("port", [443, 8443])
def test_public_addresses_are_let_through(address: str, port: int) -> None:
    AddressGate().check_address(address, port)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "8.8.8.010",
        "1.2.3.4.5",
        "134744072",
        "[fe80::1%25eth0]",
        "[::1",
        "[1]",
        "%31%32%37.1",
        "127。0。0。1",
        "①27.0.0.1",
        "a\\@127.0.0.1",
        "user@example.com",
        "user:pass@127.0.0.1",
        "example.com:22",
        "example.com:80",
        "example.com:0",
        "example.com:99999",
        "example.com:443:80",
        "",
        " example.com",
        "exa\tmple.com",
    ],
)
def test_hk_1_odd_spellings_are_refused(host: str) -> None:
    with pytest.raises(WebhookRefusedError) as raised:
        AddressGate(allow_loopback=True).check_url(f"https://{host}/hook")
    assert str(raised.value).islower()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://8.8.8.8/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com:443/",
        "//example.com/",
        "example.com",
        "https:example.com",
        "https://example.com/#part",
        "https://example.com/" + "x" * 2048,
    ],
)
def test_hk_1_other_schemes_and_long_urls_are_refused(url: str) -> None:
    with pytest.raises(WebhookRefusedError):
        AddressGate(allow_loopback=True).check_url(url)


def test_good_urls_are_let_through() -> None:
    gate = AddressGate()
    assert gate.check_url("https://Example.com/a?b=c") == Target("example.com", 443)
    assert gate.check_url("https://example.com:8443") == Target("example.com", 8443)
    assert gate.check_url("https://8.8.8.8/") == Target("8.8.8.8", 443)
    assert gate.check_url("https://[2606:4700::1111]/").port == 443
    assert AddressGate(ports=[444]).check_url("https://a.example:444/").port == 444


def test_loopback_is_let_through_when_allowed_and_nothing_else() -> None:
    gate = AddressGate(allow_loopback=True)
    for host in ("127.0.0.1", "localhost", "[::1]", "a.localhost"):
        assert gate.check_url(f"http://{host}:5000/").port == 5000
        assert gate.check_url(f"https://{host}/").port == 443
    gate.check_address("127.0.0.1", 5000)
    for address in ("10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"):
        with pytest.raises(WebhookRefusedError):
            gate.check_address(address, 443)
    with pytest.raises(WebhookRefusedError, match="http, not https"):
        AddressGate().check_url("http://localhost/")
