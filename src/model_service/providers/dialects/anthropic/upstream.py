"""The provider's side of the Messages API.

Sources: https://platform.claude.com/docs/en/api/messages,
.../build-with-claude/structured-outputs, .../agents-and-tools/tool-use/define-tools
"""

from typing import Final

from model_service.providers.chat import ChatAnswer, ChatRequest, Choice, Tool, wants_thinking
from model_service.providers.dialects.anthropic.models import Traits, traits
from model_service.providers.dialects.anthropic.reader import AnthropicReader
from model_service.providers.dialects.anthropic.schemas import Inexpressible, grammar_schema
from model_service.providers.dialects.anthropic.thinking import add_sampling, add_thinking
from model_service.providers.dialects.anthropic.turns import Turns, plain_turns, write_system
from model_service.providers.dialects.anthropic.whole import read_answer
from model_service.providers.dialects.anthropic.wire import (
    MESSAGES_PATH,
    NAME,
    VERSION_HEADER,
)
from model_service.providers.translation import Document, Notes, Outgoing, Target

_CHOICES: Final = {
    Choice.AUTO: "auto",
    Choice.REQUIRED: "any",
    Choice.NONE: "none",
    Choice.NAMED: "tool",
}

# `priority` is not asked for: who has paid for such capacity gets it with `auto`.
_TIERS: Final = {"auto": None, "default": "standard_only", "standard": "standard_only"}

_NO_OBJECT: Final = "answers in JSON need a schema with Anthropic; give a json_schema"
_TOO_OLD: Final = "this model cannot be held to a schema"


