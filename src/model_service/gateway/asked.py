"""What a caller asks for, as far as every door is alike, and the refusals of it."""

from typing import Final

import orjson

from model_service.gateway.arrival import Arrival
from model_service.gateway.call import Call
from model_service.gateway.policy import with_headers
from model_service.gateway.routes import Operation, Route
from model_service.gateway.snapshot import SnapshotModel
from model_service.gateway.tags import TAGS, tags_of
from model_service.gateway.work import Work
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, Fault, FaultKind, invalid
from model_service.providers.translation import Document

_WRONG_BODY: Final = "The body is not a JSON object"
_NO_ROUTE: Final = Fault(FaultKind.NOT_FOUND, "No such route", code="not_found")
#: There is no room for one more body.
CROWDED: Final = Fault(
    FaultKind.UNAVAILABLE,
    "Too many large requests are arriving at once",
    code="too_many_bodies",
    retry_after=1,
)
_CODED: Final = Fault(
    FaultKind.INVALID_REQUEST,
    "The body has a content encoding; send it without one",
    code="content_encoding",
    status=415,
)
_NO_METHOD: Final = Fault(FaultKind.INVALID_REQUEST, "No such method here", status=405)


def checked(call: Call) -> Route:
    """The call's route. Raises CallFailed when there is none, or the call is none for it."""
    route, method = call.arrival.route, call.arrival.method
    if route is None:
        raise CallFailed(_NO_ROUTE)
    if method != route.method and (method, route.method) != ("HEAD", "GET"):
        raise CallFailed(_NO_METHOD)
    if call.arrival.coding:
        raise CallFailed(_CODED)
    return route


def heed(work: Work, arrival: Arrival) -> None:
    """Take up what the caller says of how to go about the call. Raises CallFailed."""
    work.policy = with_headers(work.policy, arrival.wishes)
    for name, value in arrival.wishes:
        if name == TAGS:
            work.record.tags = tags_of(value)


def parsed(data: bytes | bytearray) -> Document:
    """A call's body. Raises CallFailed when it is no JSON object."""
    try:
        body = loads(data)
    except orjson.JSONDecodeError as error:
        message = f"The body is not valid JSON: {error.msg}"
        raise CallFailed(Fault(FaultKind.INVALID_REQUEST, message)) from None
    if not isinstance(body, dict):
        raise CallFailed(Fault(FaultKind.INVALID_REQUEST, _WRONG_BODY))
    return body


def streams(route: Route, body: Document) -> bool:
    """Whether a stream is asked for. Raises CallFailed when that cannot be told."""
    if route.stream is not None:
        return route.stream
    stream = body.get("stream")
    if stream is None or stream is False:
        return False
    if stream is not True:
        raise invalid("stream", "must be true or false")
    return route.operation is Operation.CHAT


def no_model(name: str) -> CallFailed:
    """The refusal of a model that there is not, or not for this caller."""
    message = f"The model '{name[:255]}' does not exist, or this token may not use it"
    return CallFailed(Fault(FaultKind.NOT_FOUND, message, param="model", code="model_not_found"))


def no_key(user_id: str | None, model: SnapshotModel) -> CallFailed:
    """The refusal of a call for which no key pays."""
    if user_id is None:
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
