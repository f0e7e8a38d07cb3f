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
from functools import partial
from typing import Final

import orjson
import structlog

from model_service.gateway import heads, listing
from model_service.gateway.faults import fault_of
from model_service.gateway.leases import Lease, Leases
from model_service.gateway.outbound import Outbound
from model_service.gateway.plans import convert
from model_service.gateway.ports import (
    Admission,
    Arrival,
    CallObserver,
    CallRecord,
    Limit,
    Reservation,
)
from model_service.gateway.relay import Conversion
from model_service.gateway.routes import Operation, Route
from model_service.gateway.snapshot import Registered, SnapshotModel
from model_service.gateway.streaming import pass_on
from model_service.gateway.wire import Call
from model_service.kernel.errors import ServiceError
from model_service.kernel.principal import Principal
from model_service.providers.calls import FAULT_DOORS, ArrayRelay
from model_service.providers.faults import CallFailed, Fault, FaultKind, invalid
from model_service.providers.registry import SPECS
from model_service.providers.translation import Document

log = structlog.get_logger(__name__)

#: Seconds for which a key that its provider limited stands behind others, without its word.
LIMITED_SECONDS: Final = 10
#: Calls that one token may have under way in one process; beyond that something is wrong with
#: whoever holds it, and others are to be served too.
MOST_CALLS: Final = 2048
#: Models whose headers in answers are remembered with a lease.
MOST_LINES: Final = 256

_WRONG_BODY: Final = "The body is not a JSON object"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline stands on; `limits` may be none.

    `now` is in seconds and never goes back, `wall` in seconds since 1970.
    """

    admission: Admission
    registered: Registered
    leases: Leases
    outbound: Outbound
    observer: CallObserver
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
            "" if route is None else route.operation,
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
        who = _who(principal)
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
        who = _who(principal)
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
        outbound, now = self._parts.outbound, self._parts.now
        response = await outbound.send(record, model, lease, conversion, call.arrival)
        fault = await outbound.fault(response, model, lease)
        if fault is not None and fault.kind is FaultKind.KEY_REFUSED and lease is not None:
            # The value was replaced, and the one before it may still be good.
            other = await self._parts.leases.instead(lease)
            if other is None:
                raise CallFailed(fault)
            lease = other
            response = await outbound.send(record, model, lease, conversion, call.arrival)
            fault = await outbound.fault(response, model, lease)
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
                await pass_on(
                    call, record, response, relay, lines, partial(outbound.clean, lease=lease), now
                )
            else:
                data = await response.read()
                record.first_byte = now()
                answer = conversion.answer(data)
                record.usage = conversion.usage
                call.respond(200, lines, b"[%b]" % answer if is_bare else answer)
        except CallFailed as failed:
            # A provider's error may come with any status, and repeat the key it was sent.
            raise CallFailed(outbound.clean(failed.fault, lease)) from None
        finally:
            await response.aclose()

    def _lines(
        self,
        call: Call,
        record: CallRecord,
        model: SnapshotModel,
        lease: Lease | None,
        conversion: Conversion,
    ) -> bytes:
        lines = None if lease is None else lease.lines.get(model)
        if lines is None:
            target = model.target
            key_id = None if lease is None else lease.key.id
            lines = heads.origin_lines(target.name, target.provider, target.upstream_model, key_id)
            if lease is not None and len(lease.lines) < MOST_LINES:
                lease.lines[model] = lines
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


def _who(principal: Principal) -> object:
    """Whom a call counts for: its token by number, which is hashed faster than the id."""
    token_id = principal.token_id
    return principal.user_id if token_id is None else token_id.int


def _parsed(data: bytes | bytearray) -> Document:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise CallFailed(Fault(FaultKind.INVALID_REQUEST, "The body is not valid JSON")) from None
    if not isinstance(body, dict):
        raise CallFailed(Fault(FaultKind.INVALID_REQUEST, _WRONG_BODY))
    return body


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
