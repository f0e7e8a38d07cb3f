"""Who else may answer a call: another key of the caller's, another model."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from model_service.gateway.accounting import Accounting
from model_service.gateway.budget import RetryBudget
from model_service.gateway.faults import fault_of
from model_service.gateway.leases import Leases
from model_service.gateway.needs import needs_of
from model_service.gateway.outbound import Outbound
from model_service.gateway.plans import convert
from model_service.gateway.reactions import CIRCUIT_OPEN
from model_service.gateway.routing import Skip, candidates
from model_service.gateway.snapshot import Registered, SnapshotModel
from model_service.gateway.work import Work
from model_service.kernel.errors import ServiceError
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.registry import SPECS

#: Seconds that a key that its provider limited stands behind others, without its word.
LIMITED_SECONDS: Final = 10
#: Seconds that one that is refused, or whose credit is used up, does.
EXHAUSTED_SECONDS: Final = 60


class Alternatives:
    """Finds them, as far as the budget for repeating calls allows."""

    def __init__(
        self,
        registered: Registered,
        leases: Leases,
        outbound: Outbound,
        accounting: Accounting,
        budget: RetryBudget,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` is in seconds and never goes back."""
        self._registered = registered
        self._leases = leases
        self._outbound = outbound
        self._accounting = accounting
        self._budget = budget
        self._now = now

    def may_repeat(self, work: Work) -> bool:
        """Whether there is time for one more, and the service as a whole repeats few enough."""
        if self._now() >= work.record.started + work.policy.total:
            work.record.note(stopped="the time for the whole call is up")
            return False
        if self._budget.may_retry(self._now()):
            return True
        work.record.note(stopped="too many calls are being repeated at the moment")
        return False

    async def other_key(self, work: Work, fault: Fault) -> bool:
        """Turn to another key of the caller's for the model; False if there is none."""
        lease, model, record = work.lease, work.model, work.record
        if lease is None or model is None or record.principal is None:
            return False
        if fault.kind is FaultKind.KEY_REFUSED:
            # The value was replaced, and the one before it may still be good.
            other = await self._leases.instead(lease)
            if other is not None:
                work.lease = other
                return True
            self._leases.limited(lease, EXHAUSTED_SECONDS)
        elif fault.kind is FaultKind.QUOTA_EXHAUSTED:
            self._leases.limited(lease, EXHAUSTED_SECONDS)
        else:
            self._leases.limited(lease, fault.retry_after or LIMITED_SECONDS)
        other = await self._leases.get(record.principal.user_id, model)
        if other is None or other.key.id == lease.key.id or other.limited_until > self._now():
            return False
        work.lease = other
        return True

    async def others(self, work: Work, because: Fault) -> AsyncIterator[SnapshotModel]:
        """Turn the work to one fallback after the other that can be asked."""
        record = work.record
        larger = because.kind is FaultKind.CONTEXT_LENGTH
        # Whom a circuit keeps from being asked was not asked: nothing is repeated.
        is_first = because.code == CIRCUIT_OPEN
        found = self.candidates(work, larger=larger)
        for candidate in found:
            work.is_last = candidate is found[-1]
            if not is_first and not self.may_repeat(work):
                return
            is_first = False
            try:
                await self.turn_to(work, candidate)
            except ServiceError as error:
                record.note(skipped=candidate.name, reason=fault_of(error).message)
                continue
            yield candidate

    def candidates(self, work: Work, *, larger: bool) -> list[SnapshotModel]:
        """The fallbacks that may be asked; the others are noted with the reason."""
        record, principal = work.record, work.record.principal
        asked = record.asked
        if asked is None or principal is None or work.route is None:
            return []
        body = loads(work.call.body)
        found = []
        for one in candidates(
            asked,
            self._registered.current(),
            needs_of(work.route, body, stream=record.stream),
            principal.scopes.allow_model,
            is_open=self._outbound.is_failing,
            larger=larger,
        ):
            if isinstance(one, Skip):
                record.note(skipped=one.name, reason=one.reason)
            else:
                found.append(one)
        return found

    async def turn_to(self, work: Work, model: SnapshotModel) -> None:
        """Have a model answer that was not asked for. Raises ServiceError when it cannot."""
        record = work.record
        if record.principal is None or work.route is None:
            raise RuntimeError("the call is not prepared")
        body = loads(work.call.body)
        conversion = convert(work.route, model, body, stream=record.stream, now=int(record.began))
        lease = await self._leases.get(record.principal.user_id, model)
        if lease is None and SPECS[model.provider].needs_key:
            message = f"no key for provider '{model.provider}'"
            raise CallFailed(Fault(FaultKind.PERMISSION, message))
        self._accounting.release(work)
        if not self._accounting.reserve_now(work, model):
            await self._accounting.reserve(work, model)
        work.turn_to(model, lease, conversion)
