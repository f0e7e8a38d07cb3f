"""Writing down what was measured, with what and how."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def write(path: Path, sections: Sequence[tuple[str, str]]) -> None:
    """The report, with the machine it was taken on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "fastapi", "asyncpg"))
    head = (
        "# Measurements\n\n"
        "Written by `make bench`; each figure is of a running service in production mode, over\n"
        "real HTTP with a real PostgreSQL. The service has one core to itself; PostgreSQL and the\n"
        "load generator share the rest.\n\n"
        f"- taken {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}),"
        f" Python {platform.python_version()}, {libraries}\n"
        "- the machine is shared: compare figures within one report, not between reports\n"
    )
    body = "\n".join(f"\n## {title}\n\n{text}" for title, text in sections)
    path.write_text(head + body + "\n")
