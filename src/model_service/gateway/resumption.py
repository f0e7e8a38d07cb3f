"""Another attempt at an answer that was cut: what is asked, and how what comes is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from model_service.gateway.continuation import continuation, may_echo
from model_service.gateway.heard import Continuation, Restart, Splice
from model_service.gateway.plans import convert, upstream_of
from model_service.gateway.relay import parsed
from model_service.gateway.routes import Route
from model_service.gateway.snapshot import SnapshotModel
from model_service.providers.assembly import events_of
from model_service.providers.chat import ChatEvent, ChatRequest, Usage
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.translation import (
    ChatDoor,
    ChatUpstream,
    Notes,
    Outgoing,
    StreamReader,
    StreamRelay,
)

_REFUSALS: Final = frozenset({FaultKind.INVALID_REQUEST, FaultKind.UNSUPPORTED})


class Mode(StrEnum):
    """How another attempt goes on."""

    PREFILL = "prefill"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller asked for, in both forms."""

    route: Route
    door: ChatDoor
    request: ChatRequest
    data: bytes
    now: int


@dataclass(slots=True)
class Resumption:
    """Another attempt at an answer: `outgoing` is what to send. It stands for a `Conversion`."""

    model: SnapshotModel
    mode: Mode
    outgoing: Outgoing
    dropped: Sequence[str]
    reader: StreamReader
    splice: Splice
    usage: Usage | None = None

    def is_refused(self, fault: Fault) -> bool:
        """Whether a refusal may be for the beginning alone, so that the model can still restart."""
        return self.mode is Mode.PREFILL and fault.kind in _REFUSALS

    def answer(self, data: bytes) -> bytes:  # noqa: ARG002
        """There is none: it is the stream under way that goes on."""
        raise RuntimeError("an answer that is recovered streams")

    def relay(self) -> StreamRelay:
        """There is none: see `RecoverableStream.resume`."""
        raise RuntimeError("an answer that is recovered has a relay")


def resumption(asked: Asked, text: str, model: SnapshotModel, *, prefill: bool) -> Resumption:
    """The attempt of a model, for a caller who has `text`.

    Raises:
        CallFailed: the model's provider has nothing like what is asked for.
    """
    upstream = upstream_of(asked.route, model, loads(asked.data), stream=True)
    reader = upstream.reader() if model.supports_streaming else WholeReader(upstream)
    begun = continuation(asked.request, text, upstream, model) if prefill else None
    if begun is None:
        body = loads(asked.data)
        anew = convert(asked.route, model, body, stream=True, now=asked.now)
        return Resumption(model, Mode.RESTART, anew.outgoing, anew.dropped, reader, Restart(text))
    lenient = model.target.settings.get("dropUnsupported") is True
    notes = Notes(asked.door.spelling, lenient=lenient)
    begun.stream = model.supports_streaming
    try:
        outgoing = upstream.request(begun, model.target, notes)
    except CallFailed as failed:
        raise notes.spelled(failed) from None
    if model.vendor is not None:
        model.vendor.adapt(outgoing.body)
    dropped = [*begun.dropped, *notes.dropped]
    stripped = text.rstrip()
    splice = Continuation(text[len(stripped) :], stripped if may_echo(model) else "")
    return Resumption(model, Mode.PREFILL, outgoing, dropped, reader, splice)


class WholeReader:
    """Reads the answer of a model that cannot stream, as the stream that it would have been."""

    def __init__(self, upstream: ChatUpstream) -> None:
        self.failure: CallFailed | None = None
        self.complete = False
        self._upstream = upstream
        self._data = bytearray()

    def feed(self, data: bytes) -> list[ChatEvent]:
        """Nothing yet."""
        self._data += data
        return []

    def end(self) -> list[ChatEvent]:
        """All of it."""
        if self.complete or self.failure is not None:
            return []
        try:
            events = list(events_of(self._upstream.answer(parsed(bytes(self._data)))))
        except CallFailed as failed:
            self.failure = failed
            return []
        self.complete = True
        return events
