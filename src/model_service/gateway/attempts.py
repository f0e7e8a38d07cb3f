"""Trying to get an answer for a call that is prepared."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from model_service.gateway import heads
from model_service.gateway.accounting import Accounting
from model_service.gateway.leases import Leases
from model_service.gateway.outbound import Outbound
from model_service.gateway.streaming import pass_on
from model_service.gateway.work import Work
from model_service.providers.calls import ArrayRelay
from model_service.providers.exchange import Exchange
from model_service.providers.faults import CallFailed, FaultKind

#: Seconds that a key that its provider limited stands behind others, without its word.
LIMITED_SECONDS: Final = 10


class Attempts:
    """Tries."""

    def __init__(
        self,
        leases: Leases,
        outbound: Outbound,
        accounting: Accounting,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._outbound = outbound
        self._accounting = accounting
        self._now = now

    def is_plain(self, work: Work) -> bool:
        """Whether the first try needs nothing but sending it."""
        return True

    def answer_at_once(self, work: Work, exchange: Exchange) -> bool:
        """Answer with what the first try brought; False: it brought no answer."""
        if exchange.error is not None or not 200 <= exchange.status <= 299 or exchange.is_coded:
            return False
        conversion = work.conversion
        if conversion is None:
            return False
        record = work.record
        record.first_byte = self._now()
        try:
            answer = conversion.answer(exchange.taken())
        except CallFailed as failed:
            raise CallFailed(self._outbound.clean(failed.fault, work.lease)) from None
        record.usage = conversion.usage
        self._respond(work, answer)
        return True

    def _respond(self, work: Work, answer: bytes) -> None:
        work.record.status = 200
        self._accounting.settle(work)
        work.call.respond(
            200, heads.JSON + work.lines(), b"[%b]" % answer if work.is_bare else answer
        )

    async def run(self, work: Work, first: Exchange | None = None) -> None:
        """Try until there is an answer, and pass it on.

        Raises:
            ServiceError: there is none.
        """
        call, record, lease = work.call, work.record, work.lease
        model, conversion = work.parts()
        outbound = self._outbound
        self._accounting.begin(work)
        if first is None:
            response = await outbound.send(work)
        else:
            response = await outbound.again(work, first)
        fault = await outbound.fault(response, model, lease)
        if fault is not None and fault.kind is FaultKind.KEY_REFUSED and lease is not None:
            # The value was replaced, and the one before it may still be good.
            other = await self._leases.instead(lease)
            if other is None:
                raise CallFailed(fault)
            work.lease = lease = other
            response = await outbound.send(work)
            fault = await outbound.fault(response, model, lease)
        try:
            if fault is not None:
                if fault.kind is FaultKind.RATE_LIMITED and lease is not None:
                    self._leases.limited(lease, fault.retry_after or LIMITED_SECONDS)
                raise CallFailed(fault)
            if record.stream and model.supports_streaming:
                kind = heads.JSON if work.is_bare else heads.EVENTS
                relay = conversion.relay()
                await pass_on(
                    call,
                    record,
                    response,
                    ArrayRelay(relay) if work.is_bare else relay,
                    kind + work.lines(),
                    partial(outbound.clean, lease=lease),
                    self._now,
                )
            else:
                data = await response.read()
                record.first_byte = self._now()
                answer = conversion.answer(data)
                record.usage = conversion.usage
                if record.stream and not work.is_bare:
                    call.respond(200, heads.EVENTS + work.lines(), answer)
                else:
                    self._respond(work, answer)
        except CallFailed as failed:
            # A provider's error may come with any status, and repeat the key it was sent.
            raise CallFailed(outbound.clean(failed.fault, lease)) from None
        finally:
            await response.aclose()
