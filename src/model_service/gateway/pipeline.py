"""A call from its arrival to its end.

    authenticate -> resolve -> authorise -> limit (reserve) -> key -> translate -> call -> relay
    -> settle

Each step is a method here; what it knows of the rest of the service it asks a port for. In the
steady state nothing here waits for anything but the provider: who calls, what is registered and
the key are in memory.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import structlog

from model_service.gateway import heads, listing
from model_service.gateway.faults import fault_of, without_secrets
from model_service.gateway.leases import Lease, Leases
from model_service.gateway.plans import convert
from model_service.gateway.ports import (
    Admission,
    Arrival,
    CallObserver,
    CallRecord,
    Endpoints,
    Limit,
    Reservation,
)
from model_service.gateway.relay import Conversion
from model_service.gateway.routes import Operation, Route
from model_service.gateway.snapshot import Registered, SnapshotModel
from model_service.gateway.wire import Call
from model_service.kernel.errors import ServiceError
from model_service.kernel.principal import Principal
from model_service.providers.base import Headers
from model_service.providers.calls import CALLS, FAULT_DOORS, ArrayRelay
from model_service.providers.endpoint import Endpoint
from model_service.providers.errors import retry_after_seconds
from model_service.providers.faults import CallFailed, Fault, FaultKind, cut, invalid
from model_service.providers.messages import Limits, Timeouts, UpstreamRequest, head_start
from model_service.providers.registry import SPECS
from model_service.providers.response import UpstreamResponse
from model_service.providers.translation import Document, StreamRelay
from model_service.providers.transport import Transport

log = structlog.get_logger(__name__)

#: A whole answer comes when the model has thought and written all of it, a stream's first byte
#: much earlier; both are what providers' own clients wait for (600 s).
TIMEOUTS: Final = Timeouts(connect=5.0, first_byte=600.0, idle=120.0, total=3600.0)
LIMITS: Final = Limits()
#: How much of an error answer is read, in bytes, and for how many seconds: its status is known.
ERROR_BYTES: Final = 1024 * 1024
ERROR_SECONDS: Final = 5.0
#: Seconds for which a key that its provider limited stands behind others, without its word.
LIMITED_SECONDS: Final = 10
#: Seconds that a provider may take to end a stream whose answer is complete, so that the
#: connection can be used again.
TAIL_SECONDS: Final = 1.0

#: Calls that one token may have under way in one process; beyond that something is wrong with
#: whoever holds it, and others are to be served too.
MOST_CALLS: Final = 2048
#: Beginnings of requests remembered for one lease: a path for each model, mostly.
MOST_STARTS: Final = 256

_CONTENT_TYPE: Final = ("content-type", "application/json")
_WRONG_BODY: Final = "The body is not a JSON object"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline stands on. `redact` masks credentials in text; `limits` may be none.

    `now` is in seconds and never goes back, `wall` in seconds since 1970.
    """

    admission: Admission
    registered: Registered
    leases: Leases
    endpoints: Endpoints
    transport: Transport
    observer: CallObserver
    redact: Callable[[str], str]
    limits: Sequence[Limit] = ()
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class Pipeline:
    """Serves calls."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._under_way: dict[object, int] = {}

    def recognise(self, arrival: Arrival) -> Principal | None:
        """Who calls, if that can be told at once."""
        return self._parts.admission.recognise(arrival)

    async def serve(self, call: Call) -> None:
        """Answer a call, whatever becomes of it."""
        parts = self._parts
        route = call.route
        record = CallRecord(
            call.arrival.request_id,
            "" if route is None else route.door,
            "" if route is None else route.operation.value,
            parts.now(),
        )
        parts.observer.begun()
        reservations: list[Reservation] = []
        try:
            await self._answer(call, record, reservations)
        except asyncio.CancelledError:
            record.client_left = call.disconnected
            if not call.disconnected:
                call.abort()
                raise
        except ServiceError as error:
            self._refuse(call, record, fault_of(error))
        except Exception as error:  # noqa: BLE001 - the last resort: logged once, told without detail
            log.error(
                "unexpected error in a call",
                error_type=type(error).__qualname__,
                request_id=record.request_id,
            )
            self._refuse(call, record, fault_of(ServiceError()))
        finally:
            record.finished = parts.now()
            record.status = call.status
            self._count_out(record.principal)
            for reservation in reservations:
                reservation.settle(record)
            parts.observer.finished(record)

    async def _answer(
        self, call: Call, record: CallRecord, reservations: list[Reservation]
    ) -> None:
        parts, route = self._parts, call.route
        if call.is_refused:
            message = f"The request body is larger than {call.limit // 1024 // 1024} MiB"
            raise CallFailed(Fault(FaultKind.TOO_LARGE, message, code="payload_too_large"))
        principal = call.principal or await parts.admission.admit(call.arrival)
        self._count_in(principal)
        record.principal = principal
        if route is None:
            raise CallFailed(Fault(FaultKind.NOT_FOUND, "No such route", code="not_found"))
        if call.arrival.method != route.method and (call.arrival.method, route.method) != (
            "HEAD",
            "GET",
        ):
            fault = Fault(FaultKind.INVALID_REQUEST, "No such method here", status=405)
            raise CallFailed(fault)
        if route.operation in (Operation.LIST, Operation.RETRIEVE):
            self._list(call, route, principal)
            return
        body = _parsed(call.body)
        model = self._resolve(route, body)
        record.model = model
        await self._authorise(call, principal, model)
        for limit in parts.limits:
            # One after the other: what is held so far is given back when the next refuses.
            reservations.append(await limit(record, body))  # noqa: PERF401
        stream = record.stream = _streams(route, body)
        lease = parts.leases.find(principal.user_id, model)
        if lease is None:
            lease = await self._lease(call, principal, model)
        conversion = convert(route, model, body, stream=stream, now=int(parts.wall()))
        await self._call(call, record, model, lease, conversion)

    def _count_in(self, principal: Principal) -> None:
        """Take a call up. Raises CallFailed when its token has too many under way."""
        who = principal.token_id or principal.user_id
        count = self._under_way.get(who, 0)
        if count >= MOST_CALLS:
            message = f"This token has {MOST_CALLS:,} calls under way, the most it may have"
            raise CallFailed(
                Fault(FaultKind.RATE_LIMITED, message, code="too_many_calls", retry_after=1)
            )
        self._under_way[who] = count + 1

    def _count_out(self, principal: Principal | None) -> None:
        if principal is None:
            return
        who = principal.token_id or principal.user_id
        count = self._under_way[who] - 1
        if count:
            self._under_way[who] = count
        else:
            del self._under_way[who]

    def _list(self, call: Call, route: Route, principal: Principal) -> None:
        snapshot = self._parts.registered.current()
        scopes = principal.scopes
        if route.model is None:
            visible = [
                model
                for model in snapshot.by_name.values()
                if model.is_active and scopes.allow_model(model.name)
            ]
            document = listing.listing(route.family, visible)
        else:
            found = snapshot.find(route.model)
            if found is None or not found.is_active or not scopes.allow_model(found.name):
                raise _no_model(route.model)
            document = listing.entry(route.family, found)
        lines = heads.JSON + _id_line(call)
        call.respond(200, lines, orjson.dumps(document))

    def _resolve(self, route: Route, body: Document) -> SnapshotModel:
        """The registered model that is asked for.

        Raises:
            CallFailed: there is none, or it is not active.
        """
        name = body.get("model") if route.model is None else route.model
        if not isinstance(name, str) or not name:
            raise invalid("model", "must name a registered model")
        model = self._parts.registered.current().find(name)
        if model is None:
            raise _no_model(name)
        if not model.is_active:
            message = f"The model '{name}' is not active"
            raise CallFailed(
                Fault(FaultKind.NOT_FOUND, message, param="model", code="model_inactive")
            )
        return model

    async def _authorise(self, call: Call, principal: Principal, model: SnapshotModel) -> None:
        """Let whoever may use the model pass. Raises CallFailed."""
        if principal.scopes.allow_model(model.name):
            return
        await self._parts.admission.note_denial(
            call.arrival, f"the token's scopes do not allow the model '{model.name}'"
        )
        message = f"This token may not use the model '{model.name}'"
        raise CallFailed(
            Fault(FaultKind.PERMISSION, message, param="model", code="model_not_allowed")
        )

    async def _lease(self, call: Call, principal: Principal, model: SnapshotModel) -> Lease | None:
        """The key that pays; None where none is needed. Raises CallFailed without one."""
        # Says for whom in the audit trail.
        await self._parts.admission.admit(call.arrival)
        lease = await self._parts.leases.get(principal.user_id, model)
        if lease is None and SPECS[model.provider].needs_key:
            raise _no_key(principal, model)
        return lease

    async def _call(
        self,
        call: Call,
        record: CallRecord,
        model: SnapshotModel,
        lease: Lease | None,
        conversion: Conversion,
    ) -> None:
        response = await self._send(record, model, lease, conversion, call.arrival)
        fault = await self._fault(response, model, lease)
        if fault is not None and fault.kind is FaultKind.KEY_REFUSED and lease is not None:
            # The value was replaced, and the one before it may still be good.
            other = await self._parts.leases.instead(lease)
            if other is None:
                raise CallFailed(fault)
            lease = other
            response = await self._send(record, model, lease, conversion, call.arrival)
            fault = await self._fault(response, model, lease)
        try:
            if fault is not None:
                if fault.kind is FaultKind.RATE_LIMITED and lease is not None:
                    self._parts.leases.limited(lease, fault.retry_after or LIMITED_SECONDS)
                raise CallFailed(fault)
            is_bare = call.route is not None and call.route.bare
            kind = heads.EVENTS if record.stream and not is_bare else heads.JSON
            lines = kind + self._lines(call, record, model, lease, conversion)
            if record.stream and model.supports_streaming:
                relay = conversion.relay()
                relay = ArrayRelay(relay) if is_bare else relay
                await self._relay(call, record, response, relay, lines, lease)
            else:
                data = await response.read()
                record.first_byte = self._parts.now()
                answer = conversion.answer(data)
                record.usage = conversion.usage
                call.respond(200, lines, b"[%b]" % answer if is_bare else answer)
        except CallFailed as failed:
            # A provider's error may come with any status, and repeat the key it was sent.
            raise CallFailed(self._clean(failed.fault, lease)) from None
        finally:
            await response.aclose()

    async def _send(
        self,
        record: CallRecord,
        model: SnapshotModel,
        lease: Lease | None,
        conversion: Conversion,
        arrival: Arrival,
    ) -> UpstreamResponse:
        record.attempts += 1
        spec, outgoing = CALLS[model.provider], conversion.outgoing
        key_endpoint = None
        if lease is not None:
            record.key_id = lease.key.id
            key_endpoint = lease.key.endpoint
        endpoint = self._parts.endpoints.of_call(model.provider, model.base_url, key_endpoint)
        path = spec.locate(outgoing.path, model.target)
        headers = (
            _CONTENT_TYPE,
            *outgoing.headers,
            *spec.forwarded(record.door, arrival.headers),
        )
        request = UpstreamRequest(
            endpoint,
            "POST",
            path,
            body=_written(outgoing.body),
            start=_start(model, lease, endpoint, path, headers),
        )
        return await self._parts.transport.send(request, TIMEOUTS, LIMITS)

    async def _fault(
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
        return self._clean(fault, lease)

    def _clean(self, fault: Fault, lease: Lease | None) -> Fault:
        key = None if lease is None else lease.value.reveal()
        return without_secrets(fault, self._parts.redact, key)

    async def _relay(
        self,
        call: Call,
        record: CallRecord,
        response: UpstreamResponse,
        relay: StreamRelay,
        lines: bytes,
        lease: Lease | None,
    ) -> None:
        """Pass a stream on as it arrives, as fast as the caller reads it.

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
                        record.first_byte = self._parts.now()
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
            fault = self._clean(fault, lease)
            record.error = fault.kind
            call.send(relay.fail(fault))
            call.end()
            return
        if not call.response_started:
            call.begin(200, lines, b"\n")
        call.end()
        await _read_tail(response)

    def _lines(
        self,
        call: Call,
        record: CallRecord,
        model: SnapshotModel,
        lease: Lease | None,
        conversion: Conversion,
    ) -> bytes:
        target = model.target
        lines = heads.origin_lines(
            target.name,
            target.provider.value,
            target.upstream_model,
            None if lease is None else lease.key.id,
        )
        tail = b"x-model-service-attempts: %d\r\nx-request-id: %b\r\n" % (
            record.attempts,
            call.arrival.request_id.encode("ascii"),
        )
        if conversion.dropped:
            return lines + heads.dropped_line(conversion.dropped) + tail
        return lines + tail

    def _refuse(self, call: Call, record: CallRecord, fault: Fault) -> None:
        """Answer with an error in the door's own shape."""
        record.error = fault.kind
        if call.disconnected:
            return
        if call.response_started:
            call.abort()  # something failed that no error event can tell of
            return
        door = FAULT_DOORS[call.family]
        status = door.status(fault)
        lines = heads.JSON + b"cache-control: no-store\r\n" + _id_line(call)
        if fault.retry_after is not None:
            lines += b"retry-after: %d\r\n" % fault.retry_after
        elif status in (429, 503):
            lines += b"retry-after: 2\r\n"
        if status == 401 and fault.kind is FaultKind.UNAUTHENTICATED:
            lines += b"www-authenticate: Bearer\r\n"
        if status == 405 and call.route is not None:
            lines += b"allow: %b\r\n" % call.route.method.encode()
        call.respond(status, lines, orjson.dumps(door.error(fault, call.arrival.request_id)))


