"""Ollama: the models pulled to one machine. It knows no keys.

Formats after https://docs.ollama.com/api and the behaviour of its router (gin), which
answers what it does not serve in plain text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox.stand_in import Credential, StandIn, bearer, json_response

VERSION: Final = "0.40.12"


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """A pulled model; `size` is in bytes on disk, `digest` the SHA-256 of its manifest."""

    name: str
    size: int
    digest: str
    family: str
    parameter_size: str
    quantization_level: str = "Q4_K_M"
    modified_at: str = "2026-11-02T09:30:12.409490317Z"


MODELS: Final = (
    OllamaModel(
        name="gemma4:latest",
        size=9_608_350_245,
        digest="c6eb396dbd5992bbe3f5cdb947e8bbc0ee413d7c17e2beaae69f5d569cf982eb",
        family="gemma4",
        parameter_size="8.0B",
    ),
    OllamaModel(
        name="gemma3:latest",
        size=3_338_801_804,
        digest="a2af6cc3eb7fa8be8504abaf9b04e88f17a119ec3f04a3addf55f92841195f5a",
        family="gemma3",
        parameter_size="4.3B",
    ),
    OllamaModel(
        name="llama3.2:latest",
        size=2_019_393_189,
        digest="a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
        family="llama",
        parameter_size="3.2B",
    ),
    OllamaModel(
        name="nomic-embed-text:latest",
        size=274_302_450,
        digest="0a109f422b47e3a30ba2b10eca18548e944e8a23073ee3f3e947efcf3c45e59f",
        family="nomic-bert",
        parameter_size="137M",
        quantization_level="F16",
    ),
)


class Ollama(StandIn):
    """A local `ollama serve`."""

    provider = Provider.OLLAMA

    def __init__(self, models: Sequence[OllamaModel] = MODELS) -> None:
        super().__init__()
        self.models = list(models)

    @override
    def routes(self) -> Sequence[Route]:
        return [
            Route("/", self._root, methods=["GET"]),
            Route("/api/tags", self._tags, methods=["GET"]),
            Route("/api/version", self._version, methods=["GET"]),
        ]

    async def _root(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def _tags(self, _: Request) -> Response:
        return _reply({"models": [_entry(model) for model in self.models]})

    async def _version(self, _: Request) -> Response:
        return _reply({"version": VERSION})

    @override
    def credential(self, request: Request) -> Credential | None:
        """What a careless client sends along; Ollama itself does not look."""
        return bearer(request)

    @override
    def unknown_route(self, request: Request) -> Response:
        return PlainTextResponse("404 page not found", 404)

    @override
    def wrong_method(self, request: Request) -> Response:
        return PlainTextResponse("405 method not allowed", 405)

    @override
    def restricted(self, request: Request) -> Response:
        return Response(status_code=403)  # how its check of `Host` and `Origin` refuses

    @override
    def limited(self, request: Request) -> Response:
        response = _reply({"error": "too many requests"}, 429)
        response.headers["retry-after"] = str(self.retry_after)
        return response

    @override
    def broken(self, request: Request) -> Response:
        return _reply({"error": "llama runner process has terminated: signal: killed"}, 500)

    @override
    def echo(self, key: str) -> Response:
        return _reply({"error": f"unauthorized: {key}"}, 401)


def _reply(content: Mapping[str, object], status: int = 200) -> Response:
    return json_response(content, status, {"content-type": "application/json; charset=utf-8"})


def _entry(model: OllamaModel) -> dict[str, object]:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified_at,
        "size": model.size,
        "digest": model.digest,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": model.family,
            "families": [model.family],
            "parameter_size": model.parameter_size,
            "quantization_level": model.quantization_level,
        },
    }
