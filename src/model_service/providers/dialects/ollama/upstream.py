"""Calling a model that Ollama serves, at its own `/api/chat`.

Its OpenAI-compatible `/v1` knows neither the context window's size nor `keep_alive`.
Source: https://docs.ollama.com/api/chat
"""

from typing import Final

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    ChatAnswer,
    ChatRequest,
    Choice,
    Effort,
    Tool,
    wants_thinking,
)
from model_service.providers.dialects.ollama.messages import write_messages
from model_service.providers.dialects.ollama.reader import AnswerReader, OllamaReader
from model_service.providers.dialects.ollama.settings import apply_settings, default_thinking
from model_service.providers.faults import cut, invalid, malformed
from model_service.providers.translation import Document, Notes, Outgoing, Target

#: The path below the server's origin.
PATH: Final = "/api/chat"

# Efforts that Ollama has no word for become the next one, as at its `/v1`.
_EFFORTS: Final[dict[Effort, bool | str]] = {
    Effort.NONE: False,
    Effort.MINIMAL: "low",
    Effort.LOW: "low",
    Effort.MEDIUM: "medium",
    Effort.HIGH: "high",
    Effort.XHIGH: "max",
    Effort.MAX: "max",
}
# It has no budgets either: up to so many tokens are that effort, after Google's table for its
# OpenAI-compatible endpoint (https://ai.google.dev/gemini-api/docs/openai).
_LOW_BUDGET: Final = 1024
_MEDIUM_BUDGET: Final = 8192

# There is but one way to be served and one length of answers; who asks for these gets them.
_USUAL_TIERS: Final = frozenset(("auto", "default", "standard", "standard_only"))
_USUAL_VERBOSITY: Final = "medium"


class OllamaUpstream:
    """Writes requests for Ollama and reads its answers."""

    name = "ollama"

    def request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send to `/api/chat`. Raises CallFailed."""
        _refuse_unknown(request, notes)
        messages = write_messages(request, notes)
        if not messages:  # this would only load the model
            raise invalid("messages", "must not be empty")
        body: Document = {
            "model": target.upstream_model,
            "messages": messages,
            "stream": request.stream,
        }
        _write_options(apply_settings(body, target), request, target)
        think = _thinking(request, target)
        if think is not None:
            body["think"] = think
        if request.output is not None:
            body["format"] = "json" if request.output.schema is None else request.output.schema
            if request.output.description is not None:
                notes.drop("output.description")  # a grammar is made of it, which nobody reads
        tools = _tools(request, notes)
        if tools:
            body["tools"] = tools
        if request.logprobs:
            body["logprobs"] = True
            if request.top_logprobs:
                body["top_logprobs"] = request.top_logprobs
        return Outgoing(PATH, body)

    def answer(self, document: Document) -> ChatAnswer:
        """A whole answer. Raises CallFailed."""
        reader = AnswerReader()
        events = reader.events(document)
        if events is None:
            raise malformed("The provider's answer is not one of /api/chat")
        if not reader.finished:
            raise cut()
        return assemble(events)

    def reader(self) -> OllamaReader:
        """What reads a stream of lines (application/x-ndjson)."""
        return OllamaReader()

    def takes_prefill(self, request: ChatRequest, target: Target) -> bool:  # noqa: ARG002
        """It goes on with a last message of the assistant's, with all models, if it need not think.

        See https://github.com/ollama/ollama/issues/6778.
        """
        return not wants_thinking(request.reasoning)


def _refuse_unknown(request: ChatRequest, notes: Notes) -> None:
    if request.n is not None and request.n != 1:
        notes.refuse("n", "Ollama gives one answer")
    if request.logit_bias:
        notes.refuse("logit_bias", "Ollama has no bias for single tokens")
    if request.verbosity not in (None, _USUAL_VERBOSITY):
        notes.refuse("verbosity", "Ollama's models are not told how long to answer")
    if request.service_tier not in (None, *_USUAL_TIERS):
        notes.refuse("service_tier", "Ollama serves all calls alike")
    if request.user is not None:
        notes.drop("user")
    if request.metadata:
        notes.drop("metadata")
    asked = request.reasoning
    if asked is not None:
        # Thoughts are shown whole, and whenever there are any.
        if asked.visible is False:
            notes.drop("reasoning.visible")
        if asked.detail not in (None, "auto"):
            notes.drop("reasoning.detail")


def _write_options(options: Document, request: ChatRequest, target: Target) -> None:
    """The caller's own, before the model's settings, before its registered defaults."""
    options.setdefault("num_predict", target.max_tokens)
    if target.default_temperature is not None:
        options.setdefault("temperature", target.default_temperature)
    for name, value in (
        ("num_predict", request.max_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("top_k", request.top_k),
        ("seed", request.seed),
        ("stop", request.stop or None),
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
    ):
        if value is not None:
            options[name] = value


def _thinking(request: ChatRequest, target: Target) -> bool | str | None:
    """Whether, or how much; None leaves it to the model, and those that can think then do."""
    asked = request.reasoning
    if asked is None:
        return default_thinking(target)
    if asked.effort is not None:
        return _EFFORTS[asked.effort]
    if asked.budget is not None:
        if asked.budget <= 0:
            return False
        if asked.budget <= _LOW_BUDGET:
            return "low"
        return "medium" if asked.budget <= _MEDIUM_BUDGET else "high"
    return None


def _tools(request: ChatRequest, notes: Notes) -> list[Document]:
    choice = request.tool_choice
    tools = request.tools
    if choice is not None:
        if choice.kind is Choice.NONE:
            return []
        if choice.kind is not Choice.AUTO:
            notes.refuse("tool_choice", "Ollama's models cannot be made to call a tool")
        if choice.allowed is not None:
            tools = [tool for tool in tools if tool.name in choice.allowed]
    if tools and request.parallel_tool_calls is False:
        notes.refuse("parallel_tool_calls", "Ollama's models may always call several tools")
    return [_tool(tool, notes) for tool in tools]


def _tool(tool: Tool, notes: Notes) -> Document:
    if tool.cache is not None:
        notes.drop("cache_control")
    if tool.strict:
        notes.drop("tools.strict")
    function: Document = {
        "name": tool.name,
        "parameters": tool.schema or {"type": "object", "properties": {}},
    }
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}
