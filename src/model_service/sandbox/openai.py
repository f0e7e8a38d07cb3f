"""The OpenAI API: chat completions, responses, embeddings, and the listing of models.

Formats after the API reference (https://developers.openai.com/api/reference) and errors as
the live API gives them.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox.faults import fault_of
from model_service.sandbox.openai_calls import OpenAICalls, body_of
from model_service.sandbox.openai_models import (
    MODELS,
    SNAPSHOTS,
    Abilities,
    OpenAIModel,
    abilities,
)
from model_service.sandbox.openai_shapes import Refused
from model_service.sandbox.stand_in import Credential, bearer, json_response

__all__ = ["MODELS", "OpenAI", "OpenAIModel", "mask_key"]

_KEYS_PAGE: Final = "https://platform.openai.com/account/api-keys"
_NO_KEY: Final = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank "
    "username) if you're accessing the API from your browser and are prompted for a username and "
    f"password. You can obtain an API key from {_KEYS_PAGE}."
)
_NO_PERMISSION: Final = (
    "You have insufficient permissions for this operation. Missing scopes: api.model.read. Check "
    "that you have the correct role in your organization (Reader, Writer, Owner) and project "
    "(Member, Owner), and if you're using a restricted API key, that it has the necessary scopes."
)


def mask_key(key: str) -> str:
    """A key as OpenAI's error shows it: eight characters, stars, the last four.

    A key too short to have a middle is shown whole; that is what the real one does, and one
    reason why its messages must not be passed on.
    """
    return key if len(key) <= 12 else f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"


class OpenAI(OpenAICalls):
    """api.openai.com."""

    provider = Provider.OPENAI

    def __init__(self, models: Sequence[OpenAIModel] = MODELS) -> None:
        super().__init__()
        self.models = list(models)

    @property
    @override
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @override
    def routes(self) -> Sequence[Route]:
        return [
            Route("/v1/chat/completions", self.keyed(self.chat), methods=["POST"]),
            Route("/v1/responses", self.keyed(self.respond), methods=["POST"]),
            Route("/v1/responses/input_tokens", self.keyed(self.count), methods=["POST"]),
            Route("/v1/embeddings", self.keyed(self.embed), methods=["POST"]),
            Route("/v1/models", self.keyed(self._list), methods=["GET"]),
            Route("/v1/models/{model}", self.keyed(self._retrieve), methods=["GET"]),
        ]

    async def _list(self, _: Request) -> Response:
        entries = [_entry(model) for model in self.models]
        return self._reply({"object": "list", "data": entries})

    async def _retrieve(self, request: Request) -> Response:
        name = request.path_params["model"]
        for model in self.models:
            if model.id == name:
                return self._reply(_entry(model))
        return self._error(
            404,
            f"The model '{name}' does not exist",
            param="model",
            code="model_not_found",
        )

    @override
    def found(self, name: str) -> tuple[str, Abilities] | None:
        known = {model.id for model in self.models}
        if name not in known and name not in SNAPSHOTS.values() and fault_of(name) is None:
            return None
        return SNAPSHOTS.get(name, name), abilities(name)

    @override
    def not_found(self, name: str) -> Response:
        return self._error(
            404,
            f"The model `{name}` does not exist or you do not have access to it.",
            code="model_not_found",
        )

    @override
    def refusal(self, refused: Refused) -> Response:
        return self._reply({"error": body_of(refused)}, refused.status)

    @override
    def credential(self, request: Request) -> Credential | None:
        return bearer(request)

    @override
    def key_missing(self, request: Request) -> Response:
        response = self._error(401, _NO_KEY)
        response.headers["www-authenticate"] = 'Basic realm="OpenAI API"'
        return response

    @override
    def key_refused(self, request: Request, key: str) -> Response:
        return self._refusal(mask_key(key))

    @override
    def echo(self, key: str) -> Response:
        return self._refusal(key)

    @override
    def unknown_route(self, request: Request) -> Response:
        return self._error(404, f"Invalid URL ({request.method} {request.url.path})")

    @override
    def wrong_method(self, request: Request) -> Response:
        return self._error(
            405,
            f"Not allowed to {request.method} on {request.url.path}. "
            "(HINT: Perhaps you meant to use a different HTTP method?)",
            code="method_not_supported",
        )

    @override
    def restricted(self, request: Request) -> Response:
        return self._error(403, _NO_PERMISSION)

    @override
    def limited(self, request: Request) -> Response:
        response = self._error(
            429,
            "Rate limit reached for requests. Limit: 500 / min. "
            f"Please try again in {self.retry_after}s.",
            kind="requests",
            code="rate_limit_exceeded",
        )
        response.headers.update(
            {
                "retry-after": str(self.retry_after),
                "retry-after-ms": str(self.retry_after * 1000),
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": f"{self.retry_after}s",
            }
        )
        return response

    @override
    def broken(self, request: Request) -> Response:
        return self._error(
            500,
            "The server had an error while processing your request. Sorry about that!",
            kind="server_error",
        )

    def _refusal(self, shown_key: str) -> Response:
        return self._error(
            401,
            f"Incorrect API key provided: {shown_key}. You can find your API key at {_KEYS_PAGE}.",
            code="invalid_api_key",
        )

    def _error(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> Response:
        error = {"message": message, "type": kind, "param": param, "code": code}
        return self._reply({"error": error}, status)

    @override
    def _reply(self, content: Mapping[str, object], status: int = 200) -> Response:
        headers = {
            "x-request-id": f"req_{secrets.token_hex(16)}",
            "openai-version": "2020-10-01",
            "openai-processing-ms": "12",
            "openai-organization": "model-service-sandbox",
            "server": "cloudflare",
        }
        return json_response(content, status, headers)


def _entry(model: OpenAIModel) -> dict[str, object]:
    return {"object": "model", **asdict(model)}
