"""The journal of rotations, their policies and the values not in use, in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Row,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from model_service.db.tables import (
    api_key_versions,
    api_keys,
    issued_keys,
    key_rotation_policies,
    key_rotation_steps,
)
from model_service.db.uow import Database
from model_service.kernel.types import Clock, uuid7
from model_service.keys.domain import ENDPOINT, ProviderKey, SealedKey
from model_service.keys.rotation_domain import (
    Expiry,
    IssueState,
    Kept,
    Mode,
    Policy,
    Step,
    StepState,
    StoredVersion,
)
from model_service.keys.store import PLAIN, Preparation, key_of

_k = api_keys.c
_v = api_key_versions.c
_s = key_rotation_steps.c
_p = key_rotation_policies.c
_i = issued_keys.c


class SqlRotationStore:
    """`RotationStore` in PostgreSQL. A key's row is always locked before what belongs to it."""

    def __init__(
        self, database: Database, clock: Clock, prepare: Preparation | None = None
    ) -> None:
        """`prepare` is given the ciphertexts before they are handed out to be opened."""
        self._db = database
        self._clock = clock
        self._prepare = prepare

    async def lock(self, key_id: UUID) -> ProviderKey | None:
        """The key, held until the transaction ends. References to it may still be made."""
        query = select(*PLAIN).where(_k.id == key_id).with_for_update(key_share=True)
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return key_of(row) if row else None

    async def note(self, *steps: Step) -> None:
        """Write to the journal."""
        values = [
            {
                "id": step.id,
                "key_id": step.key_id,
                "rotation_id": step.rotation_id,
                "version": step.version,
                "state": step.state.value,
                "automatic": step.automatic,
                "reason": step.reason,
                "at": step.at,
            }
            for step in steps
        ]
        async with self._db.single() as connection:
            await connection.execute(insert(key_rotation_steps), values)

    async def history(self, key_id: UUID, most: int) -> Sequence[Step]:
        """The newest steps of a key, newest first."""
        query = (
            select(key_rotation_steps)
            .where(_s.key_id == key_id)
            .order_by(_s.at.desc(), _s.id.desc())
            .limit(most)
        )
        async with self._db.single() as connection:
            return [_step(row) for row in await connection.execute(query)]

    async def rotated_at(self, key_id: UUID) -> datetime | None:
        """When the key was last rotated."""
        query = select(func.max(_s.at)).where(
            _s.key_id == key_id, _s.state == StepState.ACTIVE.value
        )
        async with self._db.single() as connection:
            at: datetime | None = await connection.scalar(query)
        return at

    async def versions(self, key_id: UUID) -> Sequence[StoredVersion]:
        """The values of a key that are not in use, newest first."""
        query = select(api_key_versions).where(_v.key_id == key_id).order_by(_v.version.desc())
        async with self._db.single() as connection:
            return [_version(row) for row in await connection.execute(query)]

    async def openable(self, key_id: UUID) -> Sequence[StoredVersion]:
        """`versions`, made ready for being opened. Not for use inside a transaction."""
        found = await self.versions(key_id)
        prepare = self._prepare
        if prepare is not None and await prepare([version.encrypted_key for version in found]):
            found = await self.versions(key_id)
            await prepare([version.encrypted_key for version in found])
        return found

    async def issued(self, key_id: UUID) -> frozenset[int]:
        """The versions whose values this service made the provider give out."""
        query = select(_i.version).where(_i.key_id == key_id, _i.state == IssueState.IN_USE.value)
        async with self._db.single() as connection:
            return frozenset((await connection.execute(query)).scalars())

    async def is_coming(self, key_id: UUID) -> bool:
        """Whether a provider is being asked for a value of the key, or one waits to be used."""
        coming = (IssueState.REQUESTED.value, IssueState.ISSUED.value)
        query = select(exists().where(_i.key_id == key_id, _i.state.in_(coming)))
        async with self._db.single() as connection:
            return bool(await connection.scalar(query))

    async def swap(
        self, sealed: SealedKey, *, was_version: int, old: Kept | None, expiry: Expiry | None
    ) -> ProviderKey | None:
        """Put a new value in use, if the version is still the one read before.

        The old ciphertext is copied by the database, so that it is the present one even if it
        was re-encrypted since it was read.
        """
        key = sealed.key
        async with self._db.transaction() as connection:
            locked = await self.lock(key.id)
            if locked is None or locked.key_version != was_version:
                return None
            await self.drop_pending(key.id)  # whatever was on its way in came too late
            if old is not None:
                await connection.execute(_keep_old(key.id, old, self._clock.now()))
                if old.state is StepState.REVOKED:
                    await connection.execute(_take_back(key.id, was_version, old.retire_at))
            row = (await connection.execute(_put_in_use(sealed, expiry))).one()
            return key_of(row)

    async def keep_pending(self, sealed: SealedKey) -> None:
        """Store a value that is not in use yet."""
        key = sealed.key
        async with self._db.single() as connection:
            await connection.execute(
                insert(api_key_versions).values(
                    id=uuid7(),
                    key_id=key.id,
                    version=key.key_version,
                    state=StepState.PENDING.value,
                    encrypted_key=sealed.encrypted_key,
                    key_prefix=key.key_prefix,
                    endpoint=key.endpoint,
                    created_at=self._clock.now(),
                )
            )

    async def drop_pending(self, key_id: UUID) -> None:
        """Delete a value that is not to be used after all."""
        async with self._db.single() as connection:
            await connection.execute(
                delete(api_key_versions).where(
                    _v.key_id == key_id, _v.state == StepState.PENDING.value
                )
            )

    async def align_issued(self, key_id: UUID, version: int) -> None:
        """Know what was issued for the value in use by the version that it has now."""
        others = select(_v.version).where(_v.key_id == key_id)
        async with self._db.single() as connection:
            await connection.execute(
                update(issued_keys)
                .where(
                    _i.key_id == key_id,
                    _i.state == IssueState.IN_USE.value,
                    _i.version < version,
                    _i.version.not_in(others),
                )
                .values(version=version)
            )

    async def reuse(self, key_id: UUID, version: int, used_as: int) -> None:
        """Delete a value that is in use as another version; what was issued for it is that's."""
        async with self._db.transaction() as connection:
            await self.destroy(key_id, version)
            await connection.execute(
                update(issued_keys)
                .where(_i.key_id == key_id, _i.version == version)
                .values(version=used_as, state=IssueState.IN_USE.value)
            )

    async def revoke(self, key_id: UUID, version: int, at: datetime) -> None:
        """End a value's grace."""
        async with self._db.transaction() as connection:
            await connection.execute(
                update(api_key_versions)
                .where(_v.key_id == key_id, _v.version == version)
                .values(state=StepState.REVOKED.value, retire_at=at)
            )
            await connection.execute(_take_back(key_id, version, at))

    async def destroy(self, key_id: UUID, version: int) -> bool:
        """Delete a value that is not in use."""
        async with self._db.single() as connection:
            done = await connection.execute(
                delete(api_key_versions).where(_v.key_id == key_id, _v.version == version)
            )
        return done.rowcount > 0

    async def next_due(self, now: datetime) -> tuple[ProviderKey, StoredVersion] | None:
        """A value whose time has come, with its key, both held until the transaction ends."""
        query = (
            select(*PLAIN)
            .join(api_key_versions, _v.key_id == _k.id)
            .where(_k.is_valid, _v.retire_at <= now, _v.state == StepState.RETIRING.value)
            .order_by(_v.retire_at)
            .limit(1)
            .with_for_update(key_share=True, skip_locked=True, of=api_keys)
        )
        async with self._db.transaction() as connection:
            row = (await connection.execute(query)).first()
            if row is None:
                return None
            of_key = select(api_key_versions).where(
                _v.key_id == row.id, _v.retire_at <= now, _v.state == StepState.RETIRING.value
            )
            # Under the lock: another process may have finished with it just before.
            version = (await connection.execute(of_key.order_by(_v.version).limit(1))).first()
            return (key_of(row), _version(version)) if version else None

    async def abandoned(self, before: datetime, most: int) -> Sequence[Step]:
        """Steps `pending` of manual rotations begun before then that led to nothing."""
        later = key_rotation_steps.alias("later")
        query = (
            select(key_rotation_steps)
            .join(api_keys, _k.id == _s.key_id)
            .where(
                _s.state == StepState.PENDING.value,
                _s.automatic.is_(False),
                _s.at < before,
                ~exists().where(
                    later.c.key_id == _s.key_id,
                    later.c.rotation_id == _s.rotation_id,
                    later.c.state != StepState.PENDING.value,
                ),
            )
            .limit(most)
            .with_for_update(key_share=True, skip_locked=True, of=api_keys)
        )
        async with self._db.single() as connection:
            return [_step(row) for row in await connection.execute(query)]

    async def policy(self, key_id: UUID) -> Policy | None:
        """The policy of a key."""
        query = select(key_rotation_policies).where(_p.key_id == key_id)
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return policy_of(row) if row else None

    async def put_policy(self, policy: Policy, now: datetime) -> None:
        """Store a policy in place of the one before."""
        values = {
            "mode": policy.mode.value,
            "every_days": policy.every_days,
            "grace_seconds": _seconds(policy.grace),
            "credential_id": policy.credential_id,
            "target": policy.target,
            "due_at": policy.due_at,
            "retry_at": policy.retry_at,
            "reason": policy.reason,
            "manual": policy.manual,
            "updated_at": now,
        }
        async with self._db.single() as connection:
            await connection.execute(
                upsert(key_rotation_policies)
                .values(key_id=policy.key_id, **values)
                .on_conflict_do_update(index_elements=[_p.key_id], set_=values)
            )

    async def mark_refused(self, key_id: UUID, version: int, now: datetime) -> ProviderKey | None:
        """Note that the provider refused the value of that version."""
        query = (
            update(api_keys)
            .where(_k.id == key_id, _k.key_version == version, _k.is_valid)
            .values(is_valid=False, validated_at=now, updated_at=now)
            .returning(*PLAIN)
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return key_of(row) if row else None


def policy_of(row: Row[Any]) -> Policy:
    """A row of the policies' table."""
    grace = row.grace_seconds
    return Policy(
        key_id=row.key_id,
        mode=Mode(row.mode),
        every_days=row.every_days,
        grace=None if grace is None else timedelta(seconds=grace),
        credential_id=row.credential_id,
        target=row.target,
        due_at=row.due_at,
        retry_at=row.retry_at,
        reason=row.reason,
        manual=row.manual,
    )


def _keep_old(key_id: UUID, old: Kept, now: datetime) -> Any:  # noqa: ANN401 - INSERT FROM SELECT
    columns = {
        _v.id: literal(uuid7()),
        _v.key_id: _k.id,
        _v.version: _k.key_version,
        _v.state: literal(old.state.value),
        _v.encrypted_key: _k.encrypted_key,
        _v.key_prefix: _k.key_prefix,
        _v.endpoint: _k.metadata[ENDPOINT].astext,
        _v.retire_at: literal(old.retire_at, _v.retire_at.type),
        _v.created_at: literal(now, _v.created_at.type),
    }
    source = select(*columns.values()).where(_k.id == key_id)
    return insert(api_key_versions).from_select(list(columns), source)


def _take_back(key_id: UUID, version: int, now: datetime) -> Any:  # noqa: ANN401 - an UPDATE
    return (
        update(issued_keys)
        .where(_i.key_id == key_id, _i.version == version, _i.state == IssueState.IN_USE.value)
        .values(state=IssueState.WITHDRAWING.value, claimed_until=now, updated_at=now)
    )


def _put_in_use(sealed: SealedKey, expiry: Expiry | None) -> Any:  # noqa: ANN401 - an UPDATE with its own row type
    """Only what a rotation changes: name, state and metadata may just have been set by others."""
    key = sealed.key
    return (
        update(api_keys)
        .where(_k.id == key.id)
        .values(
            encrypted_key=sealed.encrypted_key,
            key_version=key.key_version,
            key_prefix=key.key_prefix,
            is_valid=key.is_valid,
            validated_at=key.validated_at,
            updated_at=key.updated_at,
            **({} if expiry is None else {"expires_at": expiry.at}),
        )
        .returning(*PLAIN)
    )


def _seconds(span: timedelta | None) -> int | None:
    return None if span is None else int(span.total_seconds())


def _step(row: Row[Any]) -> Step:
    return Step(
        id=row.id,
        key_id=row.key_id,
        rotation_id=row.rotation_id,
        version=row.version,
        state=StepState(row.state),
        automatic=row.automatic,
        reason=row.reason,
        at=row.at,
    )


def _version(row: Row[Any]) -> StoredVersion:
    return StoredVersion(
        key_id=row.key_id,
        version=row.version,
        state=StepState(row.state),
        encrypted_key=row.encrypted_key,
        key_prefix=row.key_prefix,
        endpoint=row.endpoint,
        retire_at=row.retire_at,
    )
