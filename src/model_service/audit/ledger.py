"""What is done with the trail as a whole, for the commands and the background."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from model_service.audit import export, prune, verify
from model_service.audit.checkpoints import Checkpointer
from model_service.audit.domain import Checkpoint
from model_service.audit.export import Exported
from model_service.audit.prune import Pruned
from model_service.audit.signing import AuditKeys
from model_service.audit.verify import Verified
from model_service.db.uow import Database
from model_service.kernel.audit import AuditTrail
from model_service.kernel.errors import AuditBroken, ServiceError
from model_service.kernel.events import Announcer
from model_service.kernel.types import Clock


@dataclass(frozen=True, slots=True)
class Ledger:
    """The trail with its keys and its checkpoints. `checkpointer` is the job in the background."""

    database: Database
    keys: AuditKeys
    trail: AuditTrail
    clock: Clock
    checkpointer: Checkpointer

    @classmethod
    def build(
        cls,
        database: Database,
        keys: AuditKeys,
        trail: AuditTrail,
        announcer: Announcer,
        clock: Clock,
    ) -> "Ledger":
        """Everything, on one database."""
        checkpointer = Checkpointer(database, keys, trail, announcer, clock)
        return cls(database, keys, trail, clock, checkpointer)

    async def verify(
        self,
        trusted: Sequence[Checkpoint] = (),
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Verified:
        """Check everything; see `audit.verify.verify`. What is found wrong is told and recorded."""
        try:
            return await verify.verify(self.database, self.keys, trusted, on_progress)
        except AuditBroken as broken:
            # Also where nothing can be written, such as on a standby, the finding is given.
            with suppress(ServiceError):
                await self.checkpointer.report(broken)
            raise

    async def export(
        self,
        write: Callable[[bytes], object],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Exported | None:
        """Write segments out; see `audit.export.export`."""
        return await export.export(
            self.database,
            self.keys,
            self.trail,
            self.checkpointer,
            write,
            since=since,
            until=until,
        )

    async def prune(self, before: datetime, kept: Iterable[bytes]) -> Pruned | None:
        """Remove segments that `kept`, the lines of an export, holds; see `audit.prune.prune`.

        What is found wrong is told and recorded.
        """
        try:
            return await prune.prune(self.database, self.keys, self.trail, self.clock, before, kept)
        except AuditBroken as broken:
            with suppress(ServiceError):
                await self.checkpointer.report(broken)
            raise
