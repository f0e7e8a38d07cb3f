"""The way back of a stream that passes through: the provider's own bytes, but for the named edits.

This is the busiest loop of the gateway. Every event is parsed, to see that it is sound and what it
says of usage and ends, unless it differs from a parsed one in nothing but plain text (`repeats`).
What goes out is the event as it came, with the fragments replaced that name the model or an empty
usage. That is safe: within a JSON string a quotation mark is escaped, so `"model":"..."` is never
part of a text. Where a fragment stands more than once the event is written anew.
"""

from typing import Final

import orjson

from model_service.providers.chat import Document, FinishReason, Usage
from model_service.providers.dialects.openai_chat.endings import choice_error, finish_reason
from model_service.providers.dialects.openai_chat.reading import reported_usage
from model_service.providers.dialects.openai_chat.usage import paid_tier, read_usage
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, Fault, cut, malformed
from model_service.providers.openai_faults import OpenAIFaults, holds_error
from model_service.providers.repeats import Repeats
from model_service.providers.sse import EventParser, data_event, named_event, parse_block

_FAULTS: Final = OpenAIFaults()
_DATA: Final = b"data: "
_DONE: Final = b"[DONE]"
_CHUNK: Final = "chat.completion.chunk"
_DONE_EVENT: Final = b"data: [DONE]\n\n"
_NO_USAGE: Final = (b',"usage":null', b', "usage": null')
_NOTHING: Final = b""


