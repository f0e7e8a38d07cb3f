"""A stand-in of the part of Stripe that takes meter events.

After https://docs.stripe.com/api/billing/meter-event/create, /api/idempotent_requests and
/api/errors. Like the real one it wants a secret key, keeps the
answer to each idempotency key for a day, knows an identifier again for a day, takes times from
35 days back to five minutes ahead, and whole numbers only. Unlike it, it knows every customer
but `cus_unknown` and the meters it is given.
"""

import asyncio
import contextlib
import hmac
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

#: What the stand-in takes for its secret key.
SECRET_KEY: Final = "sk_test_sandbox_stripe"  # noqa: S105 - made up
#: The customer that it does not know.
UNKNOWN_CUSTOMER: Final = "cus_unknown"
#: The meter that it has if it is given none.
EVENT_NAME: Final = "model_service_usage"

DAY: Final = 24 * 3600
OLDEST: Final = 35 * DAY
AHEAD: Final = 5 * 60


_CUT: Final = "model_service.sandbox.cut"


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One that was taken."""

    identifier: str
    customer: str
    value: int
    timestamp: int


@dataclass(slots=True)
class _Answered:
    at: float
    parameters: dict[str, str]
    status: int
    body: bytes


@dataclass(slots=True)
class Fault:
    """A misbehaviour of one request: before anything is done, or with it done and not said."""

    status: int | None = None
    """The status to answer with; None: the connection is cut."""
    done: bool = False
    """Whether the event is taken all the same."""
    headers: dict[str, str] = field(default_factory=dict)


class Stripe:
    """The stand-in. `events` is what customers would be billed for.

    `faults` are used up one a request. `requests` counts them all.
    """

    def __init__(
        self, *, event_names: tuple[str, ...] = (EVENT_NAME,), now: Callable[[], float] = time.time
    ) -> None:
        self.event_names = set(event_names)
        self.now = now
        self.events: list[MeterEvent] = []
        self.faults: deque[Fault] = deque()
        self.requests: list[dict[str, str]] = []
        self.origin = ""
        self._answers: dict[str, _Answered] = {}
        self._known: dict[str, float] = {}
        self.app = Starlette(
            routes=[Route("/v1/billing/meter_events", self._create, methods=["POST"])]
        )

    def total(self, customer: str) -> int:
        """The sum of a customer's values, as its meter would say."""
        return sum(event.value for event in self.events if event.customer == customer)

    async def _create(self, request: Request) -> Response:
        parameters = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        key = request.headers.get("idempotency-key", "")
        self.requests.append({**parameters, "idempotency-key": key})
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and not fault.done:
            return _broken(fault, request)
        response = self._answer(request.headers.get("authorization", ""), key, parameters)
        return response if fault is None else _broken(fault, request)

    def _answer(self, authorization: str, key: str, parameters: dict[str, str]) -> Response:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(secret, SECRET_KEY):
            return _error(401, "invalid_request_error", "Invalid API Key provided: sk_test_***")
        now = self.now()
        kept = self._answers.get(key) if key else None
        if kept is not None and now - kept.at < DAY:
            if kept.parameters != parameters:
                return _error(
                    400,
                    "idempotency_error",
                    "Keys for idempotent requests can only be used with the same parameters they"
                    f" were first used with. Try using a key other than '{key}' if you meant to"
                    " execute a different request.",
                )
            return Response(
                kept.body,
                kept.status,
                {"idempotent-replayed": "true", "original-request": "req_sandbox"},
                "application/json",
            )
        response = self._take(parameters, now)
        if key:
            self._answers[key] = _Answered(
                now, parameters, response.status_code, bytes(response.body)
            )
        return response

    def _take(self, parameters: dict[str, str], now: float) -> Response:
        for name in ("event_name", "payload[stripe_customer_id]", "payload[value]"):
            if not parameters.get(name):
                return _error(
                    400,
                    "invalid_request_error",
                    f"Missing required param: {name}.",
                    code="parameter_missing",
                    param=name,
                )
        if parameters["event_name"] not in self.event_names:
            return _error(
                400, "invalid_request_error", "No active meter found for that event name."
            )
        customer = parameters["payload[stripe_customer_id]"]
        if customer == UNKNOWN_CUSTOMER:
            return _error(
                400,
                "invalid_request_error",
                f"No such customer: '{customer}'",
                code="resource_missing",
            )
        value = _whole(parameters["payload[value]"])
        if value is None:
            return _error(400, "invalid_request_error", "The value must be a whole number.")
        timestamp = _whole(parameters.get("timestamp", str(int(now))))
        if timestamp is None or timestamp < now - OLDEST:
            return _error(
                400,
                "invalid_request_error",
                "The timestamp must be within the past 35 days.",
                code="timestamp_too_far_in_past",
            )
        if timestamp > now + AHEAD:
            return _error(
                400,
                "invalid_request_error",
                "The timestamp must be at most 5 minutes in the future.",
                code="timestamp_in_future",
            )
        identifier = parameters.get("identifier") or f"sandbox-{len(self.events)}"
        taken_at = self._known.get(identifier)
        if taken_at is not None and now - taken_at < DAY:
            return _error(
                400,
                "invalid_request_error",
                f"An event already exists with identifier {identifier}.",
            )
        self._known[identifier] = now
        self.events.append(MeterEvent(identifier, customer, value, timestamp))
        return _json(
            200,
            {
                "object": "billing.meter_event",
                "created": int(now),
                "event_name": parameters["event_name"],
                "identifier": identifier,
                "livemode": False,
                "payload": {"stripe_customer_id": customer, "value": str(value)},
                "timestamp": timestamp,
            },
        )


class _Connection(HttpToolsProtocol):
    """uvicorn's, and requests know how to cut it."""

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_CUT: self.transport.abort}  # type: ignore[dict-item]


@contextlib.asynccontextmanager
async def serve_stripe(stripe: Stripe | None = None) -> AsyncIterator[Stripe]:
    """The stand-in, listening on any free port of loopback until the block ends."""
    stripe = stripe or Stripe()
    config = Config(stripe.app, http="httptools", ws="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(config, state, {}), "127.0.0.1", 0)
    stripe.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield stripe
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await server.wait_closed()


def _whole(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() else None


def _broken(fault: Fault, request: Request) -> Response:
    if fault.status is None:
        request.scope["extensions"][_CUT]()
        return Response(status_code=499)  # goes nowhere: the connection is gone
    kinds = {429: "rate_limit_error", 409: "idempotency_error"}
    kind = kinds.get(fault.status, "api_error")
    response = _error(fault.status, kind, "Something went wrong on our end.")
    response.headers.update(fault.headers)
    return response


def _error(
    status: int, kind: str, message: str, *, code: str | None = None, param: str | None = None
) -> Response:
    told = {"type": kind, "message": message, "code": code, "param": param}
    error = {name: value for name, value in told.items() if value is not None}
    return _json(status, {"error": error})


def _json(status: int, document: dict[str, Any]) -> Response:
    headers = {"request-id": "req_sandbox"}
    return Response(orjson.dumps(document), status, headers, "application/json")
