"""The Anthropic API: messages, the count of their tokens, and the models listing.

Formats after https://platform.claude.com/docs/en/api and errors after its errors page.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox import anthropic_answer as answers
from model_service.sandbox import anthropic_rules as rules
from model_service.sandbox import faults, script
from model_service.sandbox.anthropic_cache import PromptCache, check_marks
from model_service.sandbox.anthropic_fields import InvalidRequest
from model_service.sandbox.anthropic_models import (
    ALIASES,
    MODELS,
    AnthropicModel,
    entry,
    misbehaving,
)
from model_service.sandbox.anthropic_shapes import WITHOUT_SAMPLING
from model_service.sandbox.anthropic_thinking import check_blocks, check_thinking
from model_service.sandbox.anthropic_tools import check_tools
from model_service.sandbox.delivery import StreamForm, streamed, whole
from model_service.sandbox.faults import Fault
from model_service.sandbox.keys import KeyRule
from model_service.sandbox.stand_in import (
    Billed,
    Credential,
    Handler,
    KeyedStandIn,
    bearer,
    json_response,
    whole_number,
)

# https://platform.claude.com/docs/en/api/versioning
VERSIONS: Final = frozenset({"2023-01-01", "2023-06-01", WITHOUT_SAMPLING})

# https://platform.claude.com/docs/en/api/models/list: 20 unless told, 1 to 1000.
DEFAULT_PAGE: Final = 20
LARGEST_PAGE: Final = 1000

# The errors of faults, by status, type and message.
_FAULTS: Final[Mapping[Fault, tuple[int, str, str]]] = {
    Fault.BROKEN: (500, "api_error", "Internal server error"),
    Fault.UNAVAILABLE: (503, "api_error", "Service temporarily unavailable"),
    Fault.OVERLOADED: (529, "overloaded_error", "Overloaded"),
    Fault.UNAUTHENTICATED: (401, "authentication_error", "invalid x-api-key"),
    Fault.NO_CREDIT: (
        400,
        "invalid_request_error",
        (
            "Your credit balance is too low to access the Anthropic API. "
            "Please go to Plans & Billing to upgrade or purchase credits."
        ),
    ),
    Fault.TOO_LARGE: (413, "request_too_large", "Request exceeds the maximum size"),
    Fault.CONTEXT: (
        400,
        "invalid_request_error",
        "prompt is too long: 1214315 tokens > 1000000 maximum",
    ),
    Fault.FILTER: (400, "invalid_request_error", "Output blocked by content filtering policy"),
    Fault.REFUSED_PARAM: (
        400,
        "invalid_request_error",
        "`temperature` is deprecated for this model.",
    ),
    Fault.ERROR_200: (200, "overloaded_error", "Overloaded"),
}
_MALFORMED_EVENT: Final = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_de\n\n'
)


class Anthropic(KeyedStandIn):
    """api.anthropic.com."""

    provider = Provider.ANTHROPIC
    key_rule = KeyRule(own_prefix="sk-ant-sandbox-")

    def __init__(self, models: Sequence[AnthropicModel] = MODELS) -> None:
        super().__init__()
        self.models = list(models)
        self._cache = PromptCache()

    @override
    def clear(self) -> None:
        """Forget what was cached as well."""
        super().clear()
        self._cache.clear()

    @override
    def routes(self) -> Sequence[Route]:
        return [
            Route("/v1/messages", self._guarded(self._create), methods=["POST"]),
            Route("/v1/messages/count_tokens", self._guarded(self._count), methods=["POST"]),
            Route("/v1/models", self._guarded(self._list), methods=["GET"]),
            Route("/v1/models/{model}", self._guarded(self._retrieve), methods=["GET"]),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        """`handler`, for requests with a good key and a known `anthropic-version`."""

        async def versioned(request: Request) -> Response:
            version = request.headers.get("anthropic-version")
            if version is None:
                return self._invalid("anthropic-version: header is required")
            if version not in VERSIONS:
                return self._invalid(f'anthropic-version: "{version}" is not a valid version')
            return await handler(request)

        return self.keyed(versioned)

    async def _create(self, request: Request) -> Response:
        try:
            body = await self._body(request)
            name = body.get("model") if isinstance(body, dict) else None
            fault = self.fault_of(name) if isinstance(name, str) else None
            if fault is not None and fault.comes_first:
                return self.instead(fault, lambda fault: self._fault(fault, request, str(name)))
            asked, model = self._checked(body, request)
        except InvalidRequest as error:
            return self._invalid(str(error))
        except _UnknownModel as error:
            return self._error(404, "not_found_error", f"model: {error}")
        return self._answer(asked, model, fault, request)

    async def _count(self, request: Request) -> Response:
        try:
            asked, model = self._checked(await self._body(request), request, counting=True)
        except InvalidRequest as error:
            return self._invalid(str(error))
        except _UnknownModel as error:
            return self._error(404, "not_found_error", f"model: {error}")
        return self._reply({"input_tokens": script.prompt_tokens(answers.ask(asked, model))})

    async def _body(self, request: Request) -> object:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip()
        if media_type.lower() != "application/json":
            raise InvalidRequest("content-type: must be application/json")
        try:
            return orjson.loads(await request.body())
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The request body is not valid JSON: {error}") from error

    def _checked(
        self, body: object, request: Request, *, counting: bool = False
    ) -> tuple[rules.MessageRequest, AnthropicModel]:
        """The request and the model it asks. Raises InvalidRequest and _UnknownModel."""
        asked = rules.parse(body, request.headers["anthropic-version"], counting=counting)
        model = self._model(asked.model)
        if model is None:
            raise _UnknownModel(asked.model)
        check_thinking(asked, model)
        rules.check(asked, model)
        check_tools(asked, forced_tools=model.forced_tools)
        check_blocks(asked, model, self._model)
        check_marks(asked)
        return asked, model

    def _answer(
        self,
        asked: rules.MessageRequest,
        model: AnthropicModel,
        fault: Fault | None,
        request: Request,
    ) -> Response:
        cache = self._cache.use(asked, answers.tokens_upto(asked))
        given = answers.answer(asked, model, answers.ask(asked, model), cache)
        stream = asked.body.get("stream") is True
        if not given.refused:
            self._bill(given, request.url.path, fault, stream=stream)
        if not stream:
            error = self._fault(Fault.ERROR_200, request, model.id)
            return whole(self._reply(answers.message(given)), fault, self.pace, error)
        error_event = orjson.dumps(_error("overloaded_error", "Overloaded"))
        form = StreamForm(
            error=b"event: error\ndata: %s\n\n" % error_event,
            malformed=_MALFORMED_EVENT,
            text=answers.text_event,
        )
        headers = {**_headers(), "cache-control": "no-cache"}
        return streamed(list(answers.events(given)), fault, self.pace, form, headers)

    def _bill(self, given: answers.Answer, path: str, fault: Fault | None, *, stream: bool) -> None:
        self.usage.append(
            Billed(
                model=given.model,
                path=path,
                stream=stream,
                input=given.input,
                cached_input=given.cache.read,
                cache_write=given.cache.write_5m,
                cache_write_1h=given.cache.write_1h,
                output=given.output,
                reasoning=given.reasoning,
                fault=fault,
            )
        )

    def _fault(self, fault: Fault, request: Request, model: str) -> Response:
        """The error of a fault that is the provider's own."""
        match fault:
            case Fault.LIMITED:
                response = self.limited(request)
                response.headers["retry-after"] = str(faults.RETRY_AFTER)
                return response
            case Fault.NOT_FOUND:
                return self._error(404, "not_found_error", f"model: {model}")
            case Fault.ECHO:
                credential = self.credential(request)
                key = credential.value if credential else ""
                return self._invalid(f"Request with key {key} could not be read")
            case _:
                return self._error(*_FAULTS[fault])

    async def _list(self, request: Request) -> Response:
        try:
            return self._reply(_page(self.models, request.query_params))
        except InvalidRequest as error:
            return self._invalid(str(error))

    async def _retrieve(self, request: Request) -> Response:
        name = request.path_params["model"]
        model = self._model(name)
        if model is None:
            return self._error(404, "not_found_error", f"model: {name}")
        return self._reply(entry(model))

    def _model(self, name: str) -> AnthropicModel | None:
        if name.startswith(faults.PREFIX):
            return misbehaving(name)
        name = ALIASES.get(name, name)
        return next((model for model in self.models if model.id == name), None)

    @override
    def credential(self, request: Request) -> Credential | None:
        """The `x-api-key` header, else a bearer token, which is how its client 2.x sends keys."""
        key = request.headers.get("x-api-key")
        return Credential(key) if key else bearer(request)

    @override
    def key_missing(self, request: Request) -> Response:
        return self._error(401, "authentication_error", "x-api-key header is required")

    @override
    def key_refused(self, request: Request, key: str) -> Response:
        named = "invalid x-api-key" if "x-api-key" in request.headers else "Invalid bearer token"
        return self._error(401, "authentication_error", named)

    @override
    def echo(self, key: str) -> Response:
        return self._error(401, "authentication_error", f"invalid x-api-key: {key}")

    @override
    def unknown_route(self, request: Request) -> Response:
        return self._error(404, "not_found_error", "Not Found")

    @override
    def wrong_method(self, request: Request) -> Response:
        return self._error(405, "invalid_request_error", "Method Not Allowed")

    @override
    def restricted(self, request: Request) -> Response:
        return self._error(
            403,
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        )

    @override
    def limited(self, request: Request) -> Response:
        response = self._error(
            429,
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 50 requests per minute. "
            "For details, refer to: https://docs.claude.com/en/api/rate-limits.",
        )
        response.headers.update(
            {
                "retry-after": str(self.retry_after),
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "0",
                "x-should-retry": "true",
            }
        )
        return response

    @override
    def broken(self, request: Request) -> Response:
        response = self._error(529, "overloaded_error", "Overloaded")
        response.headers["x-should-retry"] = "true"
        return response

    def _invalid(self, message: str) -> Response:
        return self._error(400, "invalid_request_error", message)

    def _error(self, status: int, kind: str, message: str) -> Response:
        content = _error(kind, message)
        return self._reply(content, status, str(content["request_id"]))

    def _reply(
        self, content: Mapping[str, object], status: int = 200, request_id: str | None = None
    ) -> Response:
        return json_response(content, status, _headers(request_id))


