"""The Responses API as callers speak it: `POST /v1/responses`.

Source: https://developers.openai.com/api/reference/resources/responses/methods/create
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from model_service.providers.chat import (
    ChatAnswer,
    ChatRequest,
    Choice,
    Effort,
    OutputFormat,
    ReasoningRequest,
    Text,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.openai_responses.conversation import read_input
from model_service.providers.dialects.openai_responses.document import whole_response
from model_service.providers.dialects.openai_responses.thoughts import NATIVE
from model_service.providers.dialects.openai_responses.writer import ResponseWriter
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields
from model_service.providers.openai_faults import OpenAIFaults
from model_service.providers.translation import Document, FaultDoor, StreamWriter

_NOTHING_KEPT: Final = "this model's provider keeps no conversations; send everything in input"
_NO_PROMPTS: Final = "this model's provider stores no prompts; send the instructions themselves"
_NO_BACKGROUND: Final = "this model's provider keeps no responses that could be fetched later"

_LOGPROBS: Final = "message.output_text.logprobs"

# The rest is about tools that run at OpenAI, or is there in any case (encrypted thoughts).
_INCLUDABLE: Final = frozenset(
    (
        _LOGPROBS,
        "reasoning.encrypted_content",
        "message.input_image.image_url",
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    )
)
# What is more is no number that JSON could be sure to carry on.
_MOST_TOKENS: Final = 2**53

_TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_SUMMARIES: Final = ("auto", "concise", "detailed")
_VERBOSITIES: Final = ("low", "medium", "high")
_CHOICES: Final = {"auto": Choice.AUTO, "required": Choice.REQUIRED, "none": Choice.NONE}

_SPELLING: Final = MappingProxyType(
    {
        "messages": "input",
        "messages.reasoning": "input.reasoning",
        "messages.name": "input.name",
        "messages.detail": "input.detail",
        "cache_control": "prompt_cache_breakpoint",
        "system": "instructions",
        "max_tokens": "max_output_tokens",
        "output": "text.format",
        "verbosity": "text.verbosity",
        "logprobs": "include",
        "user": "safety_identifier",
    }
)


class ResponsesDoor:
    """The caller's side of the Responses API."""

    name: Final = NATIVE

    def __init__(self, faults: FaultDoor | None = None) -> None:
        self._faults: FaultDoor = OpenAIFaults() if faults is None else faults

    @property
    def spelling(self) -> Mapping[str, str]:
        """The Responses API's names for fields of `ChatRequest`, where they differ."""
        return _SPELLING

    def read(self, body: Document, model: str, *, stream: bool) -> ChatRequest:
        """The request in the intermediate form.

        Raises:
            CallFailed: naming the field that is wrong, or that no other dialect has.
        """
        fields = Fields(body)
        fields.ignore("model", "stream")
        _refuse_what_is_kept(fields)
        instructions = fields.text("instructions")
        system, messages = read_input(fields.raw("input"))
        if instructions:
            system.insert(0, Text(instructions))
        logprobs = _read_include(fields)
        top_logprobs = fields.integer("top_logprobs", 0, 20)
        output, verbosity = _read_text(fields)
        request = ChatRequest(
            model,
            messages,
            system,
            stream=stream,
            max_tokens=fields.integer("max_output_tokens", 1, _MOST_TOKENS),
            temperature=fields.number("temperature", 0, 2),
            top_p=fields.number("top_p", 0, 1),
            logprobs=logprobs,
            top_logprobs=top_logprobs if logprobs else None,
            tools=_read_tools(fields),
            tool_choice=_read_tool_choice(fields),
            parallel_tool_calls=fields.flag("parallel_tool_calls"),
            output=output,
            verbosity=verbosity,
            reasoning=_read_reasoning(fields),
            metadata=_read_metadata(fields),
            service_tier=fields.choice("service_tier", _TIERS),
        )
        user, safety_identifier = fields.text("user"), fields.text("safety_identifier")
        request.user = safety_identifier if safety_identifier is not None else user
        _read_stream_options(fields)
        _read_hints(fields, request)
        fields.finish()
        return request

    def answer(self, answer: ChatAnswer, model: str) -> Document:
        """A whole response; it repeats the request that it answers, if the answer has it."""
        return whole_response(answer, model)

    def writer(self, request: ChatRequest, model: str) -> StreamWriter:
        """What writes a stream."""
        return ResponseWriter(request, model, self._faults)


def _refuse_what_is_kept(fields: Fields) -> None:
    fields.refuse("previous_response_id", _NOTHING_KEPT)
    fields.refuse("conversation", _NOTHING_KEPT)
    fields.refuse("prompt", _NO_PROMPTS)
    if fields.flag("background"):
        raise unsupported("background", _NO_BACKGROUND)
    # True is what OpenAI does when nothing is said, so it is no promise that a caller relies on:
    # whoever asks for the response later is told that it is not there.
    fields.flag("store")
    if fields.choice("truncation", ("auto", "disabled")) == "auto":
        raise unsupported("truncation", "nothing is cut off here; only 'disabled' is supported")
    if fields.array("context_management"):
        raise unsupported("context_management", "this model's provider compacts nothing")


def _read_include(fields: Fields) -> bool | None:
    """Whether log probabilities are wanted."""
    wanted = fields.array("include") or ()
    for word in wanted:
        if not isinstance(word, str) or word not in _INCLUDABLE:
            raise invalid("include", f"must hold only {', '.join(sorted(_INCLUDABLE))}")
    return True if _LOGPROBS in wanted else None


