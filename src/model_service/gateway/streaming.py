"""A stream on its way back, from the provider to the caller."""

import asyncio
from collections.abc import Callable
from typing import Final

from model_service.gateway.call import Call
from model_service.gateway.faults import fault_of
from model_service.gateway.ports import CallRecord
from model_service.kernel.errors import ServiceError
from model_service.providers.calls import ArrayRelay
from model_service.providers.faults import CallFailed, Fault, cut
from model_service.providers.response import UpstreamResponse
from model_service.providers.translation import StreamRelay

#: Seconds that a provider may take to end a stream whose answer is complete, so that the
#: connection can be used again.
TAIL_SECONDS: Final = 1.0


async def pass_on(
    call: Call,
    record: CallRecord,
    response: UpstreamResponse,
    relay: StreamRelay | ArrayRelay,
    lines: bytes,
    clean: Callable[[Fault], Fault],
    now: Callable[[], float],
) -> None:
    """Pass a stream on as it arrives, as fast as the caller reads it.

    `lines` are the headers of the answer; `clean` takes credentials out of a provider's fault.

    Raises:
        CallFailed, UpstreamError: before anything was sent.
    """
    fault: Fault | None = None
    try:
        while not relay.complete and relay.failure is None:
            piece = await response.piece()
            out = relay.feed(piece) if piece else relay.end()
            if out:
                if call.response_started:
                    call.send(out)
                else:
                    record.first_byte = now()
                    call.begin(200, lines, out)
                if call.is_slow:
                    await call.keep_up()
            if not piece:
                break
    except TimeoutError:
        record.client_left = True
        call.abort()
        return
    except ServiceError as error:
        fault = fault_of(error)
    finally:
        record.usage = relay.usage
    if fault is None and not relay.complete:
        fault = (relay.failure or cut()).fault
    if fault is not None:
        if not call.response_started:
            raise CallFailed(fault)
        fault = clean(fault)
        record.error = fault.kind
        call.send(relay.fail(fault))
        call.end()
        return
    if not call.response_started:
        call.begin(200, lines, b"\n")
    call.end()
    await _read_tail(response)


async def _read_tail(response: UpstreamResponse) -> None:
    """Let the provider end its stream, so that its connection can be used again."""
    try:
        async with asyncio.timeout(TAIL_SECONDS):
            while await response.piece():
                pass
    except (TimeoutError, ServiceError):
        return
