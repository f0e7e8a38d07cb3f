"""The `response` object: of a whole answer, and within the events of a stream.

Source: https://developers.openai.com/api/reference/resources/responses/methods/create
"""

from secrets import token_hex
from typing import Any, Final

from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatRequest,
    Choice,
    FinishReason,
    OutputFormat,
    Tool,
    ToolChoice,
    Usage,
)
from model_service.providers.dialects.openai_responses.output import incomplete_item, output_items
from model_service.providers.translation import Document

# Anthropic says `standard` for what is `default` here; of other words this API knows nothing.
_TIERS: Final = {
    "standard": "default",
    **{
        tier: tier for tier in ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
    },
}


def whole_response(answer: ChatAnswer, model: str) -> Document:
    """A whole answer. There is one candidate, for this API has no way to ask for more."""
    candidate = answer.candidates[0] if answer.candidates else Candidate([], FinishReason.STOP)
    output = output_items(candidate)
    status, details = outcome(candidate.finish, output)
    if status == "incomplete" and output:
        incomplete_item(output[-1])
    return {
        "id": response_id(answer.id),
        "object": "response",
        "created_at": answer.created or 0,
        "status": status,
        "error": None,
        "incomplete_details": details,
        "model": model,
        "output": output,
        "service_tier": service_tier(answer.service_tier),
        "usage": usage_document(answer.usage),
        **echo(answer.request),
    }


def bare_response(model: str) -> Document:
    """A response of which nothing is known."""
    return {
        "id": response_id(""),
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        **echo(None),
    }


def response_id(given: str) -> str:
    """The answer's id, in this API's form."""
    if not given:
        return "resp_" + token_hex(24)
    return given if given.startswith("resp_") else "resp_" + given


def service_tier(given: str | None) -> str | None:
    """The tier in this API's words."""
    return None if given is None else _TIERS.get(given)


def outcome(reason: FinishReason, output: list[Document]) -> tuple[str, Document | None]:
    """The status of a finished response, and why it is incomplete, if it is."""
    match reason:
        case FinishReason.LENGTH:
            return "incomplete", {"reason": "max_output_tokens"}
        case FinishReason.CONTENT_FILTER:
            return "incomplete", {"reason": "content_filter"}
        case FinishReason.REFUSAL if not _says_refusal(output):
            # Without words for it, nothing else would tell that the model refused.
            return "incomplete", {"reason": "content_filter"}
        case FinishReason.PAUSE:
            return "incomplete", {"reason": None}
        case _:
            return "completed", None


def _says_refusal(output: list[Document]) -> bool:
    return any(
        part["type"] == "refusal"
        for item in output
        if item["type"] == "message"
        for part in item["content"]
    )


def usage_document(usage: Usage) -> Document:
    """What was used. Everything that went in is `input_tokens`, what a cache did is part of it."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def echo(request: ChatRequest | None) -> Document:
    """What a response repeats of its request; what the API takes for granted, without one."""
    if request is None:
        request = ChatRequest("", [])
    reasoning = request.reasoning
    return {
        "background": False,
        "instructions": "\n\n".join(text.text for text in request.system) or None,
        "max_output_tokens": request.max_tokens,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": reasoning.detail if reasoning else None,
        },
        "store": False,
        "temperature": request.temperature,
        "text": _text(request.output, request.verbosity),
        "tool_choice": _tool_choice(request.tool_choice),
        "tools": [_tool(tool) for tool in request.tools],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }


def _text(output: OutputFormat | None, verbosity: str | None) -> Document:
    wanted: Document = {"type": "text"}
    if output is not None and output.schema is None:
        wanted = {"type": "json_object"}
    elif output is not None:
        wanted = {
            "type": "json_schema",
            "name": output.name or "",
            "schema": output.schema,
            "strict": output.strict,
        }
        if output.description is not None:
            wanted["description"] = output.description
    text: Document = {"format": wanted}
    if verbosity is not None:
        text["verbosity"] = verbosity
    return text


def _tool(tool: Tool) -> Document:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "strict": tool.strict,
    }


def _tool_choice(choice: ToolChoice | None) -> Any:  # noqa: ANN401 - a word or an object
    if choice is None:
        return "auto"
    if choice.kind is Choice.NAMED:
        return {"type": "function", "name": choice.name}
    if choice.allowed is not None:
        return {
            "type": "allowed_tools",
            "mode": choice.kind.value,
            "tools": [{"type": "function", "name": name} for name in choice.allowed],
        }
    return choice.kind.value
