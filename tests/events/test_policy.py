"""Who may see what: roles, attributes, rules, segments (BUS-1)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from praxis_fast.core import Matcher
from praxis_fast.errors import UsageError
from praxis_fast.events.access.policy import EventPolicy, VisibleFilter
from praxis_fast.events.access.principal import Attributes, Principal
from praxis_fast.events.access.roles import Roles
from praxis_fast.events.access.rule import Rule, Segments
from praxis_fast.events.access.view_matcher import ViewMatcher
from praxis_fast.events.event import Event, EventFilter

ROLES = Roles({"operator": ["user"], "auditor": []})


def who(*roles: str, name: str = "ann", address: str | None = None, **more: Any) -> Any:
    return Principal(
        name=name,
        roles=frozenset(roles),
        attributes=Attributes(**more),
        address=address,
    )


def event(kind: str = "task.started", **fields: Any) -> Event:
    return Event(kind, **fields)


def allow(*roles: str, **more: Any) -> Rule:
    return rule("allow", *roles, **more)


def deny(*roles: str, **more: Any) -> Rule:
    return rule("deny", *roles, **more)


def rule(effect: Any, *roles: str, **more: Any) -> Rule:
    names = {key: frozenset(value) for key, value in more.items()}
    return Rule(effect=effect, roles=frozenset(roles) if roles else None, **names)


def sees(principal: Principal, happened: Event, *rules: Rule, **more: Any) -> bool:
    """What the policy says; its filters, alone and in matchers, must say the same."""
    policy = EventPolicy(roles=ROLES, rules=rules, **more)
    answer = policy.may_see(principal, happened)
    chosen = policy.filter(principal, EventFilter())
    assert chosen.matches(happened) is answer
    for matcher in (Matcher(), ViewMatcher()):
        group = matcher.add("key", chosen)
        assert (group in matcher.match(happened)) is answer
    return answer


@pytest.mark.parametrize(
    ("role", "required", "expected"),
    [
        *(("guest", None, True), ("guest", "guest", True), ("guest", "user", False)),
        *(("user", "user", True), ("user", "operator", False)),
        *(("operator", "user", True), ("operator", "operator", True)),
        *(("operator", "admin", False), ("auditor", "guest", False)),
        *(("admin", "operator", True), ("admin", "admin", True)),
        *(("stranger", "guest", False), ("stranger", None, True)),
        *(("admin", "nobody knows", False), ("user", "nobody knows", False)),
    ],
)
def test_bus_1_required_role_is_held_or_the_event_is_hidden(
    role: str, required: str | None, expected: bool
) -> None:
    assert sees(who(role), event(required_role=required)) is expected


def test_bus_1_several_roles_count_together() -> None:
    both = who("auditor", "user")
    assert sees(both, event(required_role="user"))
    assert sees(both, event(required_role="auditor"))


@pytest.mark.parametrize("roles", [{"a": ["b"], "b": ["a"]}, {"a": ["a"]}])
def test_roles_in_a_ring_hold_each_other(roles: dict[str, list[str]]) -> None:
    assert Roles(roles).held_by(["a"]) == roles.keys()


def test_role_of_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="'a' inherits from unknown 'b'"):
        Roles({"a": ["b"]})


@pytest.mark.parametrize(
    ("more", "happened", "expected"),
    [
        ({"types": ("task.*",)}, event(), True),
        ({"types": ("p2p.*",)}, event(), False),
        ({"types": ()}, event(), False),
        ({"denied_types": ("task.*",)}, event(), False),
        ({"denied_types": ("task.s",)}, event(), True),
        ({"tags": ("lan",)}, event(tags={"lan": "x"}), True),
        ({"tags": ("lan:y",)}, event(tags={"lan": "x"}), False),
        ({"tags": ("lan",)}, event(), False),
        ({"sources": ("agent.*",)}, event(source="agent.a"), True),
        ({"sources": ("agent.*",)}, event(source="other"), False),
        ({"peers": ("p1",)}, event(peer_id="p1"), True),
        ({"peers": ("p1",)}, event(peer_id="p2"), False),
        ({"peers": ("p1",)}, event(), True),
        ({"domains": ("a.example",)}, event(tags={"domain": "x.A.example"}), True),
        ({"domains": ("a.example",)}, event(tags={"domain": "ba.example"}), False),
        ({"domains": ("a.example",)}, event(), True),
        ({"segments": ("plant-*",)}, event(tags={"segment": "plant-1"}), True),
        ({"segments": ("plant-*",)}, event(tags={"segment": "office"}), False),
        ({"segments": ("plant-*",)}, event(), True),
        ({"clearance": "secret"}, event(tags={"sensitivity": "secret"}), True),
        ({"clearance": "public"}, event(tags={"sensitivity": "internal"}), False),
        ({"clearance": "public"}, event(), True),
        ({"clearance": "secret"}, event(tags={"sensitivity": "cosmic"}), False),
        ({"clearance": "cosmic"}, event(tags={"sensitivity": "public"}), False),
    ],
)
@pytest.mark.parametrize("role", ["user", "admin"])
def test_bus_1_attributes_narrow_the_view(
    role: str, more: dict[str, Any], happened: Event, expected: bool
) -> None:
    assert sees(who(role, **more), happened) is expected


@pytest.mark.parametrize(
    ("role", "level", "expected"),
    [
        *(("guest", "public", True), ("guest", "internal", False)),
        *(("user", "internal", True), ("operator", "confidential", False)),
        *(("auditor", "public", True), ("auditor", "internal", False)),
        *(("admin", "secret", True), ("admin", "cosmic", True)),
    ],
)
def test_bus_1_roles_have_a_clearance(role: str, level: str, expected: bool) -> None:
    assert sees(who(role), event(tags={"sensitivity": level})) is expected


def test_sensitivity_hides_nothing_without_levels() -> None:
    assert sees(who("guest"), event(tags={"sensitivity": "secret"}), levels=())


@pytest.mark.parametrize(
    ("principal", "rules", "expected"),
    [
        (who("user"), [deny(types=["task.*"])], False),
        (who("user"), [deny(types=["p2p.*"])], True),
        (who("user"), [deny("guest", types=["task.*"])], True),
        (who("admin"), [deny("user", types=["task.*"])], True),
        (who("user"), [deny("user"), allow("user")], False),
        (who("user"), [allow("admin", types=["task.*"])], False),
        (who("admin"), [allow("user", types=["task.*"])], True),
        (who("user"), [allow("admin"), allow("user", types=["task.*"])], True),
        (who("user"), [allow("admin", types=["p2p.*"])], True),
        (who("user", name="bob-2"), [deny(names=["bob-*"])], False),
        (who("user"), [deny(names=["bob-*"])], True),
        (who("user", address="10.1.2.3"), [allow(networks=["10.0.0.0/8"])], True),
        (
            who("user", address="::ffff:10.1.2.3"),
            [deny(networks=["10.0.0.0/8"])],
            False,
        ),
        (who("user", address="fe80::1%eth0"), [deny(networks=["fe80::/10"])], False),
        (who("user", address="192.0.2.1"), [allow(networks=["10.0.0.0/8"])], False),
        (who("user"), [allow(networks=["10.0.0.0/8"])], False),
    ],
)
def test_bus_1_rules_allow_and_deny(
    principal: Principal, rules: list[Rule], expected: bool
) -> None:
    assert sees(principal, event(), *rules) is expected


@pytest.mark.parametrize(
    "conditions",
    [
        {"types": ["task.*"]},
        {"tags": ["env:prod", "lan"]},
        {"sources": ["agent.*"]},
        {"peers": ["p1"]},
        {"tasks": ["t1"]},
        {"segments": ["plant"]},
        {"domains": ["example"]},
        {"sensitivity": ["public", "internal"]},
    ],
)
def test_rule_covers_when_every_condition_holds(
    conditions: dict[str, list[str]],
) -> None:
    tags = {"env": "prod", "lan": "", "segment": "plant", "domain": "a.example"}
    full = event(
        tags=tags | {"sensitivity": "internal"},
        source="agent.a",
        peer_id="p1",
        task_id="t1",
    )
    assert not sees(who("user"), full, deny(**conditions))
    assert sees(who("user"), event("p2p.x"), deny(**conditions))


def test_segments_come_from_the_addresses_of_a_peer() -> None:
    segments = {"plant": ["10.1.0.0/16", "fd00::/8"], "office": ["10.2.0.0/16"]}
    known = Segments(segments)
    told = {
        "/ip4/10.1.2.3/tcp/1": {"plant"},
        "/ip6/fd00::1/udp/1/quic-v1": {"plant"},
        "10.2.0.1": {"office"},
        "/dns4/example/tcp/1": set(),
        "": set(),
    }
    for address, expected in told.items():
        assert known.of(event(data={"addresses": [address]})) == expected
        assert known.of(event(data={"addr": address})) == expected
    assert known.of(event(data={"addresses": {"10.1.2.3": 1}})) == set()
    found = event(data={"addresses": ["/ip4/10.1.2.3/tcp/1"]})
    assert not sees(who("user", segments=("office",)), found, segments=segments)
    assert sees(who("user", segments=("plant",)), found, segments=segments)
    tagged = event(data=found.data, tags={"segment": "office"})
    assert sees(who("user", segments=("office",)), tagged, segments=segments)


def test_wanted_and_visible_must_both_hold() -> None:
    policy = EventPolicy(rules=[deny(types=["task.failed"])])
    chosen = policy.filter(who("user"), EventFilter(event_types={"task.*"}))
    kinds = ["task.started", "task.failed", "p2p.x"]
    assert [chosen.matches(event(kind)) for kind in kinds] == [True, False, False]


def test_filter_is_compiled_when_roles_are_all_there_is() -> None:
    wanted = EventFilter(event_types={"a"})
    plain = EventPolicy()
    assert type(plain.filter(who("admin"), wanted)) is EventFilter
    assert plain.filter(who("admin"), wanted).role == "admin"
    assert type(plain.filter(who("user"), wanted)) is VisibleFilter
    assert type(EventPolicy(levels=()).filter(who("user"), wanted)) is EventFilter
    assert EventPolicy(levels=()).filter(who("stranger"), wanted).role == "nobody"
    assert type(EventPolicy(roles=ROLES).filter(who("admin"), wanted)) is VisibleFilter


def test_equal_views_share_a_group() -> None:
    policy = EventPolicy(rules=[deny("user", types=["a"])])
    matcher = ViewMatcher()
    wanted = EventFilter(event_types={"b"})
    groups = {
        matcher.add(name, policy.filter(who("user", name=name), wanted))
        for name in ("ann", "bob", "cy")
    }
    assert len(groups) == 1
    other = matcher.add("dan", policy.filter(who("user", peers=("p",)), wanted))
    assert other not in groups


def test_view_matcher_keeps_one_filter_for_each_key() -> None:
    policy = EventPolicy(rules=[deny("user", types=["a"])])
    user, admin = who("user"), who("admin")
    matcher = ViewMatcher()
    compiled = matcher.match
    for principal in (user, admin, user, who("user", peers=("p",)), user):
        matcher.add("k", policy.filter(principal, EventFilter()))
        assert len(matcher) == 1
        seen = [bool(matcher.match(event(kind))) for kind in "ab"]
        assert seen == [principal is admin, True]
    matcher.discard("k")
    matcher.discard("k")
    assert len(matcher) == 0
    assert matcher.match(event("b")) == ()
    assert matcher.match == compiled


def test_hidden_types_are_named() -> None:
    policy = EventPolicy(
        rules=[
            deny("user", types=["a.*"]),
            allow("admin", types=["b"]),
            deny("user", types=["c"], tags=["x"]),
        ]
    )
    names = ["a.1", "b", "c", "d"]
    assert policy.hidden(who("user"), names) == ["a.1", "b"]
    assert policy.hidden(who("admin"), names) == []
    assert policy.hidden(who("admin", types=("a.*", "d")), names) == ["b", "c"]


def test_policy_of_users_own_decides_event_by_event() -> None:
    class OwnTasks(EventPolicy):
        def may_see(self, principal: Principal, event: Event) -> bool:
            return event.task_id in (None, principal.name)

    policy = OwnTasks()
    chosen = policy.filter(who("admin"), EventFilter(event_types={"task.*"}))
    assert chosen.matches(event(task_id="ann"))
    assert not chosen.matches(event(task_id="bob"))
    assert not chosen.matches(event("p2p.x"))
    assert chosen == policy.filter(who("admin"), EventFilter(event_types={"task.*"}))
    assert chosen != policy.filter(who("admin", name="b"), EventFilter())


def test_bus_1_policy_and_filter_that_would_always_say_yes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Later\.may_see must not be async"):

        class Later(EventPolicy):
            async def may_see(self, *_: Any) -> Any:
                return False

    with pytest.raises(UsageError, match=r"Slow\.matches must not be async"):

        class Slow(EventFilter):
            async def matches(self, event: Event) -> Any:
                return False


def test_bus_1_what_a_policy_cannot_judge_is_hidden(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OwnTasks(EventPolicy):
        def __init__(self) -> None:
            """Without the one above."""

        def may_see(self, principal: Principal, event: Event) -> bool:
            return event.data["owner"] == principal.name

    chosen = OwnTasks().filter(who("admin"), EventFilter())
    for _ in range(3):
        assert not chosen.matches(event())
    assert caplog.text.count("OwnTasks raised KeyError('owner')") == 1


class AccessControlledEventFilter(EventFilter):
    """As upstream documents it."""

    def __init__(self, user_role: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user_role = user_role

    def matches(self, event: Event) -> bool:
        if not super().matches(event):
            return False
        required_role = event.metadata.tags.get("required_role", "guest")
        role_hierarchy = {"admin": 3, "user": 2, "guest": 1}
        return role_hierarchy.get(self.user_role, 0) >= role_hierarchy.get(
            required_role, 0
        )


def test_upstream_s_filter_is_narrowed_by_the_policy_and_can_be_one() -> None:
    wanted = AccessControlledEventFilter("user", event_types={"task.*"})
    chosen = EventPolicy().filter(who("guest"), wanted)
    assert chosen.matches(event(required_role="guest"))
    assert not chosen.matches(event(required_role="user"))

    class Upstream(EventPolicy):
        def filter(self, principal: Principal, wanted: EventFilter) -> EventFilter:
            role = next(iter(principal.roles))
            return AccessControlledEventFilter(role, event_types=wanted.event_types)

    matcher = ViewMatcher()
    group = matcher.add("k", Upstream().filter(who("user"), EventFilter({"task.*"})))
    assert matcher.match(event(required_role="user")) == (group,)
    assert matcher.match(event(required_role="admin")) == ()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EventPolicy(rules=[deny(networks=["10.0.0.1/8"])]), "host bits"),
        (lambda: EventPolicy(rules=[deny("boss")]), "unknown role 'boss'"),
        (lambda: EventPolicy(rules=[deny(sensitivity=["x"])]), "sensitivity 'x'"),
        (lambda: EventPolicy(clearances={"boss": "public"}), "unknown role 'boss'"),
        (lambda: EventPolicy(clearances={"user": "x"}), "'x' of user is not a level"),
        (lambda: EventPolicy(segments={"a": ["x"]}), "network 'x'"),
    ],
)
def test_policy_that_cannot_be_meant_is_refused(build: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()


@pytest.mark.parametrize("value", [None, 1, [], {"a": 1}])
@pytest.mark.parametrize("tag", ["sensitivity", "segment", "domain"])
def test_strange_tags_hide_an_event_or_not_and_never_raise(
    tag: str, value: Any
) -> None:
    happened = event(tags={tag: value})
    narrow = who("user", segments=("s",), domains=("d",), clearance="public")
    rules = [deny(segments=["s"]), deny(domains=["d"]), deny(sensitivity=["public"])]
    assert sees(narrow, happened, *rules) is (value is None)


def test_principal_is_read_as_it_was_written_and_its_repr_tells_no_credential() -> None:
    ann = Principal(
        name="ann",
        roles=frozenset({"user"}),
        attributes=Attributes(peers=("p",)),
        credential="key:0123",
    )
    assert msgspec.json.decode(msgspec.json.encode(ann), type=Principal) == ann
    assert "0123" not in repr(ann)
