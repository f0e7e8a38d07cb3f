"""What POST /v1/chat/completions refuses beyond the shape, in its own words.

Errors as the live API gives them.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from model_service.sandbox import openai_conversation as conversation
from model_service.sandbox import openai_schemas as schemas
from model_service.sandbox.openai_chat_fields import FIELDS
from model_service.sandbox.openai_models import Abilities
from model_service.sandbox.openai_shapes import Refused, missing

Body = Mapping[str, Any]  # Any: a wire edge, checked here

# What the stand-in's models do not do, and reasoning models do not when they reason.
_NEVER: Final = ("audio", "functions", "function_call", "web_search_options")
_NOT_WHILE_REASONING: Final[tuple[tuple[str, object], ...]] = (
    ("top_p", 1),
    ("presence_penalty", 0),
    ("frequency_penalty", 0),
    ("logprobs", False),
    ("top_logprobs", None),
    ("logit_bias", {}),
)


def check(body: Body, model: str, can: Abilities) -> None:
    """Raise Refused for the first thing that the API would not take."""
    strange = sorted(name for name in body if name not in FIELDS)
    if body.get("reasoning_effort") is not None and not can.reasons:
        strange.append("reasoning_effort")
    if strange:
        s = "s" if len(strange) > 1 else ""
        raise Refused(f"Unrecognized request argument{s} supplied: {', '.join(strange)}")
    if "messages" not in body:
        raise missing("messages")
    for name, value in body.items():
        FIELDS[name](value, name)
    for name in _NEVER:
        if body.get(name):
            raise unsupported(name)
    if "audio" in (body.get("modalities") or ()):
        raise unsupported("modalities")
    _check_model(body, can)
    _check_tokens(body, can)
    _check_tools(body, model, can)
    _check_format(body)
    _check_rest(body)
    conversation.check(body["messages"])


def unsupported(name: str, hint: str = "") -> Refused:
    """The error for a parameter that a model does not take."""
    return Refused(
        f"Unsupported parameter: '{name}' is not supported with this model.{hint}",
        name,
        "unsupported_parameter",
    )


def effort(body: Body, can: Abilities) -> str:
    """How hard the model is to think."""
    return str(body.get("reasoning_effort") or can.effort)


def _check_model(body: Body, can: Abilities) -> None:
    if not can.reasons:
        if body.get("verbosity") not in {None, "medium"}:
            raise Refused(
                f"Unsupported value: 'verbosity' does not support '{body['verbosity']}' with this "
                "model. Supported values are: 'medium'.",
                "verbosity",
                "unsupported_value",
            )
        return
    wanted = effort(body, can)
    if wanted not in can.efforts:
        allowed = ", ".join(f"'{word}'" for word in can.efforts[:-1])
        raise Refused(
            f"Unsupported value: 'reasoning_effort' does not support '{wanted}' with this model. "
            f"Supported values are: {allowed}, and '{can.efforts[-1]}'.",
            "reasoning_effort",
            "unsupported_value",
        )
    if body.get("stop"):
        raise unsupported("stop")
    if wanted == "none":
        return
    temperature = body.get("temperature")
    if temperature is not None and temperature != 1:
        raise Refused(
            f"Unsupported value: 'temperature' does not support {temperature} with this model. "
            "Only the default (1) value is supported.",
            "temperature",
            "unsupported_value",
        )
    for name, neutral in _NOT_WHILE_REASONING:
        value = body.get(name)
        if value is not None and value != neutral:
            raise unsupported(name)


def _check_tokens(body: Body, can: Abilities) -> None:
    if body.get("max_tokens") is not None:
        if can.reasons:
            raise unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
        if body.get("max_completion_tokens") is not None:
            raise Refused(
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not "
                "supported.",
                "max_tokens",
                "invalid_parameter_combination",
            )
    for name in ("max_tokens", "max_completion_tokens"):
        most = body.get(name)
        if most is not None and most > can.output:
            raise Refused(
                f"{name} is too large: {most}. This model supports at most {can.output} "
                f"completion tokens, whereas you provided {most}.",
                name,
                "invalid_value",
            )


def _check_tools(body: Body, model: str, can: Abilities) -> None:
    tools = body.get("tools")
    if not tools:
        for name in ("tool_choice", "parallel_tool_calls"):
            if name in body:
                raise Refused(
                    f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are "
                    "specified.",
                    name,
                )
        return
    names = {tool["function"]["name"] for tool in tools}
    for index, tool in enumerate(tools):
        function = tool["function"]
        if function.get("parameters") is not None:
            schemas.function_parameters(
                function["parameters"],
                function["name"],
                f"tools[{index}].function.parameters",
                strict=bool(function.get("strict")),
            )
    for name in _chosen(body.get("tool_choice")):
        if name not in names:
            raise Refused(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
    if can.reasons and not can.tools_while_reasoning and effort(body, can) != "none":
        raise Refused(
            f"Function tools with reasoning_effort are not supported for {model} in "
            "/v1/chat/completions. To use function tools, use /v1/responses or set "
            "reasoning_effort to 'none'.",
            "reasoning_effort",
        )


def _chosen(wanted: object) -> Iterator[str]:
    """The tools that a choice names."""
    if not isinstance(wanted, dict):
        return
    allowed = wanted.get("allowed_tools", {}).get("tools", [])
    for one in [wanted, *allowed] if wanted["type"] == "function" else allowed:
        yield one["function"]["name"]


def _check_format(body: Body) -> None:
    wanted = body.get("response_format") or {}
    if (
        wanted.get("type") == "json_object"
        and "json" not in conversation.said(body["messages"]).lower()
    ):
        raise Refused(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'.",
            "messages",
        )
    if wanted.get("type") == "json_schema":
        form = wanted["json_schema"]
        schemas.response_format(
            form.get("schema", {}),
            form["name"],
            "response_format",
            None,
            strict=bool(form.get("strict")),
        )


def _check_rest(body: Body) -> None:
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Refused(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Refused("'logprobs' must be set to true when 'top_logprobs' is set.", "top_logprobs")
    if body.get("metadata") and not body.get("store"):
        raise Refused(
            "The 'metadata' parameter is only allowed when 'store' is enabled.", "metadata"
        )
