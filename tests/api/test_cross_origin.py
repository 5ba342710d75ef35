"""What browsers ask and are told before they show our answers to a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FRIEND = "https://dash.example"
FOREIGN = "https://evil.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest.fixture
async def http(serve: Callable[..., Any]) -> AsyncIterator[httpx.AsyncClient]:
    """Of a server that wants a token and lets in the friend's pages."""
    server = await serve(token="secret", allowed_origins=[FRIEND])
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


def shown_to(answer: httpx.Response) -> str | None:
    return answer.headers.get("access-control-allow-origin")


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/events/schema", "/ws"])
@pytest.mark.parametrize("token", ["secret", "wrong"])
async def test_every_answer_is_shown_to_a_friendly_page(
    http: httpx.AsyncClient, path: str, token: str
) -> None:
    headers = {"Origin": FRIEND, "Authorization": f"Bearer {token}"}
    answer = await http.get(path, headers=headers)
    assert (answer.status_code == 401) is (token == "wrong")
    assert (shown_to(answer), answer.headers["vary"]) == (FRIEND, "Origin")
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_stream_is_shown_to_a_friendly_page(http: httpx.AsyncClient) -> None:
    url = "/events/stream?token=secret"
    async with http.stream("GET", url, headers={"Origin": FRIEND}) as answer:
        assert shown_to(answer) == FRIEND
        assert answer.headers["content-type"] == "text/event-stream"


async def test_nothing_is_said_to_programs(http: httpx.AsyncClient) -> None:
    answer = await http.get("/health", headers={"Authorization": "Bearer secret"})
    assert (answer.status_code, shown_to(answer)) == (200, None)
    assert "vary" not in answer.headers


async def test_a_friendly_page_may_ask_with_a_credential(
    http: httpx.AsyncClient,
) -> None:
    headers = {"Origin": FRIEND, **PREFLIGHT}
    answer = await http.options("/p2p/tool", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert shown_to(answer) == FRIEND
    told = answer.headers["access-control-allow-headers"]
    assert told == "authorization,content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]


async def test_ws_2_a_foreign_page_is_shown_nothing(http: httpx.AsyncClient) -> None:
    headers = {"Origin": FOREIGN, "Authorization": "Bearer secret"}
    for answer in (
        await http.get("/health", headers=headers),
        await http.options("/p2p/tool", headers=headers | PREFLIGHT),
        await http.get("/health", headers=headers | {"Origin": f"{FRIEND}.evil"}),
    ):
        assert (answer.status_code, shown_to(answer)) == (403, None)


async def test_options_that_is_no_preflight_needs_a_credential(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.options("/p2p/tool", headers={"Origin": FRIEND})
    assert answer.status_code == 401
    answer = await http.options("/p2p/tool", headers=PREFLIGHT)
    assert answer.status_code == 401


async def test_ws_2_a_name_that_was_rebound_to_us_is_shown_nothing(
    http: httpx.AsyncClient,
) -> None:
    headers = {"Origin": FOREIGN, "Host": "evil.example", **PREFLIGHT}
    answer = await http.options("/p2p/tool", headers=headers)
    assert (answer.status_code, shown_to(answer)) == (403, None)
