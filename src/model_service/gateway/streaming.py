"""A stream on its way back, from the provider to the caller."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from model_service.gateway.faults import fault_of
from model_service.gateway.reactions import Failed, is_silent
from model_service.gateway.work import Work
from model_service.kernel.errors import ServiceError
from model_service.providers.faults import Fault, FaultKind, cut
from model_service.providers.response import UpstreamResponse
from model_service.providers.translation import StreamRelay

#: Seconds that a provider may take to end a stream whose answer is complete, so that the
#: connection can be used again.
TAIL_SECONDS: Final = 1.0
#: Seconds of silence after an answer's finish reason, at which it is taken for whole: what may
#: still come then is what was used, and providers send that at once.
FINISH_SECONDS: Final = 5.0

Resume = Callable[[Fault], Awaitable[UpstreamResponse | None]]
"""Has another attempt go on after a fault; None when none can."""


class Passage:
    """Passes one stream on as it arrives, as fast as the caller reads it.

    `head` makes the headers of the answer, `settle` settles the call before its caller has the
    end, and `clean` takes credentials out of a provider's fault.
    """

    def __init__(
        self,
        work: Work,
        relay: StreamRelay,
        *,
        head: Callable[[], bytes],
        settle: Callable[[], None],
        clean: Callable[[Fault], Fault],
        now: Callable[[], float],
        resume: Resume | None = None,
    ) -> None:
        self._work = work
        self._relay = relay
        self._head = head
        self._settle = settle
        self._clean = clean
        self._now = now
        self._resume = resume
        self._broken: Failed | None = None

    async def run(self, response: UpstreamResponse, first_by: float = math.inf) -> Failed | None:
        """Pass it on; a fault only as long as the caller has nothing of the answer.

        `first_by` is the moment by which something of the answer itself has to be there; what
        opens it is held back until then, so that another model can still answer.
        """
        work, call = self._work, self._work.call
        current: UpstreamResponse | None = response
        fault: Fault | None = None
        try:
            while current is not None:
                try:
                    failed = await self._pump(current, first_by)
                    if failed is None and call.response_started and self._relay.complete:
                        await _read_tail(current)
                finally:
                    await current.aclose()
                if failed is None:
                    return None
                if not call.response_started:
                    return failed
                fault, current = fault or failed.fault, None
                if self._resume is not None:
                    current = await self._resume(failed.fault)
        except TimeoutError:
            work.record.client_left = True
            call.abort()
            return None
        if fault is not None:
            self._tell(fault)
        return None

    def _tell(self, fault: Fault) -> None:
        """End the stream with an error event: nobody is to take it for whole."""
        work, call = self._work, self._work.call
        work.record.error = fault.kind
        self._over()
        call.send(self._relay.fail(fault))
        call.end()

    async def _pump(self, response: UpstreamResponse, first_by: float) -> Failed | None:
        """Pass on what comes until the answer is whole. Raises TimeoutError: nobody reads it."""
        work, relay = self._work, self._relay
        call, record = work.call, work.record
        held = b""
        self._broken = None
        while not relay.complete and relay.failure is None and self._broken is None:
            try:
                if relay.finish is not None:
                    piece = await _ending(response)
                elif call.response_started or relay.began or first_by == math.inf:
                    piece = await response.piece()
                else:
                    piece = await _in_time(response, first_by)
            except TimeoutError:
                message = "The provider gave nothing of an answer in time"
                return Failed(Fault(FaultKind.TIMEOUT, message, code="first_token_timeout"), True)
            except ServiceError as error:
                # If the answer has said that it ends here, it is whole all the same.
                self._broken = Failed(self._clean(fault_of(error)), is_silent(error))
                piece = b""
            out = relay.feed(piece) if piece else relay.end()
            record.usage = relay.usage
            if relay.complete:
                self._over()
            if out:
                record.events_sent += out.count(b"data:")
                if call.response_started:
                    call.send(out)
                elif first_by == math.inf or _has_begun(relay):
                    self._begin(held + out)
                else:
                    held += out
                if call.is_slow:
                    await call.keep_up()
            if not piece:
                break
        if not relay.complete:
            return self._broken or Failed(self._clean((relay.failure or cut()).fault))
        if not call.response_started:
            self._begin(held or b"\n")
        call.end()
        return None

    def _over(self) -> None:
        """Settle: nothing of an answer comes any more but what its caller gets next."""
        record = self._work.record
        record.status = 200
        if record.first_byte is None:
            record.first_byte = self._now()
        self._settle()

    def _begin(self, first: bytes) -> None:
        work = self._work
        if work.record.first_byte is None:
            work.record.first_byte = self._now()
        if work.circuit is not None:
            work.circuit.began(work.ticket)
        work.call.begin(200, self._head(), first)


def _has_begun(relay: StreamRelay) -> bool:
    return relay.began or relay.complete


async def _in_time(response: UpstreamResponse, moment: float) -> bytes:
    async with asyncio.timeout_at(moment):
        return await response.piece()


async def _ending(response: UpstreamResponse) -> bytes:
    """What still comes of an answer whose finish reason is here; nothing when that takes long."""
    try:
        async with asyncio.timeout(FINISH_SECONDS):
            return await response.piece()
    except TimeoutError:
        return b""


async def _read_tail(response: UpstreamResponse) -> None:
    """Let the provider end its stream, so that its connection can be used again."""
    try:
        async with asyncio.timeout(TAIL_SECONDS):
            while await response.piece():
                pass
    except (TimeoutError, ServiceError):
        return
