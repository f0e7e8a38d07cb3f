"""Whole answers of the Messages API.

One is read as the stream that would have brought each of its blocks in one piece.
"""

from typing import Final

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    Document,
    FinishReason,
    Text,
    Usage,
)
from model_service.providers.dialects.anthropic.faults import AnthropicFaults, holds_error
from model_service.providers.dialects.anthropic.reader import AnthropicReader
from model_service.providers.dialects.anthropic.usage import read_usage
from model_service.providers.dialects.anthropic.wire import STOP_REASONS, read_tier
from model_service.providers.faults import CallFailed, malformed
from model_service.providers.plain import only_object

_FAULTS: Final = AnthropicFaults()
_STOP: Final = FinishReason.STOP


def read_answer(document: Document) -> ChatAnswer:
    """A whole answer. Raises CallFailed: it is an error, or not what it should be."""
    return read_plain_answer(document) or read_any_answer(document)


def read_plain_answer(document: Document) -> ChatAnswer | None:
    """An answer of one text, as `read_any_answer` reads it; None for any other."""
    block, reason = only_object(document.get("content")), document.get("stop_reason")
    usage, given = document.get("usage"), document.get("id")
    if (
        block is None
        or document.get("type") != "message"
        or "error" in document
        or block.get("type") != "text"
        or type(usage) is not dict
        or type(given) is not str
        or type(reason) is not str
        or reason == "refusal"
    ):
        return None
    text, sequence = block.get("text"), document.get("stop_sequence")
    if type(text) is not str or not text:
        return None
    if type(sequence) is not str:
        sequence = None
    candidate = Candidate([Text(text)], STOP_REASONS.get(reason, _STOP), sequence)
    return ChatAnswer(given, [candidate], read_usage(usage) or Usage(), None, read_tier(usage))


def read_any_answer(document: Document) -> ChatAnswer:
    """A whole answer, however it is. Raises CallFailed."""
    if holds_error(document):
        raise CallFailed(_FAULTS.fault(200, document))
    content = document.get("content")
    if not isinstance(content, list) or not isinstance(document.get("stop_reason"), str):
        raise malformed("The provider's answer has no content, or does not say why it ended")
    reader, events = AnthropicReader(), list[ChatEvent]()
    reader.message_start({"message": document}, events)
    for index, block in enumerate(content):
        if not reader.block_start({"index": index, "content_block": block}, events):
            raise malformed(f"Block {index} of the provider's answer is malformed")
        reader.block_stop({"index": index}, events)
    reader.message_delta({"delta": document}, events)
    return assemble(events)
