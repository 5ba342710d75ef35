"""Log records on stderr or in a file, as text or as JSON; for our own process only.

What is written goes through a mask: a message may quote what a peer or a tool said.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from praxis_fast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.agent.config import LoggingConfig

    Mask = Callable[[str], str]


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


class TextFormatter(logging.Formatter):
    """`time level logger: message`, one line and the traceback if there is one."""

    def formatTime(  # noqa: N802  logging's name
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        return _time(record)

    def __init__(self, mask: Mask = str) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return self._mask(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        # What a peer sent must not look like a second record.
        return super().formatMessage(record).replace("\n", "\\n")


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, mask: Mask = str) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._text(record.getMessage()),
        }
        if record.exc_info:
            told["exception"] = self._text(self.formatException(record.exc_info))
        return orjson.dumps(told, default=str).decode()

    def _text(self, text: str) -> str:
        """The text masked, and such as JSON can have: no half of a surrogate pair."""
        return self._mask(text).encode("utf-8", "backslashreplace").decode()


def set_up_logs(config: LoggingConfig, mask: Mask = str) -> None:
    """Make the root logger write as the configuration says."""
    if config.file is None:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            handler = logging.FileHandler(
                config.file, encoding="utf-8", errors="backslashreplace"
            )
        except OSError as error:
            text = f"{config.file} cannot be opened: {error.strerror}"
            raise ConfigError(text, key="logging.file") from error
    as_json = config.format == "json"
    handler.setFormatter(JSONFormatter(mask) if as_json else TextFormatter(mask))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    if config.level == "info":
        # It tells of its own start and end, which are ours to tell.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
