"""Administrative credentials in PostgreSQL."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, insert, select

from model_service.db.tables import issued_keys, provider_admin_credentials
from model_service.db.uow import Database
from model_service.kernel.types import Provider
from model_service.keys.admin_credentials import AdminCredential
from model_service.keys.rotation_domain import IssueState

_c = provider_admin_credentials.c


class SqlAdminCredentialStore:
    """`AdminCredentialStore` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, credential: AdminCredential, sealed: str) -> None:
        """Store a new one."""
        async with self._db.single() as connection:
            await connection.execute(
                insert(provider_admin_credentials).values(
                    id=credential.id,
                    provider=credential.provider.value,
                    label=credential.label,
                    settings=dict(credential.settings),
                    sealed=sealed,
                    created_at=credential.created_at,
                )
            )

    async def list(self) -> Sequence[AdminCredential]:
        """All of them, newest first."""
        query = select(provider_admin_credentials).order_by(_c.created_at.desc(), _c.id.desc())
        async with self._db.single() as connection:
            return [_credential(row) for row in await connection.execute(query)]

    async def find(
        self, provider: Provider, credential_id: UUID | None, *, hold: bool = False
    ) -> tuple[AdminCredential, str] | None:
        """The one named, if it is the provider's, with its sealed text; None: the newest one.

        With `hold` it stays until the current transaction ends. Of one that is being deleted
        the end is waited for; then it is looked for anew.
        """
        query = (
            select(provider_admin_credentials)
            .where(_c.provider == provider.value)
            .order_by(_c.created_at.desc(), _c.id.desc())
            .limit(1)
        )
        if credential_id is not None:
            query = query.where(_c.id == credential_id)
        if hold:
            query = query.with_for_update(read=True, key_share=True)
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
            if row is None and hold:
                # The newest one went just now: a lock that was waited for skips to no other.
                row = (await connection.execute(query)).first()
        return (_credential(row), row.sealed) if row else None

    async def sealed(self) -> Sequence[str]:
        """What is stored of all of them, sealed."""
        async with self._db.single() as connection:
            return list((await connection.execute(select(_c.sealed))).scalars())

    async def work_of(self, credential_id: UUID) -> Sequence[tuple[IssueState, str]]:
        """What is being made or taken back with it: how far that is, and its target."""
        query = (
            select(issued_keys.c.state, issued_keys.c.target)
            .where(
                issued_keys.c.credential_id == credential_id,
                issued_keys.c.state != IssueState.IN_USE.value,
            )
            .distinct()
        )
        async with self._db.single() as connection:
            rows = await connection.execute(query)
            return [(IssueState(row.state), row.target) for row in rows]

    async def delete(self, credential_id: UUID) -> AdminCredential | None:
        """Remove one; gives what it was."""
        query = (
            delete(provider_admin_credentials)
            .where(_c.id == credential_id)
            .returning(*provider_admin_credentials.c)
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return _credential(row) if row else None


def _credential(row: Row[Any]) -> AdminCredential:
    return AdminCredential(row.id, Provider(row.provider), row.label, row.settings, row.created_at)
