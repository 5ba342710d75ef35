from __future__ import annotations

import pytest

from praxis_fast.errors import UsageError
from praxis_fast.events.patterns import DEFAULT_PATTERNS, MASK, Patterns
from praxis_fast.events.redact import Redactor

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (TOKEN, "***"),
        (f"got {TOKEN}, thanks", "got ***, thanks"),
        ("Authorization: Basic dXNlcg==", "Authorization: ***"),
        ("AUTHORIZATION=Bearer abc", "AUTHORIZATION=***"),
        ("{'authorization': 'Token abc'}", "{'authorization': '***'}"),
        ("use Bearer 0123456789abcdef0==", "use Bearer ***"),
        ("https://me:pw@a.example/b?c=d", "https://***@a.example/b?c=d"),
        ("https://a/?token=abc&b=c", "https://a/?token=***&b=c"),
        ("PASSWORD='a b' next", "PASSWORD=*** next"),
        ('{"my_api_key": "a b", "n": 1}', '{"my_api_key": ***, "n": 1}'),
        ("openai.api-key=abc;", "openai.api-key=***;"),
    ],
)
def test_what_looks_sensitive_is_masked(text: str, masked: str) -> None:
    assert Patterns(DEFAULT_PATTERNS).mask(text) == masked
    assert Redactor().mask({"a": 1, "note": text}) == {"a": 1, "note": masked}


@pytest.mark.parametrize(
    "text",
    [
        "bearer authentication is needed",
        "authorization is needed",
        "https://a.example:8443/b/c@2?d=e:f@g",
        "mailto:me@a.example",
        "eyJ is how objects begin",
        "token_count=5, tokens: 7",
        "unexpected token: a brace",
        "2026-01-01T00:00:00Z /ip4/127.0.0.1/tcp/4001",
        "secretary=Ann",
    ],
)
def test_what_does_not_look_so_stays(text: str) -> None:
    data = {"a": 1, "note": text}
    assert Redactor().mask(data) is data


def test_group_that_is_kept_stays_and_all_else_goes() -> None:
    patterns = Patterns([r"(?P<kept>card )\d+", r"(x)yz"])
    assert patterns.mask("card 4711, xyz") == f"card {MASK}, {MASK}"


def test_pattern_of_a_user_is_tried_on_every_text() -> None:
    assert Redactor(patterns=["hunter2"]).mask({"a": "hunter2"}) == {"a": MASK}
    assert Redactor(patterns=[]).mask({"a": TOKEN}) == {"a": TOKEN}


def test_bad_pattern_is_refused() -> None:
    with pytest.raises(UsageError, match=r"pattern '\(' cannot be used"):
        Patterns(["("])


@pytest.mark.parametrize(
    "piece",
    [
        *("eyJ", "eyJ-", "eyJaaaaa.", "://", "://a:", "a=", "password", "secret."),
        *("-token", "authorization: ", "authorization:a ", "bearer ", "Bearer  a"),
        *('"password": "', "password=", "apiapi", "aaaaaaaa"),
    ],
)
def test_hostile_texts_cost_no_more_than_their_length(piece: str) -> None:
    # Were one of the patterns quadratic, this would not end.
    text = piece * (1024 * 1024 // len(piece))
    Patterns(DEFAULT_PATTERNS).mask(f"eyJ :// earer uthorization = {text}")


def test_tags_are_masked_but_for_bare_names() -> None:
    redactor = Redactor()
    tags = {"token": "", "api_key": "abc", "url": "https://me:pw@a/", "a": "b"}
    assert redactor.mask_tags(tags) == {
        "token": "",
        "api_key": MASK,
        "url": f"https://{MASK}@a/",
        "a": "b",
    }
