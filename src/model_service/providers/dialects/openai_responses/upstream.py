"""Calling a model by the Responses API.

Source: https://developers.openai.com/api/reference/resources/responses/methods/create
"""

from typing import Final

from model_service.kernel.types import Provider
from model_service.providers.chat import (
    ChatAnswer,
    ChatRequest,
    Choice,
    Effort,
    Message,
    OutputFormat,
    ReasoningRequest,
    Text,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.openai_responses.items import write_items
from model_service.providers.dialects.openai_responses.reader import ResponseReader, read_response
from model_service.providers.dialects.openai_responses.thoughts import NATIVE
from model_service.providers.openai_faults import OpenAIFaults
from model_service.providers.openai_models import can_think, thinks_unasked
from model_service.providers.translation import Document, FaultReader, Notes, Outgoing, Target

#: The path below the provider's base URL.
PATH: Final = "/responses"

# The API has no budgets for thinking. Up to so many tokens are that effort, after Google's table
# (https://ai.google.dev/gemini-api/docs/openai); more are `high`, the last that all models know.
_LOW_BUDGET: Final = 1024
_MEDIUM_BUDGET: Final = 8192

# The smallest `max_output_tokens` that the API takes.
_LEAST_TOKENS: Final = 16

_TIERS: Final = frozenset(("auto", "default", "flex", "scale", "priority", "fast", "ultrafast"))
_VERBOSITIES: Final = frozenset(("low", "medium", "high"))

# The API refuses JSON without a schema when the input does not speak of it; others do not.
_JSON_REMINDER: Final = {
    "type": "message",
    "role": "developer",
    "content": [{"type": "input_text", "text": "Answer with a JSON object."}],
}

# Where somebody else's words mean what the API does without being asked.
_USUAL_TIERS: Final = frozenset((None, "auto", "standard", "standard_only"))


class ResponsesUpstream:
    """Writes requests for the Responses API and reads its answers."""

    name: Final = NATIVE

    def __init__(self, faults: FaultReader | None = None) -> None:
        self._faults: FaultReader = OpenAIFaults() if faults is None else faults

    def request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Nothing is stored there: all of a conversation comes with each call.

        Raises:
            CallFailed: the API cannot say what is asked for.
        """
        _refuse_unknown(request, notes)
        body = prompt(request, target, notes)
        body["store"] = False
        body["max_output_tokens"] = _max_tokens(request, target, notes)
        _write_sampling(body, request, target)
        include = []
        if request.logprobs:
            include.append("message.output_text.logprobs")
            body["top_logprobs"] = request.top_logprobs or 0
        if may_reason(request, target.upstream_model):
            include.append("reasoning.encrypted_content")
        if include:
            body["include"] = include
        if request.stream:
            body["stream"] = True
            if target.provider is Provider.OPENAI:
                # Padding of each event, against who watches the line; it is not passed on.
                body["stream_options"] = {"include_obfuscation": False}
        _write_annotations(body, request, notes)
        return Outgoing(PATH, body)

    def answer(self, document: Document) -> ChatAnswer:
        """A whole answer. Raises CallFailed."""
        return read_response(document, self._faults)

    def reader(self) -> ResponseReader:
        """What reads a stream."""
        return ResponseReader(self._faults)

    def takes_prefill(self, request: ChatRequest, target: Target) -> bool:  # noqa: ARG002
        """OpenAI's models answer anew."""
        return False


def prompt(request: ChatRequest, target: Target, notes: Notes) -> Document:
    """What the model is given, and the form that its answer has to have.

    Raises:
        CallFailed: the API cannot say it.
    """
    body: Document = {
        "model": target.upstream_model,
        "input": write_items(request.messages, notes),
    }
    output = request.output
    if output is not None and output.schema is None and not _speaks_of_json(request.messages):
        body["input"].insert(0, _JSON_REMINDER)
    if request.system:
        if any(text.cache is not None for text in request.system):
            notes.drop("cache_control")
        body["instructions"] = "\n\n".join(text.text for text in request.system)
    if request.tools:
        body["tools"] = [_tool(tool, notes) for tool in request.tools]
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    choice = request.tool_choice
    if choice is not None and (request.tools or choice.kind in (Choice.REQUIRED, Choice.NAMED)):
        body["tool_choice"] = _tool_choice(choice)
    text = _text(output, request.verbosity, notes)
    if text:
        body["text"] = text
    if request.reasoning is not None:
        reasoning = _reasoning(request.reasoning)
        if reasoning:
            body["reasoning"] = reasoning
    return body


def may_reason(request: ChatRequest, model: str) -> bool:
    """Whether encrypted thoughts can be asked for: models that do not think refuse it.

    Newer models give them without being asked. A deployment's name may say nothing about its
    model; then it is asked only for a caller who wants thinking.
    """
    return _wants_thoughts(request) or can_think(model)


def _wants_thoughts(request: ChatRequest) -> bool:
    asked = request.reasoning
    return asked is not None and asked.effort is not Effort.NONE and asked.budget != 0


def _thinks(request: ChatRequest, model: str) -> bool:
    if request.reasoning is None:
        return thinks_unasked(model)
    return _wants_thoughts(request)


def _refuse_unknown(request: ChatRequest, notes: Notes) -> None:
    if request.n is not None and request.n != 1:
        notes.refuse("n", "the Responses API gives one answer")
    if request.stop:
        notes.refuse("stop", "the Responses API has no stop sequences")
    if request.seed is not None:
        notes.refuse("seed", "the Responses API has no seed")
    if request.top_k is not None:
        notes.refuse("top_k", "the Responses API has no top_k")
    if request.presence_penalty:
        notes.refuse("presence_penalty", "the Responses API has no penalties")
    if request.frequency_penalty:
        notes.refuse("frequency_penalty", "the Responses API has no penalties")
    if request.logit_bias:
        notes.refuse("logit_bias", "the Responses API has no bias for single tokens")


def _max_tokens(request: ChatRequest, target: Target, notes: Notes) -> int:
    wanted = request.max_tokens
    if wanted is None:
        return max(target.max_tokens, _LEAST_TOKENS)
    if wanted < _LEAST_TOKENS:
        notes.refuse("max_tokens", f"the Responses API takes {_LEAST_TOKENS} or more")
        return _LEAST_TOKENS
    return wanted


def _write_sampling(body: Document, request: ChatRequest, target: Target) -> None:
    if request.temperature is not None:
        body["temperature"] = request.temperature
    elif target.default_temperature is not None and not _thinks(request, target.upstream_model):
        body["temperature"] = target.default_temperature  # beside thinking it is refused
    if request.top_p is not None:
        body["top_p"] = request.top_p


def _write_annotations(body: Document, request: ChatRequest, notes: Notes) -> None:
    if request.user is not None:
        # `safety_identifier` is its newer name, which not everybody knows that speaks this API.
        body["user"] = request.user
    if request.metadata:
        if all(isinstance(text, str) for text in request.metadata.values()):
            body["metadata"] = request.metadata
        else:
            notes.drop("metadata")
    tier = request.service_tier
    if tier not in _USUAL_TIERS:
        if tier in _TIERS:
            body["service_tier"] = tier
        else:
            notes.refuse("service_tier", "the Responses API has no such tier")


def _speaks_of_json(messages: list[Message]) -> bool:
    return any(
        isinstance(part, Text) and "json" in part.text.lower()
        for message in messages
        for part in message.parts
    )


def _tool(tool: Tool, notes: Notes) -> Document:
    if tool.cache is not None:
        notes.drop("cache_control")
    written: Document = {
        "type": "function",
        "name": tool.name,
        "parameters": tool.schema or {"type": "object", "properties": {}},
        # Without it the API would take the schema as strict, and change it so that it can be.
        "strict": bool(tool.strict),
    }
    if tool.description is not None:
        written["description"] = tool.description
    return written


def _tool_choice(choice: ToolChoice) -> str | Document:
    if choice.kind is Choice.NAMED:
        return {"type": "function", "name": choice.name}
    if choice.allowed is not None and choice.kind is not Choice.NONE:
        return {
            "type": "allowed_tools",
            "mode": choice.kind.value,
            "tools": [{"type": "function", "name": name} for name in choice.allowed],
        }
    return choice.kind.value


def _text(output: OutputFormat | None, verbosity: str | None, notes: Notes) -> Document:
    text: Document = {}
    if output is not None and output.schema is None:
        text["format"] = {"type": "json_object"}
    elif output is not None:
        wanted: Document = {
            "type": "json_schema",
            "name": output.name or "answer",
            "schema": output.schema,
        }
        if output.description is not None:
            wanted["description"] = output.description
        if output.strict is not None:
            wanted["strict"] = output.strict
        text["format"] = wanted
    if verbosity is not None:
        if verbosity in _VERBOSITIES:
            text["verbosity"] = verbosity
        else:
            notes.refuse("verbosity", "the Responses API has low, medium and high")
    return text


def _reasoning(asked: ReasoningRequest) -> Document:
    reasoning: Document = {}
    effort = asked.effort
    if effort is None and asked.budget is not None:
        effort = _effort_of(asked.budget)
    if effort is not None:
        reasoning["effort"] = effort.value
    if effort is not Effort.NONE and asked.visible is not False:
        if asked.detail is not None:
            reasoning["summary"] = asked.detail
        elif asked.visible:
            reasoning["summary"] = "auto"
    return reasoning


def _effort_of(budget: int) -> Effort:
    if budget <= 0:
        return Effort.NONE
    if budget <= _LOW_BUDGET:
        return Effort.LOW
    return Effort.MEDIUM if budget <= _MEDIUM_BUDGET else Effort.HIGH
