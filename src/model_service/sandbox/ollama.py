"""Ollama: chats and embeddings of the models pulled to one machine. It knows no keys.

Formats after https://docs.ollama.com/api and the behaviour of its router (gin), which
answers what it does not serve in plain text.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox import faults, ollama_chat, script
from model_service.sandbox.delivery import StreamForm, streamed, whole
from model_service.sandbox.faults import Fault
from model_service.sandbox.ollama_models import MODELS, OllamaModel, entry, misbehaving
from model_service.sandbox.ollama_rules import Refused, check, check_shape, refuse
from model_service.sandbox.stand_in import (
    Billed,
    Credential,
    StandIn,
    bearer,
    json_response,
)

VERSION: Final = "0.40.12"

_KILLED: Final = "llama runner process has terminated: signal: killed"
_BUSY: Final = "server busy, please try again.  maximum pending requests exceeded"

# The errors of faults, by status and message. A filter's is an answer: there is none here.
_FAULTS: Final[Mapping[Fault, tuple[int, str]]] = {
    Fault.BROKEN: (500, _KILLED),
    Fault.UNAVAILABLE: (503, _BUSY),
    Fault.OVERLOADED: (503, _BUSY),
    Fault.UNAUTHENTICATED: (401, "unauthorized"),
    Fault.NO_CREDIT: (402, "you have reached your usage limit, upgrade for higher limits"),
    Fault.TOO_LARGE: (413, "http: request body too large"),
    Fault.CONTEXT: (400, "the input length exceeds the context length"),
    Fault.REFUSED_PARAM: (500, 'option "temperature" must be of type float32'),
    Fault.ERROR_200: (200, _KILLED),
}


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
            Route("/api/chat", self._chat, methods=["POST"]),
            Route("/api/embed", self._embed, methods=["POST"]),
        ]

    async def _root(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def _tags(self, _: Request) -> Response:
        return _reply({"models": [entry(model) for model in self.models]})

    async def _version(self, _: Request) -> Response:
        return _reply({"version": VERSION})

    async def _chat(self, request: Request) -> Response:
        try:
            fields = check_shape(await _body(request))
            name = str(fields.get("model", ""))
            fault = self.fault_of(name)
            if fault is not None and fault.comes_first and fault is not Fault.FILTER:
                return self.instead(fault, lambda fault: self._fault(fault, request, name))
            if not name:
                refuse("model is required")
            model = self._model(name)
            if model is None:
                refuse(f"model '{name}' not found", 404)
            check(fields, model, name)
        except Refused as error:
            return _reply({"error": str(error)}, error.status)
        if not fields.get("messages"):
            unloads = fields.get("keep_alive") == 0
            return _reply(ollama_chat.empty(name, "unload" if unloads else "load"))
        given = ollama_chat.answer(fields, model, name, filtered=fault is Fault.FILTER)
        return self._answered(given, fault, request, stream=fields.get("stream") is not False)

    def _answered(
        self, given: ollama_chat.Answer, fault: Fault | None, request: Request, *, stream: bool
    ) -> Response:
        self.usage.append(
            Billed(
                model=given.model,
                path=request.url.path,
                stream=stream,
                input=given.reply.input_tokens,
                output=given.reply.output_tokens,
                reasoning=given.reply.reasoning_tokens,
                fault=fault,
            )
        )
        if not stream:
            error = self._fault(Fault.ERROR_200, request, given.model)
            return whole(_reply(ollama_chat.whole(given)), fault, self.pace, error)
        form = StreamForm(
            error=orjson.dumps({"error": _KILLED}) + b"\n",
            malformed=b'{"model":"x","message":{"role":"assi\n',
            text=lambda text: ollama_chat.text_line(given.model, text),
        )
        pieces = list(ollama_chat.pieces(given))
        return streamed(pieces, fault, self.pace, form, {}, "application/x-ndjson")

    async def _embed(self, request: Request) -> Response:
        try:
            asked = await _body(request)
            fields = asked if isinstance(asked, Mapping) else refuse("missing request body")
            name = str(fields.get("model", ""))
            fault = self.fault_of(name)
            if fault is not None and fault.comes_first and fault is not Fault.FILTER:
                return self.instead(fault, lambda fault: self._fault(fault, request, name))
            texts = _inputs(fields.get("input"))
            model = self._model(name)
            if model is None:
                refuse(f'model "{name}" not found, try pulling it first', 404)
        except Refused as error:
            return _reply({"error": str(error)}, error.status)
        if not texts:
            return _reply({"model": name, "embeddings": []})
        size = fields.get("dimensions")
        tokens = sum(script.count(text) for text in texts)
        path = request.url.path
        self.usage.append(Billed(name, path, stream=False, input=tokens, fault=fault))
        answer = {
            "model": name,
            "embeddings": [_vector(text, model, size) for text in texts],
            "total_duration": 14_143_917,
            "load_duration": 1_019_500,
            "prompt_eval_count": tokens,
        }
        return whole(_reply(answer), fault, self.pace, self._fault(Fault.ERROR_200, request, name))

    def _model(self, name: str) -> OllamaModel | None:
        """The model of a name, which without a tag is the latest."""
        if name.startswith(faults.PREFIX):
            return misbehaving(name)
        full = name if ":" in name else f"{name}:latest"
        return next((model for model in self.models if model.name == full), None)

    def _fault(self, fault: Fault, request: Request, name: str) -> Response:
        """The error of a fault that is the provider's own."""
        match fault:
            case Fault.LIMITED:
                response = self.limited(request)
                response.headers["retry-after"] = str(faults.RETRY_AFTER)
                return response
            case Fault.NOT_FOUND:
                return _reply({"error": f"model '{name}' not found"}, 404)
            case Fault.ECHO:
                credential = self.credential(request)
                key = credential.value if credential else ""
                return _reply({"error": f"invalid request with token {key}"}, 400)
            case _:
                status, message = _FAULTS[fault]
                return _reply({"error": message}, status)

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
        return _reply({"error": _KILLED}, 500)

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


async def _body(request: Request) -> object:
    """The body of a request. Raises Refused."""
    body = await request.body()
    if not body.strip():
        refuse("missing request body")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        refuse(f"invalid character {body.strip()[:1].decode(errors='replace')!r} in request body")


def _inputs(given: object) -> list[str]:
    if isinstance(given, str):
        return [given] if given else []
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        refuse("invalid input type")
    return given


def _vector(text: str, model: OllamaModel, size: object) -> list[float]:
    """An embedding, or the beginning of one as long as asked for, of length one again."""
    vector = script.vector(text, model.dimensions)
    if not isinstance(size, int) or not 0 < size < len(vector):
        return vector
    length = math.sqrt(sum(number * number for number in vector[:size])) or 1.0
    return [number / length for number in vector[:size]]
