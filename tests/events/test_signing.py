from __future__ import annotations

import base64
import hmac
from typing import Any

import pytest

import praxis_fast
from praxis_fast.errors import UsageError, WebhookSignatureError
from praxis_fast.events.webhooks.signing import (
    VerifiedWebhook,
    new_secret,
    secret_key,
    sign_webhook,
    verify_webhook,
)

# The example of the Standard Webhooks specification and its reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
STAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

OLD = "an old secret of some length"


def signed(*secrets: str, body: bytes = BODY) -> dict[str, str]:
    return sign_webhook(MESSAGE_ID, body, secrets or (SECRET,), STAMP)


def standard(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if "webhook" in name}


def a2a(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if "A2A" in name}


def verify(headers: Any, body: Any = BODY, secrets: Any = SECRET) -> VerifiedWebhook:
    return verify_webhook(headers, body, secrets, now=STAMP + 10)


def test_signature_is_that_of_the_specification() -> None:
    assert signed()["webhook-signature"] == SIGNATURE
    assert signed()["webhook-timestamp"] == str(STAMP)


def test_a2a_signature_is_over_the_timestamp_s_text_a_dot_and_the_body() -> None:
    headers = signed(OLD)
    assert headers["X-A2A-Timestamp"] == "2021-02-25T15:02:10Z"
    text = headers["X-A2A-Timestamp"].encode() + b"." + BODY
    wanted = hmac.new(OLD.encode(), text, "sha256").hexdigest()
    assert headers["X-A2A-Signature"] == f"sha256={wanted}"


def test_both_schemes_are_verified_alone_and_together() -> None:
    headers = signed()
    assert verify(headers) == VerifiedWebhook(MESSAGE_ID, STAMP)
    assert verify(standard(headers)) == VerifiedWebhook(MESSAGE_ID, STAMP)
    assert verify(a2a(headers)) == VerifiedWebhook(None, STAMP)
    assert praxis_fast.verify_webhook is verify_webhook


def test_headers_may_come_in_any_form() -> None:
    headers = signed()
    assert verify({name.upper(): value for name, value in headers.items()}).id
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    assert verify(pairs, BODY.decode()).id == MESSAGE_ID


def test_hk_8_rotation_both_secrets_hold() -> None:
    headers = signed(SECRET, OLD)
    for secrets in (SECRET, [SECRET], [OLD], [new_secret(), OLD]):
        assert verify(standard(headers), secrets=secrets).id
    assert verify(a2a(signed(OLD)), secrets=[SECRET, OLD])
    with pytest.raises(WebhookSignatureError, match="does not fit"):
        verify(headers, secrets=new_secret())


@pytest.mark.parametrize("scheme", [standard, a2a, dict])
def test_hk_8_forged_body_and_stamp_are_refused(scheme: Any) -> None:
    headers = scheme(signed())
    with pytest.raises(WebhookSignatureError, match="does not fit"):
        verify(headers, BODY + b" ")
    if "webhook-id" in headers:
        with pytest.raises(WebhookSignatureError, match="does not fit"):
            verify({**headers, "webhook-id": "other"})


@pytest.mark.parametrize(
    ("scheme", "name", "stamp"),
    [
        (standard, "webhook-timestamp", str(STAMP + 1)),
        (a2a, "X-A2A-Timestamp", "2021-02-25T15:02:11Z"),
    ],
)
def test_hk_8_forged_timestamp_is_refused(scheme: Any, name: str, stamp: str) -> None:
    with pytest.raises(WebhookSignatureError, match="does not fit"):
        verify({**scheme(signed()), name: stamp})


@pytest.mark.parametrize("scheme", [standard, a2a])
@pytest.mark.parametrize(("shift", "text"), [(301, "301 s old"), (-301, "301 s ahead")])
def test_hk_8_replay_outside_the_tolerance_is_refused(
    scheme: Any, shift: int, text: str
) -> None:
    headers = scheme(signed())
    assert verify_webhook(headers, BODY, SECRET, now=STAMP + shift * 300 / 301)
    with pytest.raises(WebhookSignatureError, match=f"{text}.*limit 300"):
        verify_webhook(headers, BODY, SECRET, now=STAMP + shift)


def test_hk_8_standard_headers_are_not_dodged_by_good_a2a_ones() -> None:
    headers = signed() | {"webhook-signature": "v1,AAAA"}
    with pytest.raises(WebhookSignatureError, match="does not fit"):
        verify(headers)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"webhook-signature": None, "X-A2A-Signature": None}, "no signature"),
        ({"webhook-id": None}, "no webhook-id header"),
        ({"webhook-timestamp": None}, "no webhook-timestamp header"),
        ({"webhook-timestamp": "-5"}, "not in unix seconds"),
        ({"webhook-timestamp": "1e9"}, "not in unix seconds"),
        ({"webhook-timestamp": "²"}, "not in unix seconds"),
        ({"webhook-timestamp": "1" * 5000}, "not in unix seconds"),
        ({"webhook-signature": "v2,xx v1a,yy"}, "does not fit"),
        ({"webhook-signature": "v1,not base64 !"}, "does not fit"),
        ({"webhook-signature": "v1,"}, "does not fit"),
        ({"webhook-id": "ü€\ud800"}, "does not fit"),
        ({"webhook-signature": None, "X-A2A-Timestamp": None}, "no x-a2a-timestamp"),
        ({"webhook-signature": None, "X-A2A-Signature": "md5=ab"}, "sha256="),
        ({"webhook-signature": None, "X-A2A-Signature": "sha256=xy"}, "hexadecimal"),
        ({"webhook-signature": None, "X-A2A-Signature": "sha256="}, "does not fit"),
    ],
)
def test_hk_8_junk_is_refused_in_words(
    change: dict[str, str | None], text: str
) -> None:
    headers = {**signed(), **change}
    given = {name: value for name, value in headers.items() if value is not None}
    with pytest.raises(WebhookSignatureError, match=text):
        verify(given)


@pytest.mark.parametrize("stamp", ["yesterday", "2021-02-25T15:02:10"])
def test_signed_timestamp_that_is_none_is_refused(stamp: str) -> None:
    text = hmac.new(OLD.encode(), f"{stamp}.".encode() + BODY, "sha256").hexdigest()
    headers = {"X-A2A-Timestamp": stamp, "X-A2A-Signature": f"sha256={text}"}
    with pytest.raises(WebhookSignatureError, match="x-a2a-timestamp"):
        verify(headers, secrets=OLD)


def test_header_that_came_twice_is_refused() -> None:
    pairs = [*signed().items(), ("webhook-id", "other")]
    with pytest.raises(WebhookSignatureError, match="2 webhook-id headers"):
        verify(pairs)


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("short", "5 bytes, 24 to 64"),
        ("x" * 65, "65 bytes"),
        ("whsec_!!", "not base64"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "23 bytes"),
    ],
)
def test_hk_8_secrets_have_24_to_64_bytes(secret: str, text: str) -> None:
    with pytest.raises(UsageError, match=text) as raised:
        secret_key(secret)
    assert secret not in str(raised.value)


def test_new_secrets_differ_and_fit() -> None:
    assert new_secret() != new_secret()
    assert len(secret_key(new_secret())) == 32


@pytest.mark.parametrize("secrets", [(), ("x" * 30,) * 9])
def test_number_of_secrets_is_bounded(secrets: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="webhook secrets, 1 to 8"):
        verify(signed(), secrets=secrets)
