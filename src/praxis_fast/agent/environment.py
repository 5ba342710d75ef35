"""`PRAXIS_<SECTION>__<KEY>` as a layer of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxis_fast.agent.settings import Entry
from praxis_fast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from praxis_fast.agent.settings import Layer

PREFIX = "PRAXIS_"

# Top-level keys have no section, so no double underscore tells them from the
# PRAXIS_FAST_* switches.
TOP_LEVEL = {
    "PRAXIS_DATA_DIR": "data_dir",
    "PRAXIS_KEY": "key",
    "PRAXIS_TOOLS": "tools",
}

# The switches of upstream; a PRAXIS_ variable of the same setting wins.
UPSTREAM = {
    "A2A_EVENT_FILTER_LEVEL": "events.filter_level",
    "A2A_ENABLE_AUDIT_EVENTS": "audit.enabled",
    "A2A_ENABLE_PERFORMANCE_EVENTS": "events.performance",
    "A2A_DEBUG_EVENTS": "events.debug",
    "LOG_LEVEL": "logging.level",
}

# Everybody's variable: what others mean by it must not keep us from starting.
SHARED = {"LOG_LEVEL": frozenset({"debug", "info", "warn", "warning", "error"})}


def read_environment(environ: Mapping[str, str], source: str = "environment") -> Layer:
    """The variables that are settings; their values are texts."""
    return {
        key: Entry(environ[name], f"{source} {name}", is_text=True)
        for name in sorted(environ)
        if (key := setting_of(name)) is not None
        and (name not in SHARED or environ[name].lower() in SHARED[name])
    }


def setting_of(variable: str) -> str | None:
    """`p2p.port` for `PRAXIS_P2P__PORT`; none for a variable that is no setting."""
    if variable in TOP_LEVEL:
        return TOP_LEVEL[variable]
    if variable in UPSTREAM:
        return UPSTREAM[variable]
    if not variable.startswith(PREFIX) or "__" not in variable:
        return None
    return variable.removeprefix(PREFIX).lower().replace("__", ".")


def read_env_file(path: str | Path) -> Layer:
    """The same variables out of a `.env` file."""
    from dotenv import dotenv_values

    try:
        with open(path, encoding="utf-8") as file:
            values = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=str(path)) from error
    texts = {name: value for name, value in values.items() if value is not None}
    return read_environment(texts, str(path))
