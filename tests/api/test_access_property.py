"""Nobody ever gets an event they may not see, and everybody all they may (BUS-1).

Events, subscriptions, resumes and clients that stop reading, while roles, rules and
credentials change: over the real gateway, with connections made of memory. The model
knows nothing of policies or filters. `PRAXIS_TEST_EXAMPLES` makes it run longer.
"""

from __future__ import annotations

import asyncio
import json
import os
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from praxis_fast.agent.access import AccessConfig, AccessFile
from praxis_fast.api import replay
from praxis_fast.api.access.access import Access, Visit
from praxis_fast.api.access.principals import PRINCIPAL
from praxis_fast.api.gateway import EventGateway
from praxis_fast.api.sse import EXTENSION
from praxis_fast.events.access.principal import Principal
from praxis_fast.events.access.rule import Rule
from praxis_fast.events.bus import EventBus
from praxis_fast.limits import EventLimits, JournalLimits, Limits
from tests.api.tokens import credential

EXAMPLES = int(os.environ.get("PRAXIS_TEST_EXAMPLES", "60"))

NAMES = ("ann", "bob", "cy")
HELD = {
    "guest": {"guest"},
    "user": {"guest", "user"},
    "operator": {"guest", "user", "operator"},
    "admin": {"guest", "user", "operator", "admin"},
}
CLEARED = {
    "guest": {"public"},
    "user": {"public", "internal"},
    "operator": {"public", "internal"},
    "admin": {"public", "internal", "secret", "unheard of"},
}
SEGMENTS = {"bob": {"plant"}}


def names(*texts: str) -> frozenset[str]:
    return frozenset(texts)


# Each rule, and what it takes from whom: (name, role, event) -> hidden.
RULES: tuple[tuple[Rule, Any], ...] = (
    (
        Rule(effect="deny", roles=names("user"), types=names("task.*")),
        lambda name, role, event: role == "user" and event.type.startswith("task."),
    ),
    (
        Rule(effect="deny", names=names("a*"), peers=names("p1")),
        lambda name, role, event: name == "ann" and event.peer_id == "p1",
    ),
    (
        Rule(effect="allow", roles=names("operator"), tags=names("ops")),
        lambda name, role, event: (
            role not in ("operator", "admin") and "ops" in event.tags
        ),
    ),
    (
        Rule(effect="deny", roles=names("guest", "user"), segments=names("office")),
        lambda name, role, event: (
            role in ("guest", "user") and event.tags.get("segment") == "office"
        ),
    ),
)


