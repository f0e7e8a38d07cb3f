"""The caller's side of the Messages API.

Source: https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from model_service.providers.chat import (
    ChatAnswer,
    ChatRequest,
    Choice,
    Effort,
    OutputFormat,
    ReasoningRequest,
    Role,
    Text,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.anthropic.content import (
    mark_last,
    read_messages,
    read_system,
)
from model_service.providers.dialects.anthropic.wire import LEAST_BUDGET, NAME
from model_service.providers.dialects.anthropic.writer import AnthropicWriter, write_answer
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields
from model_service.providers.plain import is_count, is_share, plain_request, plain_turns
from model_service.providers.translation import Document

_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
#: What a plain request may have.
_PLAIN: Final = frozenset(
    ("model", "messages", "system", "stream", "max_tokens", "temperature", "top_p")
)
_CHOICES: Final = {"auto": Choice.AUTO, "any": Choice.REQUIRED, "none": Choice.NONE}

# What runs at Anthropic's, is kept there, or steers its own service.
_ELSEWHERE: Final = {
    "container": "containers are Anthropic's own",
    "context_management": "only Anthropic's models have their context edited by the provider",
    "diagnostics": "only Anthropic tells of cache misses",
    "fallbacks": "a model's fallbacks are registered, not asked for",
    "inference_geo": "where the model runs cannot be chosen with its provider",
    "mcp_servers": "only Anthropic connects to MCP servers",
    "output_format": "was replaced by output_config.format",
    "user_profile_id": "user profiles are Anthropic's own",
}


class AnthropicDoor:
    """The dialect as callers use it; see `ChatDoor`."""

    name = NAME
    spelling: Mapping[str, str] = MappingProxyType(
        {
            "messages.reasoning": "messages.thinking",
            "reasoning.visible": "thinking.display",
            "stop": "stop_sequences",
            "user": "metadata.user_id",
            "reasoning": "thinking",
            "output": "output_config.format",
            "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        }
    )

    def read(self, body: Document, model: str, *, stream: bool) -> ChatRequest:
        """The request. Raises CallFailed naming the field.

        `max_tokens` may be missing, as it is where tokens are counted: what was registered for
        the model applies.
        """
        return read_plain(body, model, stream=stream) or read_any(body, model, stream=stream)

    def answer(self, answer: ChatAnswer, model: str) -> Document:
        """A whole answer; `model` is the registered name."""
        return write_answer(answer, model)

    def writer(self, request: ChatRequest, model: str) -> AnthropicWriter:  # noqa: ARG002
        """What writes a stream, the same for all requests."""
        return AnthropicWriter(model)


def read_plain(body: Document, model: str, *, stream: bool) -> ChatRequest | None:
    """The request, if it is plain, as `read_any` reads it; None for any other."""
    if not body.keys() <= _PLAIN:
        return None
    messages, prompt = plain_turns(body.get("messages")), body.get("system")
    if messages is None or not (prompt is None or type(prompt) is str):
        return None
    max_tokens = body.get("max_tokens")
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if not (is_count(max_tokens) and is_share(temperature, 1) and is_share(top_p, 1)):
        return None
    system = [Text(prompt)] if prompt else []
    request = plain_request(model, messages, system, stream=stream, include_usage=True)
    request.max_tokens, request.temperature, request.top_p = max_tokens, temperature, top_p
    return request


def read_any(body: Document, model: str, *, stream: bool) -> ChatRequest:
    """The request, however it is. Raises CallFailed."""
    fields = Fields(body)
    fields.ignore("model", "stream")  # both are arguments
    dropped: list[str] = []
    system, messages = read_system(fields, dropped), read_messages(fields, dropped)
    while messages and messages[0].role is Role.SYSTEM:
        system += [part for part in messages.pop(0).parts if isinstance(part, Text)]
    cache = fields.document("cache_control")
    if cache is not None:
        mark_last(messages, system, cache)
    request = ChatRequest(
        model,
        messages,
        system,
        stream=stream,
        max_tokens=fields.integer("max_tokens", 1),
        temperature=fields.number("temperature", 0, 1),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.integer("top_k", 0) or None,
        stop=fields.texts("stop_sequences"),
        tools=[_tool(tool) for tool in fields.objects("tools")],
        reasoning=_thinking(fields),
        user=_user(fields),
        service_tier=_tier(fields),
        dropped=dropped,
    )
    _read_choice(fields, request)
    _read_output(fields, request)
    for name in _ELSEWHERE.keys() & body.keys():
        fields.refuse(name, _ELSEWHERE[name])
    if fields.choice("speed", ("standard", "fast")) == "fast":
        raise unsupported(fields.name("speed"), "only Anthropic's models have a fast mode")
    fields.finish()
    return request


def _tool(fields: Fields) -> Tool:
    kind = fields.text("type")
    if kind not in (None, "custom"):
        raise unsupported(
            fields.name("type"), f"'{kind[:100]}' is a tool of Anthropic's, for its models alone"
        )
    schema = fields.document("input_schema")
    if schema is None:
        raise invalid(fields.name("input_schema"), "is required")
    if fields.flag("defer_loading"):
        raise unsupported(fields.name("defer_loading"), "only Anthropic searches for tools")
    callers = fields.array("allowed_callers")
    if callers is not None and callers != ["direct"]:
        raise unsupported(fields.name("allowed_callers"), "only the model itself may call tools")
    if fields.array("input_examples"):
        raise unsupported(
            fields.name("input_examples"), "write the examples into the tool's description"
        )
    fields.ignore("eager_input_streaming")  # in how large pieces arguments come
    tool = Tool(
        fields.required_text("name"),
        fields.text("description"),
        schema,
        fields.flag("strict"),
        fields.document("cache_control"),
    )
    fields.finish()
    return tool


def _read_choice(fields: Fields, request: ChatRequest) -> None:
    choice = fields.object("tool_choice")
    if choice is None:
        return
    kind = choice.choice("type", ("auto", "any", "tool", "none"))
    if kind is None:
        raise invalid(choice.name("type"), "is required")
    if kind == "tool":
        request.tool_choice = ToolChoice(Choice.NAMED, choice.required_text("name"))
    else:
        request.tool_choice = ToolChoice(_CHOICES[kind])
    if choice.flag("disable_parallel_tool_use"):
        request.parallel_tool_calls = False
    choice.finish()


def _thinking(fields: Fields) -> ReasoningRequest | None:
    thinking = fields.object("thinking")
    if thinking is None:
        return None
    kind = thinking.choice("type", ("enabled", "disabled", "adaptive", "between_tools"))
    if kind is None:
        raise invalid(thinking.name("type"), "is required")
    asked = ReasoningRequest()
    if kind == "enabled":
        asked.budget = thinking.integer("budget_tokens", LEAST_BUDGET)
        if asked.budget is None:
            raise invalid(thinking.name("budget_tokens"), "is required")
    elif kind == "adaptive":
        asked.adaptive = True
    else:
        asked.effort = Effort.NONE
    if asked.effort is None:
        display = thinking.choice("display", ("summarized", "omitted"))
        asked.visible = None if display is None else display == "summarized"
    thinking.finish()
    return asked


def _read_output(fields: Fields, request: ChatRequest) -> None:
    config = fields.object("output_config")
    if config is None:
        return
    effort = config.choice("effort", _EFFORTS)
    if effort is not None:
        if request.reasoning is None:
            request.reasoning = ReasoningRequest()
        if request.reasoning.budget is None and request.reasoning.effort is None:
            request.reasoning.effort = Effort(effort)
        else:
            # A budget, and that there is to be no thinking, say more than an effort does.
            request.dropped.append(config.name("effort"))
    output = config.object("format")
    if output is not None:
        if output.choice("type", ("json_schema",)) is None:
            raise invalid(output.name("type"), "is required")
        schema = output.document("schema")
        if schema is None:
            raise invalid(output.name("schema"), "is required")
        output.finish()
        request.output = OutputFormat(schema)
    config.finish()


def _user(fields: Fields) -> str | None:
    metadata = fields.object("metadata")
    if metadata is None:
        return None
    user = metadata.text("user_id")
    metadata.finish()
    return user


def _tier(fields: Fields) -> str | None:
    tier = fields.choice("service_tier", ("auto", "standard_only"))
    return "default" if tier == "standard_only" else tier
