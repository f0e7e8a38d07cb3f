"""Writes a stream of the Responses API.

Source: https://developers.openai.com/api/reference/resources/responses/streaming-events
"""

from model_service.providers.chat import (
    ChatEvent,
    ChatRequest,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.openai_responses.document import (
    echo,
    outcome,
    response_id,
    service_tier,
    usage_document,
)
from model_service.providers.dialects.openai_responses.events import Sequence, failure_events
from model_service.providers.dialects.openai_responses.open_items import (
    OpenCall,
    OpenItem,
    OpenMessage,
    OpenThought,
)
from model_service.providers.dialects.openai_responses.output import (
    incomplete_item,
    text_logprobs,
)
from model_service.providers.dialects.openai_responses.thoughts import (
    made_id,
    opened,
    shown_call,
    shown_to_caller,
)
from model_service.providers.faults import Fault
from model_service.providers.translation import MARK, Document, FaultDoor


class ResponseWriter:
    """Writes one stream.

    Items follow one another. Only calls may be open beside each other, for there are providers
    that send the pieces of parallel calls in turns.
    """

    __slots__ = ("_calls", "_created", "_done", "_echo", "_faults", "_id", "_model", "_next_index",
                 "_open", "_reason", "_sequence", "_tier", "_usage")  # fmt: skip

    def __init__(self, request: ChatRequest, model: str, faults: FaultDoor) -> None:
        self._model = model
        self._faults = faults
        self._echo = echo(request)
        self._sequence = Sequence()
        self._next_index = 0
        self._done: dict[int, Document] = {}
        self._open: OpenMessage | OpenThought | None = None
        self._calls: dict[int, OpenCall] = {}
        self._id: str | None = None
        self._created = 0
        self._tier: str | None = None
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def write(self, event: ChatEvent) -> bytes:
        """The bytes for one event."""
        if getattr(event, "candidate", 0):
            return b""  # there is one answer; nobody can have asked for more
        match event:  # the most frequent ones first
            case TextDelta():
                return self._text(event)
            case ToolCallDelta():
                return self._continue_call(event)
            case ReasoningDelta():
                return self._think(event)
            case ReasoningEnded():
                return self._end_thought(event)
            case ToolCallStarted():
                return self._start_call(event)
            case RefusalDelta():
                return self._refusal(event)
            case Started():
                return self._start(event)
            case Finished():
                return self._finish(event)
            case UsageReported():
                self._usage = event.usage
                return b""

    def mark(self, note: Document) -> bytes:
        """A numbered event of a kind that clients do not know, and pass on as it is."""
        written = self._begin("") if self._id is None else b""
        return written + self._sequence.event(MARK, {MARK: note})

    def end(self) -> bytes:
        """What closes a complete stream."""
        written = self._begin("") if self._id is None else b""
        if self._reason is None:
            written += self._finish(Finished(FinishReason.STOP))
        output = self._output()
        status, details = outcome(self._reason or FinishReason.STOP, output)
        response = self._response(status, output)
        response["incomplete_details"] = details
        return written + self._lifecycle(f"response.{status}", response)

    def fail(self, fault: Fault) -> bytes:
        """The error event, in place of a proper end."""
        if self._id is None:
            self._id = response_id("")
        response = {**self._response("failed", self._output()), **self._echo}
        return failure_events(self._sequence, self._faults, fault, response)

    def _start(self, event: Started) -> bytes:
        if self._id is not None:
            return b""
        self._created = event.created or 0
        self._tier = service_tier(event.service_tier)
        return self._begin(event.id)

    def _begin(self, given_id: str) -> bytes:
        self._id = response_id(given_id)
        response = self._response("in_progress", [])
        return self._lifecycle("response.created", response) + self._lifecycle(
            "response.in_progress", response
        )

    def _text(self, event: TextDelta) -> bytes:
        logprobs = text_logprobs(event.logprobs)
        if not event.text and not logprobs:
            return b""
        message = self._open
        if type(message) is OpenMessage:
            return message.text(self._sequence, event.text, logprobs)
        written, message = self._message()
        return written + message.text(self._sequence, event.text, logprobs)

    def _refusal(self, event: RefusalDelta) -> bytes:
        if not event.text:
            return b""
        written, message = self._message()
        return written + message.refusal(self._sequence, event.text)

    def _message(self) -> tuple[bytes, OpenMessage]:
        message = self._open
        if isinstance(message, OpenMessage):
            return b"", message
        written = self._make_room()
        message = self._open = OpenMessage(self._index())
        return written + message.opened(self._sequence), message

    def _think(self, event: ReasoningDelta) -> bytes:
        if not event.text:
            return b""
        written, thought = self._thought(event.id)
        return written + thought.text(self._sequence, event.text)

    def _end_thought(self, event: ReasoningEnded) -> bytes:
        if event.signature is None:
            return self._close_open()
        native = opened(event.signature)
        written, thought = self._thought((native and native[0]) or event.id)
        thought.encrypted = shown_to_caller(event.signature, redacted=event.redacted)
        return written + self._close_open()

    def _thought(self, item_id: str | None) -> tuple[bytes, OpenThought]:
        thought = self._open
        if isinstance(thought, OpenThought):
            return b"", thought
        written = self._make_room()
        thought = self._open = OpenThought(self._index(), item_id or made_id())
        return written + thought.opened(self._sequence), thought

    def _start_call(self, event: ToolCallStarted) -> bytes:
        written = self._make_room()
        if event.signature is not None:
            ahead = self._open = OpenThought(self._index(), made_id())
            ahead.encrypted = shown_call(event.signature)
            written += ahead.opened(self._sequence) + self._close_open()
        before = self._calls.pop(event.index, None)
        if before is not None:
            written += self._close(before)
        call = self._calls[event.index] = OpenCall(self._index(), event.id, event.name)
        return written + call.opened(self._sequence)

    def _continue_call(self, event: ToolCallDelta) -> bytes:
        call = self._calls.get(event.index)
        if call is None or not event.arguments:
            return b""
        return call.arguments(self._sequence, event.arguments)

    def _finish(self, event: Finished) -> bytes:
        self._reason = event.reason
        left: list[OpenItem] = [*self._calls.values()]
        if self._open is not None:
            left.append(self._open)
        left.sort(key=lambda item: item.index)
        for item in left:
            self._done[item.index] = item.document()
        output = self._output()
        if output and outcome(event.reason, output)[0] == "incomplete":
            incomplete_item(output[-1])
        self._open, self._calls = None, {}
        return b"".join(item.closed(self._sequence, self._done[item.index]) for item in left)

    def _index(self) -> int:
        index = self._next_index
        self._next_index = index + 1
        return index

    def _make_room(self) -> bytes:
        """Close what is open before the next item, but calls that may go on."""
        written = self._begin("") if self._id is None else b""
        written += self._close_open()
        for index, call in [*self._calls.items()]:
            if call.is_whole():
                del self._calls[index]
                written += self._close(call)
        return written

    def _close_open(self) -> bytes:
        item, self._open = self._open, None
        return b"" if item is None else self._close(item)

    def _close(self, item: OpenItem) -> bytes:
        document = self._done[item.index] = item.document()
        return item.closed(self._sequence, document)

    def _output(self) -> list[Document]:
        return [self._done[index] for index in sorted(self._done)]

    def _response(self, status: str, output: list[Document]) -> Document:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": output,
            "service_tier": self._tier,
            "usage": None if self._usage is None else usage_document(self._usage),
        }

    def _lifecycle(self, kind: str, response: Document) -> bytes:
        return self._sequence.event(kind, {"response": {**response, **self._echo}})
