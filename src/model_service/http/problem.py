"""From errors to answers: one shape, one table."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from model_service.kernel import errors as e
from model_service.kernel.errors import FieldFault, ServiceError

#: The status of each error class; a class not listed has its nearest listed base's.
STATUS: Mapping[type[ServiceError], int] = {
    e.ServiceError: 500,
    e.InvalidInput: 400,
    e.Unauthenticated: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.Conflict: 409,
    e.PayloadTooLarge: 413,
    e.TooManyRequests: 429,
    e.Unavailable: 503,
    e.EgressRefused: 400,
}

#: How many faults of one request are reported.
MOST_FAULTS = 50

#: Codes of the errors that the framework raises by itself.
_HTTP_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
}


class Fault(BaseModel):
    """One field and what is wrong with it."""

    field: str
    message: str


class Problem(BaseModel):
    """What every error answer looks like; `errors` is there for validation only."""

    statusCode: int  # noqa: N815 - the wire's name
    timestamp: str
    path: str
    message: str
    code: str
    requestId: str  # noqa: N815 - the wire's name
    errors: list[Fault] | None = None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for the OpenAPI document."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses
    }


def status_of(error: ServiceError) -> int:
    """The HTTP status for an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def body(
    status: int,
    code: str,
    message: str,
    *,
    path: str,
    request_id: str,
    errors: Sequence[FieldFault] = (),
) -> bytes:
    """The error document, as JSON."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    document: dict[str, object] = {
        "statusCode": status,
        "timestamp": now,
        "path": path,
        "message": message,
        "code": code,
        "requestId": request_id,
    }
    if errors:
        document["errors"] = [{"field": f.field, "message": f.message} for f in errors]
    return orjson.dumps(document)


def response(request: Request, error: ServiceError) -> Response:
    """The answer to a request that ended in an error."""
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _answer(request, status, "internal_error", "Internal server error")
    headers = {}
    if isinstance(error, e.Unavailable | e.TooManyRequests):
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, e.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    faults = error.errors if isinstance(error, e.InvalidInput) else ()
    return _answer(request, status, error.code, error.message, headers, faults)


def install(app: FastAPI) -> None:
    """Give every error, the framework's own included, the one shape."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServiceError) or status_of(error) == HTTPStatus.INTERNAL_SERVER_ERROR:
        raise error  # the edge logs it and answers without detail
    return response(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    faults = [
        _field_fault(fault["loc"], fault["type"], fault["msg"])
        for fault in (error.errors() if isinstance(error, RequestValidationError) else ())
    ][:MOST_FAULTS]
    return response(request, e.InvalidInput(errors=faults))


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    code = _HTTP_CODES.get(status, "error")
    message = HTTPStatus(status).phrase
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = ", ".join(_methods_at(request))
    return _answer(request, status, code, message, headers)


def _methods_at(request: Request) -> list[str]:
    """The methods that the path has (RFC 9110, section 10.2.1); HEAD goes with GET."""
    methods: set[str] = set()
    for route in request.app.router.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _field_fault(location: Sequence[int | str], kind: str, message: str) -> FieldFault:
    # The first part says where it was (body, query, path); the caller knows.
    field = ".".join(str(part) for part in location[1:]) or str(location[0])
    if kind == "extra_forbidden":
        message = "unknown field"
    # pydantic puts this before the message of a ValueError raised in a validator
    return FieldFault(field, message.removeprefix("Value error, "))


def _answer(
    request: Request,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[FieldFault] = (),
) -> Response:
    return Response(
        body(
            status,
            code,
            message,
            path=request.scope["path"],
            request_id=request.scope.get("request_id", ""),
            errors=errors,
        ),
        status,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )
