"""Calling a model by chat completions: OpenAI's, Azure's, or those of a vendor.

Source: https://developers.openai.com/api/reference/resources/chat (November 2026)
"""

from typing import Final

from model_service.kernel.types import Provider
from model_service.providers.chat import (
    ChatAnswer,
    ChatRequest,
    Choice,
    Document,
    Effort,
    OutputFormat,
    ReasoningRequest,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.openai_chat.conversation import Conversation, plain_messages
from model_service.providers.dialects.openai_chat.reader import ChatReader
from model_service.providers.dialects.openai_chat.reading import read_answer
from model_service.providers.dialects.openai_chat.thoughts import ORIGIN
from model_service.providers.openai_models import thinks_unasked
from model_service.providers.translation import Notes, Outgoing, Target

#: Below the provider's base URL.
PATH: Final = "/chat/completions"

_NOT_VENDORS: Final = frozenset((Provider.OPENAI, Provider.AZURE))

#: OpenAI's words for the words of all doors; `standard_only` is Anthropic's, `standard` Gemini's.
_TIERS: Final = {
    "default": "default",
    "standard": "default",
    "standard_only": "default",
    "flex": "flex",
    "scale": "scale",
    "priority": "priority",
    "fast": "fast",
}

# Up to so many tokens are that effort, after Google's table for its compatible endpoint
# (https://ai.google.dev/gemini-api/docs/openai).
_LOW_BUDGET: Final = 1024
_MEDIUM_BUDGET: Final = 8192

_CHOICES: Final = {Choice.AUTO: "auto", Choice.NONE: "none", Choice.REQUIRED: "required"}
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}


class ChatUpstream:
    """The provider's side of chat completions. What differs between vendors is an argument."""

    name = ORIGIN

    def __init__(
        self, max_tokens_field: str = "max_completion_tokens", *, cache_marks: bool = False
    ) -> None:
        """`max_tokens_field` names the bound: `max_tokens` with most vendors.

        `cache_marks`: the vendor takes `cache_control`, as OpenRouter does.
        """
        self._max_tokens_field = max_tokens_field
        self._cache_marks = cache_marks

    def request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Raises CallFailed."""
        vendor = target.provider not in _NOT_VENDORS
        messages = plain_messages(request) if request.is_plain else None
        is_plain = messages is not None
        if messages is None:
            messages = self._messages(request, notes, vendor=vendor)
        body: Document = {"model": target.upstream_model, "messages": messages}
        if request.stream:
            body["stream"] = True
            # The usage is needed here, whether or not the caller wants to see it.
            body["stream_options"] = {"include_usage": True}
        body[self._max_tokens_field] = request.max_tokens or target.max_tokens
        default = target.default_temperature
        if not is_plain:
            self._write_wishes(body, request, target, notes, vendor=vendor)
        elif not (request.temperature is request.top_p is default is None):
            _write_sampling(body, request, target)
        return Outgoing(PATH, body)

    def _messages(self, request: ChatRequest, notes: Notes, *, vendor: bool) -> list[Document]:
        conversation = Conversation(notes, vendor=vendor, cache_marks=self._cache_marks)
        conversation.add_system(request.system)
        for turn in request.messages:
            conversation.add(turn)
        return conversation.messages

    def _write_wishes(
        self, body: Document, request: ChatRequest, target: Target, notes: Notes, *, vendor: bool
    ) -> None:
        _write_sampling(body, request, target)
        self._write_tools(body, request, notes, vendor=vendor)
        if request.output is not None:
            body["response_format"] = _output(request.output)
        if request.verbosity is not None:
            body["verbosity"] = request.verbosity
        if request.reasoning is not None:
            _write_reasoning(body, request.reasoning, notes, vendor=vendor)
        _write_notes(body, request, notes, vendor=vendor)

    def answer(self, document: Document) -> ChatAnswer:
        """A whole answer. Raises CallFailed."""
        return read_answer(document)

    def reader(self) -> ChatReader:
        """What reads a stream."""
        return ChatReader()

    def takes_prefill(self, request: ChatRequest, target: Target) -> bool:  # noqa: ARG002
        """OpenAI's models answer anew; what a vendor does its row tells."""
        return False

    def _write_tools(
        self, body: Document, request: ChatRequest, notes: Notes, *, vendor: bool
    ) -> None:
        choice, tools = request.tool_choice, request.tools
        if choice is not None and choice.allowed is not None and vendor:
            # Only OpenAI keeps the others in the prompt, for its cache's sake.
            tools = [tool for tool in tools if tool.name in choice.allowed]
        if tools:
            body["tools"] = [self._tool(tool, notes) for tool in tools]
            if request.parallel_tool_calls is False:
                body["parallel_tool_calls"] = False
        if choice is None:
            return
        if tools or choice.kind in (Choice.REQUIRED, Choice.NAMED):
            body["tool_choice"] = _tool_choice(choice, vendor=vendor)

    def _tool(self, tool: Tool, notes: Notes) -> Document:
        function: Document = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        # Mistral wants them, although there may be none.
        function["parameters"] = _NO_PARAMETERS if tool.schema is None else tool.schema
        if tool.strict is not None:
            function["strict"] = tool.strict
        document: Document = {"type": "function", "function": function}
        if tool.cache is not None:
            if self._cache_marks:
                document["cache_control"] = tool.cache
            else:
                notes.drop("cache_control")
        return document


