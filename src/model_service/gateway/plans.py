"""Which way a call goes through the dialects: unchanged where it can, else translated."""

from typing import Final

from model_service.gateway.relay import Conversion, Counted, Embedded, Translated, Unchanged
from model_service.gateway.routes import Operation, Route
from model_service.gateway.snapshot import SnapshotModel
from model_service.providers.calls import CACHING_VENDOR, CALLS, DOORS, CallSpec
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.openai_models import calls_tools_by_responses
from model_service.providers.translation import ChatUpstream, Document, Passthrough, Target

#: What `providerSettings.api` says to have a model called by OpenAI's Responses API.
RESPONSES = "responses"

_RESPONSES_DOOR: Final = "openai_responses"


def convert(
    route: Route, model: SnapshotModel, body: Document, *, stream: bool, now: int
) -> Conversion:
    """The call as its provider wants it. The body may be changed.

    `now` is in seconds since 1970, for answers of providers that do not say when they made them.

    Raises:
        CallFailed: the request is wrong, or the provider has nothing like what it asks for.
    """
    spec = CALLS[model.target.provider]
    if route.operation is Operation.COUNT:
        return _count(route, model, spec, body)
    if route.operation is Operation.EMBED:
        return _embed(route, model, spec, body)
    conversion = _chat(route, model, spec, body, stream=stream, now=now)
    if model.vendor is not None:
        model.vendor.adapt(conversion.outgoing.body)
    return conversion


def _chat(
    route: Route, model: SnapshotModel, spec: CallSpec, body: Document, *, stream: bool, now: int
) -> Conversion:
    target = model.target
    known = model.unchanged.get(route.door)
    if known is not None and (model.supports_streaming or not stream):
        return Unchanged(known, body, target, stream=stream)
    passthrough, by_responses = _way(route, model, spec, body, stream=stream)
    if passthrough is not None:
        # What is in the body matters only where it cannot pass unchanged.
        model.unchanged[route.door] = passthrough
        return Unchanged(passthrough, body, target, stream=stream)
    door = DOORS[route.door].chat
    if door is None:
        raise _unsupported(model, "chat")
    return Translated(
        door,
        _upstream(model, spec, by_responses=by_responses),
        body,
        target,
        stream=stream,
        streams=model.supports_streaming,
        bare=route.bare,
        now=now,
    )


def upstream_of(
    route: Route, model: SnapshotModel, body: Document, *, stream: bool
) -> ChatUpstream:
    """The dialect in which a chat is answered, whether or not the request passes unchanged."""
    spec = CALLS[model.provider]
    passthrough, by_responses = _way(route, model, spec, body, stream=stream)
    if passthrough is not None:
        by_responses = route.door == _RESPONSES_DOOR
    return _upstream(model, spec, by_responses=by_responses)


def _way(
    route: Route, model: SnapshotModel, spec: CallSpec, body: Document, *, stream: bool
) -> tuple[Passthrough | None, bool]:
    """How a chat passes unchanged, if it does, and whether it goes by the Responses API if not."""
    passthrough = spec.passthroughs.get(route.door)
    if stream and not model.supports_streaming:
        passthrough = None
    by_responses = spec.responses is not None and _wants_responses(
        route, model.target, body, passthrough
    )
    if by_responses and route.door != _RESPONSES_DOOR:
        passthrough = None
    return passthrough, by_responses


def _upstream(model: SnapshotModel, spec: CallSpec, *, by_responses: bool) -> ChatUpstream:
    if model.vendor is not None and model.vendor.cache_marks:
        return CACHING_VENDOR
    return spec.responses if by_responses and spec.responses is not None else spec.chat


def _wants_responses(
    route: Route, target: Target, body: Document, passthrough: Passthrough | None
) -> bool:
    """Whether the model is to be called by OpenAI's Responses API.

    Where the settings do not say, a call that can pass unchanged does. Others go by the API that
    they came by, or that the model calls functions by.
    """
    api = target.settings.get("api")
    if api is None and passthrough is None:
        return route.door == _RESPONSES_DOOR or (
            bool(body.get("tools")) and calls_tools_by_responses(target.upstream_model)
        )
    return api == RESPONSES


def _count(route: Route, model: SnapshotModel, spec: CallSpec, body: Document) -> Conversion:
    passthrough = spec.counts_unchanged.get(route.door)
    if passthrough is not None:
        return Unchanged(passthrough, body, model.target, stream=False)
    door = DOORS[route.door]
    if door.chat is None or door.counts is None or spec.counts is None:
        raise _unsupported(model, "counting tokens without a call")
    return Counted(door.chat, door.counts, spec.counts, body, model.target)


def _embed(route: Route, model: SnapshotModel, spec: CallSpec, body: Document) -> Conversion:
    passthrough = spec.embeds_unchanged.get(route.door)
    if passthrough is not None:
        return Unchanged(passthrough, body, model.target, stream=False)
    door = DOORS[route.door].embeds
    if door is None or spec.embeds is None:
        raise _unsupported(model, "embeddings")
    return Embedded(door, spec.embeds, body, model.target)


def _unsupported(model: SnapshotModel, what: str) -> CallFailed:
    message = f"The provider '{model.provider}' of the model '{model.name}' has no {what}"
    return CallFailed(Fault(FaultKind.UNSUPPORTED, message, code="unsupported"))
