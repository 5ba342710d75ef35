"""Prometheus metrics, made of plain counters at the moment of a scrape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from praxis_fast.events.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from praxis_fast.api.gateway import EventGateway
    from praxis_fast.api.served import ServedAgent
    from praxis_fast.events.audit import AuditFigures, AuditLog
    from praxis_fast.events.histogram import Histogram
    from praxis_fast.events.stages import Stages
    from praxis_fast.events.webhooks.outbox import Outbox, OutboxFigures

CLASS = "subscribers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the numbers are; those the databases hold were asked for already."""

    agent: ServedAgent
    gateway: EventGateway
    outbox: Outbox | None = None
    outbox_figures: OutboxFigures | None = None
    audit: AuditLog | None = None
    audit_figures: AuditFigures | None = None

    @property
    def stages(self) -> dict[str, Stages]:
        """What each class of subscribers counts."""
        found = {**self.gateway.stages, "in_process": self.gateway.bus.stages}
        if self.outbox is not None:
            found["webhook"] = self.outbox.counters.stages
        return found


class Collector:
    """What `generate_latest` asks; names are the reference's where it has them."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        yield from self._agent()
        yield from self._peers()
        yield from self._classes()
        yield from self._queues()
        yield from self._streams()
        yield from self._webhooks()
        yield from self._audit()

    def _agent(self) -> Iterator[Metric]:
        agent = self._sources.agent
        labels = ["agent_name", "version", "libp2p_peer_id"]
        about = GaugeMetricFamily("praxis_agent_info", "The agent.", labels=labels)
        peer_id = "" if agent.host is None else str(agent.host.peer_id)
        about.add_metric([agent.card.name, agent.card.version, peer_id], 1)
        yield about
        counts = self._sources.gateway.tally.counts
        yield counters("praxis_events", "Events published.", "event_type", counts)

    def _peers(self) -> Iterator[Metric]:
        peers = self._sources.agent.peer_snapshot()
        connected = sum(1 for peer in peers if peer["is_connected"])
        yield gauge("praxis_p2p_known_peers", "Peers in the table.", len(peers))
        yield gauge("praxis_p2p_connected_peers", "Peers connected.", connected)
        # An embedded agent has no host of ours.
        host: Any = self._sources.agent.host
        if (resources := getattr(host, "resources", None)) is not None:
            total, new = resources.connections, resources.upgrading
            yield gauge("praxis_p2p_connections", "Connections open.", total)
            yield gauge("praxis_p2p_upgrading", "Connections not yet secured.", new)
        if (pool := getattr(host, "pool", None)) is not None:
            yield gauge("praxis_p2p_buffer_bytes", "Bytes links hold.", pool.held)
        if (observers := getattr(host, "observers", None)) is not None:
            about = "Connections, streams and handlers that failed, limits included."
            yield counters("praxis_p2p_failures", about, "kind", dict(observers.counts))

    def _classes(self) -> Iterator[Metric]:
        stages = self._sources.stages
        yield histograms(
            "praxis_event_stage_seconds",
            "From an event's number until it was compared, queued, written.",
            [CLASS, "stage"],
            {
                (name, stage): getattr(told, stage)
                for name, told in stages.items()
                for stage in STAGES
            },
        )
        for name, about, field in (
            ("enqueued", "Events queued, per subscriber.", "queued"),
            ("dropped", "Events told as gaps, per subscriber.", "dropped"),
            ("gaps", "Gaps told.", "gaps"),
            ("subscribers_expelled", "Subscribers too slow.", "expelled"),
        ):
            values = {key: getattr(told, field) for key, told in stages.items()}
            yield counters(f"praxis_event_{name}", about, CLASS, values)

    def _queues(self) -> Iterator[Metric]:
        gateway, figures = self._sources.gateway, self._sources.outbox_figures
        subscribers = {
            "websocket": gateway.sockets,
            "sse": len(gateway.streams),
            "in_process": gateway.bus.subscribers,
        }
        depth, deepest = gateway.bus.waiting
        waiting, lag = {"in_process": depth}, gateway.lags
        if figures is not None:
            subscribers["webhook"] = len(figures.states)
            waiting["webhook"] = figures.waiting
            lag = {**lag, "webhook": figures.oldest}
        yield gauges("praxis_event_subscribers", "Subscribers.", CLASS, subscribers)
        yield gauges("praxis_event_queue_events", "Events waiting.", CLASS, waiting)
        yield gauges(
            "praxis_event_queue_bytes", "Bytes waiting.", CLASS, gateway.queued_bytes
        )
        about = "Events waiting for the slowest subscriber of this process."
        yield gauge("praxis_event_queue_deepest", about, deepest)
        about = "Since when somebody of the class has taken nothing of what waits."
        yield gauges("praxis_event_lag_seconds", about, CLASS, lag)

    def _streams(self) -> Iterator[Metric]:
        gateway = self._sources.gateway
        told, journal = gateway.counters, gateway.journal
        for name, about, value in (
            ("websocket_connections", "WebSocket clients.", gateway.sockets),
            ("sse_connections", "SSE clients.", len(gateway.streams)),
            ("journal_events", "Events in the journal.", len(journal)),
            ("journal_bytes", "Bytes in the journal.", journal.size),
        ):
            yield gauge(f"praxis_{name}", about, value)
        for name, about, value in (
            ("event_resumes", "Clients that continued.", told.resumed),
            ("event_resets", "Clients that could not.", told.resets),
        ):
            yield counter(f"praxis_{name}", about, value)
        closes = {str(code): count for code, count in told.closes.items()}
        about = "WebSocket connections closed, by our code; 0: not by us."
        yield counters("praxis_websocket_closes", about, "code", closes)
        yield from self._journal_file()
        about = "Limits that were hit; those of peers are in praxis_p2p_failures."
        yield counters("praxis_limit_hits", about, "limit", dict(told.hits))
        yield histograms(
            "praxis_event_processing_duration_seconds",
            "From the first event of a loop turn until all of it was written.",
            [],
            {(): told.turns},
        )

    def _journal_file(self) -> Iterator[Metric]:
        file = self._sources.gateway.journal_file
        if file is None:
            return
        for name, about, value in (
            ("events", "Events in the journal on disk.", file.events),
            ("bytes", "Bytes in the journal on disk.", file.size),
            ("waiting_events", "Events not yet on disk.", file.waiting),
            ("degraded", "1 while events are not written.", int(file.is_degraded)),
        ):
            yield gauge(f"praxis_journal_file_{name}", about, value)
        about = "Events let go before they were on disk."
        yield counter("praxis_journal_file_lost", about, file.lost)

    def _webhooks(self) -> Iterator[Metric]:
        outbox, figures = self._sources.outbox, self._sources.outbox_figures
        if outbox is None or figures is None:
            return
        told = outbox.counters
        for name, about, value in (
            ("attempts", "Requests that ended.", told.attempts),
            ("successes", "Requests that were taken.", told.successes),
            ("dead_letters", "Messages given up.", told.dead_letters),
            ("redriven", "Dead letters sent again.", told.redriven),
            ("refused", "Events that could not be taken.", told.refused),
        ):
            yield counter(f"praxis_webhook_{name}", about, value)
        about = "Requests that failed."
        yield counters("praxis_webhook_failures", about, "reason", dict(told.failures))
        for name, about, level in (
            ("waiting", "Messages in the outbox.", figures.waiting),
            ("retrying", "Of those, tried before.", figures.retrying),
            ("in_flight", "Requests running.", figures.in_flight),
            ("oldest_seconds", "Age of the oldest one waiting.", figures.oldest),
        ):
            yield gauge(f"praxis_webhook_{name}", about, level)
        health = GaugeMetricFamily(
            "praxis_webhook_state", "1 for the state it is in.", labels=["id", "state"]
        )
        for key, state in figures.states.items():
            health.add_metric([key, state], 1)
        yield health
        yield histograms(
            "praxis_webhook_request_seconds", "Requests.", [], {(): told.durations}
        )

    def _audit(self) -> Iterator[Metric]:
        audit, figures = self._sources.audit, self._sources.audit_figures
        if audit is None or figures is None:
            return
        yield gauge("praxis_audit_entries", "Entries in the log.", figures.entries)
        yield counter("praxis_audit_written", "Entries written.", audit.written)
        yield counter("praxis_audit_refused", "Events not written.", audit.refused)
        yield counter("praxis_audit_faults", "Checks that found one.", audit.faults)
        if audit.last_check is not None:
            at, is_intact = audit.last_check
            about = "Whether the last check found the log as it was written."
            yield gauge("praxis_audit_intact", about, int(is_intact))
            yield gauge("praxis_audit_checked_timestamp_seconds", "Last check.", at)


def gauge(name: str, about: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, about, value=value)


def counter(name: str, about: str, value: float) -> Metric:
    """A counter without labels."""
    return CounterMetricFamily(name, about, value=value)


def gauges(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    """A gauge for each value of a label."""
    family = GaugeMetricFamily(name, about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def counters(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    """A counter for each value of a label."""
    family = CounterMetricFamily(name, about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def histograms(
    name: str,
    about: str,
    labels: Iterable[str],
    values: Mapping[tuple[str, ...], Histogram],
) -> Metric:
    """A histogram for each tuple of labels."""
    family = HistogramMetricFamily(name, about, labels=list(labels))
    for key, told in values.items():
        family.add_metric(list(key), buckets=told.buckets(), sum_value=told.total)
    return family