class Transport(asyncio.Transport):
    """A connection; what is in `received` has reached the client."""

    def __init__(self, on_data: Any) -> None:
        super().__init__()
        self.protocol: Any = None
        self.is_stuck = False
        self.is_dead = False
        self._waiting: list[bytes] = []
        self._on_data = on_data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        assert high == 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._waiting))

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_dead

    def write(self, data: bytes) -> None:
        if self.is_dead or not data:
            return
        if not self.is_stuck:
            self._on_data(data)
            return
        self._waiting.append(data)
        if len(self._waiting) == 1:
            self.protocol.pause_writing()

    def read_again(self) -> None:
        self.is_stuck = False
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._on_data(data)
        if waiting and not self.is_dead:
            self.protocol.resume_writing()

    def abort(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            self._waiting.clear()
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    close = abort


class Watcher:
    """What one client has got, held against what it may get."""

    def __init__(self, model: Model, name: str, types: frozenset[str] | None) -> None:
        self.model = model
        self.name = name
        self.types = types
        self.got: set[int] = set()
        self.lost: set[int] = set()
        self.owed: set[int] = set()
        self.last = 0
        self.is_over = False
        self.faults: list[str] = []

    def wants(self, event: Any) -> bool:
        return self.types is None or event.type in self.types

    def publish(self, event: Any) -> None:
        if not self.is_over and self.wants(event) and self.may_see(event):
            self.owed.add(event.seq)

    def may_see(self, event: Any) -> bool:
        return self.model.may_see(self.name, event)

    def on_message(self, message: dict[str, Any]) -> None:
        kind, payload = message["type"], message.get("payload", {})
        if kind == "gap":
            self.lost |= set(range(payload["from"], payload["to"] + 1))
        elif kind == "reset":
            self.owed = {seq for seq in self.owed if seq > payload["seq"]}
            self.last = payload["seq"]
        elif kind == "closing":
            self.is_over = True
        elif "seq" in message:
            event = self.model.events[message["seq"]]
            # Told later: what is raised in here would only be a loop's log line.
            if not self.may_see(event):
                self.faults.append(f"{self.name} got {event}")
            if event.seq <= self.last:
                self.faults.append(f"{event.seq} after {self.last}")
            self.last = event.seq
            self.got.add(event.seq)

    def check(self) -> None:
        assert not self.faults
        missing = self.owed - self.got - self.lost
        assert self.is_over or not missing, f"{self.name} misses {missing}"


class Connections(set[Any]):
    """Tells when a client is taken out."""

    def __init__(self, on_lost: Any) -> None:
        super().__init__()
        self.on_lost = on_lost

    def discard(self, client: Any) -> None:
        self.on_lost()


class Socket(Watcher):
    """A client by WebSocket."""

    def __init__(self, *args: Any, principal: Principal, since: int | None) -> None:
        super().__init__(*args)
        self.transport = Transport(self._on_data)
        self._buf = b""
        query = "" if self.types is None else f"types={','.join(self.types)}"
        if since is not None:
            query += f"&since=e-{since}"
            self.begin_at(since)
        self.client = self.model.gateway.enter(
            "/events",
            self.transport,
            Connections(self._on_lost),
            query=query,
            principal=principal,
        )

    def begin_at(self, since: int) -> None:
        self.last = since
        self.owed = {
            seq
            for seq, event in self.model.events.items()
            if seq > since and self.wants(event) and self.may_see(event)
        }

    def resume(self, since: int) -> None:
        self.got.clear()
        self.lost.clear()
        self.begin_at(since)
        wanted = self.client._conversation.wanted
        self.model.gateway.resume(self.client, f"e-{since}", wanted)

    @property
    def is_settled(self) -> bool:
        return (
            self.transport.is_stuck or self.client not in self.model.gateway.rejoining
        )

    def _on_lost(self) -> None:
        self.is_over = True

    def _on_data(self, data: bytes) -> None:
        self._buf += data
        while len(self._buf) >= 2:
            size, at = self._buf[1], 2
            if size >= 126:
                at = 4 if size == 126 else 10
                size = int.from_bytes(self._buf[2:at], "big")
            if len(self._buf) < at + size:
                return
            first, payload = self._buf[0], self._buf[at : at + size]
            self._buf = self._buf[at + size :]
            if first == 0x81:
                self.on_message(json.loads(payload))
            elif first == 0x88:
                self.is_over = True


class Stream(Watcher):
    """A client by Server-Sent Events; the connection is an ASGI server's."""

    def __init__(self, *args: Any, principal: Principal, since: int | None) -> None:
        super().__init__(*args)
        self._pieces: list[bytes] = []
        self._buf = b""
        self._can_go = asyncio.Event()
        self._can_go.set()
        self._gone = asyncio.Event()
        self.transport = Transport(self._on_data)
        self.transport.protocol = SimpleNamespace(
            connection_lost=self._on_lost, pause_writing=lambda: None
        )
        query = "" if self.types is None else f"types={','.join(self.types)}"
        if since is not None:
            query += f"&since=e-{since}"
            Socket.begin_at(self, since)  # type: ignore[arg-type]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/events/stream",
            "query_string": query.encode(),
            "headers": [],
            "extensions": {EXTENSION: {"transport": self.transport}},
            PRINCIPAL: principal,
        }
        streams = self.model.gateway.streams
        self.task = asyncio.ensure_future(streams(scope, self._receive, self._send))
        self.task.add_done_callback(self._on_end)

    is_settled = True

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.transport.write(message.get("body", b""))
        while self.transport.get_write_buffer_size():
            self._can_go.clear()
            await self._can_go.wait()

    def read_again(self) -> None:
        self.transport.protocol.resume_writing = lambda: None
        self.transport.read_again()
        self._can_go.set()

    def _on_lost(self, error: object) -> None:
        self.is_over = True
        self._gone.set()
        self._can_go.set()

    def _on_end(self, task: Any) -> None:
        task.result()
        self.is_over = True

    def _on_data(self, data: bytes) -> None:
        self._buf += data
        *frames, self._buf = self._buf.split(b"\n\n")
        for frame in frames:
            for line in frame.splitlines():
                if line.startswith(b"data: "):
                    self.on_message(json.loads(line[6:]))


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["task.a", "b", "c"]),
            "required_role": st.sampled_from(
                [None, None, "user", "operator", "admin", "strange"]
            ),
            "peer_id": st.sampled_from([None, "p1"]),
            "tags": st.fixed_dictionaries(
                {},
                optional={
                    "ops": st.just(""),
                    "segment": st.sampled_from(["plant", "office"]),
                    "sensitivity": st.sampled_from(
                        ["public", "internal", "secret", "unheard of"]
                    ),
                },
            ),
        }
    ),
    min_size=1,
    max_size=12,
)


