"""The items of a Responses input: their order, and what is said in them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from model_service.sandbox.openai_memory import Memory
from model_service.sandbox.openai_shapes import Refused

Item = Mapping[str, Any]  # Any: a wire edge, of a shape that was checked


def read(body: Mapping[str, Any], memory: Memory) -> list[Item]:
    """All items that a request is about, those of earlier responses included. Raises Refused."""
    earlier = body.get("previous_response_id")
    items = list(memory.before(earlier)) if earlier else []
    given = body.get("input") or ()
    if isinstance(given, str):
        return [*items, {"role": "user", "content": given}]
    for item in given:
        items.append(memory.item(item["id"]) if item.get("type") == "item_reference" else item)
    return items


def check(items: Sequence[Item], memory: Memory) -> None:
    """Raise Refused for the first item that cannot be where it is."""
    _check_calls(items)
    for index, item in enumerate(items):
        if kind_of(item) == "reasoning":
            _check_thought(items, index, memory)
        elif "id" in item and item["id"] is not None:
            thought = memory.thought_of(item["id"])
            if thought and not any(one.get("id") == thought for one in items[:index]):
                raise Refused(
                    f"Item '{item['id']}' of type '{kind_of(item)}' was provided without its "
                    f"required 'reasoning' item: '{thought}'.",
                    "input",
                )


def kind_of(item: Item) -> str:
    """What an item is; a message need not say so."""
    return str(item.get("type") or "message")


def text_of(content: object) -> str:
    """The text of a content, its parts on lines of their own."""
    if isinstance(content, str):
        return content
    return "\n".join(
        part["text"] for part in _parts(content) if part["type"] in {"input_text", "output_text"}
    )


def said(items: Sequence[Item]) -> str:
    """All text of the items."""
    return "\n".join(text_of(_content(item)) for item in items)


def said_last(items: Sequence[Item]) -> str:
    """What the user said last; empty when they never spoke."""
    return next((text_of(item["content"]) for item in reversed(items) if _is_user(item)), "")


def turns(items: Sequence[Item]) -> int:
    """How many turns there are: results are one, with what the user says to them."""
    counted, before = 0, ""
    for item in items:
        if item.get("role") in {"system", "developer"}:
            continue
        if kind_of(item) == "function_call_output":
            speaker = "results"
        else:
            speaker = "user" if _is_user(item) else "assistant"
        joins = speaker == before != "user" or (before, speaker) == ("results", "user")
        counted += not joins
        before = speaker
    return counted


def prompt(items: Sequence[Item], tools: Sequence[Item]) -> str:
    """All that is put before the model: what was said, the calls, and the functions."""
    lines = [
        f"{tool['name']} {tool.get('description') or ''} "
        f"{orjson.dumps(tool.get('parameters') or {}).decode()}"
        for tool in tools
    ]
    for item in items:
        if kind_of(item) == "function_call":
            lines.append(f"{item['name']} {item['arguments']}")
        else:
            lines.append(text_of(_content(item)))
    return "\n".join(lines)


def instructions(items: Sequence[Item]) -> list[str]:
    """What the system and the developer say."""
    return [
        text_of(item["content"]) for item in items if item.get("role") in {"system", "developer"}
    ]


def count(items: Sequence[Item], kind: str) -> int:
    """How many parts of one kind there are."""
    return sum(part["type"] == kind for item in items for part in _parts(_content(item)))


def last_results(items: Sequence[Item]) -> list[str]:
    """The results of the functions that were called last, in order."""
    results: list[str] = []
    for item in items:
        if kind_of(item) == "function_call_output":
            results.append(text_of(item["output"]))
        elif kind_of(item) == "function_call" or item.get("role") == "assistant":
            results = []
    return results


def _content(item: Item) -> object:
    return item.get("output") if kind_of(item) == "function_call_output" else item.get("content")


def _parts(content: object) -> Iterator[Item]:
    if isinstance(content, list):
        yield from content


def _is_user(item: Item) -> bool:
    return item.get("role") == "user"


def _check_calls(items: Sequence[Item]) -> None:
    called: set[str] = set()
    answered = {item["call_id"] for item in items if kind_of(item) == "function_call_output"}
    for item in items:
        if kind_of(item) == "function_call":
            called.add(item["call_id"])
        elif kind_of(item) == "function_call_output" and item["call_id"] not in called:
            raise Refused(
                f"No tool call found for function call output with call_id {item['call_id']}.",
                "input",
            )
    for item in items:
        if kind_of(item) == "function_call" and item["call_id"] not in answered:
            raise Refused(f"No tool output found for function call {item['call_id']}.", "input")


def _check_thought(items: Sequence[Item], index: int, memory: Memory) -> None:
    item = items[index]
    if item.get("encrypted_content"):
        memory.check_seal(item["id"], item["encrypted_content"])
    else:
        memory.item(item["id"])
    following = items[index + 1] if index + 1 < len(items) else {}
    if kind_of(following) not in {"reasoning", "function_call"} and (
        following.get("role") != "assistant"
    ):
        raise Refused(
            f"Item '{item['id']}' of type 'reasoning' was provided without its required following "
            "item.",
            "input",
        )