class ChatRelay:
    """One stream's way back. Nothing here raises.

    `wants_usage`: the caller asked for the usage, which the provider is always asked for;
    `choices`: how many choices the caller asked for.
    """

    __slots__ = (
        "_choices",
        "_ended",
        "_malformed",
        "_model",
        "_named",
        "_parser",
        "_repeats",
        "_seen",
        "_wants_usage",
        "began",
        "complete",
        "failure",
        "finish",
        "usage",
    )

    def __init__(self, model: str, *, wants_usage: bool, choices: int) -> None:
        self.failure: CallFailed | None = None
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.began = False
        self.complete = False
        self._model = model
        self._named = orjson.dumps(model)
        self._wants_usage = wants_usage
        self._choices = choices
        # Indexes of the choices that have ended.
        self._ended: set[int] = set()
        self._seen = False
        self._malformed = False
        self._parser = EventParser()
        # The form of events that bring nothing but text.
        self._repeats = Repeats()

    def feed(self, data: bytes) -> bytes:
        """Take what the provider sent; gives whole events for the caller."""
        if self._is_over():
            return b""
        try:
            whole = self._parser.whole(data)
        except CallFailed as failure:
            self.failure = failure
            return b""
        return self._pass(whole) if whole else b""

    def end(self) -> bytes:
        """The provider's stream is over; a `failure` when it was cut."""
        if self._is_over():
            return b""
        rest = self._parser.has_rest
        # Some end their streams without the last blank line.
        out = self._pass(self._parser.whole(b"\n\n")) if rest else b""
        if self._is_over():
            return out
        if len(self._ended) >= self._choices:
            self.complete = True
            return out + _DONE_EVENT
        self.failure = _not_json() if self._malformed and not rest else cut()
        return out

    def fail(self, fault: Fault) -> bytes:
        """The error event. No closing mark follows: the answer is not whole."""
        return data_event(orjson.dumps(_FAULTS.error(fault, "")))

    def _is_over(self) -> bool:
        return self.complete or self.failure is not None

    def _pass(self, whole: bytes) -> bytes:
        """Whole events as they go on."""
        edited = self._repeats.edited
        out: list[bytes] = []
        try:
            for block in whole.split(b"\n\n"):
                event = edited(block)
                if event is not None:
                    self._malformed = False
                    out.append(event)
                elif block:
                    event = self._take(block)
                    if event:
                        out.append(event)
                    if self.complete:
                        break  # nothing is sent that comes after the end
        except CallFailed as failure:
            self.failure = failure
        out.append(_NOTHING)
        return b"\n\n".join(out)

    def _take(self, block: bytes) -> bytes:
        """An event as it goes on; empty for one that does not. Raises CallFailed for an error."""
        name = b""
        is_plain = block.startswith(_DATA) and b"\n" not in block
        if is_plain:
            payload = block[len(_DATA) :]
        else:
            event = parse_block(block)
            if event is None:
                return self._take_other(block)
            name, payload = event
        self._seen = True
        if payload == _DONE:
            if not self._ended:
                raise _not_json() if self._malformed else cut()
            self.complete = True
            return block
        try:
            document = loads(payload)
        except orjson.JSONDecodeError:
            document = None
        if type(document) is not dict:
            # No client could read it. What follows shows whether the stream goes on.
            self._malformed = True
            return _NOTHING
        # The cheap question first: what calls itself a chunk and has no error is none.
        if (document.get("object") != _CHUNK or "error" in document or name) and (
            holds_error(document) or name == b"error"
        ):
            raise CallFailed(_FAULTS.fault(200, document))
        self._malformed = False
        choices = document.get("choices")
        if choices and type(choices) is list:
            if not self.began:
                self.began = any(map(_says_something, choices))
            for choice in choices:
                if type(choice) is dict and (choice.get("finish_reason") or "error" in choice):
                    self._end_choice(choice)
        if ("usage" in document or "x_groq" in document) and not self._take_usage(
            document, choices
        ):
            return _NOTHING
        edited = self._edited(block if is_plain else _NOTHING, name, document)
        if is_plain and type(choices) is list and len(choices) == 1:
            self._learn(block, edited, document, choices[0])
        return edited

    def _learn(self, block: bytes, edited: bytes, document: Document, choice: object) -> None:
        """Know events again that bring nothing but text, if this one does."""
        if type(choice) is not dict or choice.get("finish_reason") or document.get("usage"):
            return
        delta = choice.get("delta")
        text = delta.get("content") if type(delta) is dict else None
        if type(text) is not str:
            return
        other = document.get("obfuscation")
        self._repeats.learn(block, edited, [text, other] if type(other) is str else [text])

    def _take_other(self, block: bytes) -> bytes:
        """Comments keep the caller's connection alive as well; what else has no data means nothing.

        Raises:
            CallFailed: it is an error that came without a stream.
        """
        if block.lstrip(b"\n").startswith(b":"):
            return block
        if self._seen or not block.lstrip().startswith(b"{"):
            return _NOTHING
        try:
            document = orjson.loads(block)
        except orjson.JSONDecodeError:
            return _NOTHING
        if holds_error(document):
            raise CallFailed(_FAULTS.fault(200, document))
        raise malformed("The provider answered with no stream, although one was asked for")

    def _end_choice(self, choice: Document) -> None:
        error = choice_error(choice)
        if error is not None:
            raise error
        word, index = choice.get("finish_reason"), choice.get("index")
        if not isinstance(word, str):
            return
        reason = finish_reason(word)
        if not isinstance(index, int):
            index = 0
        self._ended.add(index)
        if index == 0 and self.finish is None:
            self.finish = reason

    def _take_usage(self, document: Document, choices: object) -> bool:
        """Note the usage; False when the event is there for nothing but what nobody asked for."""
        usage = reported_usage(document)
        if usage is None:
            return True
        self.usage = read_usage(usage)
        self.usage.tier = paid_tier(document)
        return self._wants_usage or bool(choices)

    def _edited(self, block: bytes, name: bytes, document: Document) -> bytes:
        """The event with its edits; one in an unusual spelling is given as an empty `block`.

        Raises:
            CallFailed: it cannot be written again.
        """
        edited = block
        model = document.get("model")
        if edited and type(model) is str and model != self._model:
            edited = self._renamed(edited, model)
        has_empty_usage = not self._wants_usage and document.get("usage", block) is None
        if edited and has_empty_usage:
            edited = _without_empty_usage(edited)
        if edited:
            return edited
        if type(model) is str:
            document["model"] = self._model
        if has_empty_usage:
            del document["usage"]
        try:
            data = orjson.dumps(document)
        except TypeError:
            # It was parsed, so it is nested more deeply than can be written again.
            raise malformed("The provider sent an event that is nested too deeply") from None
        return (named_event(name, data) if name else data_event(data))[:-2]

    def _renamed(self, block: bytes, model: str) -> bytes:
        """The event under the registered name; empty where it is not clear where that stands."""
        written = orjson.dumps(model)
        for key in (b'"model":', b'"model": '):
            if block.count(key + written) == 1:
                return block.replace(key + written, key + self._named)
        return _NOTHING


def _says_something(choice: object) -> bool:
    """Whether there is more to it than the role that an answer opens with."""
    if type(choice) is not dict:
        return False
    delta = choice.get("delta")
    return bool(choice.get("finish_reason")) or (
        type(delta) is dict and any(delta[name] for name in delta if name != "role")
    )


def _without_empty_usage(block: bytes) -> bytes:
    """The event without its usage of null; empty where it is not clear where that stands."""
    for fragment in _NO_USAGE:
        if block.count(fragment) == 1:
            return block.replace(fragment, _NOTHING)
    return _NOTHING


def _not_json() -> CallFailed:
    return malformed("The provider sent an event that is not valid JSON")
