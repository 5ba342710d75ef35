"""Every registered endpoint: what it may see now, and how it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from praxis_fast.errors import UsageError
from praxis_fast.events.access.policy import EventPolicy
from praxis_fast.events.access.view_matcher import ViewMatcher
from praxis_fast.events.event import EventFilter, utc_text
from praxis_fast.events.webhooks.body import told_event
from praxis_fast.wire.json_text import decode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from praxis_fast.events.access.principal import Principal
    from praxis_fast.events.event import Event
    from praxis_fast.events.webhooks.endpoint import Endpoint

    # What of a filter an owner may see now; None when there is no such owner any more.
    Judge = Callable[[Principal, EventFilter], EventFilter | None]


class Endpoints:
    """Endpoints by name, in memory; the outbox keeps them on disk."""

    def __init__(self, judge: Judge | None = None) -> None:
        self._judge: Judge = judge or EventPolicy(levels=()).filter
        self._matcher = ViewMatcher()
        self._endpoints: dict[str, Endpoint] = {}
        self._disabled: dict[str, str] = {}
        # Requests that failed in a row.
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._endpoints)

    def __iter__(self) -> Iterator[Endpoint]:
        """In the order of their names."""
        return (endpoint for _, endpoint in sorted(self._endpoints.items()))

    def __contains__(self, name: str) -> bool:
        return name in self._endpoints

    def get(self, name: str) -> Endpoint | None:
        """The endpoint, if there is one."""
        return self._endpoints.get(name)

    def need(self, name: str) -> Endpoint:
        """The endpoint; UsageError when there is none."""
        if (endpoint := self._endpoints.get(name)) is None:
            raise UsageError(f"no webhook {name[:128]!r}")
        return endpoint

    def put(self, endpoint: Endpoint, disabled: str | None = None) -> None:
        """Add an endpoint, or change the one of its name."""
        self._matcher.discard(endpoint.id)
        self._endpoints[endpoint.id] = endpoint
        self._disabled.pop(endpoint.id, None)
        if disabled is None:
            self._feed(endpoint)
        else:
            self._disabled[endpoint.id] = disabled

    def remove(self, name: str) -> None:
        """Forget an endpoint."""
        self._matcher.discard(name)
        for known in (self._endpoints, self._disabled, self._failures):
            known.pop(name, None)

    def disable(self, name: str, reason: str) -> None:
        """Give it nothing more until somebody says so."""
        self._matcher.discard(name)
        self._disabled[name] = reason

    def is_enabled(self, name: str) -> bool:
        """Whether messages may be sent to it."""
        return name in self._endpoints and name not in self._disabled

    def rejudge(self) -> None:
        """See anew what owners may see, after something about access changed."""
        for name, endpoint in self._endpoints.items():
            if name not in self._disabled:
                self._feed(endpoint)

    def match(self, event: Event) -> list[str]:
        """The names of those that want an event and may see it."""
        names: list[str] = []
        for group in self._matcher.match(event):
            for name in group.keys:
                assert isinstance(name, str)
                if not self._endpoints[name].excludes(event.type):
                    names.append(name)
        return names

    def may_send(self, endpoint: Endpoint, body: bytes) -> bool:
        """Whether the owner may still see what was written when they might (BUS-1).

        What the endpoint asks for may have changed meanwhile, and does not matter.
        """
        if endpoint.owner is None:
            return True
        visible = self._judge(endpoint.owner, EventFilter())
        return visible is not None and visible.matches(told_event(decode_json(body)))

    def succeeded(self, name: str) -> None:
        """A request was taken."""
        self._failures.pop(name, None)

    def failed(self, name: str) -> None:
        """A request was not taken."""
        if name in self._endpoints:
            self._failures[name] = self._failures.get(name, 0) + 1

    def states(self) -> dict[str, str]:
        """Each endpoint: active, failing or disabled."""
        return {name: self._state(name) for name in self._endpoints}

    def health(self, name: str, counts: Mapping[str, Any]) -> dict[str, Any]:
        """How an endpoint does; `counts` are what the disk has of it."""
        requests = counts.get("requests", 0)
        return {
            "status": self._state(name),
            "disabled_reason": self._disabled.get(name),
            "waiting": counts.get("waiting", 0),
            "delivered": counts.get("delivered", 0),
            "dead": counts.get("dead", 0),
            "total_requests": requests,
            "success_rate": counts.get("successes", 0) / requests if requests else None,
            "consecutive_failures": self._failures.get(name, 0),
            "last_success": _when(counts.get("last_good")),
            "last_failure": _when(counts.get("last_bad")),
        }

    def _state(self, name: str) -> str:
        if name in self._disabled:
            return "disabled"
        return "failing" if self._failures.get(name) else "active"

    def _feed(self, endpoint: Endpoint) -> None:
        """Give the endpoint the events it may see."""
        visible: EventFilter | None = endpoint.filter
        if endpoint.owner is not None:
            visible = self._judge(endpoint.owner, endpoint.filter)
        if visible is None:
            self._matcher.discard(endpoint.id)
        else:
            self._matcher.add(endpoint.id, visible)


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else utc_text(seconds)
