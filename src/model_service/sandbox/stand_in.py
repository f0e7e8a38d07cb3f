"""What all stand-ins share: the ledger of requests, the switches and the misbehaviour."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import ClassVar, Final

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox.delivery import gone, instead
from model_service.sandbox.faults import Fault, Faults, Pace
from model_service.sandbox.keys import Behaviour, KeyRule

Handler = Callable[[Request], Awaitable[Response]]

# Old entries fall out, so that a sandbox left running does not grow.
LEDGER_LENGTH: Final = 1000

# Anthropic documents 32 MB for a request; the others take less or do not say.
MAX_BODY_BYTES: Final = 32 * 1024 * 1024

# What nginx sends when the server behind it does not answer.
_BAD_GATEWAY_PAGE: Final = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)

# What Envoy sends when no server behind it can be reached.
_NO_UPSTREAM: Final = (
    "upstream connect error or disconnect/reset before headers. "
    "reset reason: remote connection failure"
)

# The cloud metadata service: no client may follow a provider there.
METADATA_URL: Final = "http://169.254.169.254/latest/meta-data/"


@dataclass(frozen=True, slots=True)
class Credential:
    """The key a request carried, and whether it stood in the URL, where logs would keep it."""

    value: str = field(repr=False)
    in_query: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the provider saw it. Its printed form leaves out what may hold a key.

    `at` is when it was here, in seconds of the monotonic clock.
    """

    method: str
    path: str
    query: QueryParams = field(repr=False)
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    credential: Credential | None
    at: float = field(default_factory=time.monotonic)

    def json(self) -> object:
        """The body, parsed. Raises ValueError when it is no JSON."""
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Billed:
    """What the provider would bill for one call that it answered, in tokens by disjoint classes.

    `output` includes `reasoning`. `fault` is what spoiled the answer on its way, `stream`
    whether it went out in events.
    """

    model: str
    path: str
    stream: bool
    input: int
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    fault: Fault | None = None


class StandIn(ABC):
    """One provider's stand-in: an ASGI application with a state of its own.

    `requests` is the ledger of what came, `usage` of what was answered and billed, both oldest
    first. Tests may set `down` (everything is answered with 503), `always` (the behaviour for
    every request, whatever its key), `retry_after` (seconds) and `pace` (how slow faults are).
    """

    provider: ClassVar[Provider]

    def __init__(self) -> None:
        self.origin = ""
        self.requests: deque[Received] = deque(maxlen=LEDGER_LENGTH)
        self.usage: deque[Billed] = deque(maxlen=LEDGER_LENGTH)
        self.pace = Pace()
        self._faults = Faults()
        self.down = False
        self.always: Behaviour | None = None
        self.retry_after = 7
        self._arrival = asyncio.Event()
        self._router = Starlette(
            routes=self.routes(),
            exception_handlers={404: self._on_unknown_route, 405: self._on_wrong_method},
        )
        self._router.router.redirect_slashes = False

    @property
    def base_url(self) -> str:
        """What the service's environment variable for this provider wants."""
        return self.origin

    def clear(self) -> None:
        """Forget the requests and put the switches back."""
        self.requests.clear()
        self.usage.clear()
        self.pace = Pace()
        self._faults.clear()
        self.down = False
        self.always = None

    async def arrived(self, count: int = 1) -> None:
        """Wait until the ledger holds `count` requests, answered or not."""
        while len(self.requests) < count:
            self._arrival.clear()
            await self._arrival.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record the request, then answer it (the ASGI entry)."""
        try:
            body = await _read_body(Request(scope, receive))
        except ClientDisconnect:
            return  # the client left in mid-upload: nobody is there to answer
        receive = _replay(body or b"", receive)
        request = Request(scope, receive)
        self.requests.append(
            Received(
                method=request.method,
                path=request.url.path,
                query=request.query_params,
                headers=request.headers,
                body=body or b"",
                credential=self.credential(request),
            )
        )
        self._arrival.set()
        send = _dated(send)
        if body is None:
            await PlainTextResponse("Payload Too Large", 413)(scope, receive, send)
        elif self.down:
            await PlainTextResponse(_NO_UPSTREAM, 503)(scope, receive, send)
        elif self.always is not None:
            response = await self.misbehave(self.always, request)
            await response(scope, receive, send)
        else:
            await self._router(scope, receive, send)

    def fault_of(self, model: str) -> Fault | None:
        """What this call of the model has to suffer. Ask once for each call: `-once` counts."""
        return self._faults.due(model)

    def instead(self, fault: Fault, error: Callable[[Fault], Response]) -> Response:
        """What a call gets in place of an answer (`fault.comes_first`).

        `error` gives the provider's own error for the faults that it has one for.
        """
        return instead(fault, _bad_gateway(), error)

    async def misbehave(self, behaviour: Behaviour, request: Request) -> Response:
        """The answer of a provider, or of something in front of it, that is not well."""
        match behaviour:
            case Behaviour.RESTRICTED:
                return self.restricted(request)
            case Behaviour.LIMITED:
                return self.limited(request)
            case Behaviour.BROKEN:
                return self.broken(request)
            case Behaviour.ECHO:
                credential = self.credential(request)
                key = credential.value if credential else ""
                response = self.echo(key)
                response.headers["x-echoed-key"] = key
                return response
            case Behaviour.HTML:
                return _bad_gateway()
            case Behaviour.REDIRECT:
                return RedirectResponse(METADATA_URL, 302)
            case Behaviour.SILENT:
                await gone(request.receive)
                # Goes nowhere: the connection is gone. 499 is nginx's number for that.
                return Response(status_code=499)

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """What this provider serves."""

    @abstractmethod
    def credential(self, request: Request) -> Credential | None:
        """The key of a request, from wherever this provider looks for it."""

    @abstractmethod
    def unknown_route(self, request: Request) -> Response:
        """The provider's 404 for a path it does not serve."""

    @abstractmethod
    def wrong_method(self, request: Request) -> Response:
        """The provider's answer to a method that the path does not take."""

    @abstractmethod
    def restricted(self, request: Request) -> Response:
        """The provider's 403: the key is real, this is not allowed to it."""

    @abstractmethod
    def limited(self, request: Request) -> Response:
        """The provider's 429, with `Retry-After`."""

    @abstractmethod
    def broken(self, request: Request) -> Response:
        """The failure this provider is known for."""

    @abstractmethod
    def echo(self, key: str) -> Response:
        """The provider's refusal of a key, with the whole key in it."""

    def _on_unknown_route(self, request: Request, _: Exception) -> Response:
        return self.unknown_route(request)

    def _on_wrong_method(self, request: Request, _: Exception) -> Response:
        return self.wrong_method(request)


