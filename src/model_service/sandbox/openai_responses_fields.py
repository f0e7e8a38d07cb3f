"""The fields of POST /v1/responses, after the API reference of November 2026."""

from collections.abc import Mapping
from typing import Any, Final

from model_service.sandbox import openai_media as media
from model_service.sandbox.openai_shapes import (
    Check,
    Refused,
    anything,
    array,
    choice,
    document,
    either,
    flag,
    maybe,
    metadata,
    missing,
    number,
    record,
    tagged,
    text,
    whole,
    wrong_type,
)

_NAME: Final = "^[a-zA-Z0-9_-]+$"
_STATUS: Final = choice("in_progress", "completed", "incomplete")
_BREAKPOINT: Final[Mapping[str, Check]] = {"prompt_cache_breakpoint": document}


def _with_one_of(names: tuple[str, ...], inner: Check) -> Check:
    """What `inner` checks, with at least one of these fields."""

    def check(value: object, path: str) -> None:
        inner(value, path)
        if isinstance(value, dict) and all(value.get(name) is None for name in names):
            raise missing(f"{path}.{names[0]}")

    return check


_INPUT_PARTS: Final[Mapping[str, Check]] = {
    "input_text": record({"type": anything, "text": text()}, _BREAKPOINT),
    "input_image": _with_one_of(
        ("image_url", "file_id"),
        record(
            {"type": anything},
            {
                "image_url": maybe(media.image_url),
                "file_id": maybe(media.file_id),
                "detail": choice("low", "high", "auto", "original"),
                **_BREAKPOINT,
            },
        ),
    ),
    "input_file": _with_one_of(
        ("file_data", "file_id", "file_url"),
        record(
            {"type": anything},
            {
                "file_data": media.file_data,
                "file_id": maybe(media.file_id),
                "file_url": media.file_url,
                "filename": text(),
                "detail": choice("auto", "low", "high"),
                **_BREAKPOINT,
            },
        ),
    ),
}
_OUTPUT_PARTS: Final[Mapping[str, Check]] = {
    "output_text": record(
        {"type": anything, "text": text()},
        {"annotations": array(document), "logprobs": array(document)},
    ),
    "refusal": record({"type": anything, "refusal": text()}),
}
# All that the API knows: what it says when it does not know a kind at all.
_ALL_PARTS: Final = (
    "input_text",
    "input_image",
    "input_audio",
    "output_text",
    "refusal",
    "input_file",
    "computer_screenshot",
    "summary_text",
    "encrypted_content",
)


def _parts(kinds: Mapping[str, Check]) -> Check:
    inner = tagged(kinds)

    def check(value: object, path: str) -> None:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind not in _ALL_PARTS:
            choice(*_ALL_PARTS)(kind, f"{path}.type")
        if isinstance(kind, str) and kind not in kinds:
            # The live API names the part, not its type, when the kind is another role's.
            choice(*kinds)(kind, path)
        inner(value, path)

    return either("an array of objects or string", {str: text(), list: array(check)})


def begins_with(prefix: str) -> Check:
    """An id of one kind of item."""

    def check(value: object, path: str) -> None:
        text(1, 64)(value, path)
        if not str(value).startswith(prefix):
            raise Refused(
                f"Invalid '{path}': '{value}'. Expected an ID that begins with '{prefix}'.",
                path,
                "invalid_value",
            )

    return check


_CONTENT: Final[Mapping[str, Check]] = {
    "user": _parts(_INPUT_PARTS),
    "system": _parts(_INPUT_PARTS),
    "developer": _parts(_INPUT_PARTS),
    "assistant": _parts(_OUTPUT_PARTS),
}


def _message(value: object, path: str) -> None:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    if "role" not in value:
        raise missing(f"{path}.role")
    choice("assistant", "system", "developer", "user")(value["role"], f"{path}.role")
    record(
        {"role": anything, "content": _CONTENT[value["role"]]},
        {
            "type": anything,
            "id": begins_with("msg"),
            "status": _STATUS,
            "phase": maybe(choice("commentary", "final_answer")),
        },
    )(value, path)


