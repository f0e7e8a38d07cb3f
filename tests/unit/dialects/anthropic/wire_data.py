"""Streams and answers as the Messages API sends them, and its client to read ours.

The shapes are those of https://platform.claude.com/docs/en/build-with-claude/streaming.
"""

from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import orjson
from anthropic.types import Message

from model_service.kernel.types import Provider
from model_service.providers.chat import ChatEvent
from model_service.providers.dialects.anthropic.reader import AnthropicReader
from model_service.providers.translation import Notes, Target

SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
HIDDEN = "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP"


def sse(*events: dict[str, Any]) -> bytes:
    """Events under their names."""
    return b"".join(
        b"event: " + str(event["type"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
        for event in events
    )


def message_start(**usage: Any) -> dict[str, Any]:
    return {
        "type": "message_start",
        "message": {
            "model": "claude-opus-4-8",
            "id": "msg_01T6kXWEF",
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage or {"input_tokens": 25, "output_tokens": 1},
        },
    }


def block_start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def message_delta(reason: str, output_tokens: int = 15, **more: Any) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None, **more.pop("delta", {})},
        "usage": {"output_tokens": output_tokens, **more},
    }


MESSAGE_STOP = {"type": "message_stop"}
PING = {"type": "ping"}

FOUND = {
    "type": "web_search_result",
    "title": "News",
    "url": "https://example.com/news",
    "encrypted_content": "EqgfCioIARgB",
    "page_age": None,
}
CITED = {
    "type": "web_search_result_location",
    "cited_text": "Rain all day.",
    "encrypted_index": "Eo8BCioIAhgB",
    "title": "News",
    "url": "https://example.com/news",
}

TEXT_STREAM = (
    message_start(),
    block_start(0, type="text", text=""),
    PING,
    block_delta(0, type="text_delta", text="Hello"),
    block_delta(0, type="text_delta", text="!"),
    block_stop(0),
    message_delta("end_turn"),
    MESSAGE_STOP,
)

TOOL_STREAM = (
    message_start(input_tokens=472, output_tokens=2),
    block_start(0, type="text", text=""),
    block_delta(0, type="text_delta", text="Okay, let's check the weather:"),
    block_stop(0),
    block_start(1, type="tool_use", id="toolu_01T1x", name="get_weather", input={}),
    block_delta(1, type="input_json_delta", partial_json=""),
    block_delta(1, type="input_json_delta", partial_json='{"location":'),
    block_delta(1, type="input_json_delta", partial_json='"San Francisco, CA"}'),
    block_stop(1),
    block_start(2, type="tool_use", id="toolu_01T2x", name="get_time", input={}),
    block_delta(2, type="input_json_delta", partial_json=""),
    block_stop(2),
    message_delta("tool_use", 89),
    MESSAGE_STOP,
)

THINKING_STREAM = (
    message_start(),
    block_start(0, type="thinking", thinking="", signature=""),
    block_delta(0, type="thinking_delta", thinking="First, 27 "),
    block_delta(0, type="thinking_delta", thinking="* 453."),
    block_delta(0, type="signature_delta", signature=SIGNATURE),
    block_stop(0),
    block_start(1, type="redacted_thinking", data=HIDDEN),
    block_stop(1),
    block_start(2, type="thinking", thinking="", signature=""),
    block_delta(2, type="signature_delta", signature=SIGNATURE),
    block_stop(2),
    block_start(3, type="text", text=""),
    block_delta(3, type="text_delta", text="It is 12,231."),
    block_stop(3),
    message_delta("end_turn", 60, output_tokens_details={"thinking_tokens": 40}),
    MESSAGE_STOP,
)

SEARCH_STREAM = (
    message_start(input_tokens=2679, output_tokens=3),
    block_start(0, type="server_tool_use", id="srvtoolu_014", name="web_search", input={}),
    block_delta(0, type="input_json_delta", partial_json='{"query":"weather"}'),
    block_stop(0),
    block_start(1, type="web_search_tool_result", tool_use_id="srvtoolu_014", content=[FOUND]),
    block_stop(1),
    block_start(2, type="text", text="", citations=[]),
    block_delta(2, type="citations_delta", citation=CITED),
    block_delta(2, type="text_delta", text="It rains."),
    block_stop(2),
    message_delta("end_turn", 510, server_tool_use={"web_search_requests": 1}),
    MESSAGE_STOP,
)

STREAMS = (TEXT_STREAM, TOOL_STREAM, THINKING_STREAM, SEARCH_STREAM)

# What the same calls answer in one piece.
CONTENTS: tuple[list[dict[str, Any]], ...] = (
    [{"type": "text", "text": "Hello!"}],
    [
        {"type": "text", "text": "Okay, let's check the weather:"},
        {
            "type": "tool_use",
            "id": "toolu_01T1x",
            "name": "get_weather",
            "input": {"location": "San Francisco, CA"},
        },
        {"type": "tool_use", "id": "toolu_01T2x", "name": "get_time", "input": {}},
    ],
    [
        {"type": "thinking", "thinking": "First, 27 * 453.", "signature": SIGNATURE},
        {"type": "redacted_thinking", "data": HIDDEN},
        {"type": "thinking", "thinking": "", "signature": SIGNATURE},
        {"type": "text", "text": "It is 12,231."},
    ],
    [
        {
            "type": "server_tool_use",
            "id": "srvtoolu_014",
            "name": "web_search",
            "input": {"query": "weather"},
        },
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_014", "content": [FOUND]},
        {"type": "text", "text": "It rains.", "citations": [CITED]},
    ],
)


def answer(content: list[dict[str, Any]], reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    return {
        "model": "claude-opus-4-8",
        "id": "msg_01T6kXWEF",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 15},
        **more,
    }


def read(*events: dict[str, Any]) -> tuple[AnthropicReader, list[ChatEvent]]:
    """The events of a stream that comes in one piece."""
    return read_pieces([sse(*events)])


def read_pieces(pieces: Iterable[bytes]) -> tuple[AnthropicReader, list[ChatEvent]]:
    reader = AnthropicReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.end()
    return reader, events


def target(upstream_model: str = "claude-opus-4-8", **more: Any) -> Target:
    more.setdefault("max_tokens", 4096)
    return Target("opus", Provider.ANTHROPIC, upstream_model, **more)


def notes(*, lenient: bool = False) -> Notes:
    return Notes({}, lenient=lenient)


def as_client_sees(body: bytes, content_type: str, status: int = 200) -> Message:
    """What Anthropic's own client makes of an answer, or of a stream."""

    def give(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": content_type}, content=body)

    with anthropic.Anthropic(
        api_key="none",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(give)),
    ) as client:
        if content_type == "text/event-stream":
            with client.messages.stream(
                model="opus", max_tokens=9, messages=[{"role": "user", "content": "?"}]
            ) as stream:
                return stream.get_final_message()
        return client.messages.create(
            model="opus", max_tokens=9, messages=[{"role": "user", "content": "?"}]
        )
