"""Which fields a request of the Messages API may have, and of which types."""

from collections.abc import Mapping
from typing import Any, Final, cast

from model_service.sandbox.anthropic_fields import (
    Rule,
    anything,
    base64_data,
    fail,
    flag,
    listed,
    mapping,
    matching,
    nullable,
    one_of,
    shape,
    share,
    tagged,
    text,
    text_or,
    whole,
)

# The API version that removed the sampling parameters
# (https://platform.claude.com/docs/en/api/versioning); its client 2.x asks for it.
WITHOUT_SAMPLING: Final = "2026-10-21"
_SAMPLING: Final = frozenset({"temperature", "top_k", "top_p"})

TOOL_NAME: Final = r"^[a-zA-Z0-9_-]{1,128}$"
_TOOL_USE_ID: Final = r"^[a-zA-Z0-9_-]+$"

# How images of each format begin, in base64.
_IMAGE_BEGINNINGS: Final = {
    "/9j/": "image/jpeg",
    "iVBORw0KGgo": "image/png",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}

_CACHE: Final = nullable(
    tagged({"ephemeral": shape({"type": text}, {"ttl": one_of("5m", "1h")})}),
)
_MARKED: Final = {"cache_control": _CACHE}
_TEXT: Final = shape({"type": text, "text": text}, {**_MARKED, "citations": nullable(anything)})
_URL: Final = shape({"type": text, "url": text})
_FILE: Final = shape({"type": text, "file_id": text})
_IMAGE_DATA: Final = shape(
    {
        "type": text,
        "media_type": one_of("image/jpeg", "image/png", "image/gif", "image/webp"),
        "data": base64_data,
    }
)


def _image_data(value: object, where: str) -> None:
    """Take an image whose first bytes are not those of another format."""
    _IMAGE_DATA(value, where)
    source = cast(Mapping[str, object], value)
    data = str(source["data"])
    for beginning, media_type in _IMAGE_BEGINNINGS.items():
        if data.startswith(beginning) and media_type != source["media_type"]:
            fail(
                where,
                f"The image was specified using the {source['media_type']} media type, but the "
                f"image appears to be a {media_type} image",
            )


_IMAGE: Final = shape(
    {
        "type": text,
        "source": tagged(
            {
                "base64": _image_data,
                "url": _URL,
                "file": _FILE,
            }
        ),
    },
    {**_MARKED, "transformations": mapping},
)
_DOCUMENT: Final = shape(
    {
        "type": text,
        "source": tagged(
            {
                "base64": shape(
                    {"type": text, "media_type": one_of("application/pdf"), "data": base64_data}
                ),
                "text": shape({"type": text, "media_type": one_of("text/plain"), "data": text}),
                "content": shape(
                    {
                        "type": text,
                        "content": text_or(listed(tagged({"text": _TEXT, "image": _IMAGE}))),
                    }
                ),
                "url": _URL,
                "file": _FILE,
            }
        ),
    },
    {
        **_MARKED,
        "citations": nullable(shape({}, {"enabled": flag})),
        "context": nullable(text),
        "title": nullable(text),
    },
)
_SEARCH_RESULT: Final = shape(
    {"type": text, "source": text, "title": text, "content": listed(tagged({"text": _TEXT}))},
    {**_MARKED, "citations": shape({}, {"enabled": flag})},
)
_BLOCKS: Final = {
    "text": _TEXT,
    "image": _IMAGE,
    "document": _DOCUMENT,
    "search_result": _SEARCH_RESULT,
    "thinking": shape({"type": text, "thinking": text, "signature": text}),
    "redacted_thinking": shape({"type": text, "data": text}),
    "tool_use": shape(
        {"type": text, "id": matching(_TOOL_USE_ID), "name": matching(TOOL_NAME), "input": mapping},
        {**_MARKED, "caller": mapping, "toolset_name": nullable(text)},
    ),
    "tool_result": shape(
        {"type": text, "tool_use_id": matching(_TOOL_USE_ID)},
        {
            **_MARKED,
            "content": text_or(
                listed(
                    tagged(
                        {
                            "text": _TEXT,
                            "image": _IMAGE,
                            "document": _DOCUMENT,
                            "search_result": _SEARCH_RESULT,
                        }
                    )
                )
            ),
            "is_error": flag,
            "toolset_name": nullable(text),
        },
    ),
}

