"""What POST /v1/responses refuses beyond the shape, in its own words.

Errors as the live API gives them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from model_service.sandbox import openai_items as inputs
from model_service.sandbox import openai_schemas as schemas
from model_service.sandbox.openai_items import Item
from model_service.sandbox.openai_memory import Memory
from model_service.sandbox.openai_models import Abilities
from model_service.sandbox.openai_responses_fields import COUNTED, FIELDS
from model_service.sandbox.openai_shapes import Refused, listed, unknown

Body = Mapping[str, Any]  # Any: a wire edge, checked here

_SEALED: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"


def check(
    body: Body, model: str, can: Abilities, memory: Memory, *, counting: bool = False
) -> list[Item]:
    """The items that a request is about. Raises Refused for what the API would not take."""
    for name, value in body.items():
        if name not in FIELDS or (counting and name not in COUNTED):
            raise unknown(name)
        FIELDS[name](value, name)
    _check_state(body)
    _check_model(body, model, can)
    _check_tools(body)
    items = inputs.read(body, memory)
    _check_format(body, items)
    inputs.check(items, memory)
    return items


def effort(body: Body, can: Abilities) -> str:
    """How hard the model is to think."""
    return str((body.get("reasoning") or {}).get("effort") or can.effort)


def _check_state(body: Body) -> None:
    """What the stand-in keeps is responses alone."""
    for name in ("conversation", "prompt"):
        value = body.get(name)
        if value is not None:
            found = value.get("id") if isinstance(value, dict) else value
            raise Refused(f"{name.title()} with id '{found}' not found.", name, status=404)
    if body.get("background"):
        raise Refused(
            "Unsupported parameter: 'background' is not supported with this model.",
            "background",
            "unsupported_parameter",
        )
    if body.get("input") is None and not body.get("previous_response_id"):
        raise Refused(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be "
            "provided.",
            "input",
            "missing_required_parameter",
        )


def _check_model(body: Body, model: str, can: Abilities) -> None:
    include = body.get("include") or ()
    reasoning = body.get("reasoning") or {}
    if not can.reasons:
        for name in ("effort", "summary"):
            if reasoning.get(name) is not None:
                raise Refused(
                    f"Unsupported parameter: 'reasoning.{name}' is not supported with this model.",
                    f"reasoning.{name}",
                    "unsupported_parameter",
                )
        if _SEALED in include:
            raise Refused("Encrypted content is not supported with this model.", "include")
        _check_verbosity(body, model)
        return
    wanted = effort(body, can)
    if wanted not in can.efforts:
        raise Refused(
            f"Unsupported value: '{wanted}' is not supported with the '{model}' model. "
            f"Supported values are: {listed(can.efforts)}.",
            "reasoning.effort",
            "unsupported_value",
        )
    if wanted == "none":
        return
    for name in ("temperature", "top_p"):
        if body.get(name) not in {None, 1}:
            raise Refused(
                f"Unsupported parameter: '{name}' is not supported with this model.", name
            )
    if body.get("top_logprobs") or _LOGPROBS in include:
        raise Refused("logprobs are not supported with reasoning models.", "include")


def _check_verbosity(body: Body, model: str) -> None:
    wanted = (body.get("text") or {}).get("verbosity")
    if wanted not in {None, "medium"}:
        raise Refused(
            f"Unsupported value: '{wanted}' is not supported with the '{model}' model. "
            "Supported values are: 'medium'.",
            "text.verbosity",
            "unsupported_value",
        )


def _check_tools(body: Body) -> None:
    tools = body.get("tools") or ()
    for index, tool in enumerate(tools):
        if tool.get("parameters") is not None:
            schemas.function_parameters(
                tool["parameters"],
                tool["name"],
                f"tools[{index}].parameters",
                strict=bool(tool.get("strict")),
            )
    wanted = body.get("tool_choice")
    names = {tool["name"] for tool in tools}
    if wanted == "required" and not tools:
        raise Refused(
            "Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice"
        )
    if isinstance(wanted, dict):
        named = wanted["tools"] if wanted["type"] == "allowed_tools" else [wanted]
        for one in named:
            if one["name"] not in names:
                raise Refused(
                    "Tool choice 'function' not found in 'tools' parameter.", "tool_choice"
                )


def _check_format(body: Body, items: Sequence[Item]) -> None:
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_object" and "json" not in inputs.said(items).lower():
        raise Refused(
            "Response input messages must contain the word 'json' in some form to use "
            "'text.format' of type 'json_object'.",
            "input",
        )
    if wanted.get("type") == "json_schema":
        schemas.response_format(
            wanted["schema"],
            wanted["name"],
            "text.format.schema",
            "invalid_json_schema",
            strict=bool(wanted.get("strict")),
        )
