"""JSON Web Tokens with keys made here (HTTP-5)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from praxis_fast.agent.access import JWTConfig
from praxis_fast.api.access import jwks
from praxis_fast.api.access.jwks import MIN_PAUSE, KeySet, parse_keys, read_source
from praxis_fast.api.access.web_tokens import BadTokenError, UnknownKeyError, WebTokens
from praxis_fast.errors import ConfigError, MessageError
from praxis_fast.events.access.roles import Roles
from tests.api.tokens import AUDIENCE, ISSUER, NOW, SigningKey, key_set

KEY = SigningKey("one")
ROLES = Roles({"operator": ["user"]})
URL = "https://issuer.example/keys"


def config(**more: Any) -> JWTConfig:
    told = {"issuer": ISSUER, "audience": (AUDIENCE,), "jwks_url": URL} | more
    return JWTConfig(**told)


class Issuer:
    """Gives out its keys, as long as it can be reached."""

    def __init__(self, *keys: SigningKey) -> None:
        self.data = key_set(*keys)
        self.fault: Exception | None = None
        self.asked = 0

    async def read(self, source: str) -> bytes:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return self.data


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def tokens_of(*keys: SigningKey, **more: Any) -> WebTokens:
    tokens = WebTokens(
        config(**more),
        clock=Clock(),
        wall_clock=lambda: NOW,
        read=Issuer(*keys).read,
    )
    await tokens.keys.refresh()
    return tokens


def check(tokens: WebTokens, text: str) -> Any:
    return tokens.check(text.encode(), ROLES)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_token_of_the_issuer_says_who_it_is(algorithm: str) -> None:
    key = SigningKey("k", algorithm)
    tokens = await tokens_of(key)
    ann = check(tokens, key.sign(jti="j1", roles=["operator", "unknown"]))
    assert (ann.name, ann.roles) == ("ann", {"operator"})
    assert ann.expires == NOW + 600 + 30
    assert ann.credential == "jwt:k:j1"
    assert tokens.is_current(ann.credential)


@pytest.mark.parametrize("kid", ["arn:aws:kms:1", "a%3Ab", ""])
async def test_key_may_have_any_name(kid: str) -> None:
    key = SigningKey(kid)
    tokens = await tokens_of(key)
    ann = check(tokens, key.sign(jti="urn:uuid:1"))
    assert tokens.is_current(ann.credential)
    other = await tokens_of(KEY)
    assert not other.is_current(ann.credential)


async def test_bus_1_key_named_as_the_secret_ends_as_others() -> None:
    key = SigningKey("secret")
    ann = check(await tokens_of(key), key.sign())
    assert not (await tokens_of(KEY)).is_current(ann.credential)


@pytest.mark.parametrize(
    "claims",
    [
        *({"iss": "https://other.example"}, {"iss": None}, {"aud": "other"}),
        *({"aud": None}, {"exp": None}, {"sub": None}, {"sub": ""}, {"sub": "x" * 129}),
        *({"exp": NOW - 31}, {"exp": "soon"}, {"exp": True}, {"exp": 1e300}),
        *({"nbf": NOW + 31}, {"nbf": "x"}, {"praxis": {"peer": ["p"]}}, {"praxis": 1}),
    ],
)
async def test_http_5_token_with_wrong_claims_is_refused(
    claims: dict[str, Any],
) -> None:
    tokens = await tokens_of(KEY)
    with pytest.raises(BadTokenError):
        check(tokens, KEY.sign(**claims))


@pytest.mark.parametrize(
    "claims",
    [
        *({"exp": NOW - 29}, {"nbf": NOW + 29}, {"aud": ["other", AUDIENCE]}),
        {"iat": NOW + 1000},
    ],
)
async def test_clocks_may_differ_a_little(claims: dict[str, Any]) -> None:
    assert check(await tokens_of(KEY), KEY.sign(**claims)).name == "ann"


async def test_roles_and_attributes_come_from_the_claims() -> None:
    tokens = await tokens_of(KEY, roles_claim="realm.roles", default_roles=("guest",))
    nested = check(tokens, KEY.sign(realm={"roles": "user operator"}))
    assert nested.roles == {"user", "operator"}
    for claim in ({}, {"realm": 1}, {"realm": {"roles": [1, "nobody"]}}):
        assert check(tokens, KEY.sign(**claim)).roles == {"guest"}
    narrow = check(tokens, KEY.sign(praxis={"peers": ["p1"], "clearance": "public"}))
    assert (narrow.attributes.peers, narrow.attributes.clearance) == (("p1",), "public")


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def forged(header: dict[str, Any], secret: bytes) -> str:
    """A token whose signature is a hash with whatever as its key."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": NOW + 600}
    parts = [encoded(json.dumps(part).encode()) for part in (header, claims)]
    signature = hmac.digest(secret, ".".join(parts).encode(), hashlib.sha256)
    return ".".join([*parts, encoded(signature)])


