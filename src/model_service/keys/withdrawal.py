"""Taking back from providers what is no more used: the last step of a rotation.

Also what was made and never came to be used, and what belonged to keys that were deleted.
"""

from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from model_service.kernel.administration import Order
from model_service.kernel.errors import (
    AdministrationRefused,
    IntegrityFailure,
    NotFound,
    ProviderUnreachable,
    ServiceError,
)
from model_service.kernel.secret import Secret
from model_service.keys.automatic_rotation import LEASE, MOST, AutomaticParts, Point
from model_service.keys.domain import ProviderKey, SealedKey
from model_service.keys.issue_store import Issue
from model_service.keys.reminders import Approaching, Kind, Notice
from model_service.keys.rotation_domain import IssueState, Rotation, StepState, StoredVersion

log = structlog.get_logger(__name__)

#: Until the provider is asked again when it could not, or would not, take something back.
RETRY: Final = timedelta(minutes=15)

# What somebody has to do something about before asking again is of any use.
_REFUSALS = (NotFound, AdministrationRefused, IntegrityFailure)
_CREDENTIAL_GONE: Final = (
    "the administrative credential it was made with is gone, and there is no other for the same"
    " place; store one"
)
_SHARED: Final = (
    "another stored key for the same account uses the value, and would stop working; rotate that"
    " key, or delete it"
)


