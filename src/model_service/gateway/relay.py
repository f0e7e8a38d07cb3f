"""Calls under way: what is sent for them, and how the answer goes back."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import orjson

from model_service.providers.assembly import events_of
from model_service.providers.chat import (
    ChatEvent,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.documents import loads
from model_service.providers.embedding import EmbeddingAnswer
from model_service.providers.faults import CallFailed, Fault, malformed
from model_service.providers.translation import (
    ChatDoor,
    ChatUpstream,
    CountDoor,
    CountUpstream,
    Document,
    EmbeddingDoor,
    EmbeddingUpstream,
    Notes,
    Outgoing,
    Passthrough,
    StreamReader,
    StreamRelay,
    StreamWriter,
    Target,
)

#: Most calls of tools that a stream may have; each that is open is looked at again with what comes.
MOST_CALLS: Final = 1024


class Conversion(Protocol):
    """One call's way through the dialects. `usage` is known once the answer is."""

    outgoing: Outgoing
    dropped: Sequence[str]
    usage: Usage | None

    def answer(self, data: bytes) -> bytes:
        """A whole answer for the caller. Raises CallFailed."""
        ...

    def relay(self) -> StreamRelay:
        """The way back of a stream."""
        ...


class Unchanged:
    """A call whose door speaks the provider's dialect."""

    __slots__ = ("_name", "_passthrough", "_relay", "dropped", "outgoing", "usage")

    def __init__(
        self, passthrough: Passthrough, body: Document, target: Target, *, stream: bool
    ) -> None:
        self._passthrough = passthrough
        self._name = target.name
        self._relay = passthrough.relay(body, target.name) if stream else None
        self.outgoing = passthrough.request(body, target, stream=stream)
        self.dropped: Sequence[str] = ()
        self.usage: Usage | None = None

    def answer(self, data: bytes) -> bytes:
        """The provider's answer with the named edits."""
        answer, self.usage = self._passthrough.answer(data, self._name)
        return answer

    def relay(self) -> StreamRelay:
        """The provider's stream with the named edits."""
        if self._relay is None:
            raise RuntimeError("the call does not stream")
        return self._relay


class Translated:
    """A chat call between two dialects.

    A model that cannot stream is asked for a whole answer, which the caller then gets as the
    stream that it asked for.
    """

    __slots__ = (
        "_door", "_name", "_now", "_request", "_upstream", "_writes_events", "dropped", "outgoing",
        "usage",
    )  # fmt: skip

    def __init__(
        self,
        door: ChatDoor,
        upstream: ChatUpstream,
        body: Document,
        target: Target,
        *,
        stream: bool,
        streams: bool,
        bare: bool,
        now: int,
    ) -> None:
        """`stream`: the caller wants one; `streams`: the model can; `bare`: not one of events.

        `now` is in seconds since 1970: when an answer was made whose provider does not say.
        """
        self._door = door
        self._upstream = upstream
        self._name = target.name
        self._writes_events = stream and not bare
        self._now = now
        request = door.read(body, target.name, stream=stream and streams)
        notes = _notes(door.spelling, target)
        self._request = request
        try:
            self.outgoing = upstream.request(request, target, notes)
        except CallFailed as failed:
            raise notes.spelled(failed) from None
        dropped = notes.dropped
        self.dropped: Sequence[str] = [*request.dropped, *dropped] if request.dropped else dropped
        self.usage: Usage | None = None

    def answer(self, data: bytes) -> bytes:
        """The answer in the door's dialect; as a stream if one was asked for."""
        answer = self._upstream.answer(parsed(data))
        self.usage, answer.request = answer.usage, self._request
        if answer.created is None:
            answer.created = self._now
        if not self._writes_events:
            return orjson.dumps(self._door.answer(answer, self._name))
        writer = self._door.writer(self._request, self._name)
        return b"".join([*map(writer.write, events_of(answer)), writer.end()])

    def relay(self) -> StreamRelay:
        """The stream in the door's dialect."""
        return TranslatedStream(
            self._upstream.reader(), self._door.writer(self._request, self._name), self._now
        )


