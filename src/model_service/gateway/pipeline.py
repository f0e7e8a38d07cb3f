"""A call from its arrival to its end.

    authenticate -> resolve -> authorise -> limit (reserve) -> key -> translate -> call -> relay
    -> settle

In the steady state all of it is in memory, and nothing waits for anything but the provider:
`_prepare` goes as far as memory goes, and the first try of a whole answer is made without a task.
What memory cannot tell is asked for in a task, which then goes on where that stopped; so do
streams, and whatever did not succeed at once.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
import structlog

from model_service.gateway import heads, listing
from model_service.gateway.accounting import Accounting
from model_service.gateway.arrival import Arrival
from model_service.gateway.asked import CROWDED, checked, heed, no_key, no_model, parsed, streams
from model_service.gateway.attempts import Attempts
from model_service.gateway.budget import RetryBudget
from model_service.gateway.call import Call
from model_service.gateway.faults import fault_of
from model_service.gateway.leases import Leases
from model_service.gateway.plans import convert
from model_service.gateway.ports import Admission, CallObserver, CallRecord
from model_service.gateway.routes import Operation, Route
from model_service.gateway.snapshot import Registered, SnapshotModel
from model_service.gateway.work import Want, Work
from model_service.kernel.errors import ServiceError
from model_service.kernel.principal import Principal
from model_service.providers.calls import FAULT_DOORS
from model_service.providers.exchange import Exchange
from model_service.providers.faults import CallFailed, Fault, FaultKind, invalid
from model_service.providers.registry import SPECS
from model_service.providers.translation import Document

log = structlog.get_logger(__name__)

#: Calls that one token may have under way in one process; beyond that something is wrong with
#: whoever holds it, and others are to be served too.
MOST_CALLS: Final = 2048


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline stands on.

    `now` is in seconds and never goes back, `wall` in seconds since 1970.
    """

    admission: Admission
    registered: Registered
    leases: Leases
    observer: CallObserver
    budget: RetryBudget
    accounting: Accounting
    attempts: Attempts
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class Pipeline:
    """Serves calls."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._under_way: dict[object, int] = {}

    def changes(self) -> int:
        """A number that goes up whenever `recognise` may tell something else than before."""
        return self._parts.admission.changes()

    def recognise(self, arrival: Arrival) -> Principal | None:
        """Who calls, if that can be told at once."""
        return self._parts.admission.recognise(arrival)

    def serve(self, call: Call) -> None:
        """Begin to answer a call, whatever becomes of it."""
        parts, route = self._parts, call.arrival.route
        record = CallRecord(
            call.request_id,
            "" if route is None else route.door,
            "" if route is None else route.operation,
            parts.now(),
            parts.wall(),
        )
        parts.observer.begun()
        parts.budget.calls += 1
        if call.arrival.request_id is None:
            record.event_id = call.request_id
        work = Work(call, record)
        try:
            if self._prepare(work) and (work.is_over or self._send_at_once(work)):
                return
        except Exception as error:  # noqa: BLE001 - the last resort, see _fail
            self._fail(work, error)
            return
        self._take_up(work, self._go_on(work))

    # Preparing.

    def _prepare(self, work: Work) -> bool:
        """Go as far as memory goes; False: `work.want` is to be asked for first.

        Raises:
            ServiceError: the call is refused.
        """
        call, record = work.call, work.record
        if record.principal is None:
            if call.is_crowded:
                raise CallFailed(CROWDED)
            if call.is_refused:
                message = f"The request body is larger than {call.limit // 1024 // 1024} MiB"
                raise CallFailed(Fault(FaultKind.TOO_LARGE, message, code="payload_too_large"))
            principal = call.principal
            if principal is None:
                work.want = Want.ADMISSION
                return False
            self._admit(work, principal)
        model = work.model
        if model is None:
            route = checked(call)
            if route.operation in (Operation.LIST, Operation.RETRIEVE):
                self._list(work, route)
                return True
            work.body = body = parsed(call.body)
            record.body_bytes = len(call.body)
            record.model = record.asked = model = self._resolve(route, body)
            if not self._is_allowed(record, model):
                work.want = Want.DENIAL
                return False
            record.stream = streams(route, body)
            work.model = model  # from here on it is settled that the caller may use it
            work.policy = model.policy
            if call.arrival.wishes:
                heed(work, call.arrival)
        if not work.has_limits:
            if not self._parts.accounting.reserve_now(work, model):
                work.want = Want.RESERVATION
                return False
            work.has_limits = True
        if not work.has_key:
            principal = record.principal
            user_id = None if principal is None else principal.user_id
            work.lease = self._parts.leases.find(user_id, model)
            if work.lease is None:
                work.want = Want.LEASE
                return False
            work.has_key = True
        if work.conversion is None and work.route is not None and work.body is not None:
            work.conversion = convert(
                work.route, model, work.body, stream=record.stream, now=int(record.began)
            )
        return True

    async def _ask(self, work: Work) -> None:
        """Ask for what is wanted. Raises ServiceError when it is not given."""
        parts, call, record = self._parts, work.call, work.record
        model = record.model
        # In any case: it says for whom, in the audit trail.
        principal = await parts.admission.admit(call.arrival, call.request_id)
        if work.want is Want.ADMISSION:
            self._admit(work, principal)
        elif work.want is Want.DENIAL and model is not None:
            reason = f"the token's scopes do not allow the model '{model.name}'"
            await parts.admission.note_denial(call.arrival, call.request_id, reason)
            message = f"This token may not use the model '{model.name}'"
            raise CallFailed(
                Fault(FaultKind.PERMISSION, message, param="model", code="model_not_allowed")
            )
        elif work.want is Want.RESERVATION and model is not None:
            await parts.accounting.reserve(work, model)
            work.has_limits = True
        elif work.want is Want.LEASE and model is not None and record.principal is not None:
            user_id = record.principal.user_id
            work.lease = await parts.leases.get(user_id, model)
            if work.lease is None and SPECS[model.provider].needs_key:
                raise no_key(user_id, model)
            work.has_key = True

    def _admit(self, work: Work, principal: Principal) -> None:
        """Take a call up. Raises CallFailed when its token has too many under way."""
        who = _who(principal)
        count = self._under_way.get(who, 0)
        if count >= MOST_CALLS:
            message = f"This token has {MOST_CALLS:,} calls under way, the most it may have"
            raise CallFailed(
                Fault(FaultKind.RATE_LIMITED, message, code="too_many_calls", retry_after=1)
            )
        self._under_way[who] = count + 1
        work.record.principal = principal

    def _is_allowed(self, record: CallRecord, model: SnapshotModel) -> bool:
        return record.principal is not None and record.principal.scopes.allow_model(model.name)

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
            raise no_model(name)
        if not model.is_active:
            message = f"The model '{name}' is not active"
            raise CallFailed(
                Fault(FaultKind.NOT_FOUND, message, param="model", code="model_inactive")
            )
        return model

    def _list(self, work: Work, route: Route) -> None:
        snapshot, record = self._parts.registered.current(), work.record
        if route.model is None:
            visible = [
                model
                for model in snapshot.by_name.values()
                if model.is_active and self._is_allowed(record, model)
            ]
            document = listing.listing(route.family, visible)
        else:
            found = snapshot.find(route.model)
            if found is None or not found.is_active or not self._is_allowed(record, found):
                raise no_model(route.model)
            document = listing.entry(route.family, found)
        work.call.respond(200, heads.JSON + _id_line(work.call), orjson.dumps(document))
        self._close(work)

    # Calling: at once where that can be, else in a task.

    def _send_at_once(self, work: Work) -> bool:
        """Make the first try of a whole answer without waiting; False: that takes a task.

        Raises:
            ServiceError: the call is refused.
        """
        exchange = self._parts.attempts.begin(work, partial(self._answered, work))
        if exchange is None:
            return False
        work.call.when_left = partial(self._left, work, exchange)
        return True

    def _answered(self, work: Work, exchange: Exchange) -> None:
        """The first try is over: answer, or go on in a task. Raises nothing: a connection calls."""
        work.call.when_left = None
        try:
            if not self._parts.attempts.answer_at_once(work, exchange):
                self._take_up(work, self._go_on(work))
                return
        except Exception as error:  # noqa: BLE001 - the last resort, see _fail
            self._fail(work, error)
            return
        self._close(work)

    def _left(self, work: Work, exchange: Exchange) -> None:
        """The caller went away during the first try."""
        self._parts.attempts.left(work, exchange)
        work.record.client_left = True
        self._close(work)

    def _take_up(self, work: Work, going_on: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = work.call.loop.create_task(going_on)
        work.call.when_left = task.cancel
        work.call.hold(task)

    async def _go_on(self, work: Work) -> None:
        """Answer a call that memory alone, or its first try, did not answer."""
        call = work.call
        try:
            while not self._prepare(work):
                await self._ask(work)
            if not work.is_over:
                await self._parts.attempts.run(work)
        except asyncio.CancelledError:
            work.record.client_left = call.disconnected
            if not call.disconnected:
                work.record.error = FaultKind.UNAVAILABLE  # the service is being stopped
                call.abort()
                raise
        except Exception as error:  # noqa: BLE001 - the last resort, see _fail
            self._fail(work, error)
        finally:
            self._close(work)

    # Ending.

    def _fail(self, work: Work, error: Exception) -> None:
        """Answer with an error: what was raised on purpose, or that this service failed."""
        if not isinstance(error, ServiceError):
            # Logged once, told without detail.
            log.error(
                "unexpected error in a call",
                error_type=type(error).__qualname__,
                request_id=work.record.request_id,
            )
            error = ServiceError()
        self._refuse(work, fault_of(error))
        self._close(work)

    def _refuse(self, work: Work, fault: Fault) -> None:
        """Answer with an error in the door's own shape."""
        call, record = work.call, work.record
        record.error = fault.kind
        if call.disconnected:
            record.client_left = True
            return
        if call.response_started:
            call.abort()  # something failed that no error event can tell of
            return
        door = FAULT_DOORS[call.arrival.family]
        record.status = status = door.status(fault)
        lines = heads.JSON + b"cache-control: no-store\r\n" + _id_line(call)
        if fault.retry_after is not None:
            lines += b"retry-after: %d\r\n" % fault.retry_after
        elif status in (429, 503):
            lines += b"retry-after: 2\r\n"
        if status == 401 and fault.kind is FaultKind.UNAUTHENTICATED:
            lines += b"www-authenticate: Bearer\r\n"
        if status == 405 and work.route is not None:
            lines += b"allow: %b\r\n" % work.route.method.encode()
        self._parts.accounting.settle(work)
        if record.attempts and record.model is not None:
            target = record.model.target
            lines += heads.origin_lines(
                target.name, target.provider, target.upstream_model, record.key_id
            )
            lines += b"x-model-service-attempts: %d\r\n" % record.attempts
        if work.limits is not None:
            lines += self._parts.accounting.limit_lines(work)
        call.respond(status, lines, orjson.dumps(door.error(fault, call.request_id)))

    def _close(self, work: Work) -> None:
        """The call is over, whatever came of it. May be repeated."""
        if work.is_over:
            return
        work.is_over = True
        parts, record = self._parts, work.record
        record.finished = parts.now()
        record.status = work.call.status
        if record.principal is not None:
            who = _who(record.principal)
            count = self._under_way[who] - 1
            if count:
                self._under_way[who] = count
            else:
                del self._under_way[who]
        parts.accounting.settle(work)
        parts.observer.finished(record)


def _who(principal: Principal) -> object:
    """Whom a call counts for: its token by number, which is hashed faster than the id."""
    token_id = principal.token_id
    return principal.user_id if token_id is None else token_id.int


def _id_line(call: Call) -> bytes:
    return b"x-request-id: %b\r\n" % call.request_id.encode("ascii")
