"""Azure OpenAI: calls of deployments, by their own paths and by the v1 API, and the models.

Formats after https://learn.microsoft.com/azure/ai-foundry/openai/reference and, of the
listing of base models, https://learn.microsoft.com/rest/api/azureopenai/models/list, with
OpenAI's own `created` and `owned_by`, which the v1 API adds.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox import azure_filters as filters
from model_service.sandbox.azure_models import DEPLOYMENTS, MODELS, AzureModel, entry
from model_service.sandbox.delivery import Mark
from model_service.sandbox.faults import RETRY_AFTER, Fault, fault_of
from model_service.sandbox.openai_calls import Call, OpenAICalls, body_of
from model_service.sandbox.openai_chat import Chunk
from model_service.sandbox.openai_faults import retry_headers
from model_service.sandbox.openai_models import Abilities, abilities
from model_service.sandbox.openai_shapes import Refused
from model_service.sandbox.openai_wire import event
from model_service.sandbox.stand_in import Credential, Handler, bearer, json_response

__all__ = ["MODELS", "Azure", "AzureModel"]

_REFUSED: Final = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
    "valid key for an active subscription and use a correct regional API endpoint for your "
    "resource."
)
_NO_KEY: Final = (
    "Unauthorized. Access token is missing, invalid, audience is incorrect "
    "(https://cognitiveservices.azure.com), or have expired."
)


_NO_DEPLOYMENT: Final = (
    "The API deployment for this resource does not exist. If you created the deployment within "
    "the last 5 minutes, please wait a moment and try again."
)
_NO_RESPONSES: Final = (
    "Azure OpenAI Responses API is enabled only for api-version 2025-03-01-preview and later"
)
_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
# Before this one there were no responses.
_FIRST_WITH_RESPONSES: Final = "2025-03-01"
_V1_VERSIONS: Final = frozenset({"", "v1", "preview", "latest"})


class Azure(OpenAICalls):
    """{resource}.openai.azure.com.

    Tests may set `deployments` (names to base models) and `filters_afterwards`, which is the
    asynchronous content filter.
    """

    provider = Provider.AZURE

    def __init__(
        self,
        models: Sequence[AzureModel] = MODELS,
        deployments: Mapping[str, str] = DEPLOYMENTS,
    ) -> None:
        super().__init__()
        self.models = list(models)
        self.deployments = dict(deployments)
        self.filters_afterwards = False

    @override
    def clear(self) -> None:
        """Put the filter back as well."""
        super().clear()
        self.filters_afterwards = False

    @override
    def routes(self) -> Sequence[Route]:
        return [
            *(
                Route(f"/openai{path}", self._dated(handler), methods=["POST"])
                for path, handler in {
                    "/deployments/{deployment}/chat/completions": self.chat,
                    "/deployments/{deployment}/embeddings": self.embed,
                    "/responses": self.respond,
                }.items()
            ),
            *(
                Route(f"/openai/v1{path}", self._undated(handler), methods=["POST"])
                for path, handler in {
                    "/chat/completions": self.chat,
                    "/embeddings": self.embed,
                    "/responses": self.respond,
                    "/responses/input_tokens": self.count,
                }.items()
            ),
            Route("/openai/v1/models", self.keyed(self._list), methods=["GET"]),
            Route("/openai/v1/models/{model}", self.keyed(self._retrieve), methods=["GET"]),
        ]

    async def _list(self, _: Request) -> Response:
        return self._reply({"data": [entry(model) for model in self.models], "object": "list"})

    async def _retrieve(self, request: Request) -> Response:
        for model in self.models:
            if model.id == request.path_params["model"]:
                return self._reply(entry(model))
        return self._error(404, "404", "Resource not found")

    def _dated(self, handler: Handler) -> Handler:
        """`handler`, for requests of an API version that has it."""

        async def guarded(request: Request) -> Response:
            version = request.query_params.get("api-version", "")
            if not _VERSION.fullmatch(version):
                return self.unknown_route(request)
            if request.url.path.endswith("/responses") and version < _FIRST_WITH_RESPONSES:
                return self._error(400, "BadRequest", _NO_RESPONSES)
            return await handler(request)

        return self.keyed(guarded)

    def _undated(self, handler: Handler) -> Handler:
        """`handler`, for requests of the v1 API, which has no dated versions."""

        async def guarded(request: Request) -> Response:
            if request.query_params.get("api-version", "") not in _V1_VERSIONS:
                return self._error(400, "BadRequest", "API version not supported")
            return await handler(request)

        return self.keyed(guarded)

    @override
    def named(self, request: Request, body: Mapping[str, Any]) -> str:
        """The deployment, which the path may have already."""
        return request.path_params.get("deployment") or super().named(request, body)

    @override
    def found(self, name: str) -> tuple[str, Abilities] | None:
        model = name if fault_of(name) is not None else self.deployments.get(name)
        return None if model is None else (model, abilities(model))

    @override
    def not_found(self, name: str) -> Response:
        return self._error(404, "DeploymentNotFound", _NO_DEPLOYMENT)

    @override
    def refusal(self, refused: Refused) -> Response:
        return self._reply({"error": body_of(refused)}, refused.status)

    @override
    def fault_error(self, fault: Fault, call: Call) -> Response:
        match fault:
            case Fault.LIMITED:
                response = self._error(
                    429,
                    "RateLimitReached",
                    "Your requests to this deployment have exceeded the call rate limit of your "
                    f"current OpenAI S0 pricing tier. Please retry after {RETRY_AFTER} seconds.",
                )
                response.headers.update(retry_headers())
                return response
            case Fault.BROKEN:
                return self.broken(call.request)
            case Fault.UNAVAILABLE:
                return self._error(503, "ServiceUnavailable", "Service temporarily unavailable.")
            case Fault.FILTER:
                return self._reply({"error": filters.refused_prompt()}, 400)
            case Fault.ERROR_200 if call.stream:
                # What went wrong after the headers were sent can be told in the stream alone.
                error = {"code": "InternalServerError", "message": "The server had an error."}
                return Response(event({"error": error}), 200, media_type="text/event-stream")
            case _:
                return super().fault_error(fault, call)

    @override
    def dressed(self, completion: Chunk) -> Chunk:
        return filters.annotated(completion)

    @override
    def dressed_chunks(self, chunks: Iterator[tuple[Chunk, Mark]]) -> Iterator[tuple[Chunk, Mark]]:
        return filters.annotated_chunks(chunks, afterwards=self.filters_afterwards)

    @override
    def credential(self, request: Request) -> Credential | None:
        """The `api-key` header, or, on the v1 API, a bearer token."""
        key = request.headers.get("api-key")
        return Credential(key) if key else bearer(request)

    @override
    def key_missing(self, request: Request) -> Response:
        return self._reply({"statusCode": 401, "message": _NO_KEY}, 401)

    @override
    def key_refused(self, request: Request, key: str) -> Response:
        return self._error(401, "401", _REFUSED)

    @override
    def echo(self, key: str) -> Response:
        return self._error(401, "401", f"{_REFUSED} Key: {key}")

    @override
    def unknown_route(self, request: Request) -> Response:
        return self._error(404, "404", "Resource not found")

    @override
    def wrong_method(self, request: Request) -> Response:
        # The API management layer in front matches operations by path and method alike.
        return self.unknown_route(request)

    @override
    def restricted(self, request: Request) -> Response:
        return self._error(403, "403", "Access denied due to Virtual Network/Firewall rules.")

    @override
    def limited(self, request: Request) -> Response:
        response = self._error(
            429,
            "429",
            "Requests to the Models_List Operation under Azure OpenAI API version v1 have "
            "exceeded call rate limit of your current OpenAI S0 pricing tier. "
            f"Please retry after {self.retry_after} seconds.",
        )
        response.headers["retry-after"] = str(self.retry_after)
        response.headers["retry-after-ms"] = str(self.retry_after * 1000)
        response.headers["policy-id"] = "DeploymentRatelimit-Call"
        return response

    @override
    def broken(self, request: Request) -> Response:
        return self._error(
            500,
            "InternalServerError",
            "Backend returned unexpected response. Please contact Microsoft for help.",
        )

    def _error(self, status: int, code: str, message: str) -> Response:
        return self._reply({"error": {"code": code, "message": message}}, status)

    @override
    def _reply(self, content: Mapping[str, object], status: int = 200) -> Response:
        headers = {
            "apim-request-id": str(uuid4()),
            "x-request-id": str(uuid4()),
            "x-ms-region": "Sweden Central",
            "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
            "x-content-type-options": "nosniff",
        }
        return json_response(content, status, headers)
