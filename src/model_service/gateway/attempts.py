"""Trying to get an answer for a call that is prepared: again, with another key, by another model.

Everything up to the first byte that the caller gets can be repeated; what comes after that only
where recovery is on (`recovery`). Every step that was not plainly the first is noted in the
record, for whoever asks why.
"""

import asyncio
import random
from collections.abc import Callable

from model_service.gateway.accounting import Accounting
from model_service.gateway.alternatives import Alternatives
from model_service.gateway.answers import Answers
from model_service.gateway.faults import fault_of
from model_service.gateway.policy import pause
from model_service.gateway.reactions import Failed, Reaction, is_silent, reaction
from model_service.gateway.trial import Trial
from model_service.gateway.work import Work
from model_service.kernel.errors import ServiceError
from model_service.providers.exchange import Exchange
from model_service.providers.faults import CallFailed, Fault, FaultKind


class Attempts:
    """Tries."""

    def __init__(
        self,
        trial: Trial,
        answers: Answers,
        alternatives: Alternatives,
        accounting: Accounting,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` gives numbers from 0 to 1."""
        self._trial = trial
        self._answers = answers
        self._alternatives = alternatives
        self._accounting = accounting
        self._chance = chance

    # The first attempt at a whole answer, made without a task.

    def begin(self, work: Work, when_over: Callable[[Exchange], None]) -> Exchange | None:
        """Make it, if nothing has to be waited for; else None.

        Raises:
            ServiceError: the call is refused.
        """
        return None if work.record.stream else self._trial.begin(work, when_over)

    def answer_at_once(self, work: Work, exchange: Exchange) -> bool:
        """Answer with what it brought; False: it brought none, and `run` is to go on from it."""
        return self._answers.at_once(work, exchange)

    def left(self, work: Work, exchange: Exchange) -> None:
        """The caller went away meanwhile."""
        self._trial.left(work, exchange)

    # All others.

    async def run(self, work: Work) -> None:
        """Try until there is an answer, and pass it on; goes on from `work.first` if that is there.

        Raises:
            ServiceError: there is none.
        """
        if work.lease is not None:
            work.record.key_id = work.lease.key.id  # should the process die, this is known
        self._accounting.begin(work)
        failed = await self._ask(work)
        if failed is not None and not await self._fall_back(work, failed):
            raise CallFailed(failed.fault)

    async def _ask(self, work: Work) -> Failed | None:
        """Have one model answer; what it came to in the end, None if it did answer."""
        policy, record = work.policy, work.record
        failures = limited = 0
        while True:
            failed = await self._once(work)
            if failed is None:
                return None
            fault, failures = failed.fault, failures + 1
            limited += fault.kind is FaultKind.RATE_LIMITED
            what = reaction(failed)
            if what in (
                Reaction.LIMITED,
                Reaction.OTHER_KEY,
            ) and await self._alternatives.other_key(work, fault):
                if not self._alternatives.may_repeat(work):
                    return failed
                continue
            if what is Reaction.REPEAT:
                # With somebody else at hand a second failure is enough.
                most = min(policy.retries, 1) if work.is_guarded else policy.retries
                may = failures <= most
            else:
                may = what is Reaction.LIMITED and limited < policy.limited_tries
                may = may and failures <= policy.retries
            wait = pause(policy, failures, fault.retry_after, self._chance) if may else None
            if wait is None or self._trial.now() + wait >= record.started + policy.total:
                return failed
            if not self._alternatives.may_repeat(work):
                return failed
            await asyncio.sleep(wait)

    async def _fall_back(self, work: Work, first: Failed) -> bool:
        """Have another model answer; False if none did: then the first one's fault is told."""
        record = work.record
        if not work.is_guarded or reaction(first) is Reaction.TELL:
            return False
        key_id = record.key_id
        async for _ in self._alternatives.others(work, first.fault):
            if await self._ask(work) is None:
                return True
        record.model, record.key_id = record.asked, key_id
        return False

    async def _once(self, work: Work) -> Failed | None:
        """One attempt; what it came to, None if the caller has its answer, or a part of it."""
        started = self._trial.now()
        try:
            response = await self._trial.response(work)
        except ServiceError as error:
            failed: Failed | None = Failed(fault_of(error), is_silent(error))
        else:
            if isinstance(response, Fault):
                failed = Failed(response)
            else:
                failed = await self._answers.give(work, response, started)
        if failed is not None:
            self._trial.failed(work, failed)
        return failed
