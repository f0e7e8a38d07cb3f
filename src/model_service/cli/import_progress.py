"""How far an import has come: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between two lines where there is no terminal.
LINE_EVERY: Final = 10.0


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show progress on stderr while the context is open; gives what to call after each row."""
    if not sys.stderr.isatty():
        yield _Lines(what, total).advance
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


class _Lines:
    """Progress for log files."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._next = time.monotonic() + LINE_EVERY

    def advance(self) -> None:
        """Another row is done."""
        self._done += 1
        if time.monotonic() >= self._next or self._done == self._total:
            typer.echo(f"{self._what}: {self._done} of {self._total}", err=True)
            self._next = time.monotonic() + LINE_EVERY
