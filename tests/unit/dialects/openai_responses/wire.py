"""What the Responses API sends, after its documents and the shapes that clients have recorded."""

from typing import Any

import orjson

from model_service.kernel.types import Provider
from model_service.providers.chat import ChatRequest, Message, Role, Text
from model_service.providers.translation import Target

Json = dict[str, Any]

TARGET = Target("fast", Provider.OPENAI, "gpt-5.6-sol", 4096)

MESSAGE: Json = {
    "id": "msg_01",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [
        {"type": "output_text", "text": "It rains in Bern.", "annotations": [], "logprobs": []}
    ],
}
CALL: Json = {
    "id": "fc_01",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_rain",
    "name": "weather",
    "arguments": '{"city":"Bern"}',
}
SECOND_CALL: Json = {
    **CALL,
    "id": "fc_02",
    "call_id": "call_sun",
    "arguments": '{"city":"Rome"}',
}
THOUGHT: Json = {
    "id": "rs_01",
    "type": "reasoning",
    "summary": [
        {"type": "summary_text", "text": "Where is it?"},
        {"type": "summary_text", "text": "In Bern."},
    ],
    "encrypted_content": "gAAAAAB-sealed",
}
REFUSAL: Json = {**MESSAGE, "content": [{"type": "refusal", "refusal": "I will not."}]}
USAGE: Json = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}


def response(*output: Json, **changed: Any) -> Json:
    """A whole answer."""
    return {
        "id": "resp_0a1b",
        "object": "response",
        "created_at": 1793000000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "gpt-5.6-sol-2026-09-01",
        "output": list(output),
        "parallel_tool_calls": True,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": USAGE,
        "metadata": {},
        **changed,
    }


def begun(**changed: Any) -> Json:
    """The response as the first events of a stream have it."""
    return response(**{"status": "in_progress", "usage": None, **changed})


def sse(*events: Json) -> bytes:
    """A stream of events, numbered in their order."""
    stream = b""
    for number, event in enumerate(events):
        document = {**event, "sequence_number": number}
        stream += b"event: %s\ndata: %s\n\n" % (
            str(event.get("type")).encode(),
            orjson.dumps(document),
        )
    return stream


def events_of(*output: Json, **changed: Any) -> list[Json]:
    """The events of a stream that ends in that output, two deltas for each text."""
    events: list[Json] = [
        {"type": "response.created", "response": begun()},
        {"type": "response.in_progress", "response": begun()},
    ]
    for index, item in enumerate(output):
        events += _item_events(index, item)
    whole = response(*output, **changed)
    kind = "incomplete" if whole["status"] == "incomplete" else "completed"
    return [*events, {"type": f"response.{kind}", "response": whole}]


def stream_of(*output: Json, **changed: Any) -> bytes:
    """The same as bytes."""
    return sse(*events_of(*output, **changed))


def _item_events(index: int, item: Json) -> list[Json]:
    place = {"item_id": item["id"], "output_index": index}
    kind = item["type"]
    events: list[Json] = []
    if kind == "message":
        empty: Json = {"content": []}
        for content_index, part in enumerate(item["content"]):
            events += _part_events({**place, "content_index": content_index}, part)
    elif kind == "function_call":
        empty = {"arguments": ""}
        name = "response.function_call_arguments"
        events += [
            {"type": f"{name}.delta", **place, "delta": piece}
            for piece in halves(item["arguments"])
        ]
        events.append({"type": f"{name}.done", **place, "arguments": item["arguments"]})
    else:
        empty = {"summary": [], "encrypted_content": "gAAAAAB-unfinished"}
        for summary_index, part in enumerate(item["summary"]):
            events += _summary_events({**place, "summary_index": summary_index}, part)
    added = {**item, **empty, "status": "in_progress"}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": added},
        *events,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _part_events(place: Json, part: Json) -> list[Json]:
    field = "text" if part["type"] == "output_text" else "refusal"
    logprobs = part.get("logprobs") or []
    name = f"response.{part['type']}"
    deltas = [
        {
            "type": f"{name}.delta",
            **place,
            "delta": piece,
            "logprobs": logprobs[number : number + 1],
        }
        for number, piece in enumerate(halves(part[field]))
    ]
    return [
        {"type": "response.content_part.added", **place, "part": {**part, field: ""}},
        *deltas,
        {"type": f"{name}.done", **place, field: part[field], "logprobs": logprobs},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def _summary_events(place: Json, part: Json) -> list[Json]:
    name = "response.reasoning_summary"
    return [
        {"type": f"{name}_part.added", **place, "part": {**part, "text": ""}},
        *(
            {"type": f"{name}_text.delta", **place, "delta": piece, "obfuscation": "x1y2"}
            for piece in halves(part["text"])
        ),
        {"type": f"{name}_text.done", **place, "text": part["text"]},
        {"type": f"{name}_part.done", **place, "part": part},
    ]


def halves(text: str) -> tuple[str, str]:
    """Two pieces of a text."""
    middle = len(text) // 2
    return text[:middle], text[middle:]


def question(text: str = "How is the weather?", **fields: Any) -> ChatRequest:
    """A request of one turn."""
    return ChatRequest("fast", [Message(Role.USER, [Text(text)])], **fields)
