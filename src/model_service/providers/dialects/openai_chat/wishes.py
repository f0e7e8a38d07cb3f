"""What a chat completion asks for besides: tools, forms of the answer, thinking.

Source: https://developers.openai.com/api/reference/resources/chat
"""

from typing import Final

from model_service.providers.chat import (
    Choice,
    Effort,
    OutputFormat,
    ReasoningRequest,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.openai_chat.content import read_cache
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields

_CHOICES: Final = {
    "auto": Choice.AUTO,
    "any": Choice.REQUIRED,  # Mistral's word
    "none": Choice.NONE,
    "required": Choice.REQUIRED,
}
_EFFORTS: Final = frozenset(Effort)
_DETAILS: Final = frozenset(("auto", "concise", "detailed"))


def read_tool(fields: Fields) -> Tool:
    """A function. Raises CallFailed, also for the tools that OpenAI itself runs."""
    kind = fields.required_text("type")
    if kind != "function":
        raise unsupported(
            fields.name("type"), f"tools of type '{kind[:100]}' are OpenAI's alone; use functions"
        )
    function = Fields(fields.raw("function"), fields.name("function."))
    tool = Tool(
        function.required_text("name"),
        function.text("description"),
        function.document("parameters"),
        function.flag("strict"),
        read_cache(fields) or read_cache(function),
    )
    function.finish()
    fields.finish()
    return tool


def read_tool_choice(fields: Fields) -> ToolChoice | None:
    """`tool_choice`: a word, a function's name, or some functions. Raises CallFailed."""
    name = fields.name("tool_choice")
    value = fields.raw("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _CHOICES:
            raise invalid(name, f"must be one of {', '.join(sorted(_CHOICES))}, or an object")
        return ToolChoice(_CHOICES[value])
    choice = Fields(value, f"{name}.")
    kind = choice.required_text("type")
    if kind == "function":
        read = ToolChoice(Choice.NAMED, _function_name(choice))
    elif kind == "allowed_tools":
        allowed = Fields(choice.raw("allowed_tools"), choice.name("allowed_tools."))
        mode = allowed.choice("mode", ("auto", "required")) or "auto"
        names = [_allowed(tool) for tool in allowed.objects("tools")]
        allowed.finish()
        read = ToolChoice(_CHOICES[mode], allowed=names)
    else:
        raise unsupported(f"{name}.type", "only functions can be chosen with this model's provider")
    choice.finish()
    return read


def _allowed(fields: Fields) -> str:
    if fields.required_text("type") != "function":
        raise unsupported(fields.name("type"), "only functions can be allowed")
    name = _function_name(fields)
    fields.finish()
    return name


def _function_name(fields: Fields) -> str:
    function = Fields(fields.raw("function"), fields.name("function."))
    name = function.required_text("name")
    function.finish()
    return name


def read_output(fields: Fields) -> OutputFormat | None:
    """`response_format`; None for plain text. Raises CallFailed."""
    wanted = fields.object("response_format")
    if wanted is None:
        return None
    kind = wanted.required_text("type")
    read: OutputFormat | None
    match kind:
        case "text":
            read = None
        case "json_object":
            read = OutputFormat()
        case "json_schema":
            inner = Fields(wanted.raw("json_schema"), wanted.name("json_schema."))
            read = OutputFormat(
                inner.document("schema"),
                inner.required_text("name"),
                inner.text("description"),
                inner.flag("strict"),
            )
            inner.finish()
        case _:
            raise unsupported(wanted.name("type"), f"'{kind[:100]}' is not known")
    wanted.finish()
    return read


def read_reasoning(fields: Fields) -> ReasoningRequest | None:
    """`reasoning_effort`, or OpenRouter's `reasoning`, which can also give a budget."""
    effort = fields.choice("reasoning_effort", _EFFORTS)
    wanted = fields.object("reasoning")
    if wanted is None:
        return None if effort is None else ReasoningRequest(effort=Effort(effort))
    other = wanted.choice("effort", _EFFORTS)
    budget = wanted.integer("max_tokens", 0)
    enabled, exclude = wanted.flag("enabled"), wanted.flag("exclude")
    detail = wanted.choice("summary", _DETAILS)
    wanted.finish()
    if len([given for given in (effort, other, budget) if given is not None]) > 1:
        raise invalid(
            "reasoning", "must have one of effort and max_tokens, and no reasoning_effort"
        )
    word = effort or other
    if word is None and budget is None and enabled is not None:
        # OpenRouter's own default where thinking is only switched on.
        word = Effort.MEDIUM if enabled else Effort.NONE
    return ReasoningRequest(
        effort=None if word is None else Effort(word),
        budget=budget,
        visible=None if exclude is None else not exclude,
        detail=detail,
    )
