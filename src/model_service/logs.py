"""Structured logs that cannot carry a secret.

Fields are an allow-list: one that is not on it is written as `[dropped]`, so that a
careless `log.info("...", body=body)` shows its mistake and nothing else. What passes is
still run through the redactor. Production writes one JSON object a line to standard
output, development a readable line to standard error.
"""

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import orjson
import structlog
from typing_extensions import override

from model_service.kernel.redact import Redactor

#: Every field a log line may have, besides `event`, `level`, `time` and `logger`.
ALLOWED_FIELDS = frozenset(
    {
        "action", "address", "attempt", "attempts", "change", "client", "code", "count",
        "database", "directory", "duration_ms", "environment", "error", "error_type", "event_id",
        "faults", "host", "key_id", "method", "model_id", "next_step", "origin", "outcome", "path",
        "phase", "pid", "port", "provider", "reason", "request_id", "route", "signal", "state",
        "status", "subject", "term", "url", "user_id", "verdict", "version", "webhook_id", "where",
        "workers",
    }
)  # fmt: skip
DROPPED = "[dropped]"

_ALWAYS = frozenset({"event", "level", "time", "logger"})

EventDict = MutableMapping[str, Any]


def allow_fields(_: object, __: str, event: EventDict) -> EventDict:
    """Keep the fields on the list, name the others without their values."""
    for name in event.keys() - ALLOWED_FIELDS - _ALWAYS:
        event[name] = DROPPED
    return event


def name_exception(_: object, __: str, event: EventDict) -> EventDict:
    """Of an exception being handled keep its type alone: message and values may hold a secret."""
    if event.pop("exc_info", None):
        kind = sys.exc_info()[0]
        event.setdefault("error_type", kind.__name__ if kind else None)
    return event


def redact_with(redactor: Redactor) -> Callable[[object, str, EventDict], EventDict]:
    """A processor that redacts every text in the event."""

    def redact(_: object, __: str, event: EventDict) -> EventDict:
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = redactor(value)
            elif value is not None and not isinstance(value, int | float):
                event[name] = redactor(str(value))
        return event

    return redact


class _IntoStructlog(logging.Handler):
    """Sends what libraries log through the same processors; their messages are redacted text."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        fields = {"error_type": kind.__name__} if kind else {}
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), **fields)


def configure(*, level: str, json: bool, redactor: Redactor) -> None:
    """Set up logging for this process. `level` is debug, info, warning or error."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_exception,
        allow_fields,
        redact_with(redactor),
    ]
    if json:
        processors.append(structlog.processors.JSONRenderer(serializer=orjson.dumps))
        factory: Any = structlog.BytesLoggerFactory(sys.stdout.buffer)
    else:
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), timestamp_key="time", pad_event_to=0
            )
        )
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_IntoStructlog()]
    root.setLevel(max(threshold, logging.WARNING))