class Model(RuleBasedStateMachine):
    """The world: who is what, which rules hold, what was published to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.roles: dict[str, str | None] = dict.fromkeys(NAMES, "user")
        self.active: set[int] = set()
        self.events: dict[int, Any] = {}
        self.watchers: list[Any] = []
        self.runner = asyncio.Runner()
        self.runner.run(self._start())

    async def _start(self) -> None:
        self.bus = EventBus(epoch="e")
        self.bus.declare("task.a", "b", "c")
        config = AccessConfig(roles={"operator": ("user",)}, anonymous=True)
        self.access = Access(config=config)
        self._change()
        limits = Limits(
            events=EventLimits(max_queued_events=6),
            journal=JournalLimits(max_events=40),
        )
        self.gateway = EventGateway(self.bus, self.access, limits=limits)

    def teardown(self) -> None:
        self.runner.run(self._stop())
        self.runner.close()

    async def _stop(self) -> None:
        for watcher in self.watchers:
            await self._read(watcher)
        await self._settle()
        self._check()
        closing = asyncio.ensure_future(self.gateway.close(timeout=0.01))
        await closing
        await self.bus.close()

    def may_see(self, name: str, event: Any) -> bool:
        """The oracle."""
        role = self.roles[name]
        if role is None:
            return False
        if event.required_role not in (None, *HELD[role]):
            return False
        if event.tags.get("sensitivity", "public") not in CLEARED[role]:
            return False
        segment = event.tags.get("segment")
        if segment is not None and segment not in SEGMENTS.get(name, {segment}):
            return False
        return not any(RULES[number][1](name, role, event) for number in self.active)

    def _change(self) -> None:
        """Let roles and rules of the model hold, as a changed file does."""
        listed = tuple(
            credential(name, role, segments=tuple(SEGMENTS[name]))
            if name in SEGMENTS
            else credential(name, role)
            for name, role in self.roles.items()
            if role is not None
        )
        rules = tuple(RULES[number][0] for number in sorted(self.active))
        more = AccessFile(credentials=listed, rules=rules)
        self.access._standing = self.access._stand(more)
        for listener in self.access.on_change:
            listener()
        for watcher in self.watchers:
            # What is hidden while a client is on its way to it is not owed any more.
            watcher.owed = {
                seq
                for seq in watcher.owed
                if seq in watcher.got or watcher.may_see(self.events[seq])
            }

    def _principal(self, name: str) -> Principal:
        headers = [(b"host", b"localhost"), (b"x-api-key", f"{name}-token".encode())]
        found = self.access.judge(Visit(headers=headers, path="/events"))
        assert isinstance(found, Principal)
        return found

    async def _settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)
        while not all(w.is_over or w.is_settled for w in self.watchers):
            await asyncio.sleep(0)
        for _ in range(12):
            await asyncio.sleep(0)

    def _check(self) -> None:
        for watcher in self.watchers:
            assert not watcher.faults
            if not watcher.transport.is_stuck:
                watcher.check()
        self.watchers = [w for w in self.watchers if not w.is_over]

    async def _read(self, watcher: Any) -> None:
        if isinstance(watcher, Stream):
            watcher.read_again()
        else:
            watcher.transport.read_again()

    def _run(self, step: Any, *, settles: bool = True) -> None:
        async def run() -> None:
            step()
            if settles:
                await self._settle()

        self.runner.run(run())
        if settles:
            self._check()

    @rule(
        name=st.sampled_from(NAMES),
        types=st.sampled_from([None, names("task.a", "b"), names("c")]),
        kind=st.sampled_from([Socket, Socket, Stream]),
        back=st.sampled_from([None, None, 0, 3, 20, 100]),
        settles=st.booleans(),
    )
    def connect(
        self, name: str, types: Any, kind: Any, back: int | None, settles: bool
    ) -> None:
        if self.roles[name] is None:
            return
        since = None if back is None else max(0, self.bus.seq - back)

        def step() -> None:
            made = kind(self, name, types, principal=self._principal(name), since=since)
            self.watchers.append(made)

        self._run(step, settles=settles)

    def _publish(self, events: list[dict[str, Any]]) -> None:
        for fields in events:
            event = self.bus.publish(**fields)
            self.events[event.seq] = event
            for watcher in self.watchers:
                watcher.publish(event)

    @rule(events=EVENTS, settles=st.booleans())
    def publish(self, events: list[dict[str, Any]], settles: bool) -> None:
        self._run(lambda: self._publish(events), settles=settles)

    @rule(
        before=EVENTS,
        name=st.sampled_from(NAMES),
        role=st.sampled_from(list(HELD)),
        number=st.sampled_from([None, *range(len(RULES))]),
        after=EVENTS,
    )
    def change_amid_events(
        self,
        before: list[dict[str, Any]],
        name: str,
        role: str,
        number: int | None,
        after: list[dict[str, Any]],
    ) -> None:
        """All in one step of the loop: what is queued has not been written yet."""

        def step() -> None:
            self._publish(before)
            self.roles[name] = role
            self.active ^= set() if number is None else {number}
            self._change()
            self._publish(after)

        self._run(step)

    @rule(
        name=st.sampled_from(NAMES),
        role=st.sampled_from([None, *HELD]),
        settles=st.booleans(),
    )
    def grant(self, name: str, role: str | None, settles: bool) -> None:
        def step() -> None:
            self.roles[name] = role
            self._change()

        self._run(step, settles=settles)

    @rule(number=st.integers(0, len(RULES) - 1), settles=st.booleans())
    def change_rules(self, number: int, settles: bool) -> None:
        def step() -> None:
            self.active ^= {number}
            self._change()

        self._run(step, settles=settles)

    @precondition(lambda self: self.watchers)
    @rule(data=st.data())
    def stop_reading(self, data: st.DataObject) -> None:
        watcher = data.draw(st.sampled_from(self.watchers))
        watcher.transport.is_stuck = True

    @precondition(lambda self: self.watchers)
    @rule(data=st.data(), settles=st.booleans())
    def read_again(self, data: st.DataObject, settles: bool) -> None:
        watcher = data.draw(st.sampled_from(self.watchers))
        self.runner.run(self._read(watcher))
        self._run(lambda: None, settles=settles)

    @precondition(lambda self: any(isinstance(w, Socket) for w in self.watchers))
    @rule(data=st.data(), back=st.integers(0, 60), settles=st.booleans())
    def resume(self, data: st.DataObject, back: int, settles: bool) -> None:
        sockets = [w for w in self.watchers if isinstance(w, Socket)]
        watcher = data.draw(st.sampled_from(sockets))
        since = max(0, self.bus.seq - back)
        if watcher.is_over or watcher.transport.is_stuck:
            return
        # What was on its way comes before the answer.
        self._run(lambda: None)
        if not watcher.is_over:
            self._run(lambda: watcher.resume(since), settles=settles)


@pytest.mark.parametrize("kind", [Socket, Stream])
@pytest.mark.parametrize("role", [None, "guest"])
def test_bus_1_what_a_client_did_not_read_in_time_is_taken_back(
    kind: Any, role: str | None
) -> None:
    model = Model()

    def connect() -> None:
        ann = model._principal("ann")
        model.watchers.append(kind(model, "ann", None, principal=ann, since=None))

    def publish() -> None:
        for _ in range(3):
            event = model.bus.publish("b", required_role="user")
            model.events[event.seq] = event

    def change() -> None:
        model.roles["ann"] = role
        model._change()

    model._run(connect)
    (watcher,) = model.watchers
    watcher.transport.is_stuck = True
    model._run(publish)
    assert watcher.transport.get_write_buffer_size()
    model._run(change)
    assert watcher.transport.is_dead
    model.teardown()
    assert not watcher.got


@pytest.mark.parametrize("role", ["guest", "admin"])
def test_bus_1_what_waits_when_rights_change_is_a_gap(role: str) -> None:
    model = Model()

    def connect() -> None:
        ann = model._principal("ann")
        model.watchers.append(Socket(model, "ann", None, principal=ann, since=None))

    def publish_and_change() -> None:
        for _ in range(3):
            event = model.bus.publish("b", required_role="user")
            model.events[event.seq] = event
        model.roles["ann"] = role
        model._change()

    model._run(connect)
    (watcher,) = model.watchers
    model._run(publish_and_change)
    assert (watcher.got, watcher.lost) == (set(), {1, 2, 3})
    model.teardown()


def test_bus_1_nobody_gets_what_they_may_not_see_and_all_get_what_they_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that a client is on its way from the past for more than one turn.
    monkeypatch.setattr(replay, "PAGE", 3)
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            # Explaining traces every line: ten times slower.
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
