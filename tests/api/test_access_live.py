"""Who gets what over real sockets, and what happens when that changes."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import websockets

from praxis_fast.agent.access import AccessConfig, JWTConfig
from praxis_fast.api.access.access import Access
from praxis_fast.api.access.principals import PRINCIPAL
from praxis_fast.api.access.revision import Revision
from praxis_fast.api.access.rights import ROUTES, needed
from praxis_fast.api.app import make_app, visit_of
from praxis_fast.api.embedding import event_gateway
from praxis_fast.events.access.policy import EventPolicy
from praxis_fast.events.access.principal import Principal
from praxis_fast.events.access.rule import Rule
from praxis_fast.events.bus import EventBus
from praxis_fast.events.filter import EventFilter
from tests.api.test_credentials import entry, write
from tests.api.test_gateway import eventually, ws_url
from tests.api.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    SigningKey,
    bearer,
    credential,
    key_set,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import Client, FakeAgent

Connect = "Callable[..., Any]"

LISTED = tuple(credential(role, role) for role in ("guest", "user", "admin"))

# Every route of the surface, and what is needed for it.
MATRIX = {
    "health": ["GET /health", "GET /ready", "GET /access"],
    "events": ["GET /events/schema", "HEAD /events/stream", "HEAD /streaming/sse"],
    "metrics": ["GET /metrics", "GET /metrics/events", "GET /stats"],
    "network": [
        *("GET /peers", "GET /p2p/info", "GET /p2p/peers", "GET /p2p/cards"),
        "GET /p2p/tools",
    ],
    "tools": ["POST /p2p/tool"],
    "connect": ["POST /p2p/connect"],
    "webhooks": [
        *("GET /webhooks", "POST /webhooks", "DELETE /webhooks", "GET /webhooks/x"),
        *("DELETE /webhooks/x", "GET /webhooks/x/deliveries"),
        *("DELETE /webhooks/x/deliveries", "POST /webhooks/x/redrive"),
    ],
    "audit": ["GET /audit", "GET /audit/verify", "GET /audit/export"],
    "administer": ["POST /access/reload", "POST /peers", "GET /nowhere", "PUT /health"],
}
SOCKETS = ["/ws", "/ws/events", "/ws/workflow", "/events", "/streaming/websocket"]
HELD = {
    "guest": {"health", "events"},
    "user": {"health", "events", "metrics", "network", "tools"},
    "admin": set(MATRIX),
}


def guarded(**more: Any) -> Access:
    return Access(config=AccessConfig(credentials=LISTED, **more))


@pytest.fixture
async def http(serve: Callable[..., Any]) -> Any:
    server = await serve(access=guarded())
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        client.headers["x-server-url"] = server.url
        yield client


@pytest.mark.parametrize("role", ["guest", "user", "admin"])
async def test_http_5_each_role_reaches_its_routes_and_no_others(
    http: httpx.AsyncClient, role: str
) -> None:
    for right, routes in MATRIX.items():
        for route in routes:
            method, path = route.split()
            answer = await http.request(method, path, headers=bearer(role))
            is_let_in = answer.status_code not in (401, 403)
            assert is_let_in is (right in HELD[role]), (route, answer.status_code)
            if not is_let_in and method != "HEAD":
                assert answer.json()["detail"] == f"the right {right} is needed"


@pytest.mark.parametrize("shown", ["nothing", "wrong"])
async def test_http_5_nobody_reaches_any_route(
    serve: Callable[..., Any], agent: FakeAgent, shown: str
) -> None:
    server = await serve(access=guarded())
    headers = bearer("stranger") if shown == "wrong" else {}
    # Ten wrong ones a minute are looked at.
    later = {"nothing": 401, "wrong": 429}[shown]
    routes = [route for routes in MATRIX.values() for route in routes]
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        for number, route in enumerate(routes):
            method, path = route.split()
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == (401 if number < 10 else later), route
    for path in SOCKETS:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(
                ws_url(server, path), proxy=None, additional_headers=headers
            )
        assert refused.value.response.status_code == later


def test_every_route_of_the_application_is_in_the_table(agent: FakeAgent) -> None:
    door: Any = make_app(agent)
    tabled = {prefix for prefix, _, _ in ROUTES}
    for route in door._app.routes:
        head = "/" + route.path.split("/")[1]
        assert head in tabled, f"{route.path} needs a right in api/access/rights.py"
    told = {route.split()[1] for routes in MATRIX.values() for route in routes}
    for route in door._app.routes:
        path = route.path.replace("{id}", "x")
        assert path in told or path in SOCKETS, f"{path} is not in the matrix"


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        *(("GET", "/healthy", "administer"), ("GET", "/health/x", "health")),
        *(("GET", "/p2p/tools", "network"), ("GET", "/p2p/tool", "tools")),
        *(("POST", "/p2p/other", "administer"), ("GET", "/", "administer")),
        *(("GET", "//health", "administer"), ("GET", "/health/../audit", "health")),
    ],
)
def test_longest_path_that_fits_says_which_right(
    method: str, path: str, right: str
) -> None:
    assert needed(method, path) == right


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        *(("/api/stats", "/api", "/stats"), ("/stats", "", "/stats")),
        *(("/apistats", "/api", "/apistats"), ("/stats", "/api", "/stats")),
    ],
)
def test_right_is_that_of_the_route_wherever_it_is_mounted(
    path: str, root: str, expected: str
) -> None:
    scope = {"type": "http", "path": path, "root_path": root, "headers": []}
    visit = visit_of(scope | {"query_string": b"token=x"})
    assert (visit.path, visit.query, visit.right) == (expected, b"", None)
    stream = visit_of(scope | {"query_string": b"token=x"}, "events")
    assert (stream.query, stream.right) == (b"token=x", "events")


async def test_query_token_counts_for_streams_alone(serve: Callable[..., Any]) -> None:
    server = await serve(access=guarded())
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        assert (await client.get("/stats?token=admin-token")).status_code == 401
        stream = await client.head("/events/stream?token=user-token")
        assert stream.status_code == 200
    url = ws_url(server, "/ws?token=user-token")
    async with websockets.connect(url, proxy=None) as client:
        assert json.loads(await client.recv())["type"] == "chatMessage"


@pytest.mark.parametrize("token", ["admin-token", "canary"])
async def test_key_2_token_in_the_query_is_in_no_access_log(
    agent: FakeAgent, token: str
) -> None:
    # As uvicorn does, which writes down what stands there when the answer begins.
    logged: list[bytes] = []
    query = f"types=a.*&token={token}&tok%65n={token}".encode()
    for path in ("/events/stream", "/ws"):
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query,
            "headers": [(b"host", b"localhost"), (b"x-api-key", b"admin-token")],
        }

        async def send(message: Any, scope: dict[str, Any] = scope) -> None:
            if message["type"] == "http.response.start":
                logged.append(scope["query_string"])

        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        await make_app(agent, access=guarded())(scope, receive, send)
    assert logged == [b"types=a.*"] * 2


async def test_rights_of_a_role_can_be_set(serve: Callable[..., Any]) -> None:
    server = await serve(access=guarded(rights={"guest": (), "user": ("audit",)}))
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:

        async def ask(path: str, role: str) -> int:
            return (await client.get(path, headers=bearer(role))).status_code

        assert await ask("/health", "guest") == 403
        assert await ask("/audit", "user") == 404
        assert await ask("/stats", "user") == 403
        told = (await client.get("/access", headers=bearer("admin"))).json()
        assert told["name"] == "admin"
        assert "administer" in told["rights"]


async def test_http_5_failures_are_published_for_admins_without_the_credential(
    serve: Callable[..., Any], connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve(access=guarded())
    options = {"to": server, "additional_headers": bearer("admin")}
    admin: Client = await connect("/events", **options)
    user = await connect("/events", to=server, additional_headers=bearer("user"))
    with caplog.at_level(logging.DEBUG):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            agent = {"user-agent": "probe/1"}
            await client.get("/stats", headers=agent)
            shown = {"x-api-key": "canary", **agent}
            await client.get("/p2p/canary-path", headers=shown)
            await client.get("/audit", headers=bearer("user") | agent)
            metrics = await client.get("/metrics", headers=bearer("user"))
            stats = await client.get("/stats", headers=bearer("user"))
    missing, wrong, denied = await admin.receive_many(3)
    about = {"client_ip": "127.0.0.1", "user_agent": "probe/1", "suppressed": 0}
    assert missing["type"] == wrong["type"] == "authentication"
    assert missing["payload"] == {
        **about,
        "type": "none",
        "status": "failure",
        "reason": "missing",
        "path": "/stats",
    }
    assert (wrong["payload"]["type"], wrong["payload"]["path"]) == ("api_key", "/p2p")
    assert denied["type"] == "security_audit"
    assert denied["payload"]["user_id"] == "user"
    assert denied["payload"]["details"]["reason"] == "no right audit"
    server._agent.bus.publish("my.type")
    assert (await user.receive())["type"] == "my.type"
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("praxis_fast")]
    told = json.dumps([ours, missing, wrong]) + metrics.text + stats.text
    assert "canary" not in told
    assert "user-token" not in told


async def test_http_5_flood_of_failures_is_published_within_a_rate(
    serve: Callable[..., Any], agent: FakeAgent
) -> None:
    server = await serve(access=guarded())
    before = agent.bus.seq
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        for _ in range(100):
            await client.get("/stats")
    assert server.gateway.access.denied[401] == 100
    assert 30 <= agent.bus.seq - before < 60


# events


async def test_bus_1_each_role_gets_what_it_may_see(
    serve: Callable[..., Any], agent: FakeAgent, connect: Connect
) -> None:
    rules = (Rule(effect="deny", roles=frozenset({"user"}), types=frozenset({"b"})),)
    server = await serve(access=guarded(rules=rules))

    def publish() -> None:
        agent.bus.publish("a", required_role="admin")
        agent.bus.publish("b", required_role="user")
        agent.bus.publish("c", tags={"sensitivity": "internal"})
        agent.bus.publish("d")

    publish()
    seen = {"guest": ["d"], "user": ["c", "d"], "admin": ["a", "b", "c", "d"]}
    for path in ("/events?since=e1-0", "/events"):
        clients = {
            role: await connect(path, to=server, additional_headers=bearer(role))
            for role in seen
        }
        for role, client in clients.items():
            if "since" in path:
                assert (await client.receive())["type"] == "resumed"
                got = await client.receive_many(len(seen[role]))
                assert [message["type"] for message in got] == seen[role]
        publish()
        for role, client in clients.items():
            got = await client.receive_many(len(seen[role]))
            assert [message["type"] for message in got] == seen[role]
            await client.socket.close()


async def test_subscription_says_what_will_never_come(
    serve: Callable[..., Any], agent: FakeAgent, connect: Connect
) -> None:
    only = frozenset({"admin"})
    rules = (Rule(effect="allow", roles=only, types=frozenset({"task.*", "own"})),)
    server = await serve(access=guarded(rules=rules))
    agent.bus.declare("own")
    user = await connect("/ws", to=server, additional_headers=bearer("user"))
    told = await user.subscribe("own", "task.failed", "p2p.peer_connected")
    assert told["payload"]["content"] == "Subscribed to 3 event types"
    assert told["payload"]["narrowed"] == ["own", "task.failed"]
    admin = await connect("/ws", to=server, additional_headers=bearer("admin"))
    assert "narrowed" not in (await admin.subscribe("own"))["payload"]
    for name in ("own", "task.failed", "p2p.peer_connected"):
        agent.bus.publish(name)
    assert (await user.receive())["type"] == "p2p.peer_connected"
    query = "types=own,p2p.*"
    stream = Stream(server, query)
    async with stream.open(bearer("user")):
        assert (await stream.next())["payload"] == {"event_types": ["own"]}
    path, headers = f"/events?{query}", bearer("user")
    third = await connect(path, to=server, additional_headers=headers)
    told = await third.receive()
    assert (told["type"], told["payload"]) == ("narrowed", {"event_types": ["own"]})


async def test_bus_1_peers_out_of_sight_are_in_no_list_and_no_snapshot(
    serve: Callable[..., Any], connect: Connect
) -> None:
    segments = {"plant": ("10.1.0.0/16",), "office": ("10.0.0.0/16",)}
    listed = (
        credential("in", "user", segments=("office",)),
        credential("out", "user", segments=("plant",)),
    )
    config = AccessConfig(credentials=listed, segments=segments)
    server = await serve(access=Access(config=config))
    for who, count in (("in", 1), ("out", 0)):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            for path in ("/p2p/peers", "/p2p/cards", "/p2p/tools"):
                told = (await client.get(path, headers=bearer(who))).json()
                assert told["count"] == count
            peers = (await client.get("/peers", headers=bearer(who))).json()["peers"]
            assert len(peers) == count
        watcher = await connect("/ws", to=server, additional_headers=bearer(who))
        await watcher.subscribe("p2p.*", snapshot=True)
        await watcher.send("PING")
        kinds = [(await watcher.receive())["type"]]
        while kinds[-1] != "PONG":
            kinds.append((await watcher.receive())["type"])
        assert len(kinds) - 1 == 2 * count


async def test_bus_1_history_shows_peers_of_one_s_own_segments_alone(
    serve: Callable[..., Any], agent: FakeAgent, connect: Connect
) -> None:
    segments = {"plant": ("10.1.0.0/16",), "office": ("10.2.0.0/16",)}
    listed = (credential("in", "user", segments=("office",)),)
    config = AccessConfig(credentials=listed, segments=segments)
    server = await serve(access=Access(config=config))

    def publish() -> None:
        for host in ("10.1.0.1", "10.2.0.1", "192.0.2.1"):
            agent.bus.publish("seen", {"addresses": [f"/ip4/{host}/tcp/1"]})

    publish()
    client = await connect(
        "/events?since=e1-0", to=server, additional_headers=bearer("in")
    )
    assert (await client.receive())["type"] == "resumed"
    publish()
    got = await client.receive_many(4)
    assert [message["seq"] for message in got] == [2, 3, 5, 6]


class Stream:
    """An event stream by SSE, message by message."""

    def __init__(self, server: HTTPServer, query: str = "") -> None:
        self.url = f"{server.url}/events/stream?{query}"
        self._lines: Any = None

    def open(self, headers: dict[str, str]) -> Stream:
        self._headers = headers
        return self

    async def __aenter__(self) -> Stream:
        self._client = httpx.AsyncClient(trust_env=False, timeout=10)
        request = self._client.build_request("GET", self.url, headers=self._headers)
        self._response = await self._client.send(request, stream=True)
        self._lines = self._response.aiter_lines()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._response.aclose()
        await self._client.aclose()

    async def next(self) -> dict[str, Any]:
        async for line in self._lines:
            if line.startswith("data: "):
                return dict(json.loads(line[6:]))
        return {"type": "end"}


# what changes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "access.yaml"
    write(found, "credentials:\n" + entry("ann", "admin") + entry("bob", "user"))
    return found


@pytest.fixture
async def changing(serve: Callable[..., Any], path: Path) -> HTTPServer:
    server: HTTPServer = await serve(access=Access(config=AccessConfig(file=str(path))))
    return server


async def test_bus_1_revoked_client_is_closed_within_seconds(
    changing: HTTPServer, agent: FakeAgent, connect: Connect, path: Path
) -> None:
    ann = await connect("/events", to=changing, additional_headers=bearer("ann"))
    bob = await connect("/events", to=changing, additional_headers=bearer("bob"))
    stream = Stream(changing).open(bearer("ann"))
    async with stream:
        await eventually(lambda: len(changing.gateway.streams) == 1)
        agent.bus.publish("one")
        assert (await ann.receive())["type"] == "one"
        assert (await stream.next())["type"] == "one"
        write(path, "credentials:\n" + entry("bob", "user"))
        # By itself: nobody is told that the file has changed.
        assert await ann.close_code() == (4001, "credentials revoked")
        closing = await stream.next()
        assert closing["payload"] == {"reason": "credentials revoked"}
        assert await stream.next() == {"type": "end"}
    agent.bus.publish("two")
    assert [m["type"] for m in await bob.receive_many(2)] == ["one", "two"]
    with pytest.raises(websockets.InvalidStatus):
        await connect("/events", to=changing, additional_headers=bearer("ann"))


async def test_bus_1_slow_issuer_holds_no_revocation_back(
    serve: Callable[..., Any], connect: Connect, path: Path
) -> None:
    asked, done = asyncio.Event(), asyncio.Event()

    async def say_nothing(_: object, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await done.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as issuer:
        url = f"http://127.0.0.1:{issuer.sockets[0].getsockname()[1]}/keys"
        jwt = JWTConfig(issuer=ISSUER, audience=(AUDIENCE,), jwks_url=url)
        access = Access(config=AccessConfig(file=str(path), jwt=jwt))
        server = await serve(access=access)
        ann = await connect("/ws", to=server, additional_headers=bearer("ann"))
        await asked.wait()
        write(path, "credentials:\n" + entry("bob", "user"))
        assert await ann.close_code() == (4001, "credentials revoked")
        tokens = access._web_tokens
        assert tokens is not None
        # It is still being asked.
        assert (len(tokens.keys), tokens.keys.failures) == (0, 0)
        done.set()
        await tokens.keys.close()


async def test_bus_1_expiry_that_was_set_later_holds(
    serve: Callable[..., Any], connect: Connect, path: Path
) -> None:
    wall = [NOW]
    config = AccessConfig(file=str(path))
    server = await serve(access=Access(config=config, wall_clock=lambda: wall[0]))
    ann = await connect("/ws", to=server, additional_headers=bearer("ann"))
    stream = Stream(server).open(bearer("ann"))
    async with stream:
        await eventually(lambda: len(server.gateway.streams) == 1)
        until = ", expires: '2027-01-15T08:00:10Z'}"
        write(path, "credentials:\n" + entry("ann", "admin").replace("}", until))
        assert await server.gateway.access.refresh()
        assert (await ann.ask("PING"))["type"] == "PONG"
        wall[0] = NOW + 10
        assert await ann.close_code() == (4001, "credentials revoked")
        assert (await stream.next())["payload"] == {"reason": "credentials revoked"}


async def test_bus_1_expiry_holds_where_the_program_around_us_lets_in() -> None:
    wall, sent, bus = [NOW], list[bytes](), EventBus()
    access = Access(wall_clock=lambda: wall[0])
    assert not access.is_guarded

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async with event_gateway(bus, access=access) as gateway:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/events/stream",
            "headers": [],
            "query_string": b"",
            PRINCIPAL: Principal(name="ann", expires=NOW + 10),
        }
        # Nothing comes from the client, and it stays.
        stream = asyncio.create_task(gateway.streams(scope, asyncio.Event().wait, send))
        await eventually(lambda: len(gateway.streams) == 1)
        wall[0] = NOW + 10
        async with asyncio.timeout(10):
            await stream
    await bus.close()
    assert b"credentials revoked" in sent[-1]


async def test_bus_1_whom_a_policy_cannot_judge_at_the_door_leaves_nothing_behind(
    serve: Callable[..., Any],
) -> None:
    class Broken(EventPolicy):
        def filter(self, principal: Principal, wanted: EventFilter) -> EventFilter:
            raise KeyError(principal.name)

    await assert_leaves_nothing(await serve(access=Access(policy=Broken())))


async def test_bus_1_whose_types_a_policy_cannot_judge_leaves_nothing_behind(
    serve: Callable[..., Any],
) -> None:
    class Broken(EventPolicy):
        def view(self, principal: Principal) -> Any:
            raise KeyError(principal.name)

    await assert_leaves_nothing(await serve(access=Access(policy=Broken())))


async def assert_leaves_nothing(server: HTTPServer) -> None:
    url = ws_url(server, "/events?types=p2p.*")
    with pytest.raises(websockets.ConnectionClosed):
        async with websockets.connect(url, proxy=None) as client:
            await client.recv()
    assert server.gateway.clients == 0
    assert not server.gateway._sockets


def test_bus_1_whoever_a_policy_cannot_judge_is_ended_and_nobody_else() -> None:
    class Picky(EventPolicy):
        def filter(self, principal: Principal, wanted: EventFilter) -> EventFilter:
            if principal.name == "bob":
                raise KeyError(principal.name)
            return super().filter(principal, wanted)

    access = Access(policy=Picky())
    judge = Revision(access, access.policy)
    for who, reason in (("ann", ""), ("bob", "credentials revoked"), ("cid", "")):
        client = SimpleNamespace(principal=Principal(name=who), address=None)
        assert judge(client).reason == reason


async def test_bus_1_demoted_client_goes_on_with_less(
    changing: HTTPServer, agent: FakeAgent, connect: Connect, path: Path
) -> None:
    ann = await connect("/events", to=changing, additional_headers=bearer("ann"))
    agent.bus.publish("one", required_role="admin")
    assert (await ann.receive())["seq"] == 1
    write(path, "credentials:\n" + entry("ann", "user"))
    await changing.gateway.access.refresh()
    agent.bus.publish("two", required_role="admin")
    agent.bus.publish("three")
    assert (await ann.receive())["type"] == "three"
    resumed = await ann.ask("RESUME", {"since": "e1-0"})
    assert resumed["type"] == "resumed"
    assert (await ann.receive())["type"] == "three"


async def test_bus_1_demoted_stream_comes_back_for_what_it_may_see(
    changing: HTTPServer, agent: FakeAgent, path: Path
) -> None:
    stream = Stream(changing).open(bearer("ann"))
    async with stream:
        await eventually(lambda: len(changing.gateway.streams) == 1)
        agent.bus.publish("one", required_role="admin")
        first = await stream.next()
        write(path, "credentials:\n" + entry("ann", "user"))
        assert (await stream.next())["payload"] == {"reason": "access changed"}
        assert await stream.next() == {"type": "end"}
    agent.bus.publish("two", required_role="admin")
    agent.bus.publish("three")
    again = Stream(changing).open(
        bearer("ann") | {"Last-Event-ID": f"e1-{first['seq']}"}
    )
    async with again:
        assert (await again.next())["type"] == "three"


async def test_bus_1_rule_about_networks_holds_for_clients_there_before(
    changing: HTTPServer, agent: FakeAgent, connect: Connect, path: Path
) -> None:
    bob = await connect("/events", to=changing, additional_headers=bearer("bob"))
    rules = "rules: [{effect: deny, networks: [127.0.0.0/8], types: [hidden]}]\n"
    write(path, rules + "credentials:\n" + entry("bob", "user"))
    stream = Stream(changing).open(bearer("bob"))
    async with stream:
        await eventually(lambda: len(changing.gateway.streams) == 1)
        await changing.gateway.access.refresh()
        assert (await stream.next())["payload"] == {"reason": "access changed"}
    agent.bus.publish("hidden")
    agent.bus.publish("open")
    assert (await bob.receive())["type"] == "open"


async def test_bus_1_what_was_read_later_holds(
    changing: HTTPServer, path: Path
) -> None:
    access = changing.gateway.access
    for number in range(20):
        role = ("user", "admin")[number % 2]
        write(path, "credentials:\n" + entry("bob", role))
        await asyncio.gather(*[access.refresh(is_forced=True) for _ in range(3)])
        (bob,) = access._standing.credentials._known.values()
        assert bob.roles == {role}


async def test_bus_1_reload_is_asked_for_by_admins(
    changing: HTTPServer, path: Path
) -> None:
    async with httpx.AsyncClient(base_url=changing.url, trust_env=False) as client:
        for who, status in (("bob", 403), ("ann", 200)):
            answer = await client.post("/access/reload", headers=bearer(who))
            assert answer.status_code == status
        assert answer.json() == {"reloaded": True}
        write(path, "credentials:\n" + entry("bob", "admin"))
        answer = await client.post("/access/reload", headers=bearer("ann"))
        assert answer.json() == {"reloaded": True}
        answer = await client.post("/access/reload", headers=bearer("ann"))
        assert answer.status_code == 401


async def test_bus_1_web_token_opens_streams_until_it_expires(
    serve: Callable[..., Any], connect: Connect, tmp_path: Path
) -> None:
    key = SigningKey("one")
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set(key))
    jwt = JWTConfig(issuer=ISSUER, audience=(AUDIENCE,), jwks_file=str(keys), leeway=0)
    wall = [NOW]
    access = Access(config=AccessConfig(jwt=jwt), wall_clock=lambda: wall[0])
    server = await serve(access=access)
    shown = {"Authorization": f"Bearer {key.sign(roles=['admin'])}"}
    # The first one finds no keys yet, and waits for them.
    ann = await connect("/ws", to=server, additional_headers=shown)
    assert (await ann.ask("PING"))["type"] == "PONG"
    url = ws_url(server, "/ws")
    other = {"Authorization": f"Bearer {SigningKey('two').sign()}"}
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url, proxy=None, additional_headers=other)
    assert refused.value.response.status_code == 401
    stream = Stream(server).open(shown)
    async with stream:
        await eventually(lambda: len(server.gateway.streams) == 1)
        wall[0] += 600
        assert await ann.close_code() == (4001, "credentials revoked")
        assert (await stream.next())["payload"] == {"reason": "credentials revoked"}
