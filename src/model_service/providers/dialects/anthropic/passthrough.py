"""Calls whose door and provider both speak the Messages API: named edits, all else as it came."""

from typing import Final

import orjson

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.dialects.anthropic.faults import (
    AnthropicFaults,
    bare_error,
    holds_error,
)
from model_service.providers.dialects.anthropic.models import traits
from model_service.providers.dialects.anthropic.thoughts import send_own_thoughts
from model_service.providers.dialects.anthropic.usage import read_usage
from model_service.providers.dialects.anthropic.wire import (
    MESSAGES_PATH,
    STOP_REASONS,
    VERSION_HEADER,
)
from model_service.providers.dialects.anthropic.writer import MESSAGE_STOP, write_fault
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, Fault, cut, malformed
from model_service.providers.repeats import Repeats
from model_service.providers.sse import EventParser, parse_block
from model_service.providers.translation import Document, Outgoing, Target

_FAULTS: Final = AnthropicFaults()

# No model has as many; what is above is the provider's to refuse.
_MOST_TOKENS: Final = 2**31


class AnthropicPassthrough:
    """See `Passthrough`."""

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:
        """The body with the provider's model name, and what was registered for a silent caller.

        Thoughts that another provider signed are left out: Anthropic would refuse them.
        """
        body["model"] = target.upstream_model
        if body.get("max_tokens") is None:
            body["max_tokens"] = _default_tokens(body, target)
        temperature = target.default_temperature
        if temperature is not None and temperature <= 1 and _takes_temperature(body, target):
            body["temperature"] = temperature
        if stream:
            body["stream"] = True
        send_own_thoughts(body)
        return Outgoing(MESSAGES_PATH, body, VERSION_HEADER)

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:
        """The answer under the registered name, and what was used. Raises CallFailed."""
        document = read_document(body)
        if not isinstance(document.get("content"), list):
            raise malformed("The provider's answer has no content")
        usage = read_usage(document.get("usage"))
        return _renamed(body, document, document, model), usage

    def relay(self, body: Document, model: str) -> "AnthropicRelay":  # noqa: ARG002
        """The way back of a stream, the same whatever the request was."""
        return AnthropicRelay(model)


class AnthropicRelay:
    """The way back of a stream; see `StreamRelay`.

    Every event is read, but written as it came, save `message_start`, which names the model. One
    that differs from a delta that was read in its text alone is known without being parsed.
    """

    def __init__(self, model: str) -> None:
        self.failure: CallFailed | None = None
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.began = False
        self.complete = False
        self._model = model
        self._parser = EventParser()
        self._repeats = Repeats()
        self._malformed = False

    def feed(self, data: bytes) -> bytes:
        """Whole events for the caller."""
        if self._is_over():
            return b""
        try:
            whole = self._parser.whole(data)
        except CallFailed as failed:
            self.failure = failed
            return b""
        if not whole:
            return b""
        blocks = whole.split(b"\n\n")
        edited = False
        known = self._repeats.edited
        for position, block in enumerate(blocks):
            if known(block) is not None:
                self._malformed = False
                continue
            kept = self._read(block)
            if kept is not block:
                blocks[position] = kept
                edited = True
            if self._is_over():
                del blocks[position + 1 :]
                edited = True
                break
        return b"".join(block + b"\n\n" for block in blocks if block) if edited else whole

    def end(self) -> bytes:
        """What the end lacks of a stream that is complete; else a `failure`."""
        if self.failure is not None or self.complete:
            return b""
        if self.finish is not None:
            self.complete = True
            return MESSAGE_STOP
        self.failure = bare_error(self._parser.whole(b"\n\n"))
        if self.failure is not None:
            return b""
        if self._malformed:
            self.failure = malformed("The provider's stream ended in an event it never sends")
        else:
            self.failure = cut()
        return b""

    def fail(self, fault: Fault) -> bytes:
        """`event: error`."""
        return write_fault(fault)

    def _is_over(self) -> bool:
        return self.complete or self.failure is not None

    def _read(self, block: bytes) -> bytes:
        """The block as it goes on; empty for one that does not."""
        event = parse_block(block)
        if event is None:
            if block.lstrip(b"\n").startswith(b":"):
                return block  # a comment
            self.failure = bare_error(block)
            return b""
        try:
            document = loads(event[1])
        except ValueError:
            document = None
        if not isinstance(document, dict):
            self._malformed = True
            return b""
        self._malformed = False
        kind = document.get("type")
        if kind == "content_block_delta":
            self.began = True
            delta = document.get("delta")
            text = delta.get("text") if isinstance(delta, dict) else None
            if isinstance(text, str):
                self._repeats.learn(block, block, [text])
            return block
        if kind == "message_start":
            return self._start(block, document)
        if kind != "ping":
            self.began = True
        if kind == "message_delta":
            self._note_end(document)
        elif kind == "message_stop":
            if self.finish is None:
                self.failure = cut()
                return b""
            self.complete = True
        elif holds_error(document):
            self.failure = CallFailed(_FAULTS.fault(200, document))
            return b""
        return block

    def _start(self, block: bytes, document: Document) -> bytes:
        message = document.get("message")
        if not isinstance(message, dict):
            self._malformed = True
            return b""
        self.usage = read_usage(message.get("usage"), self.usage)
        try:
            return _renamed(
                block, document, message, self._model, prefix=b"event: message_start\ndata: "
            )
        except CallFailed as failed:
            self.failure = failed
            return b""

    def _note_end(self, document: Document) -> None:
        self.usage = read_usage(document.get("usage"), self.usage)
        delta = document.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, dict) else None
        if isinstance(reason, str) and self.finish is None:
            self.finish = STOP_REASONS.get(reason, FinishReason.STOP)


def read_document(body: bytes) -> Document:
    """An answer. Raises CallFailed: it is no JSON object, or holds an error."""
    try:
        document = loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise malformed("The provider's answer is not a JSON object")
    if holds_error(document):
        raise CallFailed(_FAULTS.fault(200, document))
    return document


def _renamed(
    data: bytes, document: Document, message: Document, model: str, prefix: bytes = b""
) -> bytes:
    """The bytes with the registered name as the message's model.

    Where the name stands just once it is replaced where it stands; else, as when a tool's
    arguments name a model as well, the document is written anew.
    """
    upstream_model = message.get("model")
    if upstream_model == model:
        return data
    if isinstance(upstream_model, str):
        name, replacement = orjson.dumps(upstream_model), b'"model":' + orjson.dumps(model)
        for fragment in (b'"model":' + name, b'"model": ' + name):
            found = data.count(fragment)
            if found == 1:
                return data.replace(fragment, replacement)
            if found:
                break
    message["model"] = model
    try:
        return prefix + orjson.dumps(document)
    except TypeError:
        raise malformed("The provider's answer is nested too deeply") from None


def _default_tokens(body: Document, target: Target) -> int:
    """The registered number; on top of a budget for thinking, which has to be below it."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(budget, int) and target.max_tokens <= budget < _MOST_TOKENS:
        return budget + target.max_tokens
    return target.max_tokens


def _takes_temperature(body: Document, target: Target) -> bool:
    """Whether the caller leaves it open, and the model would not refuse it."""
    if body.get("temperature") is not None or body.get("top_p") is not None:
        return False
    thinking = body.get("thinking")
    thinks = isinstance(thinking, dict) and thinking.get("type") != "disabled"
    return not thinks and traits(target.upstream_model).sampling
