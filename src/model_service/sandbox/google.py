"""The Gemini API (generativelanguage.googleapis.com): its models listing.

Formats after https://ai.google.dev/api/models; errors are google.rpc.Status
(https://cloud.google.com/apis/design/errors) as the live API gives them, indented as there.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox.google_models import MODELS, GoogleModel, entry
from model_service.sandbox.keys import KeyRule
from model_service.sandbox.stand_in import Credential, KeyedStandIn, json_response, whole_number

_SERVICE: Final = "generativelanguage.googleapis.com"

# https://ai.google.dev/gemini-api/docs/api-versions. Its client asks for v1beta up to 2.x and
# for v1 from 3.0 on.
VERSIONS: Final = ("v1", "v1beta")
_TYPE: Final = "type.googleapis.com/google.rpc."

_KEY_NOT_VALID: Final = "API key not valid. Please pass a valid API key."
_NO_KEY: Final = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use "
    "API Key or other form of API consumer identity to call this API."
)

# https://ai.google.dev/api/models: 50 unless told, never more than 1000.
DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000

# Every Google API takes these (https://cloud.google.com/apis/docs/system-parameters).
_SYSTEM_PARAMETERS: Final = frozenset({"$alt", "alt", "fields", "key", "prettyPrint", "quotaUser"})
_PAGE_PARAMETERS: Final = {
    "pageSize": "page_size",
    "page_size": "page_size",
    "pageToken": "page_token",
    "page_token": "page_token",
}


class InvalidArgument(Exception):
    """A query the API cannot read; carries the message and the field's name, if it knows it."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


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
            )
        ]

    async def _list(self, request: Request) -> Response:
        try:
            size, start = _read_page(request)
        except InvalidArgument as error:
            return self._bad_request(error)
        end = start + size
        page: dict[str, object] = {"models": [entry(model) for model in self.models[start:end]]}
        if end < len(self.models):
            page["nextPageToken"] = _page_token(end)
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
        return self._refusal(_KEY_NOT_VALID)

    @override
    def echo(self, key: str) -> Response:
        return self._refusal(f"{_KEY_NOT_VALID} Key: {key}")

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
        method = f"google.ai.generativelanguage.{_version(request)}.ModelService.ListModels"
        message = f"Requests to this API {_SERVICE} method {method} are blocked."
        metadata = {
            "consumer": "projects/000000000000",
            "service": _SERVICE,
            "apiName": _SERVICE,
            "methodName": method,
        }
        details = _reason("API_KEY_SERVICE_BLOCKED", metadata, message)
        return self._error(403, "PERMISSION_DENIED", message, details)

    @override
    def limited(self, request: Request) -> Response:
        retry = {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{self.retry_after}s"}
        response = self._error(
            429,
            "RESOURCE_EXHAUSTED",
            "Resource has been exhausted (e.g. check quota).",
            [retry],
        )
        response.headers["retry-after"] = str(self.retry_after)
        return response

    @override
    def broken(self, request: Request) -> Response:
        return self._error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")

    def _refusal(self, message: str) -> Response:
        details = _reason("API_KEY_INVALID", {"service": _SERVICE}, message)
        return self._error(400, "INVALID_ARGUMENT", message, details)

    def _bad_request(self, error: InvalidArgument) -> Response:
        violation = {"description": error.message}
        if error.field:
            violation = {"field": error.field, **violation}
        details = [{"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]}]
        return self._error(400, "INVALID_ARGUMENT", error.message, details)

    def _error(
        self,
        code: int,
        status: str,
        message: str,
        details: Sequence[Mapping[str, object]] = (),
    ) -> Response:
        error: dict[str, object] = {"code": code, "message": message, "status": status}
        if details:
            error["details"] = details
        return self._reply({"error": error}, code)

    def _reply(self, content: Mapping[str, object], status: int = 200) -> Response:
        headers = {
            "content-type": "application/json; charset=UTF-8",
            "vary": "Origin, X-Origin, Referer",
            "server": "scaffolding on HTTPServer2",
            "x-xss-protection": "0",
            "x-frame-options": "SAMEORIGIN",
            "x-content-type-options": "nosniff",
            "server-timing": "gfet4t7; dur=12",
        }
        return json_response(content, status, headers, indent=True)


def _version(request: Request) -> str:
    return request.url.path.split("/")[1]


def _reason(reason: str, metadata: Mapping[str, str], message: str) -> list[Mapping[str, object]]:
    """The details of a refusal: google.rpc.ErrorInfo and the message in the caller's language."""
    return [
        {
            "@type": f"{_TYPE}ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": metadata,
        },
        {"@type": f"{_TYPE}LocalizedMessage", "locale": "en-US", "message": message},
    ]


def _read_page(request: Request) -> tuple[int, int]:
    """Page size and start. Raises InvalidArgument, as for any parameter it does not know."""
    size, start = DEFAULT_PAGE, 0
    for name, value in request.query_params.items():
        match _PAGE_PARAMETERS.get(name):
            case "page_size":
                size = _page_size(value)
            case "page_token":
                start = _page_start(value)
            case _ if name not in _SYSTEM_PARAMETERS:
                raise InvalidArgument(
                    f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query '
                    f"parameter. Field '{name}' could not be found in request message."
                )
    return size, start


def _page_size(value: str) -> int:
    size = whole_number(value)
    if size is None:
        message = f"Invalid value at 'page_size' (TYPE_INT32), \"{value}\""
        raise InvalidArgument(message, "page_size")
    if size < 0:
        raise InvalidArgument("page_size must not be negative", "page_size")
    return min(size, LARGEST_PAGE) or DEFAULT_PAGE


def _page_token(start: int) -> str:
    return base64.urlsafe_b64encode(f"start:{start}".encode()).decode()


def _page_start(token: str) -> int:
    if not token:
        return 0
    try:
        label, _, start = base64.urlsafe_b64decode(token).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidArgument("page token is invalid", "page_token") from error
    position = whole_number(start)
    if label != "start" or position is None:
        raise InvalidArgument("page token is invalid", "page_token")
    return position
