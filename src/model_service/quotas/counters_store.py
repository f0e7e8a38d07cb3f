"""The shared counters in PostgreSQL: one statement settles and takes for all that a worker asks."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, BigInteger, Interval, Text, Uuid, bindparam, text

from model_service.db.notices import notify
from model_service.db.uow import Database
from model_service.kernel.counting import LEASE_SECONDS, RECALL_TOPIC, Answer, Ask

Observe = Callable[[Ask, Answer], None]
"""Hears how each counter stands, as it is told; takes no time."""

_NUMBERS: Final = (
    "limits", "leases", "spares", "opened", "spent", "held", "least", "need", "most",
)  # fmt: skip

# Migration 0010 has the function, and says how it counts.
_EXCHANGE: Final = text("""
SELECT * FROM exchange_leases(:holder, :number, :valid, :keys, :windows, :limits, :leases, :spares,
    :opened, :spent, :held, :least, :need, :most)
""").bindparams(
    bindparam("holder", type_=Uuid),
    bindparam("number", type_=BigInteger),
    bindparam("valid", type_=Interval),
    bindparam("keys", type_=ARRAY(Text)),
    bindparam("windows", type_=ARRAY(Text)),
    *(bindparam(name, type_=ARRAY(BigInteger)) for name in _NUMBERS),
)


class SqlCounterStore:
    """`CounterStore` for one worker, under a name that is new with each start of it."""

    def __init__(
        self,
        database: Database,
        observe: Observe | None = None,
        *,
        holder: UUID | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`lease_seconds` after its last exchange the worker is taken for dead."""
        self._db = database
        self._observe = observe
        self._holder = holder or uuid4()
        self._valid = timedelta(seconds=lease_seconds)
        self._number = 0

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        """Settle and take."""
        self._number += 1
        parameters = {
            "holder": self._holder,
            "number": self._number,
            "valid": self._valid,
            "keys": [ask.key for ask in asks],
            "windows": [ask.window.value for ask in asks],
            "limits": [ask.limit for ask in asks],
            "leases": [ask.lease for ask in asks],
            "spares": [ask.spare for ask in asks],
            "opened": [ask.opened for ask in asks],
            "spent": [ask.spent for ask in asks],
            "held": [ask.held for ask in asks],
            "least": [ask.least for ask in asks],
            "need": [ask.need for ask in asks],
            "most": [ask.most for ask in asks],
        }
        async with self._db.single() as connection:
            rows = (await connection.execute(_EXCHANGE, parameters)).all()
        answers = [
            Answer(row.opens, row.remaining, row.granted, row.taken_after, row.held_after)
            for row in sorted(rows, key=lambda row: row.place)
        ]
        if self._observe is not None:
            for ask, answer in zip(asks, answers, strict=True):
                self._observe(ask, answer)
        return answers

    async def recall(self, keys: Sequence[str]) -> None:
        """Ask all workers to give back what they do not use."""
        async with self._db.transaction() as connection:
            for key in keys:
                await notify(connection, RECALL_TOPIC, key)
