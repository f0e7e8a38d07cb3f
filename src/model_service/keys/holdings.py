"""Keys as users have them: their own and, until a grant ends, those shared with them."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from model_service.kernel.audit import AuditEvent, AuditTrail, Decision, Purpose
from model_service.kernel.errors import Forbidden, InvalidInput
from model_service.kernel.secret import Secret
from model_service.kernel.types import Page, Provider
from model_service.keys.domain import KeyFilter, audit_subject
from model_service.keys.rotation_domain import Fallback
from model_service.keys.service import MOST_UNPAGED, KeyService
from model_service.keys.shares import Held, HeldKey, ShareScope, ShareStore

#: Keys of one user for one provider that calls may choose from.
MOST_USABLE = 32

_ANY_SCOPE = (ShareScope.USE, ShareScope.REVEAL)


class HeldValue(Held, Protocol):
    """A key as somebody has it, and which value of it."""

    @property
    def key_version(self) -> int:
        """Changes whenever the value does."""
        ...


class Fallbacks(Protocol):
    """The values before the present ones, for as long as they may be used."""

    async def previous_value(self, key_id: UUID) -> Fallback | None:
        """The value before the present one; None when there is none, or its grace is over."""
        ...

    async def report_refused(self, key_id: UUID, version: int) -> Fallback | None:
        """The provider refused the value of that version: what to try once instead."""
        ...


class Holdings:
    """What users have, wherever it comes from. Grants are looked up anew for every question."""

    def __init__(
        self, keys: KeyService, store: ShareStore, trail: AuditTrail, fallbacks: Fallbacks
    ) -> None:
        self._keys = keys
        self._store = store
        self._trail = trail
        self._fallbacks = fallbacks

    async def list(self, wanted: KeyFilter, page: Page | None) -> list[HeldKey]:
        """Keys newest first; those of a user are its own and those shared with it.

        Raises:
            InvalidInput: there are too many to give without paging.
        """
        found = await self._store.list_held(wanted, page, MOST_UNPAGED + 1)
        if len(found) > MOST_UNPAGED:
            raise InvalidInput(
                f"More than {MOST_UNPAGED} keys match; ask with userId, or with page and limit"
            )
        return found

    async def count(self, wanted: KeyFilter) -> int:
        """How many keys match."""
        return await self._store.count_held(wanted)

    async def find_to_use(self, user_id: str, provider: Provider) -> HeldKey | None:
        """The user's best key for a provider, to be used without the value leaving."""
        return await self._store.find_active(user_id, provider, _ANY_SCOPE, None)

    async def usable(self, user_id: str, provider: Provider) -> Sequence[HeldKey]:
        """All keys that the user may use for a provider now, best first, up to `MOST_USABLE`."""
        return await self._store.list_usable(user_id, provider, MOST_USABLE)

    async def find_to_reveal(self, user_id: str, provider: Provider, model: str) -> HeldKey | None:
        """The user's best key for a provider whose value it may have for the model of that name."""
        return await self._store.find_active(user_id, provider, (ShareScope.REVEAL,), model)

    async def reveal(self, held: Held, purpose: Purpose) -> Secret[str]:
        """The key's value; recorded and, but for a lease, counted as a use before it is given.

        A grant that ended while this was under way gives nothing out any more. For a listing or
        a lease the value stays inside, and the question is also that of others who have the key.

        Raises:
            Forbidden: the grant has ended.
            NotFound, KeyInactive, IntegrityFailure, AuditUnavailable, DatabaseUnavailable: as
                `KeyService.reveal`.
        """
        value = await self._keys.reveal(held.id, purpose)
        stays_inside = purpose in (Purpose.LISTING, Purpose.LEASE)
        if held.share_id is None or stays_inside:
            return value
        if not await self._store.is_live(held.share_id):
            await self._trail.record(
                AuditEvent(
                    type="key.reveal",
                    decision=Decision.DENY,
                    subject=audit_subject(held.id),
                    purpose=purpose.value,
                    reason="grant_ended",
                )
            )
            raise Forbidden("The key is not shared with this user any more")
        return value

    async def refused(
        self, held: HeldValue, purpose: Purpose = Purpose.LISTING
    ) -> Secret[str] | None:
        """The provider refused the key's value: what to try once instead.

        The key is marked invalid and the alert raised the first time. What is given is recorded
        as the value itself is.

        Raises:
            AuditUnavailable, DatabaseUnavailable: nothing is given.
        """
        found = await self._fallbacks.report_refused(held.id, held.key_version)
        return await self._recorded(held, found, purpose)

    async def fallback(self, held: Held) -> Secret[str] | None:
        """The value to list models with for a key that is known to be refused, if there is one.

        Raises:
            IntegrityFailure, AuditUnavailable, DatabaseUnavailable: nothing is given.
        """
        found = await self._fallbacks.previous_value(held.id)
        return await self._recorded(held, found, Purpose.LISTING)

    async def _recorded(
        self, held: Held, found: Fallback | None, purpose: Purpose
    ) -> Secret[str] | None:
        if found is None:
            return None
        await self._trail.record(
            AuditEvent(
                type="key.lease" if purpose is Purpose.LEASE else "key.reveal",
                subject=audit_subject(held.id),
                purpose=purpose.value,
                reason=f"fallback to version {found.version}",
            )
        )
        return found.value
