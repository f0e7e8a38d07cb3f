"""Gemini as an upstream: requests to `generateContent` and `streamGenerateContent`.

Source: https://ai.google.dev/api/generate-content. Refused, because the API has nothing like it:
`logit_bias`, `verbosity`, calls one at a time, several answers at once in a stream.
"""

from typing import Any, Final

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatRequest,
    Choice,
    Media,
    Text,
    Tool,
    ToolResult,
    Usage,
)
from model_service.providers.dialects.google.chunks import Chunks, UnsoundChunk
from model_service.providers.dialects.google.media import RESOLUTION_WORDS
from model_service.providers.dialects.google.reader import GoogleReader
from model_service.providers.dialects.google.schemas import written_schema
from model_service.providers.dialects.google.thinking import Family, family_of, thinking_config
from model_service.providers.dialects.google.turns import plain_contents, written_contents
from model_service.providers.dialects.google.words import (
    FINISHES,
    NAME,
    TIERS,
    method_path,
    tier_of,
    usage_of,
)
from model_service.providers.faults import malformed
from model_service.providers.plain import only_object
from model_service.providers.translation import Document, Notes, Outgoing, Target

_GENERATE: Final = "generateContent"
_STREAM: Final = "streamGenerateContent?alt=sse"

_USUAL_TIERS: Final = frozenset(("auto", "default", "standard", "standard_only"))
# All that the schema of an object may have that allows for nothing.
_EMPTY_OBJECT: Final = frozenset(("type", "properties", "required", "additionalProperties"))
_SEEDS: Final = range(-(2**31), 2**31)