class WithdrawalDesk:
    """Takes values back. May run in every worker at once; doing it twice is harmless."""

    def __init__(self, parts: AutomaticParts) -> None:
        self._p = parts

    async def step(self) -> int:
        """Take back what is to be taken back now; gives how much was tried.

        Raises:
            AuditUnavailable, DatabaseUnavailable: what is left is for a later step.
        """
        done = 0
        while done < MOST:
            now = self._p.clock.now()
            issue = await self._p.issues.claim_going(now, now + LEASE)
            if issue is None:
                break
            await self._take_back(issue)
            done += 1
        return done

    async def _take_back(self, issue: Issue) -> None:
        p = self._p
        key = await p.keys.get(issue.key_id)
        revoked = None if key is None else await self._revoked(issue, key)
        value = None if key is None or revoked is None else self._value(key, revoked)
        p.at(Point.CLAIMED)
        try:
            if key is not None and revoked is not None and await self._is_in_use(key, revoked):
                await self._leave(issue, key)
                return
            if key is not None and value is not None:
                await self._require_unshared(issue, key, value)
            await self._withdraw(issue, value)
        except ProviderUnreachable as error:
            await self._wait(issue, error.message)
        except _REFUSALS as error:
            await self._stick(issue, revoked, error.message)
        else:
            p.at(Point.TAKEN_BACK)
            await self._finish(issue, revoked)

    async def _require_unshared(self, issue: Issue, key: ProviderKey, value: Secret[str]) -> None:
        """Go on only when no other stored key would stop working; asked last of all.

        A key for the same account may have been stored since the rotation began.

        Raises:
            AdministrationRefused: one has the value, or may have it.
        """
        p = self._p
        shared = p.credentials.administration(issue.provider).shared_endpoints(key.endpoint)
        if shared is None:
            return
        others = await p.issues.others_at(key.id, issue.provider, shared, issue.target)
        for sealed in await p.keys.get_sealed(others):
            if await self._may_be(sealed, value):
                raise AdministrationRefused(_SHARED)

    async def _may_be(self, sealed: SealedKey, value: Secret[str]) -> bool:
        """Whether a stored key has the value, in use or in its grace; if it does not open, it may.

        That it is opened for the comparison lets nothing out.
        """
        p = self._p
        in_grace = [
            partial(p.exchange.opened, sealed.key, version)
            for version in await p.store.openable(sealed.key.id)
            if version.state is StepState.RETIRING
        ]
        for opened in (partial(p.open_value, sealed), *in_grace):
            try:
                other = opened()
            except IntegrityFailure:
                return True
            p.on_value(other.reveal())
            if other.reveal() == value.reveal():
                return True
        return False

    async def _withdraw(self, issue: Issue, value: Secret[str] | None) -> None:
        """Have the provider forget it, by the credential it was made with or one that fits.

        A credential may be replaced, or die, between the two; what was made with it must not
        stay because of that.

        Raises:
            NotFound, AdministrationRefused, IntegrityFailure: no credential does it.
            ProviderUnreachable: one may, later.
        """
        p = self._p
        administration = p.credentials.administration(issue.provider)
        refusal: ServiceError | None = None
        for credential_id in await p.credentials.able(
            issue.provider, issue.credential_id, issue.target
        ):
            try:
                credential, secret = await p.credentials.find(issue.provider, credential_id)
                order = Order(issue.name, issue.target, secret, credential.settings)
                if credential_id != issue.credential_id:
                    # What it cannot see would look to it as if it were gone.
                    await administration.check(order)
                await administration.withdraw(order, issue.reference, value)
            except _REFUSALS as error:
                refusal = refusal or error
            else:
                return
        if isinstance(refusal, NotFound):
            raise NotFound(_CREDENTIAL_GONE)
        if refusal is not None:
            raise refusal

    async def _revoked(self, issue: Issue, key: ProviderKey) -> StoredVersion | None:
        """The stored value that is to be taken back; None when it was never stored, or is gone."""
        for version in await self._p.store.openable(key.id):
            if (version.version, version.state) == (issue.version, StepState.REVOKED):
                return version
        return None

    def _value(self, key: ProviderKey, revoked: StoredVersion) -> Secret[str] | None:
        """What must work no more; None when it does not open."""
        try:
            value = self._p.exchange.opened(key, revoked)
        except IntegrityFailure:
            return None
        self._p.on_value(value.reveal())
        return value

    async def _is_in_use(self, key: ProviderKey, revoked: StoredVersion) -> bool:
        """Whether somebody went back to the value since."""
        for sealed in await self._p.keys.get_sealed([key.id]):
            value = self._p.open_value(sealed)
            self._p.on_value(value.reveal())
            return self._p.exchange.is_value_of(key, revoked, value)
        return False

    async def _leave(self, issue: Issue, key: ProviderKey) -> None:
        """Let a value that is in use again be."""
        p = self._p
        async with p.transactions.transaction():
            now = await p.store.lock(key.id)
            if now is not None and now.key_version == key.key_version:
                rotation = await p.journal.origin(now, issue.version)
                await p.exchange.reuse(rotation, issue.version, now.key_version)

    async def _wait(self, issue: Issue, reason: str) -> bool:
        """Try again later; False when somebody else has finished with it."""
        p = self._p
        until = p.clock.now() + RETRY
        log.warning("a value could not be taken back", key_id=str(issue.key_id), reason=reason)
        return await p.issues.advance(issue, IssueState.WITHDRAWING, claimed_until=until)

    async def _stick(self, issue: Issue, revoked: StoredVersion | None, reason: str) -> None:
        """Write down why it cannot be taken back, have somebody told, and try again later."""
        p = self._p
        async with p.transactions.transaction():
            key = await p.store.lock(issue.key_id)
            if not await self._wait(issue, reason) or key is None:
                return
            rotation = await self._origin(issue, key, revoked)
            await p.journal.stuck(rotation, issue.version, reason)
            moment = issue.created_at
            await p.reminders.send(Approaching(key, Kind.WITHDRAWAL, moment, Notice.STUCK, reason))

    async def _finish(self, issue: Issue, revoked: StoredVersion | None) -> None:
        p = self._p
        async with p.transactions.transaction():
            key = await p.store.lock(issue.key_id)
            if key is not None:
                rotation = await self._origin(issue, key, revoked)
                if revoked is not None or await p.journal.is_revoked(rotation, issue.version):
                    reason = "taken back from the provider"
                    await p.journal.ended(rotation, issue.version, StepState.DESTROYED, reason)
            if revoked is not None:
                await p.store.destroy(issue.key_id, issue.version)
            await p.issues.remove(issue)

    async def _origin(
        self, issue: Issue, key: ProviderKey, revoked: StoredVersion | None
    ) -> Rotation:
        """The rotation that a value was replaced by, or that it was made in and never used."""
        if revoked is None:
            return Rotation(issue.rotation_id, key, automatic=True)
        return await self._p.journal.origin(key, issue.version)
