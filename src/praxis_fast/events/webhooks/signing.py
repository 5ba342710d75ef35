"""Signatures on webhooks: made by the sender, checked by the receiver.

Two schemes stand side by side on every delivery (HK-8):

    webhook-id, webhook-timestamp (unix seconds), webhook-signature: v1,<base64> …
        Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`; one signature for each
        of the endpoint's secrets
    X-A2A-Timestamp (ISO 8601), X-A2A-Signature: sha256=<hex>
        HMAC-SHA256 over the timestamp's text, a dot and the body; by the first secret

A secret is `whsec_` and base64, or any text; its key has 24 to 64 bytes.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets as random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from praxis_fast.errors import UsageError, WebhookSignatureError

TOLERANCE = 300.0
MIN_KEY = 24
MAX_KEY = 64

_PREFIX = "whsec_"
# A sender being rotated signs twice; more than this is somebody trying.
_MAX_SIGNATURES = 16
_MAX_SECRETS = 8

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]


@dataclass(frozen=True, slots=True)
class VerifiedWebhook:
    """What a good signature vouches for besides the body."""

    id: str | None
    """The message's id, the same at every redelivery; X-A2A signatures have none."""
    timestamp: float
    """When it was sent, epoch seconds."""


def new_secret() -> str:
    """A random secret of 32 bytes as `whsec_` text."""
    return _PREFIX + base64.b64encode(random.token_bytes(32)).decode()


def secret_key(secret: str) -> bytes:
    """The key a secret stands for; UsageError, without the secret, when it is none."""
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError("webhook secret after whsec_ is not base64") from None
    else:
        key = secret.encode()
    if not MIN_KEY <= len(key) <= MAX_KEY:
        raise UsageError(
            f"webhook secret of {len(key)} bytes, {MIN_KEY} to {MAX_KEY} are needed"
        )
    return key


def sign_webhook(
    id: str,  # noqa: A002  the specification's word
    body: bytes,
    secrets: Iterable[str],
    now: float,
) -> dict[str, str]:
    """The headers that let a receiver check `body`; the first secret is the newest."""
    keys = [secret_key(secret) for secret in secrets]
    seconds = int(now)
    stamp = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "webhook-id": id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(
            "v1," + base64.b64encode(_standard(key, id, str(seconds), body)).decode()
            for key in keys
        ),
        "X-A2A-Timestamp": stamp,
        "X-A2A-Signature": "sha256=" + _a2a(keys[0], stamp, body).hex(),
    }


def verify_webhook(
    headers: Headers,
    body: bytes | str,
    secrets: str | Iterable[str],
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> VerifiedWebhook:
    """Return what a webhook's signature vouches for, or raise WebhookSignatureError.

    `headers` in any case, `body` exactly as received, `secrets` one or several: each is
    tried, so that old and new hold while a secret is rotated. `now` is epoch seconds.
    Standard Webhooks headers count when there are any, else those of X-A2A. A replay
    within the tolerance is known by its `id` only: remember the ids you have seen.
    """
    found = _Headers(headers)
    data = body.encode() if isinstance(body, str) else bytes(body)
    keys = _keys(secrets)
    moment = time.time() if now is None else now
    if found.get("webhook-signature") is not None:
        return _verify_standard(found, data, keys, moment, tolerance)
    if found.get("x-a2a-signature") is not None:
        return _verify_a2a(found, data, keys, moment, tolerance)
    raise WebhookSignatureError("webhook has no signature")


class _Headers:
    """Names without case; the ones that count may stand there once only."""

    def __init__(self, headers: Headers) -> None:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(_text(name).lower(), []).append(_text(value))

    def get(self, name: str) -> str | None:
        values = self._values.get(name, [])
        if len(values) > 1:
            raise WebhookSignatureError(f"webhook has {len(values)} {name} headers")
        return values[0].strip() if values else None

    def need(self, name: str) -> str:
        if not (value := self.get(name)):
            raise WebhookSignatureError(f"webhook has no {name} header")
        return value


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _keys(secrets: str | Iterable[str]) -> list[bytes]:
    texts = (secrets,) if isinstance(secrets, str) else tuple(secrets)
    if not 0 < len(texts) <= _MAX_SECRETS:
        raise UsageError(
            f"{len(texts)} webhook secrets, 1 to {_MAX_SECRETS} are needed"
        )
    return [secret_key(text) for text in texts]


def _verify_standard(
    headers: _Headers, body: bytes, keys: list[bytes], now: float, tolerance: float
) -> VerifiedWebhook:
    message_id = headers.need("webhook-id")
    stamp = headers.need("webhook-timestamp")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise WebhookSignatureError("webhook-timestamp is not in unix seconds")
    parts = headers.need("webhook-signature").split()
    given = [_base64(part[3:]) for part in parts if part.startswith("v1,")]
    wanted = [_standard(key, message_id, stamp, body) for key in keys]
    _compare(given, wanted)
    _check_time(float(stamp), now, tolerance)
    return VerifiedWebhook(message_id, float(stamp))


def _verify_a2a(
    headers: _Headers, body: bytes, keys: list[bytes], now: float, tolerance: float
) -> VerifiedWebhook:
    stamp = headers.need("x-a2a-timestamp")
    scheme, _, text = headers.need("x-a2a-signature").partition("=")
    if scheme != "sha256":
        raise WebhookSignatureError("x-a2a-signature does not begin with sha256=")
    try:
        given = bytes.fromhex(text)
    except ValueError:
        raise WebhookSignatureError("x-a2a-signature is not hexadecimal") from None
    _compare([given], [_a2a(key, stamp, body) for key in keys])
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        raise WebhookSignatureError("x-a2a-timestamp is not iso 8601") from None
    if moment.tzinfo is None:
        raise WebhookSignatureError("x-a2a-timestamp has no offset from utc")
    _check_time(moment.timestamp(), now, tolerance)
    return VerifiedWebhook(None, moment.timestamp())


def _standard(key: bytes, message_id: str, stamp: str, body: bytes) -> bytes:
    head = f"{message_id}.{stamp}.".encode("utf-8", "replace")
    return hmac.digest(key, head + body, sha256)


def _a2a(key: bytes, stamp: str, body: bytes) -> bytes:
    return hmac.digest(key, stamp.encode("utf-8", "replace") + b"." + body, sha256)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _compare(given: list[bytes], wanted: list[bytes]) -> None:
    """Every pair is compared in full, so that time tells nothing of a secret."""
    results = [
        hmac.compare_digest(signature, expected)
        for signature in given[:_MAX_SIGNATURES]
        for expected in wanted
    ]
    if not any(results):
        raise WebhookSignatureError("webhook signature does not fit")


def _check_time(stamp: float, now: float, tolerance: float) -> None:
    age = now - stamp
    if abs(age) > tolerance:
        where = "old" if age > 0 else "ahead of our clock"
        raise WebhookSignatureError(
            f"webhook is {abs(age):.0f} s {where}, limit {tolerance:g}"
        )
