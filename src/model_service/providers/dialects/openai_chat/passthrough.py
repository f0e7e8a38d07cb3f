"""Calls that pass through: from a caller of chat completions to a provider of them.

The named edits: the model's name, the usage at the end of a stream, registered defaults where the
caller is silent, and what this service itself put into a history for other providers.
"""

from functools import lru_cache
from typing import Final

import orjson

from model_service.kernel.types import Provider
from model_service.providers.chat import Document, Usage
from model_service.providers.dialects.openai_chat.endings import choice_error
from model_service.providers.dialects.openai_chat.relay import ChatRelay
from model_service.providers.dialects.openai_chat.thoughts import FORMAT
from model_service.providers.dialects.openai_chat.upstream import PATH, thinks
from model_service.providers.dialects.openai_chat.usage import paid_tier, read_usage
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, malformed
from model_service.providers.openai_faults import OpenAIFaults, holds_error
from model_service.providers.signatures import taken
from model_service.providers.translation import Outgoing, Target

_FAULTS: Final = OpenAIFaults()
_NOT_VENDORS: Final = frozenset((Provider.OPENAI, Provider.AZURE))

# How vendors let callers ask for thoughts, besides `reasoning_effort`.
_THINKING: Final = ("reasoning", "thinking")


class ChatPassthrough:
    """The named edits of a chat completion."""

    def __init__(self, max_tokens_field: str = "max_completion_tokens") -> None:
        """`max_tokens_field` names the bound: `max_tokens` with most vendors."""
        self._max_tokens_field = max_tokens_field

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:
        """The caller's body, changed."""
        body["model"] = target.upstream_model
        if stream:
            options = body.get("stream_options")
            if isinstance(options, dict):
                options["include_usage"] = True
            elif options is None:
                body["stream_options"] = {"include_usage": True}
        if body.get("max_completion_tokens") is None and body.get("max_tokens") is None:
            body[self._max_tokens_field] = target.max_tokens
        if (
            target.default_temperature is not None
            and body.get("temperature") is None
            and not thinks(body.get("reasoning_effort"), target.upstream_model)
            and not any(body.get(name) for name in _THINKING)
        ):
            body["temperature"] = target.default_temperature
        messages = body.get("messages")
        if isinstance(messages, list):
            _clean(messages, vendor=target.provider not in _NOT_VENDORS)
        return Outgoing(PATH, body)

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:
        """A whole answer with `model` as its model's name. Raises CallFailed."""
        document = parsed_answer(body, "choices")
        for choice in document["choices"]:
            error = choice_error(choice) if isinstance(choice, dict) else None
            if error is not None:
                raise error
        usage = document.get("usage")
        used = read_usage(usage) if isinstance(usage, dict) else None
        if used is not None and "service_tier" in document:
            used.tier = paid_tier(document)
        return renamed(body, document, model), used

    def relay(self, body: Document, model: str) -> ChatRelay:
        """The way back of a stream; `body` is the request as the caller sent it."""
        options, n = body.get("stream_options"), body.get("n")
        return ChatRelay(
            model,
            wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
            choices=n if isinstance(n, int) and n > 0 else 1,
        )


def parsed_answer(body: bytes, field: str) -> Document:
    """The answer, which has a list of that name. Raises CallFailed."""
    try:
        document = loads(body)
    except orjson.JSONDecodeError:
        raise malformed("The provider's answer is not valid JSON") from None
    if not isinstance(document, dict):
        raise malformed("The provider's answer is not a JSON object")
    if holds_error(document):
        raise CallFailed(_FAULTS.fault(200, document))
    if not isinstance(document.get(field), list):
        raise malformed(f"The provider's answer has no {field}")
    return document


def renamed(body: bytes, document: Document, model: str) -> bytes:
    """An answer under the registered name, else as it came. Raises CallFailed.

    Within a JSON string a quotation mark is escaped, so the key is never part of a text. Should it
    be there twice, as where a call's arguments are no string, the answer is written anew.
    """
    given = document.get("model")
    if type(given) is str and body.count(b'"model"') == 1:
        for colon in (b'"model":%b', b'"model": %b'):
            fragment = colon % _quoted(given)
            if fragment in body:
                return body.replace(fragment, colon % _quoted(model))
    document["model"] = model
    return written_answer(document)


@lru_cache(maxsize=4096)
def _quoted(name: str) -> bytes:
    return orjson.dumps(name)


def written_answer(document: Document) -> bytes:
    """The answer's bytes. Raises CallFailed."""
    try:
        return orjson.dumps(document)
    except TypeError:
        raise malformed("The provider's answer is nested too deeply") from None


def _clean(messages: list[object], *, vendor: bool) -> None:
    """Take out what this service's door wrote for other providers: these would refuse it.

    A caller that changes models within a conversation sends it along.
    """
    for message in messages:
        if not isinstance(message, dict) or message.get("role") != "assistant":
            continue
        details = message.get("reasoning_details")
        if isinstance(details, list):
            theirs = [item for item in details if not _is_ours(item)]
            if not theirs:
                del message["reasoning_details"]
                message.pop("reasoning_content", None)
            elif len(theirs) != len(details):
                message["reasoning_details"] = theirs
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict) and "extra_content" in call:
                    _clean_call(call, vendor=vendor)


def _is_ours(item: object) -> bool:
    return isinstance(item, dict) and item.get("format") == FORMAT


def _clean_call(call: Document, *, vendor: bool) -> None:
    extra = call["extra_content"]
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    if not isinstance(signature, str):
        return
    # A bare one is Gemini's, and may be for Gemini's own compatible API.
    if not vendor or taken(signature, "") == signature:
        del call["extra_content"]
