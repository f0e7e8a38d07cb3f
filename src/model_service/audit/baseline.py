"""Where a trail begins on a database that has keys already: what is stored of each, on record."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit import chain, store
from model_service.audit.domain import Entry
from model_service.audit.trail import instance_name
from model_service.db.tables import api_keys
from model_service.kernel.audit import Decision, Phase
from model_service.kernel.caller import current_caller
from model_service.kernel.types import SystemClock, uuid7

#: Keys recorded in one statement.
BATCH: Final = 2000

_k = api_keys.c
# Over the stored text, as everywhere in the trail.
_SHA256: Final = func.encode(func.sha256(func.convert_to(_k.encrypted_key, "UTF8")), "hex").label(
    "sha256"
)


async def record_stored_keys(connection: AsyncConnection, chain_key: bytes) -> None:
    """Record the ciphertext of every stored key, in this transaction; else they are forgeries.

    For the transaction that makes the trail's keys: from then on each ciphertext is recorded
    with the change that stores it.
    """
    head = await store.lock_head(connection)
    rows: Sequence[Row[Any, Any, Any]] = ()
    while True:
        behind = _k.id > rows[-1].id if rows else true()
        query = select(_k.id, _k.provider, _SHA256).where(behind).order_by(_k.id)
        rows = (await connection.execute(query.limit(BATCH))).all()
        if not rows:
            return
        entries = [_entry(row) for row in rows]
        heads = chain.heads(chain_key, head, map(chain.canonical, entries))
        await store.append(connection, entries, heads)
        head = heads[-1]


def _entry(row: Row[Any, Any, Any]) -> Entry:
    return Entry(
        id=uuid7(),
        time=SystemClock().now(),
        type="audit.baseline",
        phase=Phase.RESULT.value,
        actor=current_caller().actor,
        on_behalf_of=None,
        subject=f"key:{row.id}",
        provider=row.provider,
        purpose=None,
        request_id=None,
        client_address=None,
        decision=Decision.ALLOW.value,
        reason="stored before the trail began",
        ciphertext_sha256=row.sha256,
        term=None,
        instance=instance_name(),
    )
