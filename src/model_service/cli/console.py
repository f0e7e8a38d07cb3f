"""Output of the commands that report: the report on stdout, everything else on stderr."""

import sys

from rich.console import Console

from model_service import logs
from model_service.app import configure_logging
from model_service.kernel.redact import Redactor
from model_service.settings import Settings

#: Columns of a report that goes to a file or a pipe, where nothing says how wide it may be.
_WIDTH = 160


def log_to_stderr(settings: Settings) -> Redactor:
    """Set up logs as readable lines on stderr in production too: stdout is the report's."""
    redactor = configure_logging(settings)
    logs.configure(level=settings.log_level, json=False, redactor=redactor)
    return redactor


def report_console() -> Console:
    """Where a report is written to."""
    width = None if sys.stdout.isatty() else _WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def printable(text: str, most: int = 80) -> str:
    """A foreign text fit for a terminal: no control characters, not endless."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