class GoogleUpstream:
    """The provider's side."""

    name = NAME

    def request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send."""
        plain = plain_contents(request.messages) if request.is_plain else None
        if plain is not None:
            body = _plain_body(request, plain, target)
        else:
            body = _body(request, target, notes)
        method = _STREAM if request.stream else _GENERATE
        return Outgoing(method_path(target.upstream_model, method), body)

    def answer(self, document: Document) -> ChatAnswer:
        """A whole answer."""
        return read_plain_answer(document) or read_any_answer(document)

    def reader(self) -> GoogleReader:
        """What reads a stream."""
        return GoogleReader()

    def takes_prefill(self, request: ChatRequest, target: Target) -> bool:  # noqa: ARG002
        """Models before 3.6 do, whatever they are asked."""
        return family_of(target.upstream_model).takes_prefill


def read_plain_answer(document: Document) -> ChatAnswer | None:
    """An answer of one text, as `read_any_answer` reads it; None for any other."""
    candidate, given = only_object(document.get("candidates")), document.get("responseId")
    if candidate is None or "error" in document or type(given) is not str or not given:
        return None
    content, metadata = candidate.get("content"), document.get("usageMetadata")
    if type(content) is not dict or type(metadata) is not dict or "logprobsResult" in candidate:
        return None
    part, index, reason = (
        only_object(content.get("parts")),
        candidate.get("index", 0),
        candidate.get("finishReason"),
    )
    if part is None or len(part) != 1 or type(index) is not int or index != 0:
        return None
    text, finish = part.get("text"), FINISHES.get(reason) if type(reason) is str else None
    if type(text) is not str or not text or finish is None:
        return None
    usage = usage_of(metadata) or Usage()
    return ChatAnswer(given, [Candidate([Text(text)], finish)], usage, None, tier_of(metadata))


def read_any_answer(document: Document) -> ChatAnswer:
    """A whole answer, however it is. Raises CallFailed."""
    chunks = Chunks()
    try:
        answer = assemble(chunks.events(document))
    except UnsoundChunk:
        raise malformed("The provider's answer is not what it should be") from None
    if chunks.failure is not None:
        raise chunks.failure
    if not chunks.has_finished:
        raise malformed("The provider's answer has no candidate that came to an end")
    return answer


def _plain_body(request: ChatRequest, contents: list[Document], target: Target) -> Document:
    """As `_body` where nothing can be there that most of that is for."""
    body: Document = {"contents": contents}
    if request.system:
        body["systemInstruction"] = {"parts": [{"text": text.text} for text in request.system]}
    config: Document = {"maxOutputTokens": request.max_tokens or target.max_tokens}
    temperature = request.temperature
    if temperature is None:
        temperature = target.default_temperature
    if temperature is not None:
        config["temperature"] = temperature
    if request.top_p is not None:
        config["topP"] = request.top_p
    body["generationConfig"] = config
    return body


def _body(request: ChatRequest, target: Target, notes: Notes) -> Document:
    family = family_of(target.upstream_model)
    body: Document = {"contents": written_contents(request.messages, family, notes)}
    instructions = [{"text": text.text} for text in request.system if text.text]
    if instructions:
        body["systemInstruction"] = {"parts": instructions}
    if any(text.cache is not None for text in request.system):
        notes.drop("cache_control")
    _add_tools(body, request, family, notes)
    body["generationConfig"] = _config(request, target, family, notes)
    tier = request.service_tier
    if tier is not None and tier not in _USUAL_TIERS:
        if tier in TIERS:
            body["serviceTier"] = tier
        else:
            notes.refuse("service_tier", "Gemini has the tiers default, flex and priority")
    if request.user is not None:
        notes.drop("user")
    if request.metadata:
        notes.drop("metadata")
    return body


def _config(request: ChatRequest, target: Target, family: Family, notes: Notes) -> Document:
    temperature = request.temperature
    if temperature is None:
        temperature = target.default_temperature
    given: dict[str, Any] = {
        "maxOutputTokens": request.max_tokens or target.max_tokens,
        "temperature": temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "presencePenalty": request.presence_penalty or None,
        "frequencyPenalty": request.frequency_penalty or None,
        "stopSequences": request.stop or None,
    }
    config: Document = {name: value for name, value in given.items() if value is not None}
    if request.seed is not None:
        if request.seed in _SEEDS:
            config["seed"] = request.seed
        else:
            notes.refuse("seed", "Gemini's seeds have 32 bits")
    if request.n is not None and request.n > 1:
        if request.stream:
            notes.refuse("n", "Gemini streams one answer at a time")
        else:
            config["candidateCount"] = request.n
    if request.logprobs:
        config["responseLogprobs"] = True
        if request.top_logprobs:
            config["logprobs"] = request.top_logprobs
    if request.logit_bias:
        notes.refuse("logit_bias", "Gemini has nothing like it")
    if request.verbosity not in (None, "medium"):
        notes.refuse("verbosity", "Gemini has nothing like it")
    thinking = thinking_config(request, family, notes)
    if thinking is not None:
        config["thinkingConfig"] = thinking
    _add_output(config, request, notes)
    _add_resolution(config, request, notes)
    return config


def _add_output(config: Document, request: ChatRequest, notes: Notes) -> None:
    output = request.output
    if output is None:
        return
    config["responseMimeType"] = "application/json"
    if output.schema is None:
        return
    schema = written_schema(output.schema, "output", notes)
    if output.description is not None:
        schema.setdefault("description", output.description)
    config["responseJsonSchema"] = schema


def _add_resolution(config: Document, request: ChatRequest, notes: Notes) -> None:
    """How closely images are looked at: one word for all of them, or none."""
    details = {
        media.detail
        for message in request.messages
        for part in message.parts
        for media in (part.parts if isinstance(part, ToolResult) else (part,))
        if isinstance(media, Media) and media.kind == "image"
    }
    if len(details) == 1:
        word = RESOLUTION_WORDS.get(next(iter(details)) or "")
        if word is not None:
            config["mediaResolution"] = word
    elif details - {None, "auto"}:
        notes.drop("messages.detail")


def _add_tools(body: Document, request: ChatRequest, family: Family, notes: Notes) -> None:
    if not request.tools:
        return
    if any(tool.cache is not None for tool in request.tools):
        notes.drop("cache_control")
    if not family.validates_calls and any(tool.strict for tool in request.tools):
        notes.drop("tools.strict")
    body["tools"] = [
        {"functionDeclarations": [_declaration(tool, notes) for tool in request.tools]}
    ]
    choice = request.tool_choice
    kind = choice.kind if choice is not None else Choice.AUTO
    if request.parallel_tool_calls is False and kind is not Choice.NONE:
        notes.refuse("parallel_tool_calls", "Gemini decides how many functions it calls at once")
    allowed = choice.allowed if choice is not None else None
    match kind:
        case Choice.NONE:
            calling: Document = {"mode": "NONE"}
        case Choice.NAMED if choice is not None:
            calling = {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        case Choice.REQUIRED:
            calling = {"mode": "ANY"}
        # As AUTO, but arguments are held to their schema, and functions can be named.
        case _ if allowed or (
            family.validates_calls and any(tool.strict for tool in request.tools)
        ):
            calling = {"mode": "VALIDATED"}
        case _ if choice is not None:
            calling = {"mode": "AUTO"}
        case _:
            return
    if allowed and kind is not Choice.NONE and kind is not Choice.NAMED:
        calling["allowedFunctionNames"] = allowed
    body["toolConfig"] = {"functionCallingConfig": calling}


def _declaration(tool: Tool, notes: Notes) -> Document:
    declaration: Document = {"name": tool.name, "description": tool.description or ""}
    if tool.schema:
        schema = written_schema(tool.schema, "tools", notes)
        # A function without parameters has no schema: the API refuses an object without properties.
        if schema.get("properties") or schema.keys() - _EMPTY_OBJECT:
            declaration["parametersJsonSchema"] = schema
    return declaration
