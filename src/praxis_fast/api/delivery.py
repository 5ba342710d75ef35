"""The HTTP routes of webhooks and the audit log."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse
from starlette.routing import Route

from praxis_fast.api.access.principals import principal_of
from praxis_fast.api.access.rights import ADMINISTER
from praxis_fast.api.body import read_object
from praxis_fast.api.responses import HTTPError, JSONResponse
from praxis_fast.events.encode import encode
from praxis_fast.events.filter import EventFilter
from praxis_fast.events.webhooks.body import told_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from praxis_fast.api.access.access import Access
    from praxis_fast.events.audit import AuditLog
    from praxis_fast.events.webhooks.outbox import Outbox
    from praxis_fast.limits import Limits

MAX_LISTED = 1000
DEFAULT_LISTED = 100

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"(\d{1,9})([smhdw])")


def delivery_routes(agent: object, limits: Limits, access: Access) -> list[Route]:
    """The routes over an agent that may or may not have these parts."""

    def part(name: str) -> Any:
        # Embedded agents have none of it, and the real one not before it started.
        return getattr(getattr(agent, "delivery", None), name, None)

    return DeliveryRoutes(
        limits,
        outbox=lambda: part("outbox"),
        audit=lambda: part("audit"),
        access=access,
    ).routes()


class DeliveryRoutes:
    """The handlers; `outbox` and `audit` give None where the agent has none.

    Endpoints somebody registers and entries they read show no more than they may see.
    Who administers nothing knows of no endpoints but their own.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        outbox: Callable[[], Outbox | None],
        audit: Callable[[], AuditLog | None],
        access: Access,
    ) -> None:
        self._limits = limits
        self._find_outbox = outbox
        self._find_audit = audit
        self._access = access

    def routes(self) -> list[Route]:
        """Every route with its method."""
        return [
            Route("/webhooks", self._list, methods=["GET"]),
            Route("/webhooks", self._register, methods=["POST"]),
            Route("/webhooks", self._remove, methods=["DELETE"]),
            Route("/webhooks/{id}", self._get, methods=["GET"]),
            Route("/webhooks/{id}", self._remove, methods=["DELETE"]),
            Route("/webhooks/{id}/deliveries", self._deliveries, methods=["GET"]),
            Route("/webhooks/{id}/deliveries", self._purge, methods=["DELETE"]),
            Route("/webhooks/{id}/redrive", self._redrive, methods=["POST"]),
            Route("/audit", self._audit, methods=["GET"]),
            Route("/audit/verify", self._verify, methods=["GET"]),
            Route("/audit/export", self._export, methods=["GET"]),
        ]

    @property
    def _outbox(self) -> Outbox:
        if (outbox := self._find_outbox()) is None:
            raise HTTPError(404, "webhooks are off; set webhooks.enabled")
        return outbox

    @property
    def _log(self) -> AuditLog:
        if (audit := self._find_audit()) is None:
            raise HTTPError(404, "the audit log is off; set audit.enabled")
        return audit

    # webhooks

    async def _list(self, request: Request) -> Response:
        endpoints = [
            told
            for told in await self._outbox.endpoints()
            if self._owns(request, told["id"])
        ]
        return JSONResponse({"webhooks": endpoints, "count": len(endpoints)})

    async def _get(self, request: Request) -> Response:
        name = self._known(request)
        (found,) = [e for e in await self._outbox.endpoints() if e["id"] == name]
        return JSONResponse(found)

    async def _register(self, request: Request) -> Response:
        outbox = self._outbox
        body = await read_object(request, self._limits)
        name = str(body.get("id"))
        is_new = name not in outbox
        if not is_new and not self._owns(request, name):
            raise HTTPError(403, f"webhook {name[:128]!r} is not yours")
        owner = replace(principal_of(request.scope), expires=None)
        endpoint = await outbox.register(body, owner=owner)
        told = endpoint.to_message() | {"status": "active"}
        if "secret" not in body and "secrets" not in body:
            # Told this once: it was made here, and the receiver needs it.
            told["secret"] = endpoint.secrets[0]
        return JSONResponse(told, status_code=201 if is_new else 200)

    async def _remove(self, request: Request) -> Response:
        name = self._known(request)
        await self._outbox.remove(name)
        return JSONResponse({"status": "deleted", "id": name})

    async def _deliveries(self, request: Request) -> Response:
        query = request.query_params
        found = await self._outbox.deliveries(
            self._known(request),
            state=query.get("state"),
            before=_number(query.get("before"), "before"),
            limit=_limit(query.get("limit")),
        )
        return JSONResponse({"deliveries": found, "count": len(found)})

    async def _purge(self, request: Request) -> Response:
        state = request.query_params.get("state", "delivered")
        if state not in ("delivered", "dead"):
            raise HTTPError(400, "state is neither delivered nor dead")
        purged = await self._outbox.purge(
            self._known(request), "dead" if state == "dead" else "delivered"
        )
        return JSONResponse({"purged": purged})

    async def _redrive(self, request: Request) -> Response:
        name = self._known(request)
        ids = None
        if request.headers.get("content-length", "0") != "0":
            ids = (await read_object(request, self._limits)).get("ids")
        if ids is not None and not isinstance(ids, list):
            raise HTTPError(400, "ids is not a list")
        return JSONResponse({"redriven": await self._outbox.redrive(name, ids)})

    def _known(self, request: Request) -> str:
        name = request.path_params.get("id") or request.query_params.get("id")
        if name is None:
            raise HTTPError(400, "id is missing")
        if name not in self._outbox or not self._owns(request, name):
            raise HTTPError(404, f"no webhook {name[:128]!r}")
        return str(name)

    def _owns(self, request: Request, name: str) -> bool:
        principal = principal_of(request.scope)
        if ADMINISTER in self._access.rights(principal):
            return True
        owner = self._outbox.owner(name)
        return owner is not None and owner.name == principal.name

    # audit

    async def _audit(self, request: Request) -> Response:
        limit = _limit(request.query_params.get("limit"))
        entries = await self._log.query(**_asked(request), limit=limit)
        last = entries[-1]["number"] if len(entries) == limit else None
        seen = self._visible(request, entries)
        return JSONResponse({"entries": seen, "count": len(seen), "next": last})

    async def _verify(self, request: Request) -> Response:
        return JSONResponse((await self._log.verify()).to_message())

    async def _export(self, request: Request) -> Response:
        lines = self._lines(request, self._log, _asked(request))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _lines(
        self, request: Request, log: AuditLog, asked: dict[str, Any]
    ) -> AsyncIterator[bytes]:
        while entries := await log.query(**asked, limit=MAX_LISTED):
            for entry in self._visible(request, entries):
                yield encode(entry) + b"\n"
            asked["after"] = entries[-1]["number"]

    def _visible(
        self, request: Request, entries: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Those the reader may see now; while an export runs that may change."""
        principal = self._access.current(principal_of(request.scope))
        if principal is None:
            return []
        seen = self._access.policy.filter(principal, EventFilter())
        return [entry for entry in entries if seen.matches(told_event(entry["event"]))]


def _asked(request: Request) -> dict[str, Any]:
    query = request.query_params
    types = [*query.getlist("type"), *query.get("types", "").split(",")]
    return {
        "since": _moment(query.get("since"), "since"),
        "until": _moment(query.get("until"), "until"),
        "types": [name for name in types if name][:64],
        "task": query.get("task_id"),
        "after": _number(query.get("after"), "after") or 0,
    }


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise HTTPError(400, f"{name} is not a number")
    return int(text)


def _limit(text: str | None) -> int:
    limit = _number(text, "limit")
    if limit is None:
        return DEFAULT_LISTED
    if not 1 <= limit <= MAX_LISTED:
        raise HTTPError(400, f"limit of {limit}, 1 to {MAX_LISTED} are allowed")
    return limit


def _moment(text: str | None, name: str) -> float | None:
    """Epoch seconds of an ISO 8601 time, or of an age like `90m` or `7d`."""
    if text is None:
        return None
    if age := _AGE.fullmatch(text):
        return time.time() - int(age[1]) * _UNITS[age[2]]
    # A plus sign in a query is a blank once it has been read.
    head, _, tail = text.rpartition(" ")
    try:
        moment = datetime.fromisoformat(f"{head}+{tail}" if "T" in head else text)
    except ValueError:
        text = f"{name} is neither an iso 8601 time nor an age like 90m"
        raise HTTPError(400, text) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
