"""The door to chat completions: what callers send, read.

Source: https://developers.openai.com/api/reference/resources/chat (November 2026)
"""

from collections.abc import Mapping
from typing import Final

from model_service.providers.chat import ChatAnswer, ChatRequest, Document, Text
from model_service.providers.dialects.openai_chat.answers import answer_document
from model_service.providers.dialects.openai_chat.thoughts import ORIGIN
from model_service.providers.dialects.openai_chat.turns import Turns
from model_service.providers.dialects.openai_chat.wishes import (
    read_output,
    read_reasoning,
    read_tool,
    read_tool_choice,
)
from model_service.providers.dialects.openai_chat.writer import ChatWriter
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields
from model_service.providers.plain import is_count, is_share, plain_request, plain_turns

_SPELLING: Final[Mapping[str, str]] = {
    "system": "messages",
    "include_usage": "stream_options.include_usage",
    "output": "response_format",
    "reasoning": "reasoning_effort",
}

_VERBOSITIES: Final = frozenset(("low", "medium", "high"))

# Only OpenAI has these; without them the answer would be another.
_REFUSED: Final = {
    "audio": "sounds are not given through this door",
    "function_call": "is the old form of tool_choice; use that",
    "functions": "is the old form of tools; use that",
    "moderation": "is OpenAI's alone",
    "prediction": "predicted outputs are OpenAI's alone",
    "web_search_options": "searching the web is OpenAI's alone",
}

#: What a plain request may have.
_PLAIN: Final = frozenset(
    ("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
     "temperature", "top_p")
)  # fmt: skip
_SAID: Final = frozenset(("model", "messages", "stream"))

# Hints for OpenAI's cache. They cannot change an answer.
_HINTS: Final = ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention")


class ChatDoor:
    """The caller's side of chat completions."""

    name = ORIGIN
    spelling = _SPELLING

    def read(self, body: Document, model: str, *, stream: bool) -> ChatRequest:
        """The request in the intermediate form.

        Raises:
            CallFailed: naming the field that is wrong, or that no other dialect has.
        """
        return read_plain(body, model, stream=stream) or read_any(body, model, stream=stream)

    def answer(self, answer: ChatAnswer, model: str) -> Document:
        """A whole answer; `model` is the registered name."""
        return answer_document(answer, model)

    def writer(self, request: ChatRequest, model: str) -> ChatWriter:
        """What writes a stream."""
        return ChatWriter(model, include_usage=request.include_usage)


def read_plain(body: Document, model: str, *, stream: bool) -> ChatRequest | None:
    """The request, if it is plain, as `read_any` reads it; None for any other."""
    if not body.keys() <= _PLAIN:
        return None
    system: list[Text] = []
    messages = plain_turns(body.get("messages"), system)
    if messages is None:
        return None
    if body.keys() <= _SAID:
        return plain_request(model, messages, system, stream=stream, include_usage=False)
    options, max_tokens = body.get("stream_options"), body.get("max_completion_tokens")
    if max_tokens is None:
        max_tokens = body.get("max_tokens")
    elif body.get("max_tokens") is not None:
        return None
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if not (is_count(max_tokens) and is_share(temperature, 2) and is_share(top_p, 1)):
        return None
    if options is not None and not _only_asks_for_usage(options):
        return None
    request = plain_request(model, messages, system, stream=stream, include_usage=bool(options))
    request.max_tokens, request.temperature, request.top_p = max_tokens, temperature, top_p
    return request


def _only_asks_for_usage(options: object) -> bool:
    return type(options) is dict and len(options) == 1 and options.get("include_usage") is True


def read_any(body: Document, model: str, *, stream: bool) -> ChatRequest:
    """The request, however it is. Raises CallFailed."""
    fields = Fields(body)
    fields.ignore("model", "stream")
    if not _REFUSED.keys().isdisjoint(body):
        for name, reason in _REFUSED.items():
            fields.refuse(name, reason)
    turns = Turns()
    if not (messages := fields.array("messages")):
        raise invalid("messages", "must have at least one message")
    for index, message in enumerate(messages):
        turns.add(Fields(message, f"messages[{index}]."))
    request = ChatRequest(
        model,
        turns.messages,
        turns.system,
        stream=stream,
        include_usage=_read_stream_options(fields),
        max_tokens=_read_max_tokens(fields),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.integer("top_k", 1),
        stop=fields.texts("stop"),
        seed=fields.integer("seed"),
        presence_penalty=fields.number("presence_penalty", -2, 2) or None,
        frequency_penalty=fields.number("frequency_penalty", -2, 2) or None,
        logit_bias=fields.document("logit_bias") or None,
        tools=[read_tool(tool) for tool in fields.objects("tools")],
        tool_choice=read_tool_choice(fields),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        output=read_output(fields),
        verbosity=fields.choice("verbosity", _VERBOSITIES),
        reasoning=read_reasoning(fields),
        metadata=fields.document("metadata"),
    )
    _read_rest(fields, request)
    fields.finish()
    return request


def _read_stream_options(fields: Fields) -> bool:
    options = fields.object("stream_options")
    if options is None:
        return False
    include_usage = options.flag("include_usage") or False
    options.flag("include_obfuscation")  # of OpenAI's own streams: random letters, or none
    options.finish()
    return include_usage


def _read_max_tokens(fields: Fields) -> int | None:
    old = fields.integer("max_tokens", 1)
    new = fields.integer("max_completion_tokens", 1)
    if old is not None and new is not None and old != new:
        raise invalid("max_tokens", "must not differ from max_completion_tokens, which replaces it")
    return old if new is None else new


def _read_rest(fields: Fields, request: ChatRequest) -> None:
    """What has a value that says nothing, and what is only a note."""
    n = fields.integer("n", 1, 128)
    request.n = None if n == 1 else n
    if fields.flag("store"):
        raise unsupported("store", "answers are stored by OpenAI alone")
    modalities = fields.texts("modalities")
    if any(word != "text" for word in modalities):
        raise unsupported("modalities", "only text is given through this door")
    _read_logprobs(fields, request)
    tier = fields.text("service_tier")
    request.service_tier = None if tier == "auto" else tier
    user, safety = fields.text("user"), fields.text("safety_identifier")
    request.user = safety or user
    if safety and user and safety != user:
        request.dropped.append("user")
    for name in _HINTS:
        if name in fields:
            request.dropped.append(name)
        fields.ignore(name)


def _read_logprobs(fields: Fields, request: ChatRequest) -> None:
    logprobs = fields.flag("logprobs")
    top = fields.integer("top_logprobs", 0, 20)
    if top and not logprobs:
        raise invalid("top_logprobs", "needs logprobs to be true")
    if logprobs:
        request.logprobs, request.top_logprobs = True, top
