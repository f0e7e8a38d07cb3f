"""Administrative credentials: what keys are made and taken back with at their providers.

A type of its own. There is no way to have one back: it is opened for its provider's
administration API alone, and only while that is where it was when it was stored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import orjson
import structlog

from model_service.kernel.administration import AdminSettings, KeyAdministration, Order
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import (
    AdministrationRefused,
    Conflict,
    FieldFault,
    IntegrityFailure,
    InvalidInput,
    NotFound,
)
from model_service.kernel.sealing import SecretBox
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock, Provider, uuid7
from model_service.kernel.unit import Transactions
from model_service.keys.domain import check_value
from model_service.keys.rotation_domain import IssueState
from model_service.keys.store import Preparation

log = structlog.get_logger(__name__)

#: The place in the secret box.
PLACE: Final = "admin_credentials"


@dataclass(frozen=True, slots=True)
class AdminCredential:
    """A stored administrative credential, without its secret."""

    id: UUID
    provider: Provider
    label: str | None
    settings: AdminSettings
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewAdminCredential:
    """An administrative credential to be stored."""

    provider: Provider
    label: str | None
    settings: AdminSettings
    secret: Secret[str] = field(repr=False)


class AdminCredentialStore(Protocol):
    """Where they are kept."""

    async def add(self, credential: AdminCredential, sealed: str) -> None:
        """Store a new one."""
        ...

    async def list(self) -> Sequence[AdminCredential]:
        """All of them, newest first."""
        ...

    async def find(
        self, provider: Provider, credential_id: UUID | None, *, hold: bool = False
    ) -> tuple[AdminCredential, str] | None:
        """The one named, if it is the provider's, with its sealed text; None: the newest one.

        With `hold` it stays until the current transaction ends.
        """
        ...

    async def sealed(self) -> Sequence[str]:
        """What is stored of all of them, sealed."""
        ...

    async def work_of(self, credential_id: UUID) -> Sequence[tuple[IssueState, str]]:
        """What is being made or taken back with it: how far that is, and its target."""
        ...

    async def delete(self, credential_id: UUID) -> AdminCredential | None:
        """Remove one; gives what it was."""
        ...


class AdminCredentials:
    """The use cases of administrative credentials."""

    def __init__(
        self,
        transactions: Transactions,
        store: AdminCredentialStore,
        box: SecretBox,
        administrations: Mapping[Provider, KeyAdministration],
        trail: AuditTrail,
        clock: Clock,
        on_value: Callable[[str], None],
        prepare: Preparation | None = None,
    ) -> None:
        """`on_value` is the redactor: it hears of every secret that is in this process.

        `prepare` is given what is stored before it is opened.
        """
        self._transactions = transactions
        self._store = store
        self._box = box
        self._administrations = administrations
        self._trail = trail
        self._clock = clock
        self._on_value = on_value
        self._prepare = prepare

    def administration(self, provider: Provider) -> KeyAdministration:
        """The provider's administration API.

        Raises:
            AdministrationRefused: this service knows none.
        """
        found = self._administrations.get(provider)
        if found is None:
            raise AdministrationRefused(f"Provider '{provider}' has no administration API here")
        return found

    async def add(self, new: NewAdminCredential) -> AdminCredential:
        """Ask the provider whether the credential may do what it is for, then store it sealed.

        Raises:
            InvalidInput: the provider, the settings or the secret is no good, or is refused.
            ProviderUnreachable: the provider could not be asked; nothing is stored.
            AuditUnavailable, DatabaseUnavailable: it could not be stored.
        """
        self._on_value(new.secret.reveal())
        administration = self._administrations.get(new.provider)
        if administration is None:
            message = f"must be one of {', '.join(sorted(self._administrations))}"
            raise InvalidInput(errors=[FieldFault("provider", message)])
        try:
            check_value(new.provider, new.secret)
        except InvalidInput as error:
            faults = [FieldFault("secret", fault.message) for fault in error.errors]
            raise InvalidInput(errors=faults) from None
        settings = administration.checked_settings(new.settings)
        try:
            target = settings.get("projectId", "")
            await administration.check(Order("check", target, new.secret, settings))
        except AdministrationRefused as error:
            raise InvalidInput(error.message) from error
        credential = AdminCredential(uuid7(), new.provider, new.label, settings, self._clock.now())
        document = {"origin": administration.origin, "secret": new.secret.reveal()}
        sealed = self._box.seal(PLACE, credential.id, Secret(orjson.dumps(document).decode()))
        async with self._transactions.transaction():
            await self._store.add(credential, sealed)
            await self._record("credential.create", credential)
        return credential

    async def list(self) -> Sequence[AdminCredential]:
        """All of them, newest first, without their secrets."""
        return await self._store.list()

    async def delete(self, credential_id: UUID) -> None:
        """Forget a credential. Keys made with it go on working, but cannot be taken back.

        Raises:
            NotFound: there is none.
            Conflict: something is being made with it, or is still to be taken back and there is
                no other credential that could do it.
        """
        async with self._transactions.transaction():
            deleted = await self._store.delete(credential_id)
            if deleted is None:
                raise NotFound("No such credential")
            await self._require_idle(deleted)
            await self._record("credential.delete", deleted)

    async def get_ready(self) -> None:
        """Make ready for opening credentials within a transaction. Not for use inside one."""
        if self._prepare is not None:
            await self._prepare(await self._store.sealed())

    async def find(
        self, provider: Provider, credential_id: UUID | None, *, hold: bool = False
    ) -> tuple[AdminCredential, Secret[str]]:
        """The credential named, or the provider's newest, opened.

        With `hold` it cannot be deleted before the current transaction ends; call `get_ready`
        before that begins.

        Raises:
            NotFound: there is none.
            AdministrationRefused: it was stored for another origin.
            IntegrityFailure: it does not open.
        """
        credential, sealed = await self._found(provider, credential_id, hold=hold)
        # Those that are held are read within a transaction: `get_ready` came before that.
        if not hold and self._prepare is not None and await self._prepare([sealed]):
            credential, sealed = await self._found(provider, credential_id)
            await self._prepare([sealed])
        try:
            document = orjson.loads(self._box.open(PLACE, credential.id, sealed).reveal())
        except IntegrityFailure:
            log.error("a stored administrative credential does not open")
            raise
        if document["origin"] != self.administration(provider).origin:
            raise AdministrationRefused(
                "The administrative credential was stored for another address; store it anew"
            )
        self._on_value(document["secret"])
        return credential, Secret(document["secret"])

    async def able(self, provider: Provider, first: UUID, target: str) -> Sequence[UUID]:
        """Credentials to take something back with: `first`, then others that may fit, newest first.

        `first` is the one it was made with, be it there or not.
        """
        administration = self.administration(provider)
        others = [
            credential.id
            for credential in await self._store.list()
            if credential.provider is provider
            and credential.id != first
            and administration.fits(credential.settings, target)
        ]
        return [first, *others]

    async def _found(
        self, provider: Provider, credential_id: UUID | None, *, hold: bool = False
    ) -> tuple[AdminCredential, str]:
        found = await self._store.find(provider, credential_id, hold=hold)
        if found is None:
            raise NotFound(f"There is no administrative credential for provider '{provider}'")
        return found

    async def _require_idle(self, deleted: AdminCredential) -> None:
        """Raises Conflict. What another credential may take back does not need this one."""
        for state, target in await self._store.work_of(deleted.id):
            if state is not IssueState.WITHDRAWING:
                raise Conflict("A key is being made with it; try again later")
            if len(await self.able(deleted.provider, deleted.id, target)) == 1:
                raise Conflict(
                    "A key is still to be taken back with it; store the credential that takes its"
                    " place first, or try again later"
                )

    async def _record(self, kind: str, credential: AdminCredential) -> None:
        await self._trail.record(
            AuditEvent(
                type=kind,
                subject=f"credential:{credential.id}",
                provider=credential.provider.value,
            )
        )
