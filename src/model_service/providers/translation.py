"""What a dialect has to give, as a door that callers use and as an upstream that is called.

A call whose door speaks the upstream's dialect passes through: named edits, everything else as it
came. Any other call is read into the intermediate form (`chat`, `embedding`), written for the
upstream, and its answer goes back by the same way.

All of this is pure: no I/O, no clock, no state beyond one call's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from model_service.kernel.types import Provider
from model_service.providers.base import Headers
from model_service.providers.chat import (
    ChatAnswer,
    ChatEvent,
    ChatRequest,
    FinishReason,
    Usage,
)
from model_service.providers.embedding import EmbeddingAnswer, EmbeddingRequest
from model_service.providers.faults import CallFailed, Fault, unsupported

Document = dict[str, Any]
"""A JSON object off or for the wire."""

#: The field of events with which this service tells of itself within an answer.
MARK: Final = "x_model_service"


@dataclass(frozen=True, slots=True)
class Target:
    """The registered model that is called, as far as its provider's dialect needs to know.

    `name` is the registered name, which callers know; `upstream_model` the provider's. `settings`
    is the model's `providerSettings`.
    """

    name: str
    provider: Provider
    upstream_model: str
    max_tokens: int
    default_temperature: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outgoing:
    """What is sent: a path below the provider's base URL, a body, headers beside the credential."""

    path: str
    body: Document
    headers: Headers = ()


class Notes:
    """What of a request the upstream does not get.

    `spelling` gives the door's names for fields of the intermediate form, for errors. A lenient
    call (`providerSettings.dropUnsupported`) has dropped, and listed, what others are refused for.
    """

    __slots__ = ("_lenient", "_spelling", "dropped")

    def __init__(self, spelling: Mapping[str, str], *, lenient: bool = False) -> None:
        self._spelling = spelling
        self._lenient = lenient
        self.dropped: list[str] = []

    def refuse(self, name: str, reason: str) -> None:
        """The upstream has nothing like the field, and the answer would not be what was asked for.

        Raises:
            CallFailed: unless the call is lenient.
        """
        spelled = self._spelling.get(name, name)
        if not self._lenient:
            raise unsupported(spelled, reason)
        self.drop(name)

    def drop(self, name: str) -> None:
        """The upstream has nothing like the field, but the answer is the same without it."""
        spelled = self._spelling.get(name, name)
        if spelled not in self.dropped:
            self.dropped.append(spelled)

    def spelled(self, failed: CallFailed) -> CallFailed:
        """What an upstream refused by itself, with the field as the door calls it."""
        fault = failed.fault
        name = self._spelling.get(fault.param) if fault.param is not None else None
        if name is None:
            return failed
        reason = fault.message.removeprefix(f"{fault.param}: ")
        return CallFailed(replace(fault, param=name, message=f"{name}: {reason}"))


class StreamRelay(Protocol):
    """An answer's way back while it streams: bytes from the provider in, bytes for the caller out.

    Nothing here raises. After each `feed` and after `end`, `failure` says what went wrong; what
    was given back until then is to be sent before the error.
    """

    @property
    def failure(self) -> CallFailed | None:
        """What went wrong."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The last that the provider said it was."""
        ...

    @property
    def finish(self) -> FinishReason | None:
        """Why the first candidate ended, once it has."""
        ...

    @property
    def began(self) -> bool:
        """Whether something of the answer itself has come, and not only what opens it."""
        ...

    @property
    def complete(self) -> bool:
        """Everything has come: what the provider might still send is of no interest."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take what the provider sent; gives whole events for the caller."""
        ...

    def end(self) -> bytes:
        """The provider's stream is over; a `failure` when it was cut."""
        ...

    def fail(self, fault: Fault) -> bytes:
        """The error event of the door's dialect, which ends the stream."""
        ...


class StreamReader(Protocol):
    """Reads a provider's stream. Nothing here raises; see `StreamRelay`."""

    failure: CallFailed | None
    complete: bool

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that the bytes complete."""
        ...

    def end(self) -> list[ChatEvent]:
        """What is left at the end of the stream; a `failure` when it was cut."""
        ...


class StreamWriter(Protocol):
    """Writes a stream for a caller."""

    def write(self, event: ChatEvent) -> bytes:
        """The bytes for one event; may be empty."""
        ...

    def mark(self, note: Document) -> bytes:
        """An event of this service's own, `MARK` its field, which official clients pass over."""
        ...

    def end(self) -> bytes:
        """What closes a complete stream."""
        ...

    def fail(self, fault: Fault) -> bytes:
        """The error event, in place of a proper end."""
        ...


