"""A2A push configurations as webhooks: the seam between tasks and the outbox.

A configuration names one task and where to post what happens to it. Three spellings
are taken: the nested one of A2A 0.3, the flat one of 1.0, and upstream's with `config`.
What comes out `Outbox.register` takes; routes and bodies of A2A are not made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from praxis_fast.errors import UsageError

# A2A 0.3 and the SDKs; the receiver knows by it who sent it here.
TOKEN_HEADER = "X-A2A-Notification-Token"  # noqa: S105  a name, no secret

_NESTED = ("pushNotificationConfig", "taskPushNotificationConfig", "config")
_FILTERS = ("enabledEvents", "disabledEvents", "minPriority", "secret", "secrets")
_SCHEMES = {"bearer": "Bearer", "basic": "Basic", "digest": "Digest"}


def push_webhook(params: Mapping[str, Any]) -> dict[str, Any]:
    """The webhook an A2A push configuration asks for; UsageError when it is bad.

    Two tasks may use the same id: both go into the webhook's, which `push_id` tells.
    """
    config = next((params[name] for name in _NESTED if params.get(name)), params)
    if not isinstance(config, Mapping):
        raise UsageError("push configuration is not an object")
    task = _text(params.get("taskId") or config.get("taskId"), "taskId")
    webhook: dict[str, Any] = {
        "id": push_id(task, _text(config.get("id") or task, "id")),
        "url": _text(config.get("url"), "url"),
        "tasks": [task],
        "description": "a2a push configuration",
    }
    if headers := _headers(config):
        webhook["headers"] = headers
    return webhook | {name: config[name] for name in _FILTERS if name in config}


def push_id(task: str, config: str) -> str:
    """The id of the webhook that a task's configuration became."""
    # Both are a client's choice and may be of any length and letters.
    digest = sha256(f"{len(task)}:{task}:{config}".encode("utf-8", "replace"))
    return f"push-{digest.hexdigest()[:32]}"


def _headers(config: Mapping[str, Any]) -> dict[str, str]:
    headers: dict[str, str] = {}
    if config.get("token"):
        headers[TOKEN_HEADER] = _text(config["token"], "token")
    authentication = config.get("authentication") or {}
    if not isinstance(authentication, Mapping):
        raise UsageError("push configuration authentication is not an object")
    if credentials := authentication.get("credentials"):
        scheme = _scheme(authentication)
        headers["Authorization"] = f"{scheme} {_text(credentials, 'credentials')}"
    return headers


def _scheme(authentication: Mapping[str, Any]) -> str:
    """The first scheme that is an HTTP one (A2A 1.0 has one, 0.3 a list)."""
    listed = authentication.get("schemes") or [authentication.get("scheme") or "Bearer"]
    if not isinstance(listed, list):
        raise UsageError("push configuration schemes are not a list")
    known = [_SCHEMES.get(str(scheme).lower()) for scheme in listed]
    chosen = next(filter(None, known), None)
    if chosen is None:
        allowed = ", ".join(_SCHEMES.values())
        raise UsageError(f"push configuration has no scheme out of {allowed}")
    return chosen


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"push configuration {key} is not a text")
    return value
