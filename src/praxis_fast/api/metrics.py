"""`/metrics`, `/metrics/events` and `/stats`: what the streams count, in three shapes.

Nothing is counted for the sake of Prometheus: a collector reads the plain counters when
it is asked, so the hot path never takes a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from praxis_fast.api.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric
    from starlette.requests import Request

    from praxis_fast.api.gateway import EventGateway
    from praxis_fast.api.served import ServedAgent


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

        registry = CollectorRegistry()
        registry.register(Collector(self._agent, self._gateway))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def _events(self, request: Request) -> JSONResponse:
        return JSONResponse(event_metrics(self._gateway))

    async def _stats(self, request: Request) -> JSONResponse:
        gateway = self._gateway
        counters, journal = gateway.broadcast.counters, gateway.journal
        return JSONResponse(
            {
                "agent": self._agent.card.name,
                "event_bus": {
                    "running": True,
                    "events_published": gateway.bus.seq,
                    "epoch": gateway.epoch,
                    "by_type": dict(gateway.tally.counts.most_common()),
                },
                "websocket_manager": {
                    "active_connections": gateway.sockets,
                    "max_connections": gateway.max_clients,
                },
                "sse": {"active_connections": len(gateway.streams)},
                "delivery": {
                    **event_metrics(gateway),
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
                },
            }
        )


def event_metrics(gateway: EventGateway) -> dict[str, Any]:
    """Upstream's five numbers, of the event streams; the rate in percent, seconds."""
    counters = gateway.broadcast.counters
    failed = counters.dropped
    delivered = max(0, counters.queued - failed)
    total = delivered + failed
    return {
        "events_generated": gateway.bus.seq,
        "events_delivered": delivered,
        "events_failed": failed,
        "delivery_success_rate": round(100 * delivered / total, 3) if total else 100.0,
        "average_delivery_time": round(counters.turns.mean, 6),
    }


class Collector:
    """Makes Prometheus metrics of the counters at the moment of a scrape."""

    def __init__(self, agent: ServedAgent, gateway: EventGateway) -> None:
        self._agent = agent
        self._gateway = gateway

    def collect(self) -> Iterator[Metric]:
        """Every metric; names are the reference's where it has them."""
        yield from self._collect_agent()
        yield from self._collect_streams()

    def _collect_agent(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        agent = self._agent
        labels = ["agent_name", "version", "libp2p_peer_id"]
        about = GaugeMetricFamily("praxis_agent_info", "The agent.", labels=labels)
        peer_id = "" if agent.host is None else str(agent.host.peer_id)
        about.add_metric([agent.card.name, agent.card.version, peer_id], 1)
        yield about
        peers = agent.peer_snapshot()
        connected = sum(1 for peer in peers if peer["is_connected"])
        yield gauge("praxis_p2p_known_peers", "Peers in the table.", len(peers))
        yield gauge("praxis_p2p_connected_peers", "Peers connected.", connected)
        events = CounterMetricFamily(
            "praxis_events", "Events published.", labels=["event_type"]
        )
        for name, count in self._gateway.tally.counts.items():
            events.add_metric([name], count)
        yield events

    def _collect_streams(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import HistogramMetricFamily

        gateway = self._gateway
        counters, journal = gateway.broadcast.counters, gateway.journal
        for name, about, value in (
            ("websocket_connections", "WebSocket clients.", gateway.sockets),
            ("sse_connections", "SSE clients.", len(gateway.streams)),
            ("event_waiting_bytes", "Queued for clients.", gateway.pending_bytes),
            ("journal_events", "Events in the journal.", len(journal)),
            ("journal_bytes", "Bytes in the journal.", journal.size),
        ):
            yield gauge(f"praxis_{name}", about, value)
        for name, about, value in (
            ("event_enqueued", "Events queued, per client.", counters.queued),
            ("event_dropped", "Events told as gaps, per client.", counters.dropped),
            ("event_clients_expelled", "Clients too slow.", counters.expelled),
            ("event_resumes", "Clients that continued.", counters.resumed),
            ("event_resets", "Clients that could not.", counters.resets),
        ):
            yield counter(f"praxis_{name}", about, value)
        turns = counters.turns
        yield HistogramMetricFamily(
            "praxis_event_processing_duration_seconds",
            "From the first event of a loop turn until all of it was written.",
            buckets=turns.buckets(),
            sum_value=turns.total,
        )


def gauge(name: str, about: str, value: float) -> Metric:
    """A gauge without labels."""
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(name, about, value=value)


def counter(name: str, about: str, value: float) -> Metric:
    """A counter without labels."""
    from prometheus_client.metrics_core import CounterMetricFamily

    return CounterMetricFamily(name, about, value=value)
