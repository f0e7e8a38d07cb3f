"""Taking over one table of the earlier service: checked, opened, stored, counted."""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from typing import ClassVar, Final
from uuid import UUID

from sqlalchemy import Table, select
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from model_service.cli.console import printable
from model_service.cli.earlier import EarlierDatabase, Shape
from model_service.cli.earlier_rows import EarlierKey, EarlierModel, EarlierRow, RawRow, stable_id
from model_service.cli.import_progress import progress
from model_service.cli.import_report import LeftOut, Outcome, Report
from model_service.db import tables
from model_service.kernel.errors import AlreadyExists, IntegrityFailure, InvalidInput
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock
from model_service.service import Service

#: Keys opened at a time: each takes a core and 16 MiB (scrypt with N=2^14, r=8) for 50 ms.
THREADS: Final = min(8, os.cpu_count() or 1)
#: Rows under way at a time: some are stored while others are opened.
WORKERS: Final = THREADS + 2
#: After so many keys of which none opened, it is the secret rather than the keys.
SUSPICIOUS: Final = 20

_NONE_OPENED = "none of the keys opened: --secret-file probably holds another secret"

OpenKey = Callable[[str], Secret[str]]


class _Rehearsed(Exception):
    """Undoes the transaction of a row that a dry run has taken as far as storing it."""


class Intake(ABC):
    """Takes over one table. What a row needs beyond the general is left to the subclasses."""

    kind: ClassVar[type[EarlierRow]]
    table: ClassVar[Table]

    def __init__(self, service: Service, report: Report) -> None:
        self._service = service
        self._report = report
        self._now = SystemClock().now()
        self._renamed = 0
        self._there = 0

    @abstractmethod
    async def adopt(self, raw: RawRow) -> None:
        """Check a row and hand it to the service.

        Raises:
            InvalidInput: it does not hold.
            IntegrityFailure: its ciphertext does not open.
            AlreadyExists: its name belongs to another row here.
        """
        ...

    async def take_over(self, earlier: EarlierDatabase, shape: Shape) -> None:
        """Take over every row that is not here yet."""
        total = await earlier.count(shape)
        with progress(self.kind.table, total) as advance:
            async with aclosing(earlier.batches(shape)) as batches:
                async for batch in batches:
                    await self._take_batch(batch, advance)
        self.conclude()

    def conclude(self) -> None:
        """Note what is to be said of the table as a whole."""
        if self._renamed:
            self._report.note(
                f"{self._renamed} ids in {self.kind.table} were not UUIDs and were replaced by"
                " UUIDs derived from them."
            )

    async def _take_batch(self, batch: list[RawRow], advance: Callable[[], None]) -> None:
        ids = [stable_id(self.kind.table, str(raw["id"])) for raw in batch]
        there = await self._stored_ids(ids)
        waiting = iter(zip(ids, batch, strict=True))

        async def work() -> None:
            for row_id, raw in waiting:
                if row_id in there:
                    self._there += 1
                    self._report.count(self.kind.table, Outcome.THERE)
                else:
                    await self._take(row_id, raw)
                advance()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(work())
        except ExceptionGroup as faults:
            # The first stopped the others; whatever they met then says nothing more.
            raise faults.exceptions[0] from None

    async def _take(self, row_id: UUID, raw: RawRow) -> None:
        earlier_id = str(raw["id"])
        try:
            async with self._storing():
                await self.adopt(raw)
        except AlreadyExists:
            if row_id in await self._stored_ids([row_id]):
                self._report.count(self.kind.table, Outcome.THERE)  # another import was faster
                return
            reason = "another row here has its name; rename one of them, then run again"
            self._leave_out(earlier_id, Outcome.TAKEN, reason)
        except (InvalidInput, IntegrityFailure) as error:
            self._leave_out(earlier_id, Outcome.UNREADABLE, _reason(error))
        except DBAPIError as error:
            # Passing failures are DatabaseUnavailable by now: it is this row that is refused.
            state = getattr(error.orig, "sqlstate", None) or "unknown"
            reason = f"the database refuses it (SQLSTATE {state})"
            self._leave_out(earlier_id, Outcome.UNREADABLE, reason)
        else:
            self._renamed += str(row_id) != earlier_id.lower()
            self._report.count(self.kind.table, Outcome.IMPORTED)

    def _leave_out(self, earlier_id: str, outcome: Outcome, reason: str) -> None:
        self._report.leave_out(LeftOut(self.kind.table, earlier_id, outcome, reason))

    async def _stored_ids(self, ids: Iterable[UUID]) -> set[UUID]:
        query = select(self.table.c.id).where(self.table.c.id.in_(ids))
        async with self._service.database.single() as connection:
            return set((await connection.execute(query)).scalars())

    @asynccontextmanager
    async def _storing(self) -> AsyncIterator[None]:
        """Within it rows are stored; in a dry run, stored and taken back."""
        if not self._report.dry_run:
            yield
            return
        with suppress(_Rehearsed):
            async with self._service.database.transaction():
                yield
                raise _Rehearsed


class ModelIntake(Intake):
    """Takes over `models`."""

    kind = EarlierModel
    table = tables.models

    @override
    async def adopt(self, raw: RawRow) -> None:
        """Check a model and store it; the target's default stays the default."""
        model = EarlierModel.parse(raw).entity(self._now)
        stored = await self._service.models.adopt(model)
        if model.is_default and not stored.is_default:
            self._report.note(
                f"'{printable(model.name)}' was a default model; it was imported as an ordinary"
                " one, because there is a default here already."
            )


class KeyIntake(Intake):
    """Takes over `api_keys`."""

    kind = EarlierKey
    table = tables.api_keys

    def __init__(
        self,
        service: Service,
        report: Report,
        open_key: OpenKey,
        threads: ThreadPoolExecutor,
    ) -> None:
        super().__init__(service, report)
        self._open_key = open_key
        self._threads = threads
        self._opened = 0
        self._unopened = 0

    @override
    async def adopt(self, raw: RawRow) -> None:
        """Check a key, open it, and store it encrypted anew."""
        row = EarlierKey.parse(raw)
        value = await self._value(row)
        await self._service.keys.adopt(row.entity(value, self._now), value)

    @override
    def conclude(self) -> None:
        """Note also that the secret does not seem to be the right one."""
        super().conclude()
        # Keys that are there were opened by an earlier run: then it is not the secret.
        if self._unopened and not self._opened and not self._there:
            self._report.note(_NONE_OPENED.capitalize() + ".")

    async def _value(self, row: EarlierKey) -> Secret[str]:
        loop = asyncio.get_running_loop()
        try:
            value = await loop.run_in_executor(self._threads, self._open_key, row.encrypted_key)
        except IntegrityFailure:
            self._unopened += 1
            if self._unopened == SUSPICIOUS and not self._opened and not self._there:
                self._report.warn(f"{_NONE_OPENED}; stop it (Ctrl-C) and look")
            raise
        self._opened += 1
        return value


def _reason(error: InvalidInput | IntegrityFailure) -> str:
    if isinstance(error, InvalidInput) and error.errors:
        return "; ".join(f"{fault.field}: {fault.message}" for fault in error.errors)
    return error.message
