"""The Anthropic API: messages, answered with a word of greeting, and the models listing.

Formats after https://platform.claude.com/docs/en/api and errors after its errors page.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox import anthropic_rules as rules
from model_service.sandbox.anthropic_models import ALIASES, MODELS, AnthropicModel, entry
from model_service.sandbox.keys import KeyRule
from model_service.sandbox.stand_in import (
    Credential,
    Handler,
    KeyedStandIn,
    bearer,
    json_response,
    whole_number,
)

# https://platform.claude.com/docs/en/api/versioning
VERSIONS: Final = frozenset({"2023-01-01", "2023-06-01", rules.WITHOUT_SAMPLING})

# https://platform.claude.com/docs/en/api/models/list: 20 unless told, 1 to 1000.
DEFAULT_PAGE: Final = 20
LARGEST_PAGE: Final = 1000

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_GREETING: Final = ("Hello", "!")


class Anthropic(KeyedStandIn):
    """api.anthropic.com."""

    provider = Provider.ANTHROPIC
    key_rule = KeyRule(own_prefix="sk-ant-sandbox-")

    def __init__(self, models: Sequence[AnthropicModel] = MODELS) -> None:
        super().__init__()
        self.models = list(models)

    @override
    def routes(self) -> Sequence[Route]:
        return [
            Route("/v1/messages", self._guarded(self._create), methods=["POST"]),
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
        media_type = request.headers.get("content-type", "").partition(";")[0].strip()
        if media_type.lower() != "application/json":
            return self._invalid("content-type: must be application/json")
        try:
            version = request.headers["anthropic-version"]
            asked = rules.parse(orjson.loads(await request.body()), version)
            model = self._model(asked.model)
            if model is None:
                return self._error(404, "not_found_error", f"model: {asked.model}")
            rules.check(asked, model)
        except orjson.JSONDecodeError as error:
            return self._invalid(f"The request body is not valid JSON: {error}")
        except rules.InvalidRequest as error:
            return self._invalid(str(error))
        return self._reply(_message(asked, model))

    async def _list(self, request: Request) -> Response:
        try:
            return self._reply(_page(self.models, request.query_params))
        except rules.InvalidRequest as error:
            return self._invalid(str(error))

    async def _retrieve(self, request: Request) -> Response:
        name = request.path_params["model"]
        model = self._model(name)
        if model is None:
            return self._error(404, "not_found_error", f"model: {name}")
        return self._reply(entry(model))

    def _model(self, name: str) -> AnthropicModel | None:
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
        request_id = _identifier("req_011C", 20)
        content = {
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": request_id,
        }
        return self._reply(content, status, request_id)

    def _reply(
        self, content: Mapping[str, object], status: int = 200, request_id: str | None = None
    ) -> Response:
        headers = {
            "request-id": request_id or _identifier("req_011C", 20),
            "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
            "server": "cloudflare",
        }
        return json_response(content, status, headers)


def _identifier(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice(_BASE58) for _ in range(length))


def _page(models: Sequence[AnthropicModel], query: QueryParams) -> dict[str, object]:
    """A page of the listing. Raises InvalidRequest."""
    size = _page_size(query.get("limit"))
    after, before = query.get("after_id"), query.get("before_id")
    if after is not None and before is not None:
        raise rules.InvalidRequest("Only one of after_id and before_id may be given")
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
        raise rules.InvalidRequest("limit: Input should be a valid integer")
    if size < 1:
        raise rules.InvalidRequest("limit: Input should be greater than or equal to 1")
    if size > LARGEST_PAGE:
        raise rules.InvalidRequest(f"limit: Input should be less than or equal to {LARGEST_PAGE}")
    return size


def _position(models: Sequence[AnthropicModel], cursor: str) -> int:
    for position, model in enumerate(models):
        if model.id == cursor:
            return position
    raise rules.InvalidRequest(f"Invalid pagination cursor: {cursor}")


def _message(asked: rules.MessageRequest, model: AnthropicModel) -> dict[str, object]:
    """The greeting, cut to the tokens asked for: every word of it is taken for one."""
    words = _GREETING[: asked.max_tokens]
    text = [{"type": "text", "text": "".join(words)}] if words else []
    return {
        "id": _identifier("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "model": model.id,
        "content": text,
        "stop_reason": "end_turn" if asked.max_tokens > len(words) else "max_tokens",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 8 * len(asked.turns),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": len(words),
            "service_tier": "standard",
        },
    }
