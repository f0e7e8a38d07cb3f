"""Whole answers, as callers of chat completions get them.

Source: https://developers.openai.com/api/reference/resources/chat
"""

import secrets
from typing import Final

from model_service.providers import signatures
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    Document,
    FinishReason,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from model_service.providers.dialects.openai_chat.thoughts import detail
from model_service.providers.dialects.openai_chat.turns import CALL_SIGNATURES
from model_service.providers.dialects.openai_chat.usage import usage_document

_ID_PREFIX: Final = "chatcmpl-"

#: What stands between thoughts in `reasoning_content`.
BETWEEN_THOUGHTS: Final = "\n\n"

_REFUSAL: Final = FinishReason.REFUSAL
_FINISH: Final = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.STOP_SEQUENCE: "stop",
    # Nothing here says "send it back to go on"; that it is not whole has to be said.
    FinishReason.PAUSE: "length",
}


def finish_word(reason: FinishReason, *, in_words: bool) -> str:
    """The `finish_reason`. OpenAI's refusals are `stop`, for they are said `in_words`."""
    if reason is _REFUSAL:
        return "stop" if in_words else "content_filter"
    return _FINISH[reason]


def answer_id(given: str) -> str:
    """The id as this door shows it; a new one for none."""
    if not given:
        return _ID_PREFIX + secrets.token_hex(12)
    return given if given.startswith(_ID_PREFIX) else _ID_PREFIX + given


def call_document(call: ToolCall) -> Document:
    """A call; without arguments it has an empty object, for callers parse them."""
    document: Document = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
    if call.signature is not None:
        document["extra_content"] = call_signature(call.signature)
    return document


def call_signature(signature: str) -> Document:
    """Where Gemini's compatible API puts what it wants back with a call."""
    return {"google": {"thought_signature": signatures.shown(signature, CALL_SIGNATURES)}}


def answer_document(answer: ChatAnswer, model: str) -> Document:
    """The whole answer. `created` is 0 where nobody said when it was."""
    document: Document = {
        "id": answer_id(answer.id),
        "object": "chat.completion",
        "created": answer.created or 0,
        "model": model,
        "choices": [_choice(index, candidate) for index, candidate in enumerate(answer.candidates)],
        "usage": usage_document(answer.usage),
    }
    if answer.service_tier is not None:
        document["service_tier"] = answer.service_tier
    return document


def _choice(index: int, candidate: Candidate) -> Document:
    only = candidate.parts[0] if len(candidate.parts) == 1 else None
    if type(only) is Text:  # as nearly always
        return {
            "index": index,
            "message": {"role": "assistant", "content": only.text, "refusal": None},
            "logprobs": candidate.logprobs,
            "finish_reason": finish_word(candidate.finish, in_words=False),
        }
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    details: list[Document] = []
    calls: list[Document] = []
    for place, part in enumerate(candidate.parts):
        match part:
            case Text():
                texts.append(part.text)
            case Refusal():
                refusals.append(part.text)
            case ToolCall():
                calls.append(call_document(part))
            case Reasoning():
                if part.text:
                    thoughts.append(part.text)
                details.append(detail(part, place))
            case _:  # a model says nothing else
                pass
    refusal = "".join(refusals)
    silent = bool(calls or refusal)
    message: Document = {
        "role": "assistant",
        "content": "".join(texts) if texts or not silent else None,
        "refusal": refusal or None,
    }
    if thoughts:
        message["reasoning_content"] = BETWEEN_THOUGHTS.join(thoughts)
    if details:
        message["reasoning_details"] = details
    if calls:
        message["tool_calls"] = calls
    return {
        "index": index,
        "message": message,
        "logprobs": candidate.logprobs,
        "finish_reason": finish_word(candidate.finish, in_words=bool(refusal)),
    }