async def test_http_5_public_keys_are_no_secrets_and_none_is_no_algorithm() -> None:
    rsa = SigningKey("one", "RS256")
    tokens = await tokens_of(rsa)
    public = json.dumps(rsa.public).encode()
    for algorithm in ("HS256", "none", "None", "RS256", "PS256", "", None, 1):
        header = {"alg": algorithm, "kid": "one", "typ": "JWT"}
        for text in (forged(header, public), forged(header, b"")):
            with pytest.raises(BadTokenError):
                check(tokens, text)
            with pytest.raises(BadTokenError):
                check(tokens, text.rpartition(".")[0] + ".")


async def test_http_5_algorithm_fits_the_key_whatever_the_token_says() -> None:
    other = SigningKey("one", "ES384")
    tokens = await tokens_of(KEY, algorithms=("ES256", "ES384", "EdDSA"))
    with pytest.raises(BadTokenError, match="does not fit"):
        check(tokens, other.sign())
    bound = SigningKey("two")
    bound.public["alg"] = "ES384"
    with pytest.raises(BadTokenError, match="does not fit"):
        check(await tokens_of(bound), bound.sign())
    with pytest.raises(BadTokenError, match="not allowed"):
        check(await tokens_of(KEY, algorithms=("EdDSA",)), KEY.sign())


async def test_http_5_keys_in_the_token_are_not_looked_at() -> None:
    eve = SigningKey("eve")
    headers = {"jwk": eve.public, "jku": "https://evil.example", "x5u": "https://e"}
    tokens = await tokens_of(KEY)
    with pytest.raises(UnknownKeyError):
        check(tokens, eve.sign(headers))
    with pytest.raises(BadTokenError):
        check(tokens, eve.sign(headers | {"kid": "one"}))
    with pytest.raises(BadTokenError, match="header not allowed"):
        check(tokens, KEY.sign({"crit": ["b64"], "b64": False}))


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "eyJ.eyJ.x", "eyJhbGciOiJFUzI1NiJ9..", "x" * 9000]
)
async def test_http_5_junk_is_refused(text: str) -> None:
    with pytest.raises(BadTokenError):
        check(await tokens_of(KEY), text)


async def test_http_5_deep_header_is_refused() -> None:
    deep = encoded(b'{"alg":"ES256","x":' + b"[" * 5000)
    with pytest.raises(BadTokenError):
        check(await tokens_of(KEY), f"{deep}.e30.e30")


