"""The way out: what is sent to a provider for a call, and what its refusals say."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import orjson

from model_service.gateway.circuit import Circuit
from model_service.gateway.faults import without_secrets
from model_service.gateway.health import Circuits
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
        self,
        endpoints: Endpoints,
        transport: Transport,
        circuits: Circuits,
        redact: Callable[[str], str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`redact` masks credentials in text; `now` is in seconds and never goes back."""
        self._circuits = circuits
        self._now = now
        self._endpoints = endpoints
        self._transport = transport
        self._redact = redact

    def begin(
        self,
        work: Work,
        request: UpstreamRequest,
        timeouts: Timeouts,
        when_over: Callable[[Exchange], None],
    ) -> Exchange | None:
        """Send a call at once, counted as an attempt; None when no connection is free.

        Raises EgressRefused.
        """
        exchange = self._transport.begin(request, timeouts, LIMITS, when_over)
        if exchange is not None:
            work.record.attempts += 1
        return exchange

    async def send(
        self, work: Work, request: UpstreamRequest, timeouts: Timeouts
    ) -> UpstreamResponse:
        """The provider's answer, whatever its status, once its head is here; counted as an attempt.

        Raises:
            EgressRefused: nothing may be sent there.
            UpstreamError: no answer came.
        """
        work.record.attempts += 1
        return await self._transport.send(request, timeouts, LIMITS)

    async def again(self, work: Work, first: Exchange, timeouts: Timeouts) -> UpstreamResponse:
        """The answer that `begin` brought; of a connection that was closed already, another one.

        Raises as `send` does.
        """
        if first.error is None:
            return open_response(first)
        if isinstance(first.error, UpstreamError):
            raise first.error
        request, _ = self.request(work)
        return await self._transport.send(request, timeouts, LIMITS)

    def request(self, work: Work) -> tuple[UpstreamRequest, Circuit]:
        """What to send for a call, and the circuit of where it goes.

        Raises:
            CallFailed: it cannot be written.
            InvalidInput, EgressRefused: there is nowhere to send it.
        """
        model, conversion = work.parts
        lease, record = work.lease, work.record
        spec, outgoing = CALLS[model.provider], conversion.outgoing
        record.key_id = None if lease is None else lease.key.id
        path = spec.locate(outgoing.path, model.target)
        headers = outgoing.headers
        if record.door in spec.forwards:
            headers += spec.forwarded(record.door, work.call.arrival.headers)
        endpoint, start, circuit = self._start(model, lease, path, headers)
        body = _written(outgoing.body)
        return UpstreamRequest(endpoint, "POST", path, body=body, start=start), circuit

    def is_failing(self, model: SnapshotModel) -> bool:
        """Whether the circuit of where a model is served lets no call through at the moment."""
        try:
            endpoint = self._endpoints.of_call(model.provider, model.base_url, None)
        except ServiceError:
            return False  # where it goes depends on the key
        target = model.target
        circuit = self._circuits.find(target.provider, endpoint.origin, target.upstream_model)
        return circuit is not None and circuit.blocks(self._now())

    def _start(
        self, model: SnapshotModel, lease: Lease | None, path: str, headers: Headers
    ) -> tuple[Endpoint, bytes, Circuit]:
        """Where a request goes, its beginning with the credential, and the circuit of that place.

        Found once for a lease.
        """
        place = (model, path, headers) if headers else (model, path)
        known = None if lease is None else lease.starts.get(place)
        if known is not None:
            return known
        key_endpoint = None if lease is None else lease.key.endpoint
        endpoint = self._endpoints.of_call(model.provider, model.base_url, key_endpoint)
        credential = SPECS[model.provider].credential(None if lease is None else lease.value)
        target = model.target
        circuit = self._circuits.of(
            target.provider, endpoint.origin, target.upstream_model, model.name
        )
        found = (
            endpoint,
            head_start(endpoint, "POST", path, (_CONTENT_TYPE, *headers, *credential)),
            circuit,
        )
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