class AnthropicUpstream:
    """The dialect as providers speak it; see `ChatUpstream`."""

    name = NAME

    def request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Raises CallFailed for what this API cannot say."""
        return Outgoing(MESSAGES_PATH, write_request(request, target, notes), VERSION_HEADER)

    def answer(self, document: Document) -> ChatAnswer:
        """A whole answer. Raises CallFailed: an error, or not what it should be."""
        return read_answer(document)

    def reader(self) -> AnthropicReader:
        """What reads a stream."""
        return AnthropicReader()

    def takes_prefill(self, request: ChatRequest, target: Target) -> bool:
        """Models up to 4.5 do, unless they are to think."""
        return traits(target.upstream_model).prefill and not wants_thinking(request.reasoning)


def write_request(request: ChatRequest, target: Target, notes: Notes) -> Document:
    """The body for a model. Raises CallFailed for what this API cannot say."""
    known = traits(target.upstream_model)
    plain = plain_turns(request.messages) if request.is_plain else None
    if plain is not None:
        return _plain_body(request, plain, target, known, notes)
    turns = Turns(known, notes)
    for message in request.messages:
        turns.add(message)
    body: Document = {
        "model": target.upstream_model,
        "max_tokens": request.max_tokens or target.max_tokens,
        "messages": turns.finish(),
    }
    system = write_system(request)
    if system:
        body["system"] = system
    add_thinking(body, request, known, notes)
    _add_tools(body, request, list(turns.called), known, notes)
    add_sampling(body, request, target.default_temperature, known, notes)
    _add_output(body, request, known, notes)
    _add_rest(body, request, notes)
    _refuse_others(request, notes)
    if request.stream:
        body["stream"] = True
    return body


def _plain_body(
    request: ChatRequest, turns: list[Document], target: Target, known: Traits, notes: Notes
) -> Document:
    """The same where nothing can be there that the rest of `write_request` is for."""
    body: Document = {
        "model": target.upstream_model,
        "max_tokens": request.max_tokens or target.max_tokens,
        "messages": turns,
    }
    system = write_system(request) if request.system else None
    if system:
        body["system"] = system
    default = target.default_temperature
    if not (request.temperature is request.top_p is default is None):
        add_sampling(body, request, default, known, notes)
    if request.stream:
        body["stream"] = True
    return body


def _add_tools(
    body: Document, request: ChatRequest, called: list[str], known: Traits, notes: Notes
) -> None:
    choice = request.tool_choice
    tools = request.tools
    if choice is not None and choice.allowed is not None:
        tools = [tool for tool in tools if tool.name in choice.allowed]
    if not tools:
        if choice is not None and choice.kind in {Choice.REQUIRED, Choice.NAMED}:
            notes.refuse("tool_choice", "there is no tool to be called")
        if called:
            # The API wants tools defined that a conversation has calls of. None is on offer.
            body["tools"] = [_definition(Tool(name), known, notes) for name in called]
            body["tool_choice"] = {"type": "none"}
        return
    body["tools"] = [_definition(tool, known, notes) for tool in tools]
    kind = Choice.AUTO if choice is None else choice.kind
    if kind in {Choice.REQUIRED, Choice.NAMED}:
        if not known.forced_tools:
            notes.refuse("tool_choice", "this model cannot be made to call a tool")
            kind = Choice.AUTO
        elif body.get("thinking", {}).get("type") == "enabled":
            notes.refuse("tool_choice", "this model cannot be made to call a tool while it thinks")
            kind = Choice.AUTO
    written: Document = {"type": _CHOICES[kind]}
    if kind is Choice.NAMED and choice is not None:
        written["name"] = choice.name or ""
    if request.parallel_tool_calls is False and kind is not Choice.NONE:
        written["disable_parallel_tool_use"] = True
    if len(written) > 1 or kind is not Choice.AUTO:
        body["tool_choice"] = written


def _definition(tool: Tool, known: Traits, notes: Notes) -> Document:
    schema = tool.schema or {"type": "object", "properties": {}}
    if "type" not in schema:
        schema = {"type": "object", **schema}
    written: Document = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict:
        strict = _for_grammar(schema, "tools", known, notes)
        if strict is not None:
            written["strict"] = True
            schema = strict
    written["input_schema"] = schema
    if tool.cache is not None:
        written["cache_control"] = tool.cache
    return written


def _add_output(body: Document, request: ChatRequest, known: Traits, notes: Notes) -> None:
    output = request.output
    if output is None:
        return
    if output.schema is None:
        notes.refuse("output", _NO_OBJECT)
        return
    schema = _for_grammar(output.schema, "output", known, notes)
    if schema is None:
        return
    if output.description and "description" not in schema:
        schema["description"] = output.description
    if output.name and "title" not in schema:
        schema["title"] = output.name
    body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}


def _for_grammar(schema: Document, field: str, known: Traits, notes: Notes) -> Document | None:
    if not known.structured:
        notes.refuse(field, _TOO_OLD)
        return None
    try:
        return grammar_schema(schema)
    except Inexpressible as reason:
        notes.refuse(field, str(reason))
        return None


def _add_rest(body: Document, request: ChatRequest, notes: Notes) -> None:
    if request.stop:
        if any(not text or text.isspace() for text in request.stop):
            notes.refuse("stop", "a stop sequence has to have more in it than blanks")
        stop = [text for text in request.stop if text and not text.isspace()]
        if stop:
            body["stop_sequences"] = stop
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if request.metadata:
        notes.drop("metadata")
    tier = request.service_tier
    if tier is not None:
        if tier not in _TIERS:
            notes.refuse("service_tier", "Anthropic has nothing like this tier")
        elif _TIERS[tier] is not None:
            body["service_tier"] = _TIERS[tier]


def _refuse_others(request: ChatRequest, notes: Notes) -> None:
    """What the API has nothing like; values that change nothing are fine."""
    if request.n is not None and request.n != 1:
        notes.refuse("n", "Anthropic's models give one answer")
    if request.seed is not None:
        notes.refuse("seed", "Anthropic's models take none")
    if request.presence_penalty:
        notes.refuse("presence_penalty", "Anthropic's models have none")
    if request.frequency_penalty:
        notes.refuse("frequency_penalty", "Anthropic's models have none")
    if request.logit_bias:
        notes.refuse("logit_bias", "Anthropic's models take none")
    if request.logprobs:
        notes.refuse("logprobs", "Anthropic does not tell them")
    if request.top_logprobs:
        notes.refuse("top_logprobs", "Anthropic does not tell them")
    if request.verbosity not in (None, "medium"):
        notes.refuse("verbosity", "Anthropic's models have none; ask for it in the prompt")
