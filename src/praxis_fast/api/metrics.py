"""`/metrics`, `/metrics/events` and `/stats`: what the streams count, in three shapes.

Nothing is counted for the sake of Prometheus: `collector` reads the plain counters when
it is asked, so the hot path never takes a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from praxis_fast.api.responses import JSONResponse
from praxis_fast.events.event import utc_text

if TYPE_CHECKING:
    from starlette.requests import Request

    from praxis_fast.api.gateway import EventGateway
    from praxis_fast.api.served import ServedAgent
    from praxis_fast.events.audit import AuditLog
    from praxis_fast.events.webhooks.outbox import Outbox


class MetricsRoutes:
    """The handlers, over one agent and its event streams."""

    def __init__(self, agent: ServedAgent, gateway: EventGateway) -> None:
        self._agent = agent
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Every route with its method."""
        return [
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/metrics/events", self._events, methods=["GET"]),
            Route("/stats", self._stats, methods=["GET"]),
        ]

    async def _metrics(self, request: Request) -> Response:
        # Imported when first asked: an agent that nobody measures need not load it.
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_LATEST

        from praxis_fast.api.collector import Collector, Sources

        outbox, audit = self._part("outbox"), self._part("audit")
        sources = Sources(
            agent=self._agent,
            gateway=self._gateway,
            outbox=outbox,
            outbox_figures=None if outbox is None else await outbox.figures(),
            audit=audit,
            audit_figures=None if audit is None else await audit.figures(),
        )
        registry = CollectorRegistry()
        registry.register(Collector(sources))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def _events(self, request: Request) -> JSONResponse:
        return JSONResponse(event_metrics(self._gateway, self._part("outbox")))

    async def _stats(self, request: Request) -> JSONResponse:
        gateway, bus = self._gateway, self._gateway.bus
        counters, journal = gateway.counters, gateway.journal
        outbox, audit = self._part("outbox"), self._part("audit")
        waiting, deepest = bus.waiting
        return JSONResponse(
            {
                "agent": self._agent.card.name,
                "event_bus": {
                    "running": True,
                    "events_published": bus.published,
                    "events_processed": bus.stages.queued - waiting,
                    "handler_errors": bus.handler_errors,
                    "active_handlers": bus.active_handlers,
                    "websocket_connections": gateway.sockets,
                    "subscribers": bus.subscribers,
                    "waiting": waiting,
                    "waiting_at_most": deepest,
                    "epoch": gateway.epoch,
                    "by_type": dict(gateway.tally.counts.most_common()),
                },
                "websocket_manager": {
                    "active_connections": gateway.sockets,
                    "max_connections": gateway.max_clients,
                    "closed": {str(k): n for k, n in counters.closes.items()},
                },
                "sse": {"active_connections": len(gateway.streams)},
                "delivery": {
                    **event_metrics(gateway, outbox),
                    "clients_expelled": counters.expelled,
                    "clients_resumed": counters.resumed,
                    "clients_reset": counters.resets,
                    "bytes_waiting": gateway.pending_bytes,
                },
                "journal": {
                    "events": len(journal),
                    "bytes": journal.size,
                    "first": journal.first,
                    "last": journal.last,
                    "file": journal_file_stats(gateway),
                },
                "webhooks": None if outbox is None else await outbox_stats(outbox),
                "audit": None if audit is None else await audit_stats(audit),
                "limit_hits": dict(counters.hits),
            }
        )

    def _part(self, name: str) -> Any:
        # Embedded agents have none of it, and the real one not before it started.
        return getattr(getattr(self._agent, "delivery", None), name, None)


def journal_file_stats(gateway: EventGateway) -> dict[str, Any] | None:
    """How the journal on disk does; None when there is none."""
    file = gateway.journal_file
    if file is None:
        return None
    return {
        "status": "degraded" if file.is_degraded else "healthy",
        "events": file.events,
        "bytes": file.size,
        "first": file.first,
        "last": file.last,
        "waiting": file.waiting,
        "lost": file.lost,
    }


def event_metrics(gateway: EventGateway, outbox: Outbox | None) -> dict[str, Any]:
    """Upstream's five numbers, of streams and webhooks; the rate in percent, seconds.

    An event is delivered once for each client that got it and failed once for each that
    was told a gap or whose webhook was given up. The time is until a loop turn's events
    were written to all who keep up.
    """
    counters = gateway.counters
    failed = counters.dropped
    delivered = max(0, counters.queued - failed)
    if outbox is not None:
        delivered += outbox.counters.successes
        failed += outbox.counters.dead_letters
    total = delivered + failed
    return {
        "events_generated": gateway.bus.published,
        "events_delivered": delivered,
        "events_failed": failed,
        "delivery_success_rate": round(100 * delivered / total, 3) if total else 100.0,
        "average_delivery_time": round(counters.turns.mean, 6),
    }


async def outbox_stats(outbox: Outbox) -> dict[str, Any]:
    """The outbox in numbers."""
    counters, figures = outbox.counters, await outbox.figures()
    return {
        "endpoints": figures.states,
        "waiting": figures.waiting,
        "retrying": figures.retrying,
        "in_flight": figures.in_flight,
        "oldest_seconds": round(figures.oldest, 3),
        "attempts": counters.attempts,
        "successes": counters.successes,
        "failures": dict(counters.failures),
        "dead_letters": counters.dead_letters,
        "redriven": counters.redriven,
        "refused": counters.refused,
    }


async def audit_stats(audit: AuditLog) -> dict[str, Any]:
    """The audit log in numbers."""
    figures = await audit.figures()
    checked = audit.last_check
    return {
        "entries": figures.entries,
        "first": figures.first,
        "last": figures.last,
        "written": audit.written,
        "refused": audit.refused,
        "checked_at": None if checked is None else utc_text(checked[0]),
        "intact": None if checked is None else checked[1],
    }
