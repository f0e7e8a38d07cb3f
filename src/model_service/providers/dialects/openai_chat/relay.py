"""The way back of a stream that passes through: the provider's own bytes, but for the named edits.

This is the busiest loop of the gateway. Every event is parsed, to see that it is sound and what it
says of usage and ends, unless it differs from a parsed one in nothing but plain text (`repeats`);
but what goes out is, wherever it can be, the buffer of whole events as it came, with the model's
name replaced in all of it at once. That is safe: within a JSON string a
quotation mark is escaped, so `"model":"..."` is never part of a text. Where the number of what
would be replaced is not that of the events, they are written again one by one.
"""

from typing import Final

import orjson

from model_service.providers.chat import Document, FinishReason, Usage
from model_service.providers.dialects.openai_chat.endings import choice_error, finish_reason
from model_service.providers.dialects.openai_chat.reader import reported_usage
from model_service.providers.dialects.openai_chat.usage import read_usage
from model_service.providers.faults import CallFailed, Fault, cut, malformed
from model_service.providers.openai_faults import OpenAIFaults, holds_error
from model_service.providers.repeats import Repeats
from model_service.providers.sse import EventParser, data_event, named_event, parse_block

_FAULTS: Final = OpenAIFaults()
_DATA: Final = b"data: "
_DONE: Final = b"[DONE]"
_CHUNK: Final = "chat.completion.chunk"
_DONE_EVENT: Final = b"data: [DONE]\n\n"
#: In place of what an event holds that was known by its form.
_REPEATED: Final[Document] = {}
#: A usage of null, after another field and by itself, in either way to write it.
_NO_USAGE: Final = ((b',"usage":null', b'"usage":null'), (b', "usage": null', b'"usage": null'))


class _Buffer:
    """What a buffer of whole events holds."""

    __slots__ = ("as_it_is", "empty_usages", "kept", "models")

    def __init__(self) -> None:
        # The events that go on, with their names and what they hold: comments hold nothing, and
        # what repeated a known form was not parsed.
        self.kept: list[tuple[bytes, bytes, Document | None]] = []
        # Whether all of them do, so that no event has to be taken out.
        self.as_it_is = True
        # How many events name which model, and how many have a usage of null to be stripped.
        self.models: dict[str, int] = {}
        self.empty_usages = 0


