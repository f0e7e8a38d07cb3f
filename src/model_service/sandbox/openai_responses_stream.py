"""The events of a streamed response, in the order in which the live API sends them.

After https://developers.openai.com/api/reference/resources/responses/streaming-events.
"""

from collections.abc import Iterator
from typing import Any

from model_service.sandbox.delivery import Mark, Piece
from model_service.sandbox.openai_responses import Answer
from model_service.sandbox.openai_wire import event, obfuscation
from model_service.sandbox.script import fragments, json_fragments

Json = dict[str, Any]  # Any: JSON on its way out

Step = tuple[str, Json, Mark]


def steps(answer: Answer) -> Iterator[Step]:
    """The events: their types, what they say besides, and what they are there for."""
    yield "response.created", {"response": answer.begun()}, Mark.OPENING
    yield "response.in_progress", {"response": answer.begun()}, Mark.OPENING
    for index, item in enumerate(answer.output):
        place: Json = {"output_index": index, "item_id": item["id"]}
        yield "response.output_item.added", _at(index, _opened(item)), Mark.OPENING
        match item["type"]:
            case "reasoning":
                yield from _thought(item, place)
            case "message":
                yield from _part(item["content"][0], place)
            case _:
                yield from _arguments(item, place)
        yield "response.output_item.done", _at(index, item), Mark.FINISH
    kind = "response.incomplete" if answer.incomplete else "response.completed"
    yield kind, {"response": answer.whole()}, Mark.FINISH


def pieces(answer: Answer, events: Iterator[Step]) -> list[Piece]:
    """The events as they stand on the wire."""
    options = answer.body.get("stream_options") or {}
    padded = options.get("include_obfuscation", True)
    written: list[Piece] = []
    for number, (kind, content, mark) in enumerate(events):
        full: Json = {"type": kind, "sequence_number": number, **content}
        if padded and kind.endswith(".delta"):
            full["obfuscation"] = obfuscation()
        written.append(Piece(event(full, kind), mark))
    return written


def failure(answer: Answer, message: str) -> bytes:
    """What the live API sends when it fails in the middle: the error, then the failed response."""
    error = {"type": "server_error", "code": "server_error", "message": message, "param": None}
    first = event({"type": "error", "sequence_number": 5, "error": error}, "error")
    response = answer.failed(message)
    return first + event(
        {"type": "response.failed", "sequence_number": 6, "response": response}, "response.failed"
    )


def text_event(answer: Answer, text: str) -> bytes:
    """One more piece of text."""
    item = answer.output[-1]["id"] if answer.output else "msg_0"
    place: Json = {"output_index": max(0, len(answer.output) - 1), "item_id": item}
    kind = "response.output_text.delta"
    content = {"content_index": 0, "delta": text, "logprobs": []}
    return event({"type": kind, "sequence_number": 4, **place, **content}, kind)


def _at(index: int, item: Json) -> Json:
    return {"output_index": index, "item": item}


def _opened(item: Json) -> Json:
    """An item of which nothing has come yet."""
    match item["type"]:
        case "reasoning":
            return {**item, "summary": []}
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case _:
            return {**item, "status": "in_progress", "arguments": ""}


def _thought(item: Json, place: Json) -> Iterator[Step]:
    for number, part in enumerate(item["summary"]):
        where: Json = {**place, "summary_index": number}
        empty = {"type": "summary_text", "text": ""}
        yield "response.reasoning_summary_part.added", {**where, "part": empty}, Mark.OPENING
        for token in fragments(part["text"]):
            delta: Json = {**where, "delta": token}
            yield "response.reasoning_summary_text.delta", delta, Mark.CONTENT
        done: Json = {**where, "text": part["text"]}
        yield "response.reasoning_summary_text.done", done, Mark.FINISH
        yield "response.reasoning_summary_part.done", {**where, "part": part}, Mark.FINISH


def _part(part: Json, place: Json) -> Iterator[Step]:
    where: Json = {**place, "content_index": 0}
    field = "refusal" if part["type"] == "refusal" else "text"
    name = "response.refusal" if field == "refusal" else "response.output_text"
    empty: Json = {**part, field: ""}
    if field == "text":
        empty["logprobs"] = []
    yield "response.content_part.added", {**where, "part": empty}, Mark.OPENING
    logprobs = part.get("logprobs") or []
    for number, token in enumerate(fragments(part[field])):
        delta: Json = {**where, "delta": token}
        if field == "text":
            delta["logprobs"] = logprobs[number : number + 1]
        yield f"{name}.delta", delta, Mark.CONTENT
    done: Json = {**where, field: part[field]}
    if field == "text":
        done["logprobs"] = logprobs
    yield f"{name}.done", done, Mark.FINISH
    yield "response.content_part.done", {**where, "part": part}, Mark.FINISH


def _arguments(item: Json, place: Json) -> Iterator[Step]:
    for piece in json_fragments(item["arguments"]):
        delta: Json = {**place, "delta": piece}
        yield "response.function_call_arguments.delta", delta, Mark.CONTENT
    done: Json = {**place, "arguments": item["arguments"]}
    yield "response.function_call_arguments.done", done, Mark.FINISH
