"""The Gemini API (generativelanguage.googleapis.com): answers, embeddings, and its models.

Formats after https://ai.google.dev/api; errors are google.rpc.Status
(https://cloud.google.com/apis/design/errors) as the live API gives them, indented as there.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox import faults, google_answer, google_errors, script
from model_service.sandbox.delivery import StreamForm, streamed, whole
from model_service.sandbox.faults import Fault
from model_service.sandbox.google_embeddings import embed, embed_batch
from model_service.sandbox.google_errors import InvalidArgument, Refused
from model_service.sandbox.google_fields import Reader
from model_service.sandbox.google_listing import check_parameter, page_token, read_page
from model_service.sandbox.google_models import MODELS, GoogleModel, entry, misbehaving
from model_service.sandbox.google_rules import check, check_contents, items, section
from model_service.sandbox.google_shapes import MESSAGES
from model_service.sandbox.keys import KeyRule
from model_service.sandbox.stand_in import Billed, Credential, KeyedStandIn, json_response

# https://ai.google.dev/gemini-api/docs/api-versions. Its client asks for v1beta up to 2.x and
# for v1 from 3.0 on.
VERSIONS: Final = ("v1", "v1beta")

_NO_KEY: Final = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use "
    "API Key or other form of API consumer identity to call this API."
)
_INTERNAL: Final = (
    "An internal error has occurred. Please retry or report in "
    "https://developers.generativeai.google/guide/troubleshooting"
)

# The errors of faults, by status, its name, and message. A filter's is an answer, see `_fault`.
_FAULTS: Final[Mapping[Fault, tuple[int, str, str]]] = {
    Fault.BROKEN: (500, "INTERNAL", _INTERNAL),
    Fault.UNAVAILABLE: (503, "UNAVAILABLE", "The service is currently unavailable."),
    Fault.OVERLOADED: (503, "UNAVAILABLE", google_errors.OVERLOADED),
    Fault.NO_CREDIT: (
        429,
        "RESOURCE_EXHAUSTED",
        (
            "Your prepayment credits are depleted. Please go to AI Studio at "
            "https://ai.studio/projects to manage your project and billing."
        ),
    ),
    Fault.TOO_LARGE: (
        400,
        "INVALID_ARGUMENT",
        "Request payload size exceeds the limit: 20971520 bytes.",
    ),
    Fault.CONTEXT: (
        400,
        "INVALID_ARGUMENT",
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    ),
    Fault.REFUSED_PARAM: (400, "INVALID_ARGUMENT", "Penalty is not enabled for this model"),
    Fault.ERROR_200: (200, "UNAVAILABLE", google_errors.OVERLOADED),
}


class Google(KeyedStandIn):
    """generativelanguage.googleapis.com."""

    provider = Provider.GOOGLE
    key_rule = KeyRule(own_prefix="AIzaSandbox", length=39)

    def __init__(self, models: Sequence[GoogleModel] = MODELS) -> None:
        super().__init__()
        self.models = list(models)

    @override
    def routes(self) -> Sequence[Route]:
        return [
            route
            for version in VERSIONS
            for route in (
                Route(f"/{version}/models", self.keyed(self._list), methods=["GET"]),
                Route(f"/{version}/models/{{model}}", self.keyed(self._get), methods=["GET"]),
                Route(f"/{version}/models/{{call}}", self.keyed(self._call), methods=["POST"]),
            )
        ]

    async def _list(self, request: Request) -> Response:
        try:
            size, start = read_page(request)
        except InvalidArgument as error:
            return self._reply(google_errors.bad_request(error), 400)
        end = start + size
        page: dict[str, object] = {"models": [entry(model) for model in self.models[start:end]]}
        if end < len(self.models):
            page["nextPageToken"] = page_token(end)
        return self._reply(page)

    async def _get(self, request: Request) -> Response:
        name = request.path_params["model"]
        for model in self.models:
            if model.name == name:
                return self._reply(entry(model))
        return self._error(
            404,
            "NOT_FOUND",
            f"Model is not found: models/{name} for api version {_version(request)}",
        )

    async def _call(self, request: Request) -> Response:
        """One of the methods of a model, which its name and a colon stand before."""
        name, _, method = request.path_params["call"].rpartition(":")
        handler = self._methods.get(method)
        if handler is None:
            return self.unknown_route(request)
        model = self._model(name)
        if model is None or not _has(model, method):
            return self._not_found(name, method, request)
        fault = None if method == "countTokens" else self.fault_of(name)
        try:
            if fault is not None and fault.comes_first and fault is not Fault.FILTER:
                return self.instead(fault, lambda fault: self._fault(fault, request, name, method))
            for parameter in request.query_params:
                check_parameter(parameter)
            return await handler(request, model, fault)
        except InvalidArgument as error:
            content = google_errors.bad_request(error)
        except Refused as error:
            content = google_errors.status(400, "INVALID_ARGUMENT", str(error))
        # An answer that was to be an array is an array of errors.
        array = method == "streamGenerateContent" and not _wants_events(request)
        return self._reply([content] if array else content, 400)

    @property
    def _methods(
        self,
    ) -> Mapping[str, Callable[[Request, GoogleModel, Fault | None], Awaitable[Response]]]:
        return {
            "generateContent": self._generate,
            "streamGenerateContent": self._stream,
            "countTokens": self._count,
            "embedContent": self._embed,
            "batchEmbedContents": self._embed_batch,
        }

    async def _generate(
        self, request: Request, model: GoogleModel, fault: Fault | None
    ) -> Response:
        given = await self._answer(request, model, fault)
        error = self._fault(Fault.ERROR_200, request, model.name, "generateContent")
        return whole(self._reply(google_answer.whole(given)), fault, self.pace, error)

    async def _stream(self, request: Request, model: GoogleModel, fault: Fault | None) -> Response:
        given = await self._answer(request, model, fault)
        error = google_errors.status(503, "UNAVAILABLE", google_errors.OVERLOADED)
        if _wants_events(request):
            form = StreamForm(
                error=google_answer.sse(error),
                malformed=b'data: {"candidates": [{"content": {"parts": [{"te\r\n\r\n',
                text=lambda text: google_answer.sse(google_answer.text_chunk(text)),
            )
            pieces, media_type = google_answer.sse_pieces(given), "text/event-stream"
        else:
            form = StreamForm(
                error=b",\r\n" + orjson.dumps(error),
                malformed=b',\r\n{"candidates": [{"content": {"parts": [{"te',
                text=lambda text: b",\r\n" + orjson.dumps(google_answer.text_chunk(text)),
            )
            pieces, media_type = google_answer.array_pieces(given), "application/json"
        headers = {**_HEADERS, "content-disposition": "attachment"}
        return streamed(pieces, fault, self.pace, form, headers, f"{media_type}; charset=UTF-8")

    async def _answer(
        self, request: Request, model: GoogleModel, fault: Fault | None
    ) -> google_answer.Answer:
        asked = await self._read(request, "GenerateContentRequest")
        check(asked, model)
        given = google_answer.answer(
            asked, model, google_answer.ask(asked, model), blocked=fault is Fault.FILTER
        )
        if given.finish is not None:
            self.usage.append(
                Billed(
                    model=model.name,
                    path=request.url.path,
                    stream="stream" in request.path_params["call"].rpartition(":")[2],
                    input=given.input - given.cached,
                    cached_input=given.cached,
                    output=given.output + given.reasoning,
                    reasoning=given.reasoning,
                    fault=fault,
                )
            )
        return given

    async def _count(self, request: Request, model: GoogleModel, _: Fault | None) -> Response:
        counted = await self._read(request, "CountTokensRequest")
        asked: Mapping[str, object] = section(counted, "generateContentRequest") or counted
        if asked is not counted and counted.get("contents"):
            raise Refused(
                "Only one of contents and generate_content_request may be set in a request to "
                "count tokens."
            )
        check_contents(items(asked, "contents"))
        tokens = script.prompt_tokens(google_answer.ask(asked, model))
        details = google_answer.prompt_tokens_details(tokens)
        return self._reply({"totalTokens": tokens, "promptTokensDetails": details})

    async def _embed(self, request: Request, model: GoogleModel, fault: Fault | None) -> Response:
        asked = await self._read(request, "EmbedContentRequest")
        values, tokens = embed(asked, model)
        return self._embedded({"embedding": {"values": values}}, tokens, request, model, fault)

    async def _embed_batch(
        self, request: Request, model: GoogleModel, fault: Fault | None
    ) -> Response:
        asked = await self._read(request, "BatchEmbedContentsRequest")
        vectors, tokens = embed_batch(items(asked, "requests"), model)
        embeddings = [{"values": values} for values in vectors]
        return self._embedded({"embeddings": embeddings}, tokens, request, model, fault)

    def _embedded(
        self,
        content: Mapping[str, object],
        tokens: int,
        request: Request,
        model: GoogleModel,
        fault: Fault | None,
    ) -> Response:
        path = request.url.path
        self.usage.append(Billed(model.name, path, stream=False, input=tokens, fault=fault))
        usage = {
            "promptTokenCount": tokens,
            "promptTokenDetails": google_answer.prompt_tokens_details(tokens),
        }
        error = self._fault(Fault.ERROR_200, request, model.name, "embedContent")
        answer = self._reply({**content, "usageMetadata": usage})
        return whole(answer, fault, self.pace, error)

    async def _read(self, request: Request, message: str) -> dict[str, object]:
        """The body of a request. Raises InvalidArgument."""
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError as error:
            raise InvalidArgument(f"Invalid JSON payload received. {error}") from error
        return Reader(MESSAGES, _version(request)).read(body, message)

    def _model(self, name: str) -> GoogleModel | None:
        if name.startswith(faults.PREFIX):
            return misbehaving(name)
        return next((model for model in self.models if model.name == name), None)

    def _not_found(self, name: str, method: str, request: Request) -> Response:
        return self._error(
            404,
            "NOT_FOUND",
            f"models/{name} is not found for API version {_version(request)}, or is not supported "
            f"for {method}. Call ModelService.ListModels to see the list of available models and "
            "their supported methods.",
        )

    def _fault(self, fault: Fault, request: Request, name: str, method: str) -> Response:
        """The error of a fault that is the provider's own."""
        match fault:
            case Fault.LIMITED:
                response = self.limited(request)
                response.headers["retry-after"] = str(faults.RETRY_AFTER)
                return response
            case Fault.UNAUTHENTICATED:
                return self._reply(google_errors.key_refused(), 400)
            case Fault.NOT_FOUND:
                return self._not_found(name, method, request)
            case Fault.ECHO:
                credential = self.credential(request)
                key = credential.value if credential else ""
                return self._error(400, "INVALID_ARGUMENT", f"Request with key {key} is invalid.")
            case _:
                code, status, message = _FAULTS[fault]
                content = google_errors.status(503 if code == 200 else code, status, message)
                return self._reply(content, code)

    @override
    def credential(self, request: Request) -> Credential | None:
        """The header, else `?key=`, which the real one takes too (and proxies then log)."""
        key = request.headers.get("x-goog-api-key")
        if key:
            return Credential(key)
        key = request.query_params.get("key")
        return Credential(key, in_query=True) if key else None

    @override
    def key_missing(self, request: Request) -> Response:
        return self._error(403, "PERMISSION_DENIED", _NO_KEY)

    @override
    def key_refused(self, request: Request, key: str) -> Response:
        return self._reply(google_errors.key_refused(), 400)

    @override
    def echo(self, key: str) -> Response:
        return self._reply(google_errors.key_refused(key), 400)

    @override
    def unknown_route(self, request: Request) -> Response:
        return HTMLResponse(
            "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n"
            "  <title>Error 404 (Not Found)!!1</title>\n"
            "  <p><b>404.</b> <ins>That&rsquo;s an error.</ins>\n"
            "  <p>The requested URL was not found on this server. "
            "<ins>That&rsquo;s all we know.</ins>\n",
            404,
        )

    @override
    def wrong_method(self, request: Request) -> Response:
        # Google matches method and path together: another method is another, unknown route.
        return self.unknown_route(request)

    @override
    def restricted(self, request: Request) -> Response:
        service = google_errors.SERVICE
        method = f"google.ai.generativelanguage.{_version(request)}.ModelService.ListModels"
        message = f"Requests to this API {service} method {method} are blocked."
        metadata = {
            "consumer": "projects/000000000000",
            "service": service,
            "apiName": service,
            "methodName": method,
        }
        details = google_errors.reason("API_KEY_SERVICE_BLOCKED", metadata, message)
        content = google_errors.status(403, "PERMISSION_DENIED", message, details)
        return self._reply(content, 403)

    @override
    def limited(self, request: Request) -> Response:
        message = "Resource has been exhausted (e.g. check quota)."
        response = self._reply(google_errors.exhausted(message, self.retry_after), 429)
        response.headers["retry-after"] = str(self.retry_after)
        return response

    @override
    def broken(self, request: Request) -> Response:
        return self._error(503, "UNAVAILABLE", google_errors.OVERLOADED)

    def _error(self, code: int, status: str, message: str) -> Response:
        return self._reply(google_errors.status(code, status, message), code)

    def _reply(self, content: object, status: int = 200) -> Response:
        headers = {"content-type": "application/json; charset=UTF-8", **_HEADERS}
        return json_response(content, status, headers, indent=True)


_HEADERS: Final = {
    "vary": "Origin, X-Origin, Referer",
    "server": "scaffolding on HTTPServer2",
    "x-xss-protection": "0",
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "server-timing": "gfet4t7; dur=12",
}


def _has(model: GoogleModel, method: str) -> bool:
    """Whether a model has a method; those of it in a stream or by the batch go with it."""
    if method == "streamGenerateContent":
        return model.generates
    return method in model.methods or (
        method == "batchEmbedContents" and "embedContent" in model.methods
    )


def _wants_events(request: Request) -> bool:
    query = request.query_params
    return "sse" in {query.get("alt"), query.get("$alt")}


def _version(request: Request) -> str:
    return request.url.path.split("/")[1]