class ChatRelay:
    """One stream's way back. Nothing here raises.

    `wants_usage`: the caller asked for the usage, which the provider is always asked for;
    `choices`: how many choices the caller asked for.
    """

    __slots__ = (
        "_choices",
        "_edits",
        "_ended",
        "_malformed",
        "_model",
        "_parser",
        "_repeated",
        "_repeats",
        "_seen",
        "_wants_usage",
        "complete",
        "failure",
        "finish",
        "usage",
    )

    def __init__(self, model: str, *, wants_usage: bool, choices: int) -> None:
        self.failure: CallFailed | None = None
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.complete = False
        self._model = model
        self._wants_usage = wants_usage
        self._choices = choices
        # Indexes of the choices that have ended.
        self._ended: set[int] = set()
        # The models that the provider named: how it writes that, and what is to stand there.
        # There is one; Azure's first chunk has an empty one.
        self._edits: dict[str, tuple[bytes, bytes]] = {}
        self._seen = False
        self._malformed = False
        self._parser = EventParser()
        # The form of events that bring text; the model that they name, and whether they have a
        # usage of null to be stripped.
        self._repeats = Repeats()
        self._repeated: tuple[str | None, bool] = (None, False)

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
        buffer = _Buffer()
        try:
            for block in whole.split(b"\n\n"):
                if not block:
                    continue
                if not self._take(block, buffer):
                    # Nothing is sent that comes after the end.
                    if not whole.endswith(block + b"\n\n"):
                        buffer.as_it_is = False
                    break
            if buffer.as_it_is:
                edited = self._edited(whole, buffer)
                if edited is not None:
                    return edited
        except CallFailed as failure:
            self.failure = failure
        return self._rewritten(buffer)

    def _take(self, block: bytes, buffer: _Buffer) -> bool:
        """Look at an event; False for the closing mark. Raises CallFailed for an error."""
        if self._repeats.fits(block):
            self._malformed = False
            model, has_empty_usage = self._repeated
            buffer.kept.append((block, b"", _REPEATED))
            if model is not None:
                buffer.models[model] = buffer.models.get(model, 0) + 1
            buffer.empty_usages += has_empty_usage
            return True
        name = b""
        is_plain = block.startswith(_DATA) and b"\n" not in block
        if is_plain:
            payload = block[len(_DATA) :]
        else:
            event = parse_block(block)
            if event is None:
                self._take_other(block, buffer)
                return True
            name, payload = event
        self._seen = True
        if payload == _DONE:
            if not self._ended:
                raise _not_json() if self._malformed else cut()
            self.complete = True
            buffer.kept.append((block, b"", None))
            return False
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError:
            document = None
        if type(document) is not dict:
            # No client could read it. What follows shows whether the stream goes on.
            self._malformed = True
            buffer.as_it_is = False
            return True
        # The cheap question first: what calls itself a chunk and has no error is none.
        if (document.get("object") != _CHUNK or "error" in document or name) and (
            holds_error(document) or name == b"error"
        ):
            raise CallFailed(_FAULTS.fault(200, document))
        self._malformed = False
        choices = document.get("choices")
        if choices and type(choices) is list:
            for choice in choices:
                if type(choice) is dict and (choice.get("finish_reason") or "error" in choice):
                    self._end_choice(choice)
                elif len(choices) == 1 and is_plain:
                    self._learn_form(block, document, choice)
        if ("usage" not in document and "x_groq" not in document) or self._take_usage(
            document, choices, buffer
        ):
            buffer.kept.append((block, name, document))
            model = document.get("model")
            if type(model) is str and model != self._model:
                buffer.models[model] = buffer.models.get(model, 0) + 1
        return True

    def _learn_form(self, block: bytes, document: Document, choice: object) -> None:
        """Know events again that bring nothing but text, as this one does."""
        delta = choice.get("delta") if type(choice) is dict else None
        text = delta.get("content") if type(delta) is dict else None
        if type(text) is not str or document.get("usage") is not None or "x_groq" in document:
            return
        model = document.get("model")
        is_other = type(model) is str and model != self._model
        if self._repeats.learn(block, text):
            self._repeated = (
                model if is_other else None,
                "usage" in document and not self._wants_usage,
            )

    def _take_other(self, block: bytes, buffer: _Buffer) -> None:
        """Comments keep the caller's connection alive as well; what else has no data means nothing.

        Raises:
            CallFailed: it is an error that came without a stream.
        """
        if block.lstrip(b"\n").startswith(b":"):
            buffer.kept.append((block, b"", None))
            return
        buffer.as_it_is = False
        if self._seen or not block.lstrip().startswith(b"{"):
            return
        try:
            document = orjson.loads(block)
        except orjson.JSONDecodeError:
            return
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

    def _take_usage(self, document: Document, choices: object, buffer: _Buffer) -> bool:
        """Note the usage; False when the event is there for nothing but what nobody asked for."""
        if document.get("usage") is None:
            if not self._wants_usage and "usage" in document:
                buffer.empty_usages += 1
            if "x_groq" not in document:
                return True
        usage = reported_usage(document)
        if usage is not None:
            self.usage = read_usage(usage)
            if not self._wants_usage and not choices:
                buffer.as_it_is = False
                return False
        return True

    def _edited(self, whole: bytes, buffer: _Buffer) -> bytes | None:
        """The buffer with its edits; None where they cannot be made in all of it at once."""
        for model, times in buffer.models.items():
            edit = self._edits.get(model)
            if edit is None or edit[0] not in whole:
                edit = self._learn(model, whole)
            if edit is None or whole.count(edit[0]) != times:
                return None
            whole = whole.replace(*edit)
        if buffer.empty_usages:
            for fragment, bare in _NO_USAGE:
                if whole.count(fragment) == whole.count(bare) == buffer.empty_usages:
                    return whole.replace(fragment, b"")
            return None
        return whole

    def _learn(self, model: str, whole: bytes) -> tuple[bytes, bytes] | None:
        """How the provider writes the model's name."""
        name = orjson.dumps(model)
        for key in (b'"model":', b'"model": '):
            if key + name in whole:
                edit = (key + name, key + orjson.dumps(self._model))
                self._edits[model] = edit
                return edit
        return None

    def _rewritten(self, buffer: _Buffer) -> bytes:
        """The events written one by one."""
        out: list[bytes] = []
        for block, name, document in buffer.kept:
            if document is None:
                out.append(block + b"\n\n")
                continue
            if document is _REPEATED:
                document = orjson.loads(block[len(_DATA) :])
            if isinstance(document.get("model"), str):
                document["model"] = self._model
            if not self._wants_usage and document.get("usage", block) is None:
                del document["usage"]
            try:
                data = orjson.dumps(document)
            except TypeError:
                # It was parsed, so it is nested more deeply than can be written again.
                self.complete = False
                self.failure = malformed("The provider sent an event that is nested too deeply")
                break
            out.append(named_event(name, data) if name else data_event(data))
        return b"".join(out)


def _not_json() -> CallFailed:
    return malformed("The provider sent an event that is not valid JSON")