_CALL_ID: Final = text(1, 64)
_ITEMS: Final = tagged(
    {
        "message": _message,
        "function_call": record(
            {
                "type": anything,
                "call_id": _CALL_ID,
                "name": text(1, 128, _NAME),
                "arguments": text(),
            },
            {"id": maybe(begins_with("fc")), "status": _STATUS, "caller": anything},
        ),
        "function_call_output": record(
            {"type": anything, "call_id": _CALL_ID, "output": _parts(_INPUT_PARTS)},
            {"id": maybe(begins_with("fc")), "status": maybe(_STATUS), "caller": anything},
        ),
        # Its `status` is not taken back, though the clients' types have it.
        "reasoning": record(
            {
                "type": anything,
                "id": begins_with("rs"),
                "summary": array(
                    tagged({"summary_text": record({"type": anything, "text": text()})})
                ),
            },
            {
                "content": maybe(
                    array(tagged({"reasoning_text": record({"type": anything, "text": text()})}))
                ),
                "encrypted_content": maybe(text()),
            },
        ),
        "item_reference": record({"type": anything, "id": text(1)}),
    }
)


def item(value: object, path: str) -> None:
    """One item of the input; a message need not say that it is one."""
    if isinstance(value, dict) and value.get("type") is None and "role" in value:
        _message(value, path)
    else:
        _ITEMS(value, path)


_FUNCTION: Final = record(
    {"type": anything, "name": text(1, 128, _NAME)},
    {
        "description": maybe(text()),
        "parameters": maybe(document),
        "strict": maybe(flag),
        "async": flag,
        "defer_loading": flag,
        "allowed_callers": maybe(array(text())),
        "output_schema": maybe(document),
    },
)


def _tool(value: object, path: str) -> None:
    kind: Any = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in _HOSTED:
        raise Refused(f"Hosted tool '{kind}' is not supported with this model.", "tools")
    tagged({"function": _FUNCTION})(value, path)


_HOSTED: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use_preview",
        "custom",
        "file_search",
        "image_generation",
        "mcp",
        "shell",
        "web_search",
        "web_search_preview",
    }
)
_NAMED: Final = record({"type": anything, "name": text(1)})
_TOOL_CHOICE: Final = either(
    "a string or object",
    {
        str: choice("none", "auto", "required"),
        dict: tagged(
            {
                "function": _NAMED,
                "allowed_tools": record(
                    {
                        "type": anything,
                        "mode": choice("auto", "required"),
                        "tools": array(tagged({"function": _NAMED}), least=1),
                    }
                ),
            }
        ),
    },
)
_FORMAT: Final = tagged(
    {
        "text": record({"type": anything}),
        "json_object": record({"type": anything}),
        "json_schema": record(
            {"type": anything, "name": text(1, 64, _NAME), "schema": document},
            {"description": maybe(text()), "strict": maybe(flag)},
        ),
    }
)
_INCLUDABLE: Final = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

# What a request may say; those that ask for tokens to be counted may say less (COUNTED).
FIELDS: Final[Mapping[str, Check]] = {
    "model": text(),
    "input": either("a string or array of objects", {str: text(), list: array(item)}),
    "background": maybe(flag),
    "context_management": maybe(array(document)),
    "conversation": anything,
    "include": maybe(array(choice(*_INCLUDABLE), of="strings")),
    "instructions": maybe(text()),
    "max_output_tokens": maybe(whole(16)),
    "max_tool_calls": maybe(whole(1)),
    "metadata": maybe(metadata),
    "moderation": maybe(document),
    "parallel_tool_calls": maybe(flag),
    "previous_response_id": maybe(begins_with("resp")),
    "prompt": maybe(document),
    "prompt_cache_key": maybe(text(most=64)),
    "prompt_cache_options": document,
    "prompt_cache_retention": maybe(choice("in_memory", "24h")),
    "reasoning": maybe(
        record(
            {},
            {
                "context": maybe(choice("auto", "current_turn", "all_turns")),
                "effort": maybe(choice(*_EFFORTS)),
                "generate_summary": maybe(choice("auto", "concise", "detailed")),
                "mode": text(),
                "summary": maybe(choice("auto", "concise", "detailed")),
            },
        )
    ),
    "safety_identifier": maybe(text(most=128)),
    "service_tier": maybe(choice("auto", "default", "flex", "scale", "priority", "fast")),
    "store": maybe(flag),
    "stream": maybe(flag),
    "stream_options": maybe(record({}, {"include_obfuscation": flag})),
    "temperature": maybe(number(0, 2)),
    "text": record(
        {}, {"format": maybe(_FORMAT), "verbosity": maybe(choice("low", "medium", "high"))}
    ),
    "tool_choice": _TOOL_CHOICE,
    "tools": array(_tool),
    "top_logprobs": maybe(whole(0, 20)),
    "top_p": maybe(number(0, 1)),
    "truncation": maybe(choice("auto", "disabled")),
    "user": text(),
}

COUNTED: Final = frozenset(
    {
        "model",
        "input",
        "conversation",
        "instructions",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)
