"""Logs on standard error: lines for people, or JSON objects for machines."""

import logging
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from moa._render.sanitize import SPECIAL_CHARACTERS, one_line, safe

MAX_LINE_CHARS = 4_000
"""Longest message of a record."""

_ESCAPES = {code: f"\\u{code:04x}" for code in SPECIAL_CHARACTERS if 0x7F < code < 0xD800}
"""JSON allows these as they are, and a terminal on which somebody reads the log would obey them."""

LogFormat = Literal["text", "json"]


class JsonFormatter(logging.Formatter):
    """Writes each record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", None):
            fields["request_id"] = request_id
        fields |= getattr(record, "facts", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        line = orjson.dumps(fields, default=str).decode()
        return line if line.isascii() else line.translate(_ESCAPES)


class TextFormatter(logging.Formatter):
    """Writes each record as a line for people, with what the access log knows beside it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = safe(super().format(record))
        facts: dict[str, object] = getattr(record, "facts", {})
        shown = ("request_id", "caller", "mixture", "run", "error", "prompt")
        beside = " ".join(
            f"{name}={one_line(str(facts[name]), limit=200)}" for name in shown if facts.get(name, "-") != "-"
        )
        return f"{line} {beside}" if beside else line

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without a traceback: a service's text in it can begin no other line."""
        return one_line(super().formatMessage(record), limit=MAX_LINE_CHARS)


def log_settings(form: LogFormat) -> dict[str, Any]:
    """Return the settings of Python's logging for the server's process."""
    formatter = {"()": JsonFormatter} if form == "json" else {"()": TextFormatter}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"ours": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "ours"}},
        "loggers": {
            "moa": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        },
    }