async def test_hs256_is_taken_with_a_secret_alone() -> None:
    secret = "s" * 32
    tokens = WebTokens(
        config(algorithms=("HS256",), secret=secret, jwks_url=None),
        clock=Clock(),
        wall_clock=lambda: NOW,
    )
    assert not tokens.has_keys
    header = {"alg": "HS256", "typ": "JWT"}
    eve = check(tokens, forged(header, secret.encode()))
    assert (eve.name, eve.roles) == ("eve", frozenset())
    assert tokens.is_current(eve.credential)
    with pytest.raises(BadTokenError):
        check(tokens, forged(header, b"t" * 32))


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"audience": ()}, "audience"),
        ({"jwks_url": None}, "jwks_url"),
        ({"jwks_url": "https://ann:pw@issuer.example/"}, "jwks_url"),
        ({"jwks_url": "https:///keys"}, "jwks_url"),
        ({"jwks_url": "https://issuer.example/a b"}, "jwks_url"),
        ({"jwks_file": "keys.json"}, "jwks_url"),
        ({"jwks_url": "http://issuer.example/keys"}, "jwks_url"),
        ({"jwks_url": "https://[::1/keys"}, "jwks_url"),
        ({"algorithms": ("HS256",)}, "secret"),
        ({"secret": "s" * 32}, "secret"),
    ],
)
def test_configuration_that_lets_in_anybody_is_refused(
    more: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        WebTokens(config(**more), clock=Clock(), wall_clock=lambda: NOW)
    assert caught.value.key == f"access.jwt.{key}"


async def test_new_key_is_found_by_another_look_but_not_by_many() -> None:
    clock, issuer, other = Clock(), Issuer(KEY), SigningKey("two")
    keys = KeySet(URL, refresh=300, clock=clock, read=issuer.read)
    assert keys.is_due
    await asyncio.gather(*[keys.refresh() for _ in range(5)])
    assert issuer.asked == 1
    assert "one" in keys
    assert not keys.may_look_again
    assert not keys.is_due
    issuer.data = key_set(other)
    clock.now += MIN_PAUSE
    assert keys.may_look_again
    await keys.refresh()
    assert "two" in keys
    assert "one" not in keys
    clock.now += 300
    assert keys.is_due


@pytest.mark.parametrize(
    ("fault", "data"),
    [
        (OSError("no route"), b""),
        *((None, b"{"), (None, b"[]"), (None, b'{"keys": 1}'), (None, b'{"keys"')),
    ],
)
async def test_old_keys_go_on_when_new_ones_cannot_be_had(
    fault: Exception | None, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer(KEY)
    keys = KeySet(URL, refresh=300, clock=Clock(), read=issuer.read)
    await keys.refresh()
    issuer.fault, issuer.data = fault, data
    with caplog.at_level(logging.WARNING):
        await keys.refresh()
    assert "one" in keys
    assert keys.failures == 1
    assert "not read" in caplog.text


def test_keys_that_sign_nothing_for_us_are_passed_over() -> None:
    good = KEY.public
    weak = {"kty": "RSA", "kid": "weak", "n": encoded(b"\xff" * 128), "e": "AQAB"}
    passed = [
        *(1, {}, {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}, weak),
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": "private", "d": "x"},
        {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "!", "y": "!"},
        {**weak, "kid": "none", "alg": "none"},
        {"kty": "EC", "kid": "curve", "crv": "P-999", "x": "AA", "y": "AA"},
    ]
    found = parse_keys(json.dumps({"keys": [*passed, good]}).encode())
    assert list(found) == ["one"]
    with pytest.raises(MessageError, match="up to 64 keys"):
        parse_keys(json.dumps({"keys": [good] * 65}).encode())


async def test_key_file_is_read_and_bounded(tmp_path: Any) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(KEY))
    assert await read_source(str(path)) == key_set(KEY)
    path.write_bytes(b" " * (256 * 1024 + 1))
    with pytest.raises(OSError, match="over 262144 bytes"):
        await read_source(str(path))
    path.chmod(0o622)
    with pytest.raises(OSError, match="mode 0622, others can write it"):
        await read_source(str(path))


async def test_keys_are_fetched_over_http_without_redirects(
    aiohttp_keys: Any,
) -> None:
    url = await aiohttp_keys(key_set(KEY))
    assert await read_source(f"{url}/keys") == key_set(KEY)
    for path in ("/moved", "/missing", "/huge"):
        with pytest.raises(OSError):
            await read_source(f"{url}{path}")


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}",
    ],
)
async def test_broken_answer_of_the_issuer_is_no_fault_of_ours(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/keys"
        keys = KeySet(url, refresh=300, clock=Clock())
        await keys.refresh()
    assert keys.failures == 1


async def test_issuer_that_trickles_is_left_by_a_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0.2)
    left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        left.set()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        keys = KeySet(f"http://127.0.0.1:{port}/", refresh=300, clock=Clock())
        async with asyncio.timeout(10):
            await keys.refresh()
            # Nobody goes on reading, neither here nor in a thread.
            await left.wait()
    assert keys.failures == 1


async def test_keys_are_fetched_from_whom_this_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"2\r\n{}\r\n0\r\n\r\n")
        await writer.drain()

    cert = certificate(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(cert)
    async with await asyncio.start_server(
        talk, "127.0.0.1", 0, ssl=server_side
    ) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"https://localhost:{port}/keys?a=b"
        with pytest.raises(ssl.SSLCertVerificationError):
            await read_source(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        assert await read_source(url) == b"{}"
    assert asked[0].startswith(b"GET /keys?a=b HTTP/1.1\r\nHost: localhost:")


def certificate(folder: Path) -> Path:
    """A key and a certificate of itself for localhost, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    pem = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, private, plain) + made.public_bytes(pem))
    return path


async def test_slow_issuer_is_not_asked_again_at_once() -> None:
    clock, issuer = Clock(), Issuer(KEY)

    async def read(source: str) -> bytes:
        clock.now += MIN_PAUSE
        return await issuer.read(source)

    keys = KeySet(URL, refresh=300, clock=clock, read=read)
    await keys.refresh()
    assert not keys.may_look_again


@pytest.fixture
async def aiohttp_keys() -> Any:
    from aiohttp import web

    runners: list[web.AppRunner] = []

    async def start(data: bytes) -> str:
        async def keys(request: web.Request) -> web.Response:
            return web.Response(body=data)

        async def moved(request: web.Request) -> web.Response:
            raise web.HTTPFound("/keys")

        async def huge(request: web.Request) -> web.Response:
            return web.Response(body=b" " * (256 * 1024 + 1))

        app = web.Application()
        app.router.add_get("/keys", keys)
        app.router.add_get("/moved", moved)
        app.router.add_get("/huge", huge)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()
