"""Giving a provider's good answer to the caller: whole, or as a stream that may be recovered."""

import math
from dataclasses import replace
from functools import partial

from model_service.gateway import heads
from model_service.gateway.accounting import Accounting
from model_service.gateway.alternatives import Alternatives
from model_service.gateway.buffering import BufferedStream
from model_service.gateway.faults import fault_of
from model_service.gateway.needs import BYTES_PER_TOKEN
from model_service.gateway.plans import convert
from model_service.gateway.policy import Recovery
from model_service.gateway.reactions import Failed, is_silent
from model_service.gateway.recovery import RecoverableStream, recoverable
from model_service.gateway.routes import Operation
from model_service.gateway.snapshot import SnapshotModel
from model_service.gateway.streaming import Passage
from model_service.gateway.trial import Trial, timeouts_of
from model_service.gateway.work import Work
from model_service.kernel.errors import ServiceError
from model_service.providers.calls import ArrayRelay
from model_service.providers.documents import loads
from model_service.providers.exchange import Exchange
from model_service.providers.faults import CallFailed, Fault
from model_service.providers.response import UpstreamResponse
from model_service.providers.translation import StreamRelay


class Answers:
    """Gives answers."""

    def __init__(self, trial: Trial, alternatives: Alternatives, accounting: Accounting) -> None:
        self._trial = trial
        self._alternatives = alternatives
        self._accounting = accounting

    def at_once(self, work: Work, exchange: Exchange) -> bool:
        """Answer with what an exchange brought; False: nothing good, and `work.first` says what."""
        conversion = work.conversion
        if (
            exchange.error is not None
            or not 200 <= exchange.status <= 299
            or exchange.is_coded
            or conversion is None
        ):
            work.first = exchange
            return False
        try:
            answer = conversion.answer(exchange.taken())
        except CallFailed as failed:
            work.first = self._trial.outbound.clean(failed.fault, work.lease)
            return False
        record = work.record
        record.first_byte = self._trial.now()
        record.usage = conversion.usage
        self._trial.succeeded(work, record.started)
        self._respond(work, heads.JSON, answer)
        return True

    async def give(self, work: Work, response: UpstreamResponse, started: float) -> Failed | None:
        """Pass a good answer on; what it came to if that was before the caller had anything."""
        record = work.record
        model, conversion = work.parts
        if record.stream and model.supports_streaming:
            failed = await self._stream(work, response, started)
            if failed is not None and work.route is not None:
                # What reads a stream has read some of this one, and is of no use for another.
                body, now = loads(work.call.body), int(record.began)
                work.conversion = convert(work.route, model, body, stream=True, now=now)
            return failed
        try:
            answer = conversion.answer(await response.read())
        except ServiceError as error:
            # A provider's error may come with any status, and repeat the key it was sent.
            fault = self._trial.outbound.clean(fault_of(error), work.lease)
            return Failed(fault, is_silent(error))
        finally:
            await response.aclose()
        record.first_byte = self._trial.now()
        record.usage = conversion.usage
        self._trial.succeeded(work, started)
        is_stream = record.stream and not work.is_bare
        self._respond(work, heads.EVENTS if is_stream else heads.JSON, answer)
        return None

    def _respond(self, work: Work, kind: bytes, answer: bytes) -> None:
        record = work.record
        record.status = 200
        if record.usage is None and record.operation == Operation.CHAT:
            record.events_sent = len(answer) // BYTES_PER_TOKEN
        self._accounting.settle(work)
        lines = kind + work.lines() + heads.cost_line(record.cost_text)
        if work.limits is not None:
            lines += self._accounting.limit_lines(work)
        is_array = work.is_bare and record.stream
        work.call.respond(200, lines, b"[%b]" % answer if is_array else answer)

    async def _stream(
        self, work: Work, response: UpstreamResponse, started: float
    ) -> Failed | None:
        conversion, recovery = work.parts[1], work.policy.recovery
        inner: StreamRelay | None = None
        resume = None
        if recovery is Recovery.CONTINUE and work.route is not None:
            body = loads(work.call.body)
            inner = recoverable(work.route, work.parts[0], body, now=int(work.record.began))
            if inner is not None:
                resume = partial(self._resume, work, inner)
        if inner is None:
            inner = conversion.relay()
        relay: StreamRelay = ArrayRelay(inner) if work.is_bare else inner
        if recovery is Recovery.BUFFER:
            relay = BufferedStream(relay)

        def head() -> bytes:
            kind = heads.JSON if work.is_bare else heads.EVENTS
            limits = b"" if work.limits is None else self._accounting.limit_lines(work)
            return kind + work.lines() + limits

        passage = Passage(
            work,
            relay,
            head=head,
            settle=partial(self._accounting.settle, work),
            clean=lambda fault: self._trial.outbound.clean(fault, work.lease),
            now=self._trial.now,
            resume=resume,
        )
        first_by = started + timeouts_of(work).first_byte if work.is_guarded else math.inf
        failed = await passage.run(response, first_by)
        if failed is None and work.record.error is not None:
            self._trial.failed(work, Failed(Fault(work.record.error, "")))
        elif failed is None and not work.record.client_left:
            self._trial.succeeded(work, started)
        return failed

    async def _resume(
        self, work: Work, relay: RecoverableStream, fault: Fault
    ) -> UpstreamResponse | None:
        """Have a fallback, or else the same model, go on with a stream that failed."""
        record, failed_model = work.record, work.parts[0]
        self._trial.failed(work, Failed(fault))
        may = relay.lost(fault)
        spent = relay.spent[-1].usage
        if not spent.prompt:  # that is not said before the end
            spent = replace(spent, input=record.body_bytes // BYTES_PER_TOKEN)
        work.spent = (*work.spent, (failed_model, spent))
        record.usage, record.events_sent = None, 0  # from here on those of another attempt
        is_guarded = may and work.is_guarded
        others = self._alternatives.candidates(work, larger=False) if is_guarded else []
        key_id = record.key_id
        for model in [*others, failed_model] if may else ():
            if not self._alternatives.may_repeat(work):
                break
            response = await self._go_on(work, relay, model)
            if response is not None:
                return response
        record.model, record.key_id = failed_model, key_id  # whose answer the caller has
        return None

    async def _go_on(
        self, work: Work, relay: RecoverableStream, model: SnapshotModel
    ) -> UpstreamResponse | None:
        for prefill in (True, False):
            attempt = None
            try:
                await self._alternatives.turn_to(work, model)
                attempt = relay.resumption(model, prefill=prefill)
                work.turn_to(model, work.lease, attempt)
                response = await self._trial.response(work)
            except ServiceError as error:
                response = fault_of(error)
            if attempt is None:
                return None
            if not isinstance(response, Fault):
                relay.resume(attempt)
                return response
            self._trial.failed(work, Failed(response))
            if not attempt.is_refused(response):
                return None
        return None
