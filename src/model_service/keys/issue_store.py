"""What this service makes providers give out, from before it is asked for until it is taken back.

Each change of state names the state before, so that of two processes that work on the same
row after all, one finds that it came too late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, delete, exists, insert, or_, select, update

from model_service.db.tables import (
    api_key_versions,
    api_keys,
    issued_keys,
    key_rotation_policies,
)
from model_service.db.uow import Database
from model_service.kernel.types import Clock, Provider
from model_service.keys.domain import ENDPOINT, ProviderKey
from model_service.keys.rotation_domain import IssueState, Mode, Policy
from model_service.keys.rotation_store import policy_of
from model_service.keys.store import PLAIN, key_of, usable

_i = issued_keys.c
_k = api_keys.c
_p = key_rotation_policies.c
_v = api_key_versions.c

_COMING = (IssueState.REQUESTED.value, IssueState.ISSUED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One value that a provider was made to give out, or is about to be.

    `reference` is what it is taken back by, None while nobody was told; `former` that of the
    value it takes the place of, where the provider knows it.
    """

    id: UUID
    key_id: UUID
    rotation_id: UUID
    version: int
    provider: Provider
    credential_id: UUID
    target: str
    state: IssueState
    claimed_until: datetime
    created_at: datetime
    reference: str | None = None
    former: str | None = None

    @property
    def name(self) -> str:
        """What it is known by at the provider."""
        return f"model-service {self.id}"


class SqlIssueStore:
    """The table `issued_keys`, and the policies that bring rows into it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db = database
        self._clock = clock

    async def next_due(
        self, now: datetime, providers: Sequence[Provider]
    ) -> tuple[ProviderKey, Policy] | None:
        """A key that is to be rotated now by itself, held until the transaction ends.

        None that is inactive or expired, for nobody is to use a new value of it; none whose last
        rotation is not over, for a provider with two slots has no third.
        """
        busy = exists().where(_v.key_id == _k.id)
        coming = exists().where(_i.key_id == _k.id, _i.state != IssueState.IN_USE.value)
        query = (
            select(*PLAIN)
            .join(key_rotation_policies, _p.key_id == _k.id)
            .where(
                _p.mode == Mode.AUTOMATIC.value,
                _p.due_at <= now,
                or_(_p.retry_at.is_(None), _p.retry_at <= now),
                usable(now),
                _k.provider.in_([provider.value for provider in providers]),
                ~busy,
                ~coming,
            )
            .order_by(_p.due_at)
            .limit(1)
            .with_for_update(key_share=True, skip_locked=True, of=api_keys)
        )
        async with self._db.transaction() as connection:
            row = (await connection.execute(query)).first()
            if row is None:
                return None
            # Anew under the lock: another process may have begun with it just before.
            again = select(key_rotation_policies).where(
                _p.key_id == row.id,
                _p.due_at <= now,
                or_(_p.retry_at.is_(None), _p.retry_at <= now),
                ~exists().where(_v.key_id == row.id),
                ~exists().where(_i.key_id == row.id, _i.state != IssueState.IN_USE.value),
            )
            policy = (await connection.execute(again)).first()
            return (key_of(row), policy_of(policy)) if policy else None

    async def others_at(
        self, key_id: UUID, provider: Provider, endpoints: Sequence[str], target: str
    ) -> Sequence[UUID]:
        """Other keys stored for one of those endpoints, or for that target by their policy."""
        by_policy = exists().where(_p.key_id == _k.id, _p.target == target)
        query = select(_k.id).where(
            _k.id != key_id,
            _k.provider == provider.value,
            or_(_k.metadata[ENDPOINT].astext.in_(list(endpoints)), by_policy),
        )
        async with self._db.single() as connection:
            return list((await connection.execute(query)).scalars())

    async def add(self, issue: Issue) -> None:
        """Write down what is about to be asked for, or what turned out to be there."""
        async with self._db.single() as connection:
            await connection.execute(
                insert(issued_keys).values(
                    id=issue.id,
                    key_id=issue.key_id,
                    rotation_id=issue.rotation_id,
                    version=issue.version,
                    provider=issue.provider.value,
                    credential_id=issue.credential_id,
                    target=issue.target,
                    reference=issue.reference,
                    former=issue.former,
                    state=issue.state.value,
                    claimed_until=issue.claimed_until,
                    created_at=issue.created_at,
                    updated_at=issue.created_at,
                )
            )

    async def claim_coming(self, now: datetime, until: datetime) -> Issue | None:
        """A value on its way in that nobody works on any more; it is the caller's until then."""
        return await self._claim(_i.state.in_(_COMING), now, until)

    async def claim_going(self, now: datetime, until: datetime) -> Issue | None:
        """A value to be taken back: one that is no more used, or whose key is gone."""
        gone = and_(_i.state == IssueState.IN_USE.value, ~exists().where(_k.id == _i.key_id))
        return await self._claim(
            or_(_i.state == IssueState.WITHDRAWING.value, gone),
            now,
            until,
            state=IssueState.WITHDRAWING,
        )

    async def advance(self, issue: Issue, to: IssueState, **changes: Any) -> bool:  # noqa: ANN401
        """Change the state, if it is still what it was; False when it is not."""
        statement = (
            update(issued_keys)
            .where(_i.id == issue.id, _i.state == issue.state.value)
            .values(state=to.value, updated_at=self._clock.now(), **changes)
        )
        async with self._db.single() as connection:
            return (await connection.execute(statement)).rowcount > 0

    async def adopt(self, issue: Issue) -> None:
        """Know of a value in use that it can be taken back, unless that is known already."""
        known = select(
            exists().where(
                _i.key_id == issue.key_id,
                _i.version == issue.version,
                _i.state == IssueState.IN_USE.value,
            )
        )
        async with self._db.transaction() as connection:
            if not await connection.scalar(known):
                await self.add(issue)

    async def remove(self, issue: Issue) -> None:
        """Forget what was taken back."""
        async with self._db.single() as connection:
            await connection.execute(delete(issued_keys).where(_i.id == issue.id))

    async def _claim(
        self,
        which: ColumnElement[bool],
        now: datetime,
        until: datetime,
        state: IssueState | None = None,
    ) -> Issue | None:
        free = (
            select(_i.id)
            .where(which, _i.claimed_until <= now)
            .order_by(_i.claimed_until)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        changes = {"claimed_until": until} | ({"state": state.value} if state else {})
        statement = (
            update(issued_keys).where(_i.id == free).values(changes).returning(*issued_keys.c)
        )
        async with self._db.single() as connection:
            row = (await connection.execute(statement)).first()
        return _issue(row) if row else None


def _issue(row: Row[Any]) -> Issue:
    return Issue(
        id=row.id,
        key_id=row.key_id,
        rotation_id=row.rotation_id,
        version=row.version,
        provider=Provider(row.provider),
        credential_id=row.credential_id,
        target=row.target,
        state=IssueState(row.state),
        claimed_until=row.claimed_until,
        created_at=row.created_at,
        reference=row.reference,
        former=row.former,
    )