class _UnknownModel(Exception):
    """No model of this name."""


def _error(kind: str, message: str) -> dict[str, object]:
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": answers.identifier("req_011C", 20),
    }


def _headers(request_id: str | None = None) -> dict[str, str]:
    return {
        "request-id": request_id or answers.identifier("req_011C", 20),
        "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
        "server": "cloudflare",
    }


def _page(models: Sequence[AnthropicModel], query: QueryParams) -> dict[str, object]:
    """A page of the listing. Raises InvalidRequest."""
    size = _page_size(query.get("limit"))
    after, before = query.get("after_id"), query.get("before_id")
    if after is not None and before is not None:
        raise InvalidRequest("Only one of after_id and before_id may be given")
    if after is not None:
        found = models[_position(models, after) + 1 :]
    elif before is not None:
        found = models[: _position(models, before)]
    else:
        found = models
    page = found[:size] if before is None else found[-size:]
    return {
        "data": [entry(model) for model in page],
        "has_more": len(found) > len(page),
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def _page_size(limit: str | None) -> int:
    if limit is None:
        return DEFAULT_PAGE
    size = whole_number(limit)
    if size is None:
        raise InvalidRequest("limit: Input should be a valid integer")
    if size < 1:
        raise InvalidRequest("limit: Input should be greater than or equal to 1")
    if size > LARGEST_PAGE:
        raise InvalidRequest(f"limit: Input should be less than or equal to {LARGEST_PAGE}")
    return size


def _position(models: Sequence[AnthropicModel], cursor: str) -> int:
    for position, model in enumerate(models):
        if model.id == cursor:
            return position
    raise InvalidRequest(f"Invalid pagination cursor: {cursor}")
