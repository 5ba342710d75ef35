"""What keeps events beyond the process: journal, webhooks and the audit log."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from praxis_fast.errors import ConfigError, UsageError
from praxis_fast.events.priority import Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.agent.config import AgentConfig
    from praxis_fast.agent.faults import Faults
    from praxis_fast.events.audit import AuditLog
    from praxis_fast.events.bus import EventBus
    from praxis_fast.events.journal.file import JournalFile
    from praxis_fast.events.webhooks.endpoints import Judge
    from praxis_fast.events.webhooks.outbox import Outbox

_DAY = 86400.0


class Delivery:
    """Opens journal, outbox and audit log in the data directory and feeds them.

    Each is None unless the configuration turns it on.
    """

    def __init__(
        self,
        config: AgentConfig,
        bus: EventBus,
        faults: Faults,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self.journal: JournalFile | None = None
        self.outbox: Outbox | None = None
        self.audit: AuditLog | None = None
        self._config = config
        self._bus = bus
        self._faults = faults
        self._clock = clock
        self._wall_clock = wall_clock
        self._running = AsyncExitStack()

    async def start(self, judge: Judge | None = None) -> None:
        """Open what is configured; ConfigError or StoreError when it cannot be.

        `judge` says what the owners of webhooks may see.
        """
        async with AsyncExitStack() as parts:
            # First, so that numbers of events go on before anything is published.
            if self._config.events.journal.enabled:
                await self._start_journal(parts)
            if self._config.audit.enabled:
                await self._start_audit(parts)
            if self._config.webhooks.enabled:
                await self._start_outbox(parts, judge)
            self._running = parts.pop_all()

    def rejudge(self) -> None:
        """See anew what owners of webhooks may see."""
        if self.outbox is not None:
            self.outbox.rejudge()

    async def close(self) -> None:
        """Write what waits and close; may be called twice."""
        self.outbox = self.audit = self.journal = None
        await self._running.aclose()

    async def _start_journal(self, parts: AsyncExitStack) -> None:
        # Imported here, as below: an agent without it needs no SQLite.
        from praxis_fast.events.journal.file import JournalFile

        journal = JournalFile(
            self._config.events.journal.path or self._path("journal"),
            self._bus,
            limits=self._config.limits,
            clock=self._clock,
            wall_clock=self._wall_clock,
            report=self._report,
        )
        parts.push_async_callback(journal.close)
        await journal.open()
        self.journal = journal

    async def _start_audit(self, parts: AsyncExitStack) -> None:
        from praxis_fast.events.audit import AuditLog

        config = self._config.audit
        days = config.retention_days
        audit = AuditLog(
            self._path("audit"),
            types=config.types,
            retention=None if days is None else days * _DAY,
            limits=self._config.limits.store,
            wall_clock=self._wall_clock,
            report=self._report,
        )
        parts.push_async_callback(audit.close)
        await audit.open()
        parts.callback(self._bus.add_sink(audit.sink).close)
        self.audit = audit

    async def _start_outbox(self, parts: AsyncExitStack, judge: Judge | None) -> None:
        from praxis_fast.events.webhooks.address_gate import AddressGate
        from praxis_fast.events.webhooks.outbox import Outbox
        from praxis_fast.events.webhooks.sender import WebhookClient

        config, limits = self._config.webhooks, self._config.limits
        gate = AddressGate(ports=config.ports, allow_loopback=config.allow_loopback)
        sender = WebhookClient(gate, limits.webhooks, wall_clock=self._wall_clock)
        outbox = Outbox(
            self._path("webhooks"),
            sender,
            limits=limits,
            clock=self._clock,
            wall_clock=self._wall_clock,
            report=self._report,
            judge=judge,
            stopwatch=self._bus.stopwatch,
            min_priority=Priority.parse(self._config.events.filter_level),
        )
        parts.push_async_callback(outbox.close)
        try:
            await outbox.open()
        except UsageError as error:  # aiohttp is missing
            raise ConfigError(str(error), key="webhooks.enabled") from error
        parts.callback(self._bus.add_sink(outbox.sink).close)
        self.outbox = outbox

    def _path(self, name: str) -> str:
        if not self._config.data_dir:
            text = f"{name}.db is kept in the data directory, and none is set"
            raise ConfigError(text, key="data_dir")
        return str(self._config.data_path / f"{name}.db")

    def _report(self, code: str, message: str) -> None:
        severity = "info" if code == "journal_written" else "error"
        self._faults.report("delivery", code, message, severity=severity)
