"""One attempt: what is sent, what comes of it, and what is learnt from that."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from model_service.gateway.accounting import Accounting
from model_service.gateway.outbound import Outbound
from model_service.gateway.policy import timeouts
from model_service.gateway.reactions import CIRCUIT_OPEN, Failed
from model_service.gateway.snapshot import SnapshotModel
from model_service.gateway.work import Work
from model_service.providers.exchange import Exchange
from model_service.providers.faults import Fault, FaultKind
from model_service.providers.messages import Timeouts
from model_service.providers.response import UpstreamResponse


class Trial:
    """Makes attempts, as far as circuits let them through."""

    def __init__(
        self,
        outbound: Outbound,
        accounting: Accounting,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` is in seconds and never goes back."""
        self.outbound = outbound
        self._accounting = accounting
        self.now = now

    def begin(self, work: Work, when_over: Callable[[Exchange], None]) -> Exchange | None:
        """Send at once; None if something has to be waited for.

        Raises:
            ServiceError: the call is refused.
        """
        request, circuit = self.outbound.request(work)
        self._accounting.begin(work)
        ticket = circuit.allow(self.now())
        if not ticket:
            return None
        model = work.model
        if model is None or work.policy is not model.policy or model.fallbacks:
            patience = timeouts_of(work)
        else:
            patience = model.timeouts
        exchange = None
        try:
            exchange = self.outbound.begin(work, request, patience, when_over)
        finally:
            if exchange is None:
                circuit.abandoned(ticket)  # the turn goes to who sends it
        work.circuit, work.ticket = circuit, ticket
        return exchange

    def left(self, work: Work, exchange: Exchange) -> None:
        """The caller went away meanwhile."""
        exchange.abandon()
        if work.circuit is not None:
            work.circuit.abandoned(work.ticket)

    async def response(self, work: Work) -> UpstreamResponse | Fault:
        """The provider's good answer, or what it says is wrong.

        Raises:
            ServiceError: there is neither.
        """
        first, work.first = work.first, None
        if isinstance(first, Fault):
            return first
        outbound, model = self.outbound, work.parts[0]
        if first is None:
            request, circuit = outbound.request(work)
            now = self.now()
            work.circuit, work.ticket = circuit, circuit.allow(now)
            if not work.ticket:
                return _circuit_open(model, circuit.retry_after(now))
            sending = outbound.send(work, request, self._timeouts(work, now))
        else:
            sending = outbound.again(work, first, timeouts_of(work))
        response = await self._arrived(work, sending)
        return await outbound.fault(response, model, work.lease) or response

    def _timeouts(self, work: Work, now: float) -> Timeouts:
        """How long the parts of an attempt may take, of the time that is left of the whole."""
        found, record = timeouts_of(work), work.record
        if not record.attempts:
            return found
        return replace(found, total=max(record.started + found.total - now, 0.0))

    async def _arrived(self, work: Work, sending: Awaitable[UpstreamResponse]) -> UpstreamResponse:
        try:
            return await sending
        except asyncio.CancelledError:
            if work.circuit is not None:
                work.circuit.abandoned(work.ticket)
            raise

    def succeeded(self, work: Work, started: float) -> None:
        """The caller has an answer, of an attempt that began at that moment."""
        circuit, record = work.circuit, work.record
        if circuit is not None and work.ticket:
            first = None
            if record.stream and record.first_byte is not None:
                first = record.first_byte - started
            circuit.succeeded(work.ticket, self.now() - started, first)
            work.ticket = 0

    def failed(self, work: Work, failed: Failed) -> None:
        """The attempt came to nothing: the circuit learns of it, and the record."""
        circuit, fault, record = work.circuit, failed.fault, work.record
        if circuit is not None and work.ticket:
            # Not the provider's own words: others than the caller get to see it.
            why = fault.code or fault.kind.value
            if fault.status is not None:
                why = f"HTTP {fault.status}"
            circuit.failed(work.ticket, fault.kind, self.now(), why)
            work.ticket = 0
        record.note(
            attempt=record.attempts,
            model=None if work.model is None else work.model.name,
            keyId=None if work.lease is None else str(work.lease.key.id),
            error=fault.kind.value,
            status=fault.status,
            code=fault.code,
            afterMs=round((self.now() - record.started) * 1000, 3),
        )


def timeouts_of(work: Work) -> Timeouts:
    """How long the parts of an attempt may take."""
    return timeouts(
        work.policy,
        stream=work.record.stream,
        guarded=work.is_guarded,
        max_tokens=work.parts[0].target.max_tokens,
    )


def _circuit_open(model: SnapshotModel, seconds: float) -> Fault:
    message = f"The provider of the model '{model.name}' is failing; it is tried again shortly"
    return Fault(
        FaultKind.UNAVAILABLE,
        message,
        code=CIRCUIT_OPEN,
        retry_after=max(1, math.ceil(seconds)),
    )
