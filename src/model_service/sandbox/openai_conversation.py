"""The messages of Chat Completions: their order, and what is said in them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from model_service.sandbox.openai_shapes import Refused, missing

Message = Mapping[str, Any]  # Any: a wire edge, of a shape that was checked


def check(messages: Sequence[Message]) -> None:
    """Raise Refused for the first message that cannot be where it is."""
    for index, message in enumerate(messages):
        _check_content(message, index)
    _check_order(messages)


def said(messages: Sequence[Message]) -> str:
    """All text of a conversation."""
    return "\n".join(text_of(message) for message in messages)


def text_of(message: Message) -> str:
    """The text of one message, its parts on lines of their own."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part["type"] == "text")


def count(messages: Sequence[Message], kind: str) -> int:
    """How many parts of one kind there are."""
    return sum(
        part["type"] == kind
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )


def last_of(messages: Sequence[Message], role: str) -> str:
    """What a role said last; empty when it never spoke."""
    return next((text_of(one) for one in reversed(messages) if one["role"] == role), "")


def turns(messages: Sequence[Message]) -> int:
    """How many turns there are: results of tools are one, with what the user says to them."""
    counted, before = 0, ""
    for role in (message["role"] for message in messages):
        speaker = {"tool": "results", "function": "results"}.get(role, role)
        if speaker in {"system", "developer"}:
            continue
        joins = (before, speaker) in {("results", "results"), ("results", "user")}
        counted += not joins
        before = speaker
    return counted


def prompt(messages: Sequence[Message], tools: Sequence[Message]) -> str:
    """All that is put before the model: what was said, the calls, and the functions."""
    lines = [
        f"{tool['name']} {tool.get('description') or ''} "
        f"{orjson.dumps(tool.get('parameters') or {}).decode()}"
        for tool in tools
    ]
    for message in messages:
        lines.append(text_of(message))
        lines.extend(
            f"{call['function']['name']} {call['function']['arguments']}"
            for call in message.get("tool_calls") or ()
        )
    return "\n".join(lines)


def instructions(messages: Sequence[Message]) -> str:
    """What the system and the developer say."""
    return "\n".join(text_of(one) for one in messages if one["role"] in {"system", "developer"})


def last_results(messages: Sequence[Message]) -> list[str]:
    """The results of the tools that were called last, in order."""
    results: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            results = []
        elif message["role"] in {"tool", "function"}:
            results.append(text_of(message))
    return results


def _check_content(message: Message, index: int) -> None:
    content = message.get("content")
    speaks = message.get("tool_calls") or message.get("refusal") or message.get("function_call")
    if content is None and message["role"] == "assistant" and not speaks:
        raise Refused(
            "Invalid value for 'content': expected a string, got null.",
            f"messages.[{index}].content",
        )
    for place, part in enumerate(content if isinstance(content, list) else ()):
        path = f"messages[{index}].content[{place}]"
        if part["type"] == "input_audio":
            raise Refused(
                f"Unsupported value: '{path}.type' does not support 'input_audio' with this model.",
                f"{path}.type",
                "unsupported_value",
            )
        if part["type"] == "file" and not {"file_data", "file_id"} & part["file"].keys():
            raise missing(f"{path}.file.file_id")


def _check_order(messages: Sequence[Message]) -> None:
    """Every result answers a call that went right before it, and every call is answered."""
    open_calls: list[str] = []
    answerable: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            call = message["tool_call_id"]
            if call not in answerable:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceeding message with 'tool_calls'.",
                    f"messages.[{index}].role",
                )
            open_calls = [one for one in open_calls if one != call]
            continue
        if open_calls:
            raise _unanswered(open_calls, index)
        open_calls = list(_calls(message))
        answerable = set(open_calls)
    if open_calls:
        raise _unanswered(open_calls, len(messages) - 1)


def _calls(message: Message) -> Iterator[str]:
    for call in message.get("tool_calls") or ():
        yield call["id"]


def _unanswered(calls: Sequence[str], index: int) -> Refused:
    return Refused(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to "
        "each 'tool_call_id'. The following tool_call_ids did not have response messages: "
        f"{', '.join(calls)}",
        f"messages.[{index}].role",
    )
