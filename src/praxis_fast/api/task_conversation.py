"""The words of `/streaming/websocket`: ping, subscribe and unsubscribe.

Answers have their keys at the top, as the reference's have, and in `payload` too. The
words of the other paths are understood as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from praxis_fast.api.conversation import (
    BadRequestError,
    Conversation,
    Reply,
    Subscribe,
)

if TYPE_CHECKING:
    from praxis_fast.api.conversation import Action


class TaskConversation(Conversation):
    """A client that chooses its events by task."""

    __slots__ = ()

    def _answer(self, request: dict[str, Any], request_id: object) -> list[Action]:
        kind = request["type"]
        if kind == "ping":
            return [self._flat("pong", request_id)]
        if kind == "subscribe":
            return self._set_tasks(self._task_ids(request), request_id)
        if kind == "unsubscribe":
            return self._set_tasks(None, request_id)
        return super()._answer(request, request_id)

    def _task_ids(self, request: dict[str, Any]) -> list[str]:
        payload = request.get("payload")
        told = request | payload if isinstance(payload, dict) else request
        ids = told.get("taskIds", told.get("task_ids"))
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise BadRequestError('"taskIds" must be a list of task ids')
        if len(ids) > self._max_filters:
            raise BadRequestError(f"{len(ids)} task ids, limit {self._max_filters}")
        return ids

    def _set_tasks(self, ids: list[str] | None, request_id: object) -> list[Action]:
        tasks = None if ids is None else frozenset(ids)
        self._wanted = replace(self._wanted, tasks=tasks)
        reply = self._flat("subscription_updated", request_id, taskIds=ids or [])
        return [Subscribe(self.types), reply]

    def _flat(self, kind: str, request_id: object, **told: Any) -> Reply:
        payload = {**told, "timestamp": self._now()}
        reply = self._reply(kind, payload, request_id)
        return Reply({**payload, **reply.message})
