"""Azure OpenAI's v1 API: the models a resource may use (base models, not its deployments).

Formats after https://learn.microsoft.com/rest/api/azureopenai/models/list and the v1
reference, which adds OpenAI's own `created` and `owned_by`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox.stand_in import Credential, KeyedStandIn, bearer, json_response

_REFUSED: Final = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
    "valid key for an active subscription and use a correct regional API endpoint for your "
    "resource."
)
_NO_KEY: Final = (
    "Unauthorized. Access token is missing, invalid, audience is incorrect "
    "(https://cognitiveservices.azure.com), or have expired."
)


@dataclass(frozen=True, slots=True)
class AzureModel:
    """A base model; times in seconds since 1970, `retires` None when not announced."""

    id: str
    created: int
    chat: bool = True
    retires: int | None = None


# Azure names a base model with the date of its version.
MODELS: Final = (
    AzureModel("gpt-5.5-2026-04-23", 1776902400),
    AzureModel("gpt-5.4-mini-2026-03-17", 1773705600),
    AzureModel("gpt-5-2025-08-07", 1754524800),
    AzureModel("gpt-4.1-2025-04-14", 1744588800),
    AzureModel("text-embedding-3-large", 1706140800, chat=False),
)


class Azure(KeyedStandIn):
    """{resource}.openai.azure.com."""

    provider = Provider.AZURE

    def __init__(self, models: Sequence[AzureModel] = MODELS) -> None:
        super().__init__()
        self.models = list(models)

    @override
    def routes(self) -> Sequence[Route]:
        return [
            Route("/openai/v1/models", self.keyed(self._list), methods=["GET"]),
            Route("/openai/v1/models/{model}", self.keyed(self._retrieve), methods=["GET"]),
        ]

    async def _list(self, _: Request) -> Response:
        return self._reply({"data": [_entry(model) for model in self.models], "object": "list"})

    async def _retrieve(self, request: Request) -> Response:
        for model in self.models:
            if model.id == request.path_params["model"]:
                return self._reply(_entry(model))
        return self._error(404, "404", "Resource not found")

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

    def _reply(self, content: Mapping[str, object], status: int = 200) -> Response:
        headers = {
            "apim-request-id": str(uuid4()),
            "x-request-id": str(uuid4()),
            "x-ms-region": "Sweden Central",
            "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
            "x-content-type-options": "nosniff",
        }
        return json_response(content, status, headers)


def _entry(model: AzureModel) -> dict[str, object]:
    return {
        "status": "succeeded",
        "capabilities": {
            "fine_tune": False,
            "inference": True,
            "completion": False,
            "chat_completion": model.chat,
            "embeddings": not model.chat,
        },
        "lifecycle_status": "generally-available",
        "deprecation": {"inference": model.retires},
        "id": model.id,
        "created": model.created,
        "created_at": model.created,
        "owned_by": "system",
        "object": "model",
    }
