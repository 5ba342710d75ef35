"""A webhook endpoint: where to send, what, and signed with which secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from praxis_fast.errors import UsageError
from praxis_fast.events.access.principal import Principal  # noqa: TC001 - read by msgspec
from praxis_fast.events.event import EventFilter, Priority, utc_text
from praxis_fast.events.filter import any_glob
from praxis_fast.events.ids import IDSource
from praxis_fast.events.patterns import MASK
from praxis_fast.events.webhooks.signing import new_secret, secret_key

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SECRETS = 2
MAX_NAMES = 256
MAX_NAME = 256
MAX_HEADERS = 16
MAX_HEADER = 4096

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
# These are ours to set, or would make one request into two.
_RESERVED = re.compile(
    r"(?i)webhook-|x-a2a-(signature|timestamp)|x-praxis-|host$|content-|connection$"
    r"|transfer-encoding$|te$|trailer$|upgrade$|expect$|keep-alive$|proxy-"
)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# Every spelling of upstream and of A2A push configurations.
_TYPES = ("event_types", "types", "events", "enabledEvents", "enabled_events")
_EXCLUDED = ("excluded_types", "disabledEvents", "disabled_events")
_TASKS = ("tasks", "task_ids", "taskIds", "task_id", "taskId")
_PRIORITY = ("min_priority", "minPriority")
_KNOWN = {
    *("id", "url", "secret", "secrets", "headers", "description"),
    *(_TYPES + _EXCLUDED + _TASKS + _PRIORITY),
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One registered receiver; what it was given in secrecy is not in its repr."""

    id: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    """One, or new and old while the receiver changes over."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """Sent along, for receivers that want a token of their own."""
    event_types: frozenset[str] | None = None
    excluded_types: frozenset[str] = frozenset()
    tasks: frozenset[str] | None = None
    min_priority: str | None = None
    owner: Principal | None = None
    """Who registered it: it sees no more than they do now. None is trusted."""
    description: str = ""
    created: float = 0.0

    @property
    def filter(self) -> EventFilter:
        """What it asks for, but for `excluded_types`."""
        return EventFilter(
            event_types=self.event_types,
            tasks=self.tasks,
            min_priority=self.min_priority,
        )

    def excludes(self, event_type: str) -> bool:
        """Whether it said no to this type."""
        return bool(self.excluded_types) and any_glob(self.excluded_types, event_type)

    def to_message(self) -> dict[str, Any]:
        """What everybody may know of it: no secret, no header's value."""
        return {
            "id": self.id,
            "url": _without_query(self.url),
            "secrets": len(self.secrets),
            "headers": sorted(self.headers),
            "event_types": _listed(self.event_types),
            "excluded_types": sorted(self.excluded_types),
            "tasks": _listed(self.tasks),
            "min_priority": self.min_priority,
            "owner": None if self.owner is None else self.owner.name,
            "description": self.description,
            "created_at": utc_text(self.created),
        }

    @classmethod
    def from_message(
        cls, message: Mapping[str, Any], *, owner: Principal | None, now: float
    ) -> Endpoint:
        """The endpoint a client asks for; UsageError says what is wrong.

        Without a secret it gets a random one. The URL is the address gate's to judge.
        """
        unknown = sorted(set(message) - _KNOWN)
        if unknown:
            raise UsageError(f"webhook has an unknown key {unknown[0][:64]!r}")
        priority = _first(message, _PRIORITY)
        return cls(
            id=_endpoint_id(message.get("id")),
            url=_text(message.get("url"), "url"),
            secrets=_secrets(message),
            headers=_headers(message.get("headers") or {}),
            event_types=_names(message, _TYPES),
            excluded_types=_names(message, _EXCLUDED) or frozenset(),
            tasks=_names(message, _TASKS),
            min_priority=None if priority is None else str(Priority.parse(priority)),
            owner=owner,
            description=_text(message.get("description") or "", "description"),
            created=now,
        )


def _without_query(url: str) -> str:
    """The URL as others may see it: tokens like to stand in queries."""
    bare, mark, _ = url.partition("?")
    return f"{bare}?{MASK}" if mark else url


def _listed(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_HEADER:
        raise UsageError(f"webhook {key} is not a text of up to {MAX_HEADER} letters")
    return value


def _endpoint_id(value: object) -> str:
    if value is None:
        return IDSource()()
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise UsageError("webhook id is not up to 128 of A-Z a-z 0-9 . _ -")
    return value


def _first(message: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((message[key] for key in keys if message.get(key) is not None), None)


def _names(message: Mapping[str, Any], keys: tuple[str, ...]) -> frozenset[str] | None:
    value = _first(message, keys)
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        raise UsageError(f"webhook {keys[0]} is not a list of up to {MAX_NAMES} names")
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise UsageError(
                f"webhook {keys[0]} holds no name of 1 to {MAX_NAME} letters"
            )
    return frozenset(names)


def _secrets(message: Mapping[str, Any]) -> tuple[str, ...]:
    value = message.get("secrets") or message.get("secret") or new_secret()
    secrets = [value] if isinstance(value, str) else value
    if not isinstance(secrets, list) or len(secrets) > MAX_SECRETS:
        raise UsageError(f"webhook secrets are not a list of up to {MAX_SECRETS} texts")
    for secret in secrets:
        secret_key(_text(secret, "secret"))
    return tuple(secrets)


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_HEADERS:
        raise UsageError(f"webhook headers are not an object of up to {MAX_HEADERS}")
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name) or _RESERVED.match(name):
            raise UsageError(f"webhook header {name[:64]!r} is not yours to set")
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            raise UsageError(f"webhook header {name!r} is not a printable ascii text")
        if len(text) > MAX_HEADER:
            raise UsageError(
                f"webhook header {name!r} of {len(text)} bytes, limit {MAX_HEADER}"
            )
    return dict(value)
