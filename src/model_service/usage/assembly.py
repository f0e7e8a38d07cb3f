"""The parts of usage in the database, put together; `app` gives what they stand on."""

from dataclasses import dataclass

from model_service.db.uow import Database
from model_service.kernel.types import Clock
from model_service.usage.domain import KeyUse
from model_service.usage.partitions import Months
from model_service.usage.reading import SqlUsageReader
from model_service.usage.retention import UsageUpkeep
from model_service.usage.store import SqlUsageSink


@dataclass(frozen=True, slots=True)
class Usage:
    """Where events are kept, how they are told, and the job that makes and drops months."""

    sink: SqlUsageSink
    reader: SqlUsageReader
    upkeep: UsageUpkeep

    @classmethod
    def build(cls, database: Database, keys: KeyUse, clock: Clock, *, months_kept: int) -> "Usage":
        """Everything, on one database. `months_kept` counts the current month too."""
        months = Months(database)
        return cls(
            SqlUsageSink(database, months, keys),
            SqlUsageReader(database),
            UsageUpkeep(database, months, clock, months_kept),
        )
