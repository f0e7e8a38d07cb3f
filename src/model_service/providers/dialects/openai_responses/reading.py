"""From the events of a stream, parsed, to those of the intermediate form.

Source: https://developers.openai.com/api/reference/resources/responses/streaming-events
What a server leaves out of the deltas is taken from the events that tell the whole (`...done`,
`response.completed`): not every one that speaks this API sends all of them.
"""

from collections.abc import Callable
from typing import Final

from model_service.providers.chat import (
    ChatEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from model_service.providers.dialects.openai_responses.output import text_logprobs
from model_service.providers.dialects.openai_responses.said import Item, Said
from model_service.providers.dialects.openai_responses.thoughts import sealed
from model_service.providers.dialects.openai_responses.usage import cut_reason, read_usage
from model_service.providers.faults import CallFailed
from model_service.providers.openai_faults import holds_error
from model_service.providers.translation import Document, FaultReader

Events = list[ChatEvent]


class Wrong(Exception):
    """The event is not what the documents say"""


class Reading:
    """One answer's events, in the order in which they come."""

    __slots__ = ("_calls", "_faults", "_items", "_refused", "_started", "complete", "failure",
                 "held")  # fmt: skip

    def __init__(self, faults: FaultReader) -> None:
        self._faults = faults
        self.failure: CallFailed | None = None
        # Azure's `response.failed` may say nothing, and an `error` after it everything.
        self.held: CallFailed | None = None
        self.complete = False
        self._started = False
        self._items: dict[int | str, Item] = {}
        self._calls = 0
        self._refused = False

    def take(self, event: Document, out: Events) -> None:
        """Take the next event; what it says is added to `out`.

        Raises:
            Wrong: it is malformed.
        """
        kind = event.get("type")
        if not isinstance(kind, str) or kind == "error":
            if not holds_error(event):
                raise Wrong("it has no type")
            self.failure = CallFailed(self._faults.fault(200, event))
            return
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, event, out)

    def start(self, event: Document, out: Events) -> None:
        """`response.created`, or another that holds the response, if it is the first."""
        response = _object(event, "response")
        if self._started:
            return
        self._started = True
        answer_id, tier = response.get("id"), response.get("service_tier")
        out.append(
            Started(
                answer_id if isinstance(answer_id, str) else "",
                _moment(response.get("created_at")),
                tier if isinstance(tier, str) else None,
            )
        )

    def add_item(self, event: Document, out: Events) -> None:
        """`response.output_item.added`."""
        document = _object(event, "item")
        item = self._item(event, _text(document, "type"), document.get("id"))
        if item.kind == "function_call" and item.call is None:
            self._start_call(item, document, out)

    def end_item(self, event: Document, out: Events) -> None:
        """`response.output_item.done`."""
        document = _object(event, "item")
        item = self._item(event, _text(document, "type"), document.get("id"))
        if not item.ended:
            self._finish_item(item, document, out)

    def add_text(self, event: Document, out: Events) -> None:
        """`response.output_text.delta`."""
        item = self._item(event, "message", event.get("item_id"))
        said = item.said("output_text", _index(event, "content_index"))
        self._say_text(said, _text(event, "delta"), event.get("logprobs"), out)

    def end_text(self, event: Document, out: Events) -> None:
        """`response.output_text.done`."""
        item = self._item(event, "message", event.get("item_id"))
        said = item.said("output_text", _index(event, "content_index"))
        self._finish_text(said, _text(event, "text"), event.get("logprobs"), out)

    def add_refusal(self, event: Document, out: Events) -> None:
        """`response.refusal.delta`."""
        item = self._item(event, "message", event.get("item_id"))
        said = item.said("refusal", _index(event, "content_index"))
        self._say_refusal(said, _text(event, "delta"), out)

    def end_refusal(self, event: Document, out: Events) -> None:
        """`response.refusal.done`."""
        item = self._item(event, "message", event.get("item_id"))
        said = item.said("refusal", _index(event, "content_index"))
        self._say_refusal(said, said.missing(_text(event, "refusal")), out)

    def add_summary(self, event: Document, out: Events) -> None:
        """`response.reasoning_summary_text.delta`."""
        item = self._item(event, "reasoning", event.get("item_id"))
        self._think(item, "summary", _index(event, "summary_index"), _text(event, "delta"), out)

    def add_thought(self, event: Document, out: Events) -> None:
        """`response.reasoning_text.delta`."""
        item = self._item(event, "reasoning", event.get("item_id"))
        self._think(item, "content", _index(event, "content_index"), _text(event, "delta"), out)

    def add_arguments(self, event: Document, out: Events) -> None:
        """`response.function_call_arguments.delta`."""
        item = self._item(event, "function_call", event.get("item_id"))
        self._argue(item, _text(event, "delta"), out)

    def end_arguments(self, event: Document, out: Events) -> None:
        """`response.function_call_arguments.done`."""
        item = self._item(event, "function_call", event.get("item_id"))
        arguments = _text(event, "arguments")
        self._argue(item, item.said("arguments", 0).missing(arguments), out)

    def finish(self, event: Document, out: Events) -> None:
        """`response.completed` or `response.incomplete`: the whole once more, and what it took."""
        response = _object(event, "response")
        status = response.get("status")
        if status in ("failed", "cancelled"):
            self.fail(event, out)
            return
        self.start(event, out)
        self._finish_items(response, out)
        if event["type"] == "response.incomplete" or status == "incomplete":
            reason = cut_reason(response)
        elif self._calls:
            reason = FinishReason.TOOL_CALLS
        else:
            reason = FinishReason.REFUSAL if self._refused else FinishReason.STOP
        out.append(Finished(reason))
        self._report(response, out)
        self.complete = True

    def fail(self, event: Document, out: Events) -> None:
        """`response.failed`."""
        response = _object(event, "response")
        self._report(response, out)
        error = response.get("error")
        if not isinstance(error, dict):
            error = {}
        failure = CallFailed(self._faults.fault(200, {"error": error}))
        if error.get("message") or error.get("code"):
            self.failure = failure
        else:
            self.held = failure

    def _report(self, response: Document, out: Events) -> None:
        usage = read_usage(response)
        if usage is not None:
            out.append(UsageReported(usage))

    def _item(self, event: Document, kind: str, item_id: object) -> Item:
        """The item that an event is about, by its place, or by its id without one."""
        key = event.get("output_index")
        if type(key) is not int:
            key = item_id
            if not isinstance(key, str):
                raise Wrong("it does not say which item it is about")
        item = self._items.get(key)
        if item is None:
            known = item_id if isinstance(item_id, str) else None
            item = self._items[key] = Item(kind, known)
        elif item.kind != kind:
            raise Wrong("it is about an item of another type")
        return item

    def _finish_items(self, response: Document, out: Events) -> None:
        output = response.get("output")
        if not isinstance(output, list):
            return
        known = {item.id for item in self._items.values() if item.id is not None}
        for index, document in enumerate(output):
            if not isinstance(document, dict):
                raise Wrong("its output has something that is no item")
            kind = _text(document, "type")
            item = self._items.get(index)
            item_id = document.get("id")
            if not isinstance(item_id, str):
                item_id = None
            if item is None and item_id not in known:
                item = self._items[index] = Item(kind, item_id)
            if item is not None and item.kind == kind and not item.ended:
                self._finish_item(item, document, out)

    def _finish_item(self, item: Item, document: Document, out: Events) -> None:
        if item.kind == "message":
            self._finish_message(item, document, out)
        elif item.kind == "function_call":
            if item.call is None:
                self._start_call(item, document, out)
            arguments = document.get("arguments")
            if isinstance(arguments, str):
                self._argue(item, item.said("arguments", 0).missing(arguments), out)
        elif item.kind == "reasoning":
            self._finish_thought(item, document, out)
        item.ended = True

    def _finish_message(self, item: Item, document: Document, out: Events) -> None:
        for index, part in _parts(document, "content"):
            if part.get("type") == "output_text":
                said = item.said("output_text", index)
                self._finish_text(said, _text(part, "text"), part.get("logprobs"), out)
            elif part.get("type") == "refusal":
                said = item.said("refusal", index)
                self._say_refusal(said, said.missing(_text(part, "refusal")), out)

    def _finish_thought(self, item: Item, document: Document, out: Events) -> None:
        for field in ("summary", "content"):
            for index, part in _parts(document, field):
                missing = item.said(field, index).missing(_text(part, "text"))
                self._think(item, field, index, missing, out)
        encrypted, item_id = document.get("encrypted_content"), document.get("id")
        known = item_id if isinstance(item_id, str) else item.id
        if isinstance(encrypted, str) and encrypted:
            out.append(
                ReasoningEnded(sealed(known, encrypted), not item.has_text, id=item.id or known)
            )
        elif item.has_text:
            out.append(ReasoningEnded(id=item.id or known))

    def _start_call(self, item: Item, document: Document, out: Events) -> None:
        call_id, name = _text(document, "call_id"), _text(document, "name")
        item.call = self._calls
        self._calls += 1
        out.append(ToolCallStarted(item.call, call_id, name))
        said = item.said("arguments", 0)
        early, said.pieces, said.length = "".join(said.pieces), [], 0
        given = document.get("arguments")
        self._argue(item, early or (given if isinstance(given, str) else ""), out)

    def _argue(self, item: Item, text: str, out: Events) -> None:
        if text:
            item.said("arguments", 0).add(text)
            if item.call is not None:  # else it waits for the call's name
                out.append(ToolCallDelta(item.call, text))

    def _say_text(self, said: Said, text: str, logprobs: object, out: Events) -> None:
        noted = text_logprobs({"content": logprobs}) if logprobs else None
        if not text and not noted:
            return
        said.add(text)
        if noted:
            said.has_logprobs = True
            out.append(TextDelta(text, logprobs={"content": noted}))
        else:
            out.append(TextDelta(text))

    def _finish_text(self, said: Said, text: str, logprobs: object, out: Events) -> None:
        missing = said.missing(text)
        self._say_text(said, missing, None if said.has_logprobs else logprobs, out)

    def _say_refusal(self, said: Said, text: str, out: Events) -> None:
        if text:
            self._refused = True
            said.add(text)
            out.append(RefusalDelta(text))

    def _think(self, item: Item, field: str, index: int, text: str, out: Events) -> None:
        """More of a thought. Its parts are paragraphs of one text."""
        if not text:
            return
        said = item.said(field, index)
        apart = "\n\n" if not said.length and item.has_text else ""
        said.add(text)
        out.append(ReasoningDelta(apart + text, id=item.id))


