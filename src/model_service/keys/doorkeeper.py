"""The one door to a key: whoever asks for something with it passes here first."""

from uuid import UUID

from model_service.kernel.acting import name_needed, names_nobody, where_values_leave
from model_service.kernel.audit import AuditEvent, Denials
from model_service.kernel.audit import Decision as AuditDecision
from model_service.kernel.caller import current_caller
from model_service.kernel.errors import Forbidden, NotFound
from model_service.kernel.principal import Principal
from model_service.kernel.types import Clock
from model_service.keys.domain import audit_subject
from model_service.keys.ownership import Action, Decision, Relation, decide, relation
from model_service.keys.shares import Held, HeldKey, KeyRef, ShareStore


class Doorkeeper:
    """Applies the rules of `ownership` to stored keys and grants, anew for every request."""

    def __init__(self, store: ShareStore, clock: Clock, denials: Denials) -> None:
        """`denials` hears of keys that were hidden; what is refused openly, its route notes."""
        self._store = store
        self._clock = clock
        self._denials = denials

    async def admit(self, principal: Principal, action: Action, key_id: UUID) -> HeldKey:
        """The key as the one who asks has it, if they may do that with it.

        An unknown key and one that is nothing to them cost the same question, leave the same
        record and get the same answer.

        Raises:
            NotFound: there is no such key, or not for them.
            Forbidden: they may not do that with it.
            InvalidInput: a service has to say for whom it acts.
        """
        if names_nobody(principal):
            raise name_needed()
        held = await self._store.held(key_id, principal.user_id)
        if held is None:
            raise await self._hidden(principal, action, key_id)
        standing = relation(principal, held, self._clock.now())
        match decide(standing, action, internal=principal.internal):
            case Decision.ALLOW:
                return held
            case Decision.HIDE:
                raise await self._hidden(principal, action, key_id)
            case Decision.ASK_FOR_NAME:
                raise name_needed()
            case Decision.REFUSE:
                raise Forbidden(_refusal(action))

    async def admit_to_value(self, principal: Principal, key_id: UUID) -> Held:
        """The key, if the one who asks may have its value; whether it exists is told later.

        Raises:
            NotFound, Forbidden: as `admit`.
        """
        principal = where_values_leave(principal)
        if not names_nobody(principal):
            return await self.admit(principal, Action.REVEAL, key_id)
        decision = decide(Relation.UNNAMED, Action.REVEAL, internal=principal.internal)
        if decision is not Decision.ALLOW:
            raise name_needed()
        return KeyRef(key_id)

    async def _hidden(self, principal: Principal, action: Action, key_id: UUID) -> NotFound:
        if not principal.is_administrator:  # from whom nothing is hidden
            await self._denials.note(
                AuditEvent(
                    type="auth.denied",
                    decision=AuditDecision.DENY,
                    subject=audit_subject(key_id),
                    purpose=action.value,
                    reason="no_such_key_for_them",
                    caller=current_caller(),
                )
            )
        return NotFound("No such key")


def _refusal(action: Action) -> str:
    if action is Action.REVEAL:
        return "This user may not have the value of this key"
    return "Only the owner of this key may do this"