def thinks(effort: object, model: str) -> bool:
    """Whether the model, with that effort asked for, thinks, and so takes no temperature."""
    return thinks_unasked(model) if effort is None else effort != Effort.NONE


def _write_sampling(body: Document, request: ChatRequest, target: Target) -> None:
    temperature = request.temperature
    if temperature is None and not _is_thinking(request.reasoning, target.upstream_model):
        temperature = target.default_temperature
    for name, value in (
        ("temperature", temperature),
        ("top_p", request.top_p),
        ("stop", request.stop or None),
        ("n", request.n),
        ("seed", request.seed),
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
        ("logit_bias", request.logit_bias),
        ("logprobs", request.logprobs or None),
        ("top_logprobs", request.top_logprobs if request.logprobs else None),
    ):
        if value is not None:
            body[name] = value


def _is_thinking(asked: ReasoningRequest | None, model: str) -> bool:
    if asked is not None and asked.budget is not None:
        return asked.budget > 0
    return thinks(None if asked is None else asked.effort, model) or (
        asked is not None and asked.adaptive
    )


def _tool_choice(choice: ToolChoice, *, vendor: bool) -> str | Document:
    if choice.kind is Choice.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    word = _CHOICES[choice.kind]
    if choice.allowed is None or vendor or choice.kind is Choice.NONE:
        return word
    allowed = [{"type": "function", "function": {"name": name}} for name in choice.allowed]
    return {"type": "allowed_tools", "allowed_tools": {"mode": word, "tools": allowed}}


def _output(output: OutputFormat) -> Document:
    if output.schema is None:
        return {"type": "json_object"}
    schema: Document = {"name": output.name or "answer", "schema": output.schema}
    if output.description is not None:
        schema["description"] = output.description
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}


def _effort(asked: ReasoningRequest) -> Effort | None:
    """The effort, also for a budget of tokens, which nobody takes here."""
    budget = asked.budget
    if asked.effort is not None or budget is None:
        return asked.effort
    if budget <= 0:
        return Effort.NONE
    if budget <= _LOW_BUDGET:
        return Effort.LOW
    return Effort.MEDIUM if budget <= _MEDIUM_BUDGET else Effort.HIGH


def _write_reasoning(
    body: Document, asked: ReasoningRequest, notes: Notes, *, vendor: bool
) -> None:
    effort = _effort(asked)
    if effort is not None:
        body["reasoning_effort"] = effort.value
    # `adaptive` is what happens when nothing is said. That thoughts are shown cannot be asked for:
    # OpenAI never shows them here, and vendors mostly do.
    if asked.visible is not None and asked.visible is not vendor:
        notes.drop("reasoning.visible")
    if asked.detail is not None:
        notes.drop("reasoning.detail")


def _write_notes(body: Document, request: ChatRequest, notes: Notes, *, vendor: bool) -> None:
    """What does not change the answer, and what only some vendors have."""
    if request.top_k is not None:
        if vendor:
            body["top_k"] = request.top_k
        else:
            notes.refuse("top_k", "OpenAI's models take none")
    if request.user is not None:
        if vendor:  # Mistral, for one, refuses what it does not know
            notes.drop("user")
        else:
            body["user"] = request.user
    if request.metadata:
        notes.drop("metadata")  # OpenAI takes it for stored answers alone
    tier = request.service_tier
    if tier is None or tier == "auto":
        return
    known = _TIERS.get(tier)
    if not vendor and known is not None:
        body["service_tier"] = known
    elif known != "default":  # which is how a vendor serves everybody
        notes.refuse("service_tier", "this model's provider has nothing like this tier")