class KeyedStandIn(StandIn):
    """A stand-in whose provider wants a key."""

    key_rule: ClassVar[KeyRule] = KeyRule()

    def __init__(self) -> None:
        super().__init__()
        #: Keys that were good once and are refused now.
        self.revoked: set[str] = set()

    @override
    def clear(self) -> None:
        """Forget what was revoked as well."""
        super().clear()
        self.revoked.clear()

    def sample_key(self, behaviour: Behaviour | None = None) -> str:
        """A key this stand-in takes, and misbehaves for as asked."""
        return self.key_rule.sample(behaviour)

    def keyed(self, handler: Handler) -> Handler:
        """`handler`, reached by requests with a good key only."""

        async def guarded(request: Request) -> Response:
            credential = self.credential(request)
            if credential is None:
                return self.key_missing(request)
            if credential.value in self.revoked or not self.key_rule.accepts(credential.value):
                return self.key_refused(request, credential.value)
            behaviour = self.key_rule.behaviour(credential.value)
            if behaviour is not None:
                return await self.misbehave(behaviour, request)
            return await handler(request)

        return guarded

    @abstractmethod
    def key_missing(self, request: Request) -> Response:
        """The provider's answer to a request without a key."""

    @abstractmethod
    def key_refused(self, request: Request, key: str) -> Response:
        """The provider's answer to a key it does not know."""


def _bad_gateway() -> Response:
    return Response(_BAD_GATEWAY_PAGE, 502, {"server": "nginx"}, "text/html")


def json_response(
    content: object, status: int, headers: Mapping[str, str], *, indent: bool = False
) -> Response:
    """A JSON answer; `indent` by two spaces, as Google does."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE if indent else None
    response = Response(orjson.dumps(content, option=option), status, headers)
    response.headers.setdefault("content-type", "application/json")
    return response


def bearer(request: Request) -> Credential | None:
    """The token of an `Authorization: Bearer` header (RFC 6750, section 2.1)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return Credential(token.strip()) if scheme.lower() == "bearer" and token.strip() else None


def whole_number(text: str) -> int | None:
    """The number a query parameter gives, or None when it is none of at most nine digits."""
    digits = text.removeprefix("-")
    return int(text) if digits.isdecimal() and len(digits) < 10 else None


async def _read_body(request: Request) -> bytes | None:
    """The whole body, or None when it is larger than allowed."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body, read already, once more, and then what follows it."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


def _dated(send: Send) -> Send:
    """A `send` that adds the `Date` header (RFC 9110, section 6.6.1)."""

    async def dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            date = (b"date", formatdate(usegmt=True).encode())
            message = {**message, "headers": [*message["headers"], date]}
        await send(message)

    return dated