def _read_text(fields: Fields) -> tuple[OutputFormat | None, str | None]:
    text = fields.object("text")
    if text is None:
        return None, None
    output = _read_format(text.object("format"))
    verbosity = text.choice("verbosity", _VERBOSITIES)
    text.finish()
    return output, verbosity


def _read_format(wanted: Fields | None) -> OutputFormat | None:
    if wanted is None:
        return None
    kind = wanted.choice("type", ("text", "json_object", "json_schema"))
    output: OutputFormat | None = None
    if kind is None:
        raise invalid(wanted.name("type"), "is required")
    if kind == "json_object":
        output = OutputFormat()
    elif kind == "json_schema":
        schema = _schema(wanted, "schema")
        if schema is None:
            raise invalid(wanted.name("schema"), "is required")
        output = OutputFormat(
            schema,
            wanted.required_text("name"),
            wanted.text("description"),
            wanted.flag("strict"),
        )
    wanted.finish()
    return output


def _read_tools(fields: Fields) -> list[Tool]:
    return [_read_tool(tool) for tool in fields.objects("tools")]


def _read_tool(tool: Fields) -> Tool:
    kind = tool.required_text("type")
    if kind != "function":
        raise unsupported(
            tool.name("type"), f"{kind!r} tools are not supported with this model's provider"
        )
    read = Tool(
        tool.required_text("name"),
        tool.text("description"),
        _schema(tool, "parameters"),
        tool.flag("strict"),
    )
    for field in ("async", "defer_loading"):
        if tool.flag(field):
            raise unsupported(tool.name(field), "has no equivalent with this model's provider")
    callers = tool.array("allowed_callers")
    if callers is not None and callers != ["direct"]:
        raise unsupported(tool.name("allowed_callers"), "only direct calls are supported")
    tool.finish()
    return read


def _schema(fields: Fields, field: str) -> dict[str, Any] | None:
    """A JSON schema. What is read may be deeper than what can be written: it has to be both."""
    schema = fields.document(field)
    if schema is not None:
        try:  # with room for what it stands in
            orjson.dumps([[[[[[[[schema]]]]]]]])
        except TypeError:
            raise invalid(fields.name(field), "is nested too deeply") from None
    return schema


def _read_tool_choice(fields: Fields) -> ToolChoice | None:
    value = fields.raw("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _CHOICES:
            raise invalid("tool_choice", "must be one of auto, none, required, or an object")
        return ToolChoice(_CHOICES[value])
    choice = Fields(value, "tool_choice.")
    kind = choice.required_text("type")
    if kind == "function":
        read = ToolChoice(Choice.NAMED, choice.required_text("name"))
    elif kind == "allowed_tools":
        read = _read_allowed(choice)
    else:
        raise unsupported(
            "tool_choice.type", f"{kind!r} tools are not supported with this model's provider"
        )
    choice.finish()
    return read


def _read_allowed(choice: Fields) -> ToolChoice:
    mode = choice.choice("mode", ("auto", "required"))
    if mode is None:
        raise invalid(choice.name("mode"), "is required")
    names: list[str] = []
    for tool in choice.objects("tools"):
        if tool.required_text("type") != "function":
            raise unsupported(tool.name("type"), "only function tools are supported")
        names.append(tool.required_text("name"))
        tool.finish()
    return ToolChoice(_CHOICES[mode], allowed=names)


def _read_reasoning(fields: Fields) -> ReasoningRequest | None:
    wanted = fields.object("reasoning")
    if wanted is None:
        return None
    effort = wanted.choice("effort", frozenset(Effort))
    summary = wanted.choice("summary", _SUMMARIES)
    older = wanted.choice("generate_summary", _SUMMARIES)  # its name until 2025
    detail = summary if summary is not None else older
    if wanted.choice("context", ("auto", "current_turn", "all_turns")) not in (None, "auto"):
        raise unsupported("reasoning.context", "only 'auto' is supported")
    if wanted.text("mode") not in (None, "standard"):
        raise unsupported("reasoning.mode", "only 'standard' is supported")
    wanted.finish()
    if effort is None and detail is None:
        return None
    return ReasoningRequest(
        None if effort is None else Effort(effort),
        visible=None if detail is None else True,
        detail=detail,
    )


def _read_metadata(fields: Fields) -> Document | None:
    metadata = fields.document("metadata")
    if metadata is not None and not all(isinstance(text, str) for text in metadata.values()):
        raise invalid("metadata", "its values must be strings")
    return metadata


def _read_stream_options(fields: Fields) -> None:
    options = fields.object("stream_options")
    if options is not None:
        options.flag("include_obfuscation")  # padding against who watches the line: none is added
        options.finish()


def _read_hints(fields: Fields, request: ChatRequest) -> None:
    """What steers OpenAI's cache, which changes the price of an answer and not the answer."""
    for field in ("prompt_cache_key", "prompt_cache_retention"):
        if fields.text(field) is not None:
            request.dropped.append(field)
    options = fields.document("prompt_cache_options")
    if options is not None:
        if options.get("prewarm"):
            raise unsupported("prompt_cache_options.prewarm", "an answer is always given here")
        request.dropped.append("prompt_cache_options")
    fields.integer("max_tool_calls", 1)  # counts calls of OpenAI's own tools, which there are not
