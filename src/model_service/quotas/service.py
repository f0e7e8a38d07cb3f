"""What can be done with quotas: administrators set them, users see those that are about them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.counting import Quota
from model_service.kernel.errors import DatabaseUnavailable, FieldFault, InvalidInput, NotFound
from model_service.kernel.principal import Principal
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions
from model_service.quotas.domain import (
    Change,
    NewQuota,
    QuotaStore,
    Refresh,
    Standing,
    StoredQuota,
    limit_faults,
    to_units,
)

log = structlog.get_logger(__name__)

Shown = tuple[StoredQuota, Standing]
"""A quota and how it stands."""


class QuotaService:
    """The use cases of quotas."""

    def __init__(
        self, transactions: Transactions, store: QuotaStore, trail: AuditTrail, clock: Clock
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._trail = trail
        self._clock = clock
        self._refresh: Refresh | None = None

    def before_showing(self, refresh: Refresh) -> None:
        """Have this done before standings are looked up."""
        self._refresh = refresh

    async def create(self, new: NewQuota) -> Shown:
        """Set a quota. It counts from now on; everywhere within a second.

        Raises:
            InvalidInput: what is asked for does not fit together.
            DatabaseUnavailable, AuditUnavailable: it cannot be stored or recorded.
        """
        new.check()
        now = self._clock.now()
        quota = Quota(
            uuid7(),
            new.metric,
            new.window,
            to_units(new.metric, new.limit),
            new.user_id,
            new.token_id,
            new.model,
        )
        stored = StoredQuota(quota, now, now)
        async with self._transactions.transaction():
            await self._store.add(stored)
            await self._record("quota.create", stored)
        return await self._shown(stored)

    async def get(self, quota_id: UUID, by: Principal) -> Shown:
        """One quota. Raises `NotFound`, also for what `by` may not see."""
        stored = _found(await self._store.get(quota_id))
        if not by.is_administrator and (
            by.user_id is None or not await self._store.about(quota_id, by.user_id)
        ):
            raise _missing()
        return await self._shown(stored)

    async def page(self, user_id: str | None, before: UUID | None, limit: int) -> Sequence[Shown]:
        """Quotas newest first: of one user and its tokens, or with None all of them."""
        found = await self._store.page(user_id, before, limit)
        standings = await self._standings([one.quota.id for one in found])
        return [(one, standings[one.quota.id]) for one in found if one.quota.id in standings]

    async def change(self, quota_id: UUID, change: Change) -> Shown:
        """Set another limit; what is used in the present window stays used.

        Raises:
            NotFound, DatabaseUnavailable, AuditUnavailable: nothing is changed.
            InvalidInput: so is what is asked for; or it names another subject, metric or window,
                which would make another quota of it.
        """
        stored = _found(await self._store.get(quota_id))
        faults = _differing(stored.quota, change.named or {})
        if change.limit is not None:
            faults += limit_faults(stored.quota.metric, change.limit)
        if faults:
            raise InvalidInput(errors=faults)
        if change.limit is not None:
            units = to_units(stored.quota.metric, change.limit)
            async with self._transactions.transaction():
                now = self._clock.now()
                stored = _found(await self._store.set_limit(quota_id, units, now))
                await self._record("quota.update", stored)
        return await self._shown(stored)

    async def delete(self, quota_id: UUID) -> None:
        """Remove a quota. Raises `NotFound`."""
        stored = _found(await self._store.get(quota_id))
        async with self._transactions.transaction():
            if not await self._store.delete(quota_id):
                raise _missing()
            await self._record("quota.delete", stored)

    async def _shown(self, stored: StoredQuota) -> Shown:
        standings = await self._standings([stored.quota.id])
        if stored.quota.id not in standings:
            raise _missing()
        return stored, standings[stored.quota.id]

    async def _standings(self, ids: Sequence[UUID]) -> Mapping[UUID, Standing]:
        if self._refresh is not None:
            try:
                await self._refresh()
            except DatabaseUnavailable:
                log.warning("what was spent here is not counted yet")
        return await self._store.standings(ids)

    async def _record(self, type_: str, stored: StoredQuota) -> None:
        quota = stored.quota
        what = f"{stored.limit:f} {quota.metric.value} per {quota.window.value}"
        await self._trail.record(AuditEvent(type=type_, subject=f"quota:{quota.id}", reason=what))
        log.info("quota changed", change=type_, quota_id=str(quota.id))


def _differing(quota: Quota, named: Mapping[str, object]) -> list[FieldFault]:
    """What would make another quota of it. Saying what is so already is fine."""
    present = {
        "userId": quota.user_id,
        "tokenId": quota.token_id,
        "model": quota.model,
        "metric": quota.metric,
        "window": quota.window,
    }
    message = "cannot be changed: it would be another quota, which is to be made anew"
    return [FieldFault(name, message) for name, value in named.items() if present[name] != value]


def _found(stored: StoredQuota | None) -> StoredQuota:
    if stored is None:
        raise _missing()
    return stored


def _missing() -> NotFound:
    return NotFound("No such quota")