class TranslatedStream:
    """A stream read in one dialect and written in another."""

    __slots__ = ("_calls", "_now", "_reader", "_writer", "began", "complete", "failure", "finish",
                 "usage")  # fmt: skip

    def __init__(self, reader: StreamReader, writer: StreamWriter, now: int) -> None:
        self._now = now
        self._reader = reader
        self._writer = writer
        self._calls = 0
        self.failure: CallFailed | None = None
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.began = False
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Take what the provider sent."""
        reader = self._reader
        events = reader.feed(data)
        self.failure = reader.failure
        if self.failure is not None and _only_opens(events):
            return b""
        written = self._write(events)
        if reader.complete and self.failure is None:
            self.complete = True
            return written + self._writer.end()
        return written

    def end(self) -> bytes:
        """The provider's stream is over."""
        if self.failure is not None:
            return b""
        events = self._reader.end()
        self.failure = self._reader.failure
        if self.failure is not None and _only_opens(events):
            return b""
        written = self._write(events)
        if self.failure is None:
            self.complete = True
            written += self._writer.end()
        return written

    def fail(self, fault: Fault) -> bytes:
        """The error event."""
        return self._writer.fail(fault)

    def _write(self, events: list[ChatEvent]) -> bytes:
        if not events:
            return b""
        for event in events:
            if type(event) is TextDelta:  # as most are
                self.began = True
            elif type(event) is UsageReported:
                self.usage = event.usage
            elif type(event) is Started:
                if event.created is None:
                    event.created = self._now
            else:
                self.began = True
                if type(event) is Finished and self.finish is None:
                    self.finish = event.reason
                elif type(event) is ToolCallStarted:
                    self._calls += 1
        if self._calls > MOST_CALLS:
            self.failure = malformed(f"The provider's answer has more than {MOST_CALLS:,} calls")
            return b""
        if len(events) == 1:
            return self._writer.write(events[0])
        return b"".join(map(self._writer.write, events))


def _only_opens(events: Sequence[ChatEvent]) -> bool:
    """Whether a failed answer has not really begun: it can still be an HTTP error then."""
    return all(type(event) is Started for event in events)


class Counted:
    """A call that only counts tokens, between two dialects."""

    __slots__ = ("_door", "_upstream", "dropped", "outgoing", "usage")

    def __init__(
        self,
        reads: ChatDoor,
        door: CountDoor,
        upstream: CountUpstream,
        body: Document,
        target: Target,
    ) -> None:
        self._door = door
        self._upstream = upstream
        notes = _notes(reads.spelling, target)
        request = reads.read(body, target.name, stream=False)
        try:
            self.outgoing = upstream.count_request(request, target, notes)
        except CallFailed as failed:
            raise notes.spelled(failed) from None
        self.dropped: Sequence[str] = [*request.dropped, *notes.dropped]
        self.usage: Usage | None = None

    def answer(self, data: bytes) -> bytes:
        """The number of tokens."""
        return orjson.dumps(self._door.count(self._upstream.count_answer(parsed(data))))

    def relay(self) -> StreamRelay:
        """There is none."""
        raise RuntimeError("counting does not stream")


class Embedded:
    """A call that embeds texts, between two dialects."""

    __slots__ = ("_door", "_name", "_request", "_upstream", "dropped", "outgoing", "usage")

    def __init__(
        self, door: EmbeddingDoor, upstream: EmbeddingUpstream, body: Document, target: Target
    ) -> None:
        self._door = door
        self._upstream = upstream
        self._name = target.name
        notes = _notes(door.spelling, target)
        self._request = door.read(body, target.name)
        try:
            self.outgoing = upstream.request(self._request, target, notes)
        except CallFailed as failed:
            raise notes.spelled(failed) from None
        self.dropped: Sequence[str] = notes.dropped
        self.usage: Usage | None = None

    def answer(self, data: bytes) -> bytes:
        """The vectors."""
        answer: EmbeddingAnswer = self._upstream.answer(parsed(data))
        if len(answer.vectors) != len(self._request.inputs):
            raise malformed("The provider gave another number of vectors than of inputs")
        if answer.tokens is not None:
            self.usage = Usage(input=answer.tokens)
        return orjson.dumps(self._door.answer(answer, self._request, self._name))

    def relay(self) -> StreamRelay:
        """There is none."""
        raise RuntimeError("embedding does not stream")


def parsed(data: bytes) -> Document:
    """A provider's answer. Raises CallFailed when it is no JSON object."""
    try:
        document = loads(data)
    except orjson.JSONDecodeError:
        raise malformed("The provider's answer is not valid JSON") from None
    if not isinstance(document, dict):
        raise malformed("The provider's answer is not a JSON object")
    return document


def _notes(spelling: Mapping[str, str], target: Target) -> Notes:
    return Notes(spelling, lenient=target.settings.get("dropUnsupported") is True)