_TOOLS: Final = {
    "custom": shape(
        {"name": matching(TOOL_NAME), "input_schema": mapping},
        {
            **_MARKED,
            "type": anything,
            "description": text,
            "strict": flag,
            "allowed_callers": listed(text),
            "defer_loading": flag,
            "eager_input_streaming": nullable(flag),
            "input_examples": listed(mapping),
        },
    ),
    # Tools of Anthropic's own; the stand-in takes them and never uses one.
    **dict.fromkeys(
        (
            "bash_20250124",
            "code_execution_20260521",
            "memory_20250818",
            "text_editor_20250728",
            "web_fetch_20260318",
            "web_search_20250305",
            "web_search_20260318",
        ),
        mapping,
    ),
}

_PARALLEL: Final = {"disable_parallel_tool_use": flag}
_TOOL_CHOICE: Final = tagged(
    {
        "auto": shape({"type": text}, _PARALLEL),
        "any": shape({"type": text}, _PARALLEL),
        "tool": shape({"type": text, "name": text}, _PARALLEL),
        "none": shape({"type": text}),
    }
)

_DISPLAY: Final = {"display": nullable(one_of("summarized", "omitted"))}
_THINKING: Final = tagged(
    {
        "adaptive": shape({"type": text}, _DISPLAY),
        "between_tools": shape({"type": text}),
        "disabled": shape({"type": text}),
        "enabled": shape({"type": text, "budget_tokens": whole(1024)}, _DISPLAY),
    }
)

_OUTPUT_CONFIG: Final = shape(
    {},
    {
        "effort": nullable(one_of("low", "medium", "high", "xhigh", "max")),
        "format": nullable(tagged({"json_schema": shape({"type": text, "schema": mapping})})),
    },
)


def _messages(value: object, where: str) -> None:
    if not isinstance(value, list):
        fail(where, "Input should be a valid list")
    if not value:
        fail(where, "at least one message is required")
    for index, turn in enumerate(value):
        _TURN(turn, f"{where}.{index}")


def _role(value: object, _: str) -> None:
    if value not in ("user", "assistant", "system"):
        fail("messages", f'Unexpected role "{value}". Allowed roles are "user" or "assistant".')


_TURN: Final = shape({"role": _role, "content": text_or(listed(tagged(_BLOCKS)))})

_ALWAYS: Final[Mapping[str, Rule]] = {"model": text, "max_tokens": whole(0), "messages": _messages}
_COUNTED: Final[Mapping[str, Rule]] = {
    "cache_control": _CACHE,
    "output_config": _OUTPUT_CONFIG,
    "speed": nullable(one_of("standard", "fast")),
    "system": text_or(listed(tagged({"text": _TEXT}))),
    "thinking": _THINKING,
    "tool_choice": _TOOL_CHOICE,
    "tools": listed(tagged(_TOOLS, default="custom")),
}
# The parameters of POST /v1/messages without any beta header.
_CREATED: Final[Mapping[str, Rule]] = {
    **_COUNTED,
    "container": nullable(anything),
    "diagnostics": nullable(shape({}, {"previous_message_id": nullable(text)})),
    "inference_geo": nullable(text),
    "metadata": shape({}, {"user_id": nullable(text)}),
    "service_tier": one_of("auto", "standard_only"),
    "stop_sequences": listed(text),
    "stream": flag,
    "temperature": share,
    "top_k": whole(0),
    "top_p": share,
}

_CREATE: Final = shape(_ALWAYS, _CREATED)
_CREATE_NEWEST: Final = shape(
    _ALWAYS, {name: rule for name, rule in _CREATED.items() if name not in _SAMPLING}
)
_COUNT: Final = shape(
    {name: rule for name, rule in _ALWAYS.items() if name != "max_tokens"}, _COUNTED
)


def checked(body: object, version: str, *, counting: bool) -> dict[str, Any]:
    """The body of a request for a message, or to count its tokens, if it has the right shape.

    `version` is the `anthropic-version` asked for. Raises InvalidRequest.
    """
    if counting:
        _COUNT(body, "")
    else:
        (_CREATE_NEWEST if version == WITHOUT_SAMPLING else _CREATE)(body, "")
    return cast(dict[str, Any], body)  # Any: the shape was checked
