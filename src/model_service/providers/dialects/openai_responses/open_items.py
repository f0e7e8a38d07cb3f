"""Items of a response's output while they are streamed: each writes its own events."""

from typing import Final

import orjson

from model_service.providers.dialects.openai_responses.events import Sequence
from model_service.providers.dialects.openai_responses.output import (
    COMPLETED,
    IN_PROGRESS,
    NO_ARGUMENTS,
    call_item,
    message_item,
    new_call_id,
    new_message_id,
    refusal_part,
    text_part,
    thought_item,
)
from model_service.providers.translation import Document

_TEXT: Final = "output_text"
_REFUSAL: Final = "refusal"


class OpenMessage:
    """A message: texts and refusals in a row."""

    __slots__ = ("_content", "_delta", "_kind", "_logprobs", "_pieces", "id", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = new_message_id()
        self._content: list[Document] = []
        self._kind: str | None = None
        self._pieces: list[str] = []
        self._logprobs: list[Document] = []
        self._delta = b""

    def opened(self, sequence: Sequence) -> bytes:
        """It begins."""
        item = message_item(self.id, [], IN_PROGRESS)
        return sequence.event(
            "response.output_item.added", {"output_index": self.index, "item": item}
        )

    def text(self, sequence: Sequence, text: str, logprobs: list[Document]) -> bytes:
        """More text. This is what most events are, so they are not built from a document."""
        begun = b"" if self._kind == _TEXT else self._begin(sequence, _TEXT)
        self._pieces.append(text)
        noted = b"[]"
        if logprobs:
            self._logprobs.extend(logprobs)
            noted = orjson.dumps(logprobs)
        return b'%s%s%s,"logprobs":%s,"sequence_number":%d}\n\n' % (
            begun,
            self._delta,
            orjson.dumps(text),
            noted,
            sequence.next(),
        )

    def refusal(self, sequence: Sequence, text: str) -> bytes:
        """More of a refusal."""
        begun = b"" if self._kind == _REFUSAL else self._begin(sequence, _REFUSAL)
        self._pieces.append(text)
        return b'%s%s%s,"sequence_number":%d}\n\n' % (
            begun,
            self._delta,
            orjson.dumps(text),
            sequence.next(),
        )

    def closed(self, sequence: Sequence, item: Document) -> bytes:
        """It is complete; `item` is what `document` gave."""
        return self._end(sequence) + sequence.event(
            "response.output_item.done", {"output_index": self.index, "item": item}
        )

    def document(self) -> Document:
        """The item as it is now."""
        content = self._content if self._kind is None else [*self._content, self._part()]
        return message_item(self.id, content, COMPLETED)

    def _place(self) -> Document:
        return {
            "item_id": self.id,
            "output_index": self.index,
            "content_index": len(self._content),
        }

    def _begin(self, sequence: Sequence, kind: str) -> bytes:
        ended = self._end(sequence)
        self._kind = kind
        event = f"response.{kind}.delta"
        head = orjson.dumps({"type": event, **self._place()})
        self._delta = b'event: %s\ndata: %s,"delta":' % (event.encode(), head[:-1])
        added = {**self._place(), "part": self._part()}
        return ended + sequence.event("response.content_part.added", added)

    def _end(self, sequence: Sequence) -> bytes:
        if self._kind is None:
            return b""
        part, place = self._part(), self._place()
        if self._kind == _TEXT:
            whole: Document = {"text": part["text"], "logprobs": part["logprobs"]}
        else:
            whole = {"refusal": part["refusal"]}
        done = sequence.event(f"response.{self._kind}.done", {**place, **whole})
        done += sequence.event("response.content_part.done", {**place, "part": part})
        self._content.append(part)
        self._kind, self._pieces, self._logprobs = None, [], []
        return done

    def _part(self) -> Document:
        text = "".join(self._pieces)
        return text_part(text, self._logprobs) if self._kind == _TEXT else refusal_part(text)


class OpenThought:
    """A thought, shown as a summary of one part."""

    __slots__ = ("_pieces", "encrypted", "id", "index")

    def __init__(self, index: int, item_id: str) -> None:
        self.index = index
        self.id = item_id
        self.encrypted: str | None = None
        self._pieces: list[str] = []

    def opened(self, sequence: Sequence) -> bytes:
        """It begins."""
        item = thought_item(self.id, "", None, IN_PROGRESS)
        return sequence.event(
            "response.output_item.added", {"output_index": self.index, "item": item}
        )

    def text(self, sequence: Sequence, text: str) -> bytes:
        """More of it."""
        begun = b""
        if not self._pieces:
            part = {"type": "summary_text", "text": ""}
            begun = sequence.event(
                "response.reasoning_summary_part.added", {**self._place(), "part": part}
            )
        self._pieces.append(text)
        return begun + sequence.event(
            "response.reasoning_summary_text.delta", {**self._place(), "delta": text}
        )

    def closed(self, sequence: Sequence, item: Document) -> bytes:
        """It is complete; `item` is what `document` gave."""
        done = b""
        if self._pieces:
            text, place = "".join(self._pieces), self._place()
            done = sequence.event("response.reasoning_summary_text.done", {**place, "text": text})
            done += sequence.event(
                "response.reasoning_summary_part.done",
                {**place, "part": {"type": "summary_text", "text": text}},
            )
        return done + sequence.event(
            "response.output_item.done", {"output_index": self.index, "item": item}
        )

    def document(self) -> Document:
        """The item as it is now."""
        return thought_item(self.id, "".join(self._pieces), self.encrypted)

    def _place(self) -> Document:
        return {"item_id": self.id, "output_index": self.index, "summary_index": 0}


class OpenCall:
    """A call of a function."""

    __slots__ = ("_call_id", "_delta", "_name", "_pieces", "id", "index")

    def __init__(self, index: int, call_id: str, name: str) -> None:
        self.index = index
        self.id = new_call_id()
        self._call_id = call_id
        self._name = name
        self._pieces: list[str] = []
        event = "response.function_call_arguments.delta"
        head = orjson.dumps({"type": event, "item_id": self.id, "output_index": index})
        self._delta = b'event: %s\ndata: %s,"delta":' % (event.encode(), head[:-1])

    def opened(self, sequence: Sequence) -> bytes:
        """It begins."""
        item = call_item(self.id, self._call_id, self._name, "", IN_PROGRESS)
        return sequence.event(
            "response.output_item.added", {"output_index": self.index, "item": item}
        )

    def arguments(self, sequence: Sequence, text: str) -> bytes:
        """More of its arguments."""
        self._pieces.append(text)
        return b'%s%s,"sequence_number":%d}\n\n' % (
            self._delta,
            orjson.dumps(text),
            sequence.next(),
        )

    def is_whole(self) -> bool:
        """Whether the arguments are complete, so that nothing more can come."""
        if not self._pieces:  # a quick answer to what is asked for each call that is open
            return False
        try:
            orjson.loads("".join(self._pieces))
        except ValueError:
            return False
        return True

    def closed(self, sequence: Sequence, item: Document) -> bytes:
        """It is complete; `item` is what `document` gave."""
        arguments = item["arguments"]
        missing = b""
        if not "".join(self._pieces).strip():
            missing = self.arguments(sequence, NO_ARGUMENTS)
        done = {"item_id": self.id, "output_index": self.index, "arguments": arguments}
        return (
            missing
            + sequence.event("response.function_call_arguments.done", done)
            + sequence.event(
                "response.output_item.done", {"output_index": self.index, "item": item}
            )
        )

    def document(self) -> Document:
        """The item as it is now."""
        arguments = "".join(self._pieces)
        if not arguments.strip():
            arguments = NO_ARGUMENTS
        return call_item(self.id, self._call_id, self._name, arguments, COMPLETED)


OpenItem = OpenMessage | OpenThought | OpenCall