class ChatDoor(Protocol):
    """The caller's side of a dialect."""

    @property
    def name(self) -> str:
        """What this dialect is called: `openai_chat`, `openai_responses`, `anthropic`, `google`."""
        ...

    @property
    def spelling(self) -> Mapping[str, str]:
        """This dialect's names for fields of `ChatRequest`, where they differ."""
        ...

    def read(self, body: Document, model: str, *, stream: bool) -> ChatRequest:
        """The request in the intermediate form. The body may be changed.

        Raises:
            CallFailed: naming the field that is wrong, or that no other dialect has.
        """
        ...

    def answer(self, answer: ChatAnswer, model: str) -> Document:
        """A whole answer; `model` is the registered name."""
        ...

    def writer(self, request: ChatRequest, model: str) -> StreamWriter:
        """What writes a stream."""
        ...


class ChatUpstream(Protocol):
    """The provider's side of a dialect."""

    @property
    def name(self) -> str:
        """What this dialect is called; also the origin of its signatures."""
        ...

    def request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. The target's defaults apply where the caller did not say.

        Raises:
            CallFailed: the dialect cannot say what is asked for.
        """
        ...

    def answer(self, document: Document) -> ChatAnswer:
        """A whole answer with a status of 2xx.

        Raises:
            CallFailed: it holds an error, or is not what it should be.
        """
        ...

    def reader(self) -> StreamReader:
        """What reads a stream."""
        ...

    def takes_prefill(self, request: ChatRequest, target: Target) -> bool:
        """Whether the request may end with the beginning of its answer, to be gone on with.

        The answer is then what follows that.
        """
        ...


class FaultReader(Protocol):
    """How a provider says that something is wrong."""

    def fault(self, status: int, document: object) -> Fault:
        """An error answer. `document` is the parsed body, None when it is no JSON.

        The message is the provider's own, for the gateway to redact. `status` may be 200 for an
        error within a stream. `retry_after` is the gateway's to set, from the headers.
        """
        ...


class FaultDoor(Protocol):
    """How a door says that something is wrong."""

    def status(self, fault: Fault) -> int:
        """The status of the answer: the provider's, or the one that the kind has here."""
        ...

    def error(self, fault: Fault, request_id: str) -> Document:
        """The body of the answer."""
        ...


class Passthrough(Protocol):
    """A call whose door speaks the upstream's own dialect."""

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:
        """The caller's body, which may be changed, with the named edits.

        Raises:
            CallFailed: only for what makes an edit impossible.
        """
        ...

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:
        """A whole answer with `model` as its model's name, and what was used.

        Raises:
            CallFailed: the body is no answer, or holds an error.
        """
        ...

    def relay(self, body: Document, model: str) -> StreamRelay:
        """The way back of a stream; `body` is the request as the caller sent it.

        It is asked for before `request`, which may change the body.
        """
        ...


class CountDoor(Protocol):
    """A door at which tokens are counted without a call."""

    def count(self, tokens: int) -> Document:
        """The answer."""
        ...


class CountUpstream(Protocol):
    """An upstream that counts tokens."""

    def count_request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Raises CallFailed as `ChatUpstream.request` does."""
        ...

    def count_answer(self, document: Document) -> int:
        """The number of tokens. Raises CallFailed when the answer does not say."""
        ...


class EmbeddingDoor(Protocol):
    """A door at which texts are embedded."""

    @property
    def spelling(self) -> Mapping[str, str]:
        """This dialect's names for fields of `EmbeddingRequest`, where they differ."""
        ...

    def read(self, body: Document, model: str) -> EmbeddingRequest:
        """The request in the intermediate form. Raises CallFailed."""
        ...

    def answer(self, answer: EmbeddingAnswer, request: EmbeddingRequest, model: str) -> Document:
        """The vectors."""
        ...


class EmbeddingUpstream(Protocol):
    """An upstream that embeds texts."""

    def request(self, request: EmbeddingRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Raises CallFailed."""
        ...

    def answer(self, document: Document) -> EmbeddingAnswer:
        """The vectors, in order. Raises CallFailed."""
        ...