_HANDLERS: Final[dict[str, Callable[[Reading, Document, Events], None]]] = {
    "response.output_text.delta": Reading.add_text,
    "response.function_call_arguments.delta": Reading.add_arguments,
    "response.reasoning_summary_text.delta": Reading.add_summary,
    "response.reasoning_text.delta": Reading.add_thought,
    "response.refusal.delta": Reading.add_refusal,
    "response.created": Reading.start,
    "response.queued": Reading.start,
    "response.in_progress": Reading.start,
    "response.output_item.added": Reading.add_item,
    "response.output_item.done": Reading.end_item,
    "response.output_text.done": Reading.end_text,
    "response.refusal.done": Reading.end_refusal,
    "response.function_call_arguments.done": Reading.end_arguments,
    "response.completed": Reading.finish,
    "response.incomplete": Reading.finish,
    "response.failed": Reading.fail,
    "response.cancelled": Reading.fail,
}


def _object(document: Document, field: str) -> Document:
    value = document.get(field)
    if not isinstance(value, dict):
        raise Wrong(f"its {field} is no object")
    return value


def _text(document: Document, field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str):
        raise Wrong(f"its {field} is no string")
    return value


def _moment(value: object) -> int | None:
    """Seconds since 1970; some write fractions. None for what is no such number."""
    if not isinstance(value, int | float) or not 0 < value < 2**53:
        return None
    return int(value)


def _index(event: Document, field: str) -> int:
    value = event.get(field)
    return value if type(value) is int else 0


def _parts(document: Document, field: str) -> list[tuple[int, Document]]:
    parts = document.get(field)
    if not isinstance(parts, list):
        return []
    return [(index, part) for index, part in enumerate(parts) if isinstance(part, dict)]
