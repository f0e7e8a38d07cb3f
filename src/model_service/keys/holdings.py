"""Keys as users have them: their own and, until a grant ends, those shared with them."""

from model_service.kernel.audit import AuditEvent, AuditTrail, Decision, Purpose
from model_service.kernel.errors import Forbidden, InvalidInput
from model_service.kernel.secret import Secret
from model_service.kernel.types import Page, Provider
from model_service.keys.domain import KeyFilter, audit_subject
from model_service.keys.service import MOST_UNPAGED, KeyService
from model_service.keys.shares import Held, HeldKey, ShareScope, ShareStore

_ANY_SCOPE = (ShareScope.USE, ShareScope.REVEAL)


class Holdings:
    """What users have, wherever it comes from. Grants are looked up anew for every question."""

    def __init__(self, keys: KeyService, store: ShareStore, trail: AuditTrail) -> None:
        self._keys = keys
        self._store = store
        self._trail = trail

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

    async def find_to_reveal(self, user_id: str, provider: Provider, model: str) -> HeldKey | None:
        """The user's best key for a provider whose value it may have for the model of that name."""
        return await self._store.find_active(user_id, provider, (ShareScope.REVEAL,), model)

    async def reveal(self, held: Held, purpose: Purpose) -> Secret[str]:
        """The key's value; recorded and counted as a use before it is given.

        A grant that ended while this was under way gives nothing out any more. For a listing
        the value stays inside, and the question is also that of others who have the key.

        Raises:
            Forbidden: the grant has ended.
            NotFound, KeyInactive, IntegrityFailure, AuditUnavailable, DatabaseUnavailable: as
                `KeyService.reveal`.
        """
        value = await self._keys.reveal(held.id, purpose)
        stays_inside = purpose is Purpose.LISTING
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
