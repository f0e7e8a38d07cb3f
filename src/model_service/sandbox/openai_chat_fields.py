"""The fields of POST /v1/chat/completions, after the API reference of November 2026."""

from collections.abc import Mapping
from typing import Final

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
_ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
_MOST_STOPS: Final = 4
_TEXT: Final = record({"type": anything, "text": text()}, {"prompt_cache_breakpoint": document})
_TEXT_PARTS: Final = tagged({"text": _TEXT})
_USER_PARTS: Final = tagged(
    {
        "text": _TEXT,
        "image_url": record(
            {
                "type": anything,
                "image_url": record(
                    {"url": media.image_url},
                    {"detail": choice("auto", "low", "high", "original")},
                ),
            },
            {"prompt_cache_breakpoint": document},
        ),
        "input_audio": record(
            {
                "type": anything,
                "input_audio": record({"data": text(), "format": choice("wav", "mp3")}),
            },
            {"prompt_cache_breakpoint": document},
        ),
        "file": record(
            {
                "type": anything,
                "file": record(
                    {},
                    {"file_data": media.file_data, "file_id": media.file_id, "filename": text()},
                ),
            },
            {"prompt_cache_breakpoint": document},
        ),
    }
)
_ASSISTANT_PARTS: Final = tagged(
    {"text": _TEXT, "refusal": record({"type": anything, "refusal": text()})}
)
# 40 characters are what the live API allows; its own have 29.
_TOOL_CALL: Final = tagged(
    {
        "function": record(
            {
                "id": text(most=40),
                "type": anything,
                "function": record({"name": text(1, 64, _NAME), "arguments": text()}),
            }
        )
    }
)


def _content(parts: Check, *, nullable: bool = False) -> Check:
    expected = "a string or array of objects"
    items = array(parts, least=1)
    return either(
        expected,
        {str: text(), list: items, **({type(None): anything} if nullable else {})},
    )


_MESSAGES: Final[Mapping[str, Check]] = {
    "system": record({"role": anything, "content": _content(_TEXT_PARTS)}, {"name": text()}),
    "developer": record({"role": anything, "content": _content(_TEXT_PARTS)}, {"name": text()}),
    "user": record({"role": anything, "content": _content(_USER_PARTS)}, {"name": text()}),
    "assistant": record(
        {"role": anything},
        {
            "content": _content(_ASSISTANT_PARTS, nullable=True),
            "refusal": maybe(text()),
            "name": text(),
            "tool_calls": array(_TOOL_CALL, least=1, most=128),
            # Parts of the API's own answers, which clients send back as they came.
            "annotations": array(document),
            "audio": maybe(document),
            "function_call": maybe(document),
        },
    ),
    "tool": record({"role": anything, "content": _content(_TEXT_PARTS), "tool_call_id": text()}),
    "function": record({"role": anything, "name": text(), "content": maybe(text())}),
}


def _message(value: object, path: str) -> None:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    if "role" not in value:
        raise missing(f"{path}.role")
    choice(*_ROLES)(value["role"], f"{path}.role")
    if "content" in value and value["content"] is None and value["role"] != "assistant":
        where = path.replace("[", ".[")
        raise Refused(
            "Invalid value for 'content': expected a string, got null.", f"{where}.content"
        )
    _MESSAGES[value["role"]](value, path)


_FUNCTION: Final = record(
    {"name": text(1, 64, _NAME)},
    {"description": maybe(text()), "parameters": maybe(document), "strict": maybe(flag)},
)
_NAMED: Final = record({"type": anything, "function": record({"name": text()})})
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
                        "allowed_tools": record(
                            {
                                "mode": choice("auto", "required"),
                                "tools": array(tagged({"function": _NAMED}), least=1),
                            }
                        ),
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
            {
                "type": anything,
                "json_schema": record(
                    {"name": text(1, 64, _NAME)},
                    {"description": text(), "schema": document, "strict": maybe(flag)},
                ),
            }
        ),
    }
)
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

FIELDS: Final[Mapping[str, Check]] = {
    "model": text(),
    "messages": array(_message, least=1),
    "audio": maybe(document),
    "frequency_penalty": maybe(number(-2, 2)),
    "function_call": anything,
    "functions": array(document),
    "logit_bias": maybe(document),
    "logprobs": maybe(flag),
    "max_completion_tokens": maybe(whole(1)),
    "max_tokens": maybe(whole(1)),
    "metadata": maybe(metadata),
    "modalities": maybe(array(choice("text", "audio"), of="strings")),
    "moderation": maybe(document),
    "n": maybe(whole(1, 128)),
    "parallel_tool_calls": flag,
    "prediction": maybe(record({"type": choice("content"), "content": _content(_TEXT_PARTS)})),
    "presence_penalty": maybe(number(-2, 2)),
    "prompt_cache_key": maybe(text(most=64)),
    "prompt_cache_options": document,
    "prompt_cache_retention": maybe(choice("in_memory", "24h")),
    "reasoning_effort": maybe(choice(*_EFFORTS)),
    "response_format": maybe(_FORMAT),
    "safety_identifier": maybe(text(most=128)),
    "seed": maybe(whole(-(2**63), 2**63 - 1)),
    "service_tier": maybe(choice("auto", "default", "flex", "scale", "priority", "fast")),
    "stop": either(
        "a string or array of strings",
        {
            str: text(),
            list: array(text(), most=_MOST_STOPS, of="strings"),
            type(None): anything,
        },
    ),
    "store": maybe(flag),
    "stream": maybe(flag),
    "stream_options": maybe(record({}, {"include_usage": flag, "include_obfuscation": flag})),
    "temperature": maybe(number(0, 2)),
    "tool_choice": _TOOL_CHOICE,
    "tools": array(
        tagged({"function": record({"type": anything, "function": _FUNCTION})}), least=1, most=128
    ),
    "top_logprobs": maybe(whole(0, 20)),
    "top_p": maybe(number(0, 1)),
    "user": text(),
    "verbosity": maybe(choice("low", "medium", "high")),
    "web_search_options": document,
}
