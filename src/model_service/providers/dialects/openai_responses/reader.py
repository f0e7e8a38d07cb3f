"""Reads answers of the Responses API, whole ones and streams."""

from typing import Final

import orjson

from model_service.providers.assembly import assemble
from model_service.providers.chat import ChatAnswer, ChatEvent
from model_service.providers.dialects.openai_responses.reading import Reading, Wrong
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, cut, malformed
from model_service.providers.openai_faults import holds_error
from model_service.providers.sse import EventParser, parse_block
from model_service.providers.translation import Document, FaultReader

#: OpenAI sends none of these here; others do, after the last event.
DONE: Final = b"[DONE]"


def read_response(document: Document, faults: FaultReader) -> ChatAnswer:
    """A whole answer: it is read as the last event of a stream of which nothing else came.

    Raises:
        CallFailed: it holds an error, or is not what it should be.
    """
    if document.get("object") != "response" and holds_error(document):
        raise CallFailed(faults.fault(200, document))
    status = document.get("status")
    if status in ("queued", "in_progress"):
        raise malformed("The provider's answer is not finished")
    if status not in ("failed", "cancelled"):
        if document.get("error"):
            raise CallFailed(faults.fault(200, document))
        if not isinstance(document.get("output"), list):
            raise malformed("The provider's answer has no output")
    reading = Reading(faults)
    events: list[ChatEvent] = []
    try:
        reading.take({"type": "response.completed", "response": document}, events)
    except Wrong as error:
        raise malformed(f"The provider's answer is malformed: {error}") from None
    failure = reading.failure or reading.held
    if failure is not None:
        raise failure
    return assemble(events)


def body_error(rest: bytes) -> Document | None:
    """The error that stands, as a plain body, where a stream should be."""
    if not rest.lstrip().startswith(b"{"):
        return None
    try:
        document = orjson.loads(rest)
    except ValueError:
        return None
    return document if isinstance(document, dict) and holds_error(document) else None


class ResponseReader:
    """Reads a stream."""

    __slots__ = ("_faults", "_is_wrong", "_parser", "_reading", "complete", "failure")

    def __init__(self, faults: FaultReader) -> None:
        self._faults = faults
        self._parser = EventParser()
        self._reading = Reading(faults)
        # Whether the last event was none that can be understood: what follows decides.
        self._is_wrong = False
        self.failure: CallFailed | None = None
        self.complete = False

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that the bytes complete."""
        if self._is_over():
            return []
        try:
            whole = self._parser.whole(data)
        except CallFailed as error:
            self.failure = error
            return []
        return self._read(whole)

    def end(self) -> list[ChatEvent]:
        """What is left at the end of the stream; a `failure` when it was cut."""
        if self._is_over():
            return []
        was_wrong = self._is_wrong
        rest = self._parser.whole(b"\n\n")
        error = body_error(rest)
        if error is not None:
            self.failure = CallFailed(self._faults.fault(200, error))
            return []
        events = self._read(rest)
        if not self._is_over():
            self.failure = self._reading.held or ended_early(rest, was_wrong=was_wrong)
        return events

    def _read(self, whole: bytes) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        if whole:
            for block in whole.split(b"\n\n"):
                text = event_text(block)
                if text is not None:
                    self._take(text, events)
                    if self._is_over():
                        break
        return events

    def _is_over(self) -> bool:
        return self.complete or self.failure is not None

    def _take(self, text: bytes, events: list[ChatEvent]) -> None:
        if text == DONE:
            return
        reading = self._reading
        try:
            reading.take(parsed_event(text), events)
        except Wrong:
            self._is_wrong = True
            return
        self._is_wrong = False
        self.failure = reading.failure
        self.complete = reading.complete


def event_text(block: bytes) -> bytes | None:
    """The data of an event; None for one without. Most have a line with their name ahead."""
    if block.count(b"\n") == 1 and block.startswith(b"event: "):
        start = block.find(b"\ndata: ")
        if start > 0:
            return block[start + 7 :]
    event = parse_block(block)
    return None if event is None else event[1]


def parsed_event(text: bytes) -> Document:
    """An event's document. Raises Wrong when it is none."""
    try:
        event = loads(text)
    except ValueError:
        raise Wrong("it is not JSON") from None
    if not isinstance(event, dict):
        raise Wrong("it is no object")
    return event


def ended_early(rest: bytes, *, was_wrong: bool) -> CallFailed:
    """The failure of a stream that ended without its last event.

    `rest` is what it ended within; `was_wrong` says that the last event could not be understood.
    """
    if was_wrong and not rest.strip():
        return malformed("The provider sent an event that cannot be understood, and none after it")
    return cut()