def _start(
    model: SnapshotModel, lease: Lease | None, endpoint: Endpoint, path: str, headers: Headers
) -> bytes:
    """The beginning of a request, with the credential; made once for a lease."""
    spec = SPECS[model.provider]
    if lease is None:
        return head_start(endpoint, "POST", path, headers + spec.credential(None))
    known = lease.starts.get((path, headers))
    if known is not None and known[0] is endpoint:
        return known[1]
    start = head_start(endpoint, "POST", path, headers + spec.credential(lease.value))
    if len(lease.starts) < MOST_STARTS:
        lease.starts[path, headers] = (endpoint, start)
    return start


def _parsed(data: bytes) -> Document:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise CallFailed(Fault(FaultKind.INVALID_REQUEST, "The body is not valid JSON")) from None
    if not isinstance(body, dict):
        raise CallFailed(Fault(FaultKind.INVALID_REQUEST, _WRONG_BODY))
    return body


def _written(body: Document) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # It was parsed, so all that can be wrong is how deeply it nests.
        message = "The body nests more deeply than 254 levels"
        raise CallFailed(Fault(FaultKind.INVALID_REQUEST, message)) from None


def _streams(route: Route, body: Document) -> bool:
    if route.stream is not None:
        return route.stream
    stream = body.get("stream")
    if stream is None or stream is False:
        return False
    if stream is not True:
        raise invalid("stream", "must be true or false")
    return route.operation is Operation.CHAT


def _id_line(call: Call) -> bytes:
    return b"x-request-id: %b\r\n" % call.arrival.request_id.encode("ascii")


def _no_model(name: str) -> CallFailed:
    message = f"The model '{name[:255]}' does not exist, or this token may not use it"
    return CallFailed(Fault(FaultKind.NOT_FOUND, message, param="model", code="model_not_found"))


def _no_key(principal: Principal, model: SnapshotModel) -> CallFailed:
    if principal.user_id is None:
        message = (
            f"No key pays for the model '{model.name}': name a user in x-user-id who has an "
            f"active key for provider '{model.provider}'"
        )
    else:
        message = (
            f"The user has no active key for provider '{model.provider}', of its own or shared "
            f"with it, that may be used for the model '{model.name}'"
        )
    return CallFailed(Fault(FaultKind.PERMISSION, message, code="no_provider_key"))


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


async def _read_tail(response: UpstreamResponse) -> None:
    """Let the provider end its stream, so that its connection can be used again."""
    try:
        async with asyncio.timeout(TAIL_SECONDS):
            while await response.piece():
                pass
    except (TimeoutError, ServiceError):
        return
