"""The way out: what is sent to a provider for a call, and what its refusals say."""

import asyncio
from collections.abc import Callable
from typing import Final

import orjson

from model_service.gateway.faults import without_secrets
from model_service.gateway.leases import Lease
from model_service.gateway.ports import Endpoints
from model_service.gateway.snapshot import SnapshotModel
from model_service.gateway.work import Work
from model_service.kernel.errors import ServiceError, UpstreamError
from model_service.providers.base import Headers
from model_service.providers.calls import CALLS
from model_service.providers.endpoint import Endpoint
from model_service.providers.errors import retry_after_seconds
from model_service.providers.exchange import Exchange
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.messages import Limits, Timeouts, UpstreamRequest, head_start
from model_service.providers.registry import SPECS
from model_service.providers.response import UpstreamResponse, open_response
from model_service.providers.translation import Document
from model_service.providers.transport import Transport

#: A whole answer comes when the model has thought and written all of it, a stream's first byte
#: much earlier; both are what providers' own clients wait for (600 s).
TIMEOUTS: Final = Timeouts(connect=5.0, first_byte=600.0, idle=120.0, total=3600.0)
LIMITS: Final = Limits()
#: How much of an error answer is read, in bytes, and for how many seconds: its status is known.
ERROR_BYTES: Final = 1024 * 1024
ERROR_SECONDS: Final = 5.0
#: Beginnings of requests remembered for one lease: a path for each model, mostly.
MOST_STARTS: Final = 256

_CONTENT_TYPE: Final = ("content-type", "application/json")


class Outbound:
    """Sends calls to their providers."""

    def __init__(
        self, endpoints: Endpoints, transport: Transport, redact: Callable[[str], str]
    ) -> None:
        """`redact` masks credentials in text."""
        self._endpoints = endpoints
        self._transport = transport
        self._redact = redact

    def begin(self, work: Work, when_over: Callable[[Exchange], None]) -> Exchange | None:
        """Send a call at once, counted as an attempt; None when no connection is free.

        Raises as `send` does, before anything is sent.
        """
        request = self._request(work)
        exchange = self._transport.begin(request, TIMEOUTS, LIMITS, when_over)
        if exchange is not None:
            work.record.attempts += 1
        return exchange

    async def send(self, work: Work) -> UpstreamResponse:
        """The provider's answer, whatever its status, once its head is here; counted as an attempt.

        Raises:
            CallFailed: the call cannot be written.
            InvalidInput, EgressRefused: there is nowhere to send it.
            UpstreamError: no answer came.
        """
        work.record.attempts += 1
        return await self._transport.send(self._request(work), TIMEOUTS, LIMITS)

    async def again(self, work: Work, first: Exchange) -> UpstreamResponse:
        """The answer that `begin` brought; of a connection that was closed already, another one.

        Raises as `send` does.
        """
        if first.error is None:
            return open_response(first)
        if isinstance(first.error, UpstreamError):
            raise first.error
        return await self._transport.send(self._request(work), TIMEOUTS, LIMITS)

    def _request(self, work: Work) -> UpstreamRequest:
        model, conversion = work.parts()
        lease, record = work.lease, work.record
        spec, outgoing = CALLS[model.provider], conversion.outgoing
        if lease is not None:
            record.key_id = lease.key.id
        path = spec.locate(outgoing.path, model.target)
        headers = (
            _CONTENT_TYPE,
            *outgoing.headers,
            *spec.forwarded(record.door, work.call.arrival.headers),
        )
        endpoint, start = self._start(model, lease, path, headers)
        return UpstreamRequest(endpoint, "POST", path, body=_written(outgoing.body), start=start)

    def _start(
        self, model: SnapshotModel, lease: Lease | None, path: str, headers: Headers
    ) -> tuple[Endpoint, bytes]:
        """Where a request goes, and its beginning with the credential; found once for a lease."""
        place = (model, path, headers)
        known = None if lease is None else lease.starts.get(place)
        if known is not None:
            return known
        key_endpoint = None if lease is None else lease.key.endpoint
        endpoint = self._endpoints.of_call(model.provider, model.base_url, key_endpoint)
        credential = SPECS[model.provider].credential(None if lease is None else lease.value)
        found = endpoint, head_start(endpoint, "POST", path, headers + credential)
        if lease is not None and len(lease.starts) < MOST_STARTS:
            lease.starts[place] = found
        return found

    async def fault(
        self, response: UpstreamResponse, model: SnapshotModel, lease: Lease | None
    ) -> Fault | None:
        """What the provider says is wrong, without credentials; None when nothing is.

        It is not the status that tells of a refused key: Google's is a 400.
        """
        if 200 <= response.status <= 299:
            return None
        document = await _error_document(response)
        fault = CALLS[model.provider].faults.fault(response.status, document)
        retry_after = retry_after_seconds(response.header("retry-after"))
        if retry_after is not None:
            fault = Fault(
                fault.kind, fault.message, fault.param, fault.code, fault.status, retry_after
            )
        await response.aclose()
        return self.clean(fault, lease)

    def clean(self, fault: Fault, lease: Lease | None) -> Fault:
        """A provider's fault without credentials, above all the key that it was sent."""
        key = None if lease is None else lease.value.reveal()
        return without_secrets(fault, self._redact, key)


def _written(body: Document) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # It was parsed, so all that can be wrong is how deeply it nests.
        message = "The body nests more deeply than 254 levels"
        raise CallFailed(Fault(FaultKind.INVALID_REQUEST, message)) from None


async def _error_document(response: UpstreamResponse) -> object:
    """The body of an error answer; None when it is no JSON, too large, or not there in time."""
    data = bytearray()
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            while piece := await response.piece():
                data += piece
                if len(data) > ERROR_BYTES:
                    return None
        return orjson.loads(data)
    except (orjson.JSONDecodeError, ServiceError, TimeoutError):
        return None
