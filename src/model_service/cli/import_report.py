"""What an import did, row by row where something was left out."""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from model_service.cli.console import printable

#: Rows left out that are listed at the end; those beyond are complained of at once instead.
LISTED: Final = 1_000
#: Exit status when rows were left out, though the import went through.
INCOMPLETE: Final = 3


class Outcome(StrEnum):
    """What became of a row."""

    IMPORTED = "imported"
    THERE = "already there"
    TAKEN = "name taken"
    UNREADABLE = "unreadable"


class LeftOut(NamedTuple):
    """A row that was not imported."""

    table: str
    row_id: str
    outcome: Outcome
    reason: str


class Report:
    """Counts, the rows left out, and what else the operator should know. Holds no secret."""

    def __init__(self, complain: Callable[[str], None], *, dry_run: bool) -> None:
        self._complain = complain
        self.dry_run = dry_run
        self._counts: Counter[tuple[str, Outcome]] = Counter()
        self._left_out: list[LeftOut] = []
        self._notes: list[str] = []

    @property
    def status(self) -> int:
        """The exit status: 0, or 3 when rows were left out."""
        return INCOMPLETE if self._count_left_out() else 0

    def counted(self, table: str, outcome: Outcome) -> int:
        """How many rows of a table this became of."""
        return self._counts[table, outcome]

    def count(self, table: str, outcome: Outcome) -> None:
        """A row was imported or found."""
        self._counts[table, outcome] += 1

    def leave_out(self, row: LeftOut) -> None:
        """A row could not be imported."""
        self._counts[row.table, row.outcome] += 1
        if len(self._left_out) < LISTED:
            self._left_out.append(row)
        else:
            self._complain(f"{row.table} {printable(row.row_id)}: {row.outcome}: {row.reason}")

    def warn(self, sentence: str) -> None:
        """Something to tell at once."""
        self._complain(sentence)

    def note(self, sentence: str) -> None:
        """Something to tell at the end."""
        self._notes.append(sentence)

    def show(self, console: Console) -> None:
        """Write the report; nothing when nothing was done."""
        if self._counts:
            console.print(self._summary())
        if self._left_out:
            console.print(self._listing())
        beyond = self._count_left_out() - len(self._left_out)
        if beyond:
            console.print(f"{beyond} more rows were left out; they are named further up.")
        for note in self._notes:
            console.print(note)

    def _count_left_out(self) -> int:
        outcomes = (Outcome.TAKEN, Outcome.UNREADABLE)
        return sum(count for (_, outcome), count in self._counts.items() if outcome in outcomes)

    def _summary(self) -> Table:
        title = "Dry run: nothing was stored" if self.dry_run else "Import"
        table = Table(title=title)
        table.add_column("table")
        for outcome in Outcome:
            words = outcome.value
            if self.dry_run and outcome is Outcome.IMPORTED:
                words = "would be imported"
            table.add_column(words, justify="right")
        for name in dict.fromkeys(name for name, _ in self._counts):
            counts = [str(self.counted(name, outcome)) for outcome in Outcome]
            table.add_row(name, *counts)
        return table

    def _listing(self) -> Table:
        table = Table(title="Left out")
        for heading in ("table", "id", "what", "reason"):
            table.add_column(heading, overflow="fold")
        for row in sorted(self._left_out):
            table.add_row(row.table, printable(row.row_id), row.outcome.value, row.reason)
        return table
