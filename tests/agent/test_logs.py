"""Log records as text and as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from praxis_fast.agent.config import LoggingConfig
from praxis_fast.agent.logs import JSONFormatter, TextFormatter, set_up_logs
from praxis_fast.errors import ConfigError


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    before = logger.handlers[:], logger.level
    quiet = logging.getLogger("uvicorn.error").level
    yield logger
    logger.handlers[:], level = before
    logger.setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(quiet)


def record(message: str, *, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("a.b", logging.WARNING, __file__, 1, message, (), info)
    made.created = 1760000000.25
    return made


def test_text_is_one_line_whatever_is_told() -> None:
    told = TextFormatter().format(record("peer said: a\nb"))
    assert told == "2025-10-09T08:53:20.250Z WARNING a.b: peer said: a\\nb"


def test_json_is_one_object_with_the_traceback() -> None:
    text = JSONFormatter().format(record("a\nb", error=ValueError("no")))
    assert "\n" not in text
    told = json.loads(text)
    assert told["exception"] == "ValueError: no"
    assert {key: told[key] for key in ("time", "level", "logger", "message")} == {
        "time": "2025-10-09T08:53:20.250Z",
        "level": "warning",
        "logger": "a.b",
        "message": "a\nb",
    }


def test_a_file_is_appended_to_from_the_level_on(
    tmp_path: Path, root: logging.Logger
) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    set_up_logs(LoggingConfig(file=str(path), level="warning", format="json"))
    logging.getLogger("x").info("not this")
    logging.getLogger("x").warning("this")
    root.handlers[0].close()
    before, line = path.read_text().splitlines()
    assert (before, json.loads(line)["message"]) == ("before", "this")


def test_a_file_that_cannot_be_opened_is_a_setting_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logging\.file: .* cannot be opened: Is a"):
        set_up_logs(LoggingConfig(file=str(tmp_path)))


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(LoggingConfig())
    logging.getLogger("x").info("told")
    assert capsys.readouterr().err.endswith("Z INFO x: told\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_half_a_surrogate_pair_loses_no_line(
    tmp_path: Path, root: logging.Logger, form: str
) -> None:
    path = tmp_path / "log"
    set_up_logs(LoggingConfig(file=str(path), format=form))
    logging.getLogger("x").error("task %s", "\ud800")
    root.handlers[0].close()
    assert "task \\ud800" in path.read_text().replace("\\\\", "\\")
