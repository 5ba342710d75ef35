from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from praxis_fast.agent.agent import Agent
from praxis_fast.agent.config import (
    AgentConfig,
    EventsConfig,
    HTTPConfig,
    JournalConfig,
    P2PConfig,
)
from praxis_fast.client import EventStream
from praxis_fast.errors import ConfigError, StoreError


def config_of(folder: Path, path: Path | None = None) -> AgentConfig:
    journal = JournalConfig(enabled=True, path=None if path is None else str(path))
    return AgentConfig(
        name="kept",
        data_dir=str(folder),
        p2p=P2PConfig(enabled=False),
        http=HTTPConfig(enabled=True, port=0),
        events=EventsConfig(journal=journal),
    )


async def test_bus_4_history_goes_on_when_an_agent_is_started_again(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path)
    async with Agent(config) as agent:
        epoch, seq = agent.bus.epoch, agent.bus.seq
        kept = [agent.bus.publish("my.type", {"n": n}) for n in range(3)]
        assert agent.delivery.journal is not None
        await agent.delivery.journal.written(kept[-1].seq)
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600
    async with Agent(config) as agent:
        assert agent.bus.epoch == epoch
        agent.bus.publish("my.type", {"n": 3})
        assert agent.http is not None
        since = f"{epoch}-{seq}"
        async with EventStream(agent.http.url, types=["*"], since=since) as stream:
            record = [await anext(stream) for _ in range(6)]
    told = [(item.type, item.payload.get("n")) for item in record]  # type: ignore[union-attr]
    assert told == [
        *(("my.type", n) for n in range(3)),
        ("agent.stopping", None),
        ("agent.started", None),
        ("my.type", 3),
    ]


async def test_journal_is_where_the_configuration_says(tmp_path: Path) -> None:
    path = tmp_path / "other" / "events.db"
    async with Agent(config_of(tmp_path / "data", path)):
        pass
    assert path.exists()
    assert not (tmp_path / "data" / "journal.db").exists()


async def test_start_fails_when_there_is_no_place_for_the_journal(
    tmp_path: Path,
) -> None:
    config = replace(config_of(tmp_path), data_dir=None)
    with pytest.raises(ConfigError, match="data directory, and none is set"):
        await Agent(config).start()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        await Agent(config_of(tmp_path / "data", blocked / "events.db")).start()
