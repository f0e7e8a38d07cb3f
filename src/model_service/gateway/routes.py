"""The gateway's routes: from a path to a door and an operation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

RawHeaders = Sequence[tuple[bytes, bytes]]

#: Paths that begin so are the gateway's; all others are the management API's.
PREFIXES: Final = (b"/v1/", b"/v1beta/", b"/openai/")


class Operation(StrEnum):
    """What is asked for."""

    CHAT = "chat"
    EMBED = "embeddings"
    COUNT = "count_tokens"
    LIST = "models"
    RETRIEVE = "model"


@dataclass(frozen=True, slots=True)
class Route:
    """A door, and what is asked for there.

    `family` is whose errors and listings the door speaks. `model` and `stream` are there when
    the path says them instead of the body; `bare` is Google's stream without server-sent events.
    """

    door: str
    family: str
    operation: Operation
    method: str = "POST"
    model: str | None = None
    stream: bool | None = None
    bare: bool = False


_CHAT: Final = Route("openai_chat", "openai", Operation.CHAT)
_RESPONSES: Final = Route("openai_responses", "openai", Operation.CHAT)
_EMBEDDINGS: Final = Route("openai_chat", "openai", Operation.EMBED)
_MESSAGES: Final = Route("anthropic", "anthropic", Operation.CHAT)
_LIST: Final = Route("openai_chat", "openai", Operation.LIST, "GET")
_RETRIEVE: Final = Route("openai_chat", "openai", Operation.RETRIEVE, "GET")

#: Routes whose path is the same for every call; `/openai/v1` is Azure's way to write `/v1`.
FIXED: Final[Mapping[bytes, Route]] = {
    b"/v1/chat/completions": _CHAT,
    b"/v1/responses": _RESPONSES,
    b"/v1/embeddings": _EMBEDDINGS,
    b"/v1/messages": _MESSAGES,
    b"/v1/messages/count_tokens": replace(_MESSAGES, operation=Operation.COUNT, stream=False),
    b"/openai/v1/chat/completions": _CHAT,
    b"/openai/v1/responses": _RESPONSES,
    b"/openai/v1/embeddings": _EMBEDDINGS,
    b"/openai/v1/models": _LIST,
    b"/openai/models": _LIST,
}

_DEPLOYMENTS: Final = "/openai/deployments/"
_DEPLOYED: Final[Mapping[str, Route]] = {
    "chat/completions": _CHAT,
    "embeddings": _EMBEDDINGS,
}

#: What may follow the colon after a model's name at Google's door.
_ACTIONS: Final[Mapping[str, Route]] = {
    "generateContent": Route("google", "google", Operation.CHAT, stream=False),
    "streamGenerateContent": Route("google", "google", Operation.CHAT, stream=True),
    "countTokens": Route("google", "google", Operation.COUNT, stream=False),
    "embedContent": Route("google", "google", Operation.EMBED, stream=False),
    "batchEmbedContents": Route("google_batch", "google", Operation.EMBED, stream=False),
}
_OF_GOOGLE: Final = frozenset({b"x-goog-api-key", b"x-goog-api-client"})


def find(url: bytes, headers: RawHeaders) -> Route | None:
    """The route of a request; None when there is none."""
    path, _, query = url.partition(b"?")
    fixed = FIXED.get(path)
    if fixed is not None:
        return fixed
    try:
        text = unquote(path.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        return None
    version, _, rest = text.removeprefix("/").partition("/")
    if version in ("v1", "v1beta") and (rest == "models" or rest.startswith("models/")):
        return _models(version, rest.removeprefix("models").removeprefix("/"), query, headers)
    if text.startswith(_DEPLOYMENTS):
        name, _, action = text[len(_DEPLOYMENTS) :].partition("/")
        route = _DEPLOYED.get(action)
        return replace(route, model=name) if route and name else None
    if text.startswith("/openai/v1/models/"):
        return replace(_RETRIEVE, model=text.removeprefix("/openai/v1/models/"))
    return None


def family_of(url: bytes, headers: RawHeaders) -> str:
    """Whose errors a request without a route is answered with."""
    if url.startswith(b"/v1beta/"):
        return "google"
    if url.startswith(b"/v1/messages"):
        return "anthropic"
    return _caller(headers)


def _models(version: str, name: str, query: bytes, headers: RawHeaders) -> Route | None:
    model, colon, action = name.rpartition(":")
    if colon and action in _ACTIONS:
        route = replace(_ACTIONS[action], model=model)
        is_bare = route.stream and b"alt=sse" not in query.split(b"&")
        return replace(route, bare=True) if is_bare else route
    family = "google" if version == "v1beta" else _caller(headers)
    route = _RETRIEVE if name else _LIST
    return replace(route, family=family, model=name or None)


def _caller(headers: RawHeaders) -> str:
    """Whose client it is, where several providers have the same path."""
    for name, _ in headers:
        if name == b"anthropic-version":
            return "anthropic"
        if name in _OF_GOOGLE:
            return "google"
    return "openai"
